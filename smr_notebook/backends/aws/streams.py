"""Kinesis as a carrier of slices: a stream for each job, whose shards are read from their beginning.

Theory. A stream is a log: what was put into a shard stays there for a day, in one order, and anybody may read it from the beginning, as
often as he likes. So a retry, and a backup beside a slow attempt, read what the first one read, and nothing is ever taken from anybody.
What it does not give is a place: a reader of one partition meets the pieces of the others that share its shard, those of attempts that do
not count, and pieces that were put twice. It collects what its index names (`backends.collecting`) and drops the rest.

* **Where an end is.** Whoever has a receipt knows that `send` returned, so that all was put before it began to read. It reads until each
  slice is whole; where it stands at the end of the shard for `PATIENCE` seconds and something is missing, that is lost.
* **Calls that take effect in part.** `PutRecords` answers for each record. Those that it refused are put again, after a pause: they were
  refused because a shard takes a mebibyte and a thousand records a second, and all mappers share the shards.
* **Answers that are lost.** The SDK puts all records again: readers drop what they have.
* **Reads.** A shard gives five answers and two mebibytes a second, to all its readers together. Who is refused waits for a moment of chance
  length, and asks from the same place.

Rules of this module:

* Partition `p` has shard `p` modulo their number, which is fixed when the stream is made: nobody may split or merge them.
* A stream is made by whoever coordinates the job, and goes with the job: it is paid for by the hour.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.faults import BOTO_ERRORS, code_of, told
from smr_notebook.backends.aws.names import box_name
from smr_notebook.backends.collecting import Collector, packed
from smr_notebook.errors import CorruptObjectError, StoreError
from smr_notebook.ports import Piece, Wanted

if TYPE_CHECKING:
    from smr_notebook.ports import Fetched

MOST_SHARDS: Final = 16
"""Shards of a stream, at most: as many mebibytes a second are taken from all mappers, and each costs by the hour."""

PATIENCE: Final = 60.0
"""Seconds at the end of a shard after which what is missing counts as lost."""

MAKING_SECONDS: Final = 120.0
"""How long a new stream may take until it can be used."""

_RECORDS: Final = 500
_RECORDS_BYTES: Final = 4 << 20
_GONE: Final = "ResourceNotFoundException"
_BUSY: Final = frozenset({"ProvisionedThroughputExceededException", "LimitExceededException", "KMSThrottlingException"})
_PAUSES: Final = (0.1, 2.0)
_TRIES: Final = 60
"""Times that a record is put, each after a pause: what is refused once more has been refused for minutes."""


def open_streams(place: str, *, told: str = "") -> StreamCarrier:  # noqa: ARG001 - as all openers
    """Return Kinesis as a carrier at a place: region and stack, with a slash between them. Nothing is called yet."""
    region, _, stack = place.partition("/")
    return StreamCarrier(Clients(region), stack)


class StreamCarrier:
    """Implements `ports.Carrier`.

    Args:
        clients: Where, and who we are.
        stack: What the names of streams begin with.
        patience: Seconds that a reader waits at the end of a shard for what is missing.
    """

    def __init__(self, clients: Clients, stack: str, *, patience: float = PATIENCE) -> None:
        self._clients = clients
        self._stack = stack
        self._patience = patience
        self._shards: dict[str, list[tuple[str, str]]] = {}

    def hold(self, box: str, partitions: int) -> None:
        """See `ports.Carrier.hold`: the stream is made, unless it is there, and can be used when this returns."""
        stream = box_name(self._stack, box)
        shards = max(1, min(partitions, MOST_SHARDS))
        made = {"StreamName": stream, "ShardCount": shards}
        self._call("create_stream", made, doing=f"making the stream {stream}", passing={"ResourceInUseException"})
        until = time.monotonic() + MAKING_SECONDS
        while self._state(stream) != "ACTIVE":
            if time.monotonic() > until:
                raise StoreError(f"The stream {stream} cannot be used {MAKING_SECONDS:,.0f} seconds after it was made. Try again.")
            time.sleep(0.2)

    def send(self, box: str, name: str, pieces: Iterable[Piece]) -> None:
        """See `ports.Carrier.send`."""
        stream, shards = box_name(self._stack, box), self._shards_of(box)
        for batch in _batches(name, pieces):
            self._put(
                stream,
                [
                    {"Data": data, "PartitionKey": "slice", "ExplicitHashKey": shards[partition % len(shards)][1]}
                    for partition, data in batch
                ],
            )

    def fetch(self, box: str, partition: int, wanted: Sequence[Wanted]) -> Iterator[Fetched]:
        """See `ports.Carrier.fetch`: all is collected before the first slice is given."""
        collector, stream, shards = Collector(partition, wanted), box_name(self._stack, box), self._shards_of(box)
        shard, _ = shards[partition % len(shards)]
        last, news = "", time.monotonic()
        iterator = self._iterator(stream, shard, last)
        while not collector.complete:
            answer = self._call(
                "get_records", {"ShardIterator": iterator}, doing=f"reading {stream}", passing=_BUSY | {"ExpiredIteratorException"}
            )
            if not answer:
                _pause(0)
                iterator = self._iterator(stream, shard, last)
                continue
            for record in answer["Records"]:
                last = record["SequenceNumber"]
                collector.take(bytes(record["Data"]))
            if answer["Records"] or answer.get("MillisBehindLatest", 0):
                news = time.monotonic()
            elif time.monotonic() > news + self._patience:
                raise self._lost(stream, f"{collector.told()} did not come within {self._patience:,.0f} seconds")
            elif not collector.complete:
                _pause(0)
            iterator = answer.get("NextShardIterator") or ""
            if not iterator and not collector.complete:
                raise self._lost(stream, f"a shard has ended, somebody split or merged it, and {collector.told()} did not come")
        yield from collector.slices()

    def remove(self, box: str, partitions: int, name: str = "") -> None:  # noqa: ARG002 - they share a stream
        """See `ports.Carrier.remove`: the stream goes. Records of one name cannot be taken out."""
        if not name:
            stream = box_name(self._stack, box)
            self._shards.pop(box, None)
            named = {"StreamName": stream, "EnforceConsumerDeletion": True}
            self._call("delete_stream", named, doing=f"removing the stream {stream}", passing={_GONE})

    def _state(self, stream: str) -> str:
        answer = self._call(
            "describe_stream_summary", {"StreamName": stream}, doing=f"looking at the stream {stream}", passing={_GONE} | _BUSY
        )
        return str(answer.get("StreamDescriptionSummary", {}).get("StreamStatus", ""))

    def _shards_of(self, box: str) -> list[tuple[str, str]]:
        """Return the shards of a stream, each with a hash key that is its own."""
        if box not in self._shards:
            stream, found = box_name(self._stack, box), list[dict[str, Any]]()
            answer = self._call("list_shards", {"StreamName": stream}, doing=f"looking at the stream {stream}")
            found += answer["Shards"]
            while answer.get("NextToken"):
                answer = self._call("list_shards", {"NextToken": answer["NextToken"]}, doing=f"looking at the stream {stream}")
                found += answer["Shards"]
            keys = sorted((int(shard["HashKeyRange"]["StartingHashKey"]), str(shard["ShardId"])) for shard in found)
            self._shards[box] = [(shard, str(key)) for key, shard in keys]
        return self._shards[box]

    def _iterator(self, stream: str, shard: str, last: str) -> str:
        """Return where to read: behind a record, or at the beginning."""
        behind = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": last}
        place = {"StreamName": stream, "ShardId": shard} | (behind if last else {"ShardIteratorType": "TRIM_HORIZON"})
        for number in range(_TRIES):
            answer = self._call("get_shard_iterator", place, doing=f"reading {stream}", passing=_BUSY)
            if answer:
                return str(answer["ShardIterator"])
            _pause(number)
        raise StoreError(f"Kinesis wants fewer readers of {stream}: it refused {_TRIES} times to begin. Run fewer jobs at once.")

    def _put(self, stream: str, records: Sequence[dict[str, Any]]) -> None:
        """Put records, those that were refused again, until all were taken."""
        left, vain = list(records), 0
        while left:
            answer = self._call("put_records", {"StreamName": stream, "Records": left}, doing=f"sending to {stream}", passing=_BUSY)
            taken = [not told_of.get("ErrorCode") for told_of in answer["Records"]] if answer else [False] * len(left)
            left = [record for record, took in zip(left, taken, strict=True) if not took]
            vain = 0 if any(taken) else vain + 1
            if vain == _TRIES:
                text = f"Kinesis did not take {len(left):,} records for {stream}, {_TRIES} times."
                raise StoreError(f"{text} Say more reducers: each has a shard, up to {MOST_SHARDS}.")
            if left:
                _pause(vain)

    def _lost(self, stream: str, what: str) -> CorruptObjectError:
        return CorruptObjectError(f"The stream {stream} has lost records: {what}. It keeps them for a day. Submit the job again.")

    def _call(self, operation: str, arguments: Mapping[str, Any], *, doing: str, passing: Collection[str] = ()) -> dict[str, Any]:
        """Call Kinesis; an error that may pass is no answer. What is gone is a `CorruptObjectError`: a job's stream stands as it does."""
        try:
            answer: dict[str, Any] = getattr(self._clients["kinesis"], operation)(**arguments)
        except BOTO_ERRORS as error:
            if code_of(error) in passing:
                return {}
            if code_of(error) == _GONE:
                raise CorruptObjectError(f"{doing[:1].upper()}{doing[1:]} failed: it was removed. Submit the job again.") from None
            raise told(error, doing) from None
        return answer


def _batches(name: str, pieces: Iterable[Piece]) -> Iterator[list[tuple[int, bytes]]]:
    """Yield the records of each call, each with its partition."""
    batch: list[tuple[int, bytes]] = []
    size = 0
    for piece in pieces:
        data = packed(name, piece)
        if batch and (len(batch) == _RECORDS or size + len(data) > _RECORDS_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((piece.partition, data))
        size += len(data)
    if batch:
        yield batch


def _pause(number: int) -> None:
    """Wait for a moment of chance length, longer after more tries."""
    shortest, longest = _PAUSES
    time.sleep(min(longest, shortest * 2**number) * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
