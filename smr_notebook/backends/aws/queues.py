"""SQS as a carrier of slices: a queue for each partition, whose messages are read and never deleted.

Theory. A queue is made for work that is taken once and then gone; a shuffle needs data that is read by one reader, by its retry, and
perhaps by a backup beside it. What SQS gives: a message may come twice and out of order; one that was received is invisible to everybody
for a while, its *visibility timeout*, and then comes again unless it was deleted. So:

* **Nobody deletes a message.** That an attempt received it does not say that its work will count: it may die, or lose to another one. A
  commit could delete, but what would it save? The queue goes with the job, and all its messages with it, in one call.
* **Whoever reads collects** (`backends.collecting`): it receives until each slice that its index names is whole, drops what came twice and
  what attempts sent that do not count, and writes the rest to local disk. The data is read from the queue once for each attempt, and then
  from disk. That is the price: a partition lies on the disk of its reader a second time.
* **What was collected is given back**, by a visibility timeout of zero, as soon as all is there: the next reader need not wait. What a
  reader held that died comes back by itself after `VISIBLE_SECONDS`.
* **Two readers at once** share a queue's messages, and each would wait for those that the other one holds. So one that receives nothing
  at all, while something is missing, gives back all it holds, and waits for a moment of chance length before it asks again: the other one
  then gets them. Neither has to lose. (Who receives only what it has already keeps that, and asks on: given back at once, the same
  messages would come again, before those that are missing.)
* **A message that does not come** can be told from one that another reader holds only by time: `PATIENCE` visibility timeouts without
  anything new are an error that names what is missing.

One queue for each partition, because a reader of a shared one would have to receive, and give back, what is not its own. A queue lets
120,000 messages be in flight: more pieces of one partition cannot be collected.

Rules of this module:

* A batch that was taken in part is sent again in part; a batch whose answer was lost is sent twice, which readers drop.
* `send` returns when SQS has answered for each message: a receipt then vouches for pieces that are stored.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.faults import BOTO_ERRORS, code_of, told
from smr_notebook.backends.aws.names import box_name
from smr_notebook.backends.collecting import Collector, packed
from smr_notebook.errors import ConfigError, CorruptObjectError, StoreError
from smr_notebook.ports import Piece, Wanted

if TYPE_CHECKING:
    from smr_notebook.ports import Fetched

VISIBLE_SECONDS: Final = 60
"""A message that was received, and not given back, comes again after so long."""

PATIENCE: Final = 5
"""Visibility timeouts without anything new after which what is missing counts as lost."""

MOST_QUEUES: Final = 500
"""Partitions of one job, at most: each has a queue, which is made and removed by a call."""

KEEP_SECONDS: Final = 345_600
"""Messages are kept for four days: longer than a job may take on AWS."""

_BATCH: Final = 10
_BATCH_BYTES: Final = 1 << 20
"""Messages, and their bytes, in one call."""

_THREADS: Final = 8
_WAIT_SECONDS: Final = 2
_SETTLE_SECONDS: Final = 1.0
"""What SQS asks to wait for before a new queue is used."""

_TRIES: Final = 8
_GONE: Final = frozenset({"QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"})


def queue_prefix(stack: str, box: str) -> str:
    """Return what the names of a box's queues begin with."""
    return f"{box_name(stack, box)}-"


def open_queues(place: str, *, told: str = "") -> QueueCarrier:  # noqa: ARG001 - as all openers
    """Return SQS as a carrier at a place: region and stack, with a slash between them. Nothing is called yet."""
    region, _, stack = place.partition("/")
    return QueueCarrier(Clients(region), stack)


class QueueCarrier:
    """Implements `ports.Carrier`.

    Args:
        clients: Where, and who we are.
        stack: What the names of queues begin with.
        visible_seconds: Of messages that were received.
        patience: So many times as long without anything new, and what is missing counts as lost.
    """

    def __init__(self, clients: Clients, stack: str, *, visible_seconds: int = VISIBLE_SECONDS, patience: int = PATIENCE) -> None:
        self._clients = clients
        self._stack = stack
        self._visible = visible_seconds
        self._patience = patience * visible_seconds
        self._made: set[str] = set()
        self._root = ""

    def hold(self, box: str, partitions: int) -> None:
        """See `ports.Carrier.hold`: the queues are made, unless they are there."""
        if partitions > MOST_QUEUES:
            raise ConfigError(
                f"exchange='sqs' has a queue for each partition, {MOST_QUEUES:,} at most, and the job has {partitions:,}. Say fewer "
                "reducers, or use another exchange."
            )
        attributes = {"MessageRetentionPeriod": str(KEEP_SECONDS), "VisibilityTimeout": str(VISIBLE_SECONDS)}

        def make(number: int) -> None:
            name = f"{queue_prefix(self._stack, box)}{number}"
            self._call("create_queue", {"QueueName": name, "Attributes": attributes}, doing=f"making the queue {name}")

        with ThreadPoolExecutor(_THREADS, thread_name_prefix="smr-queues") as pool:
            list(pool.map(make, range(partitions)))
        if box not in self._made:
            self._made.add(box)
            time.sleep(_SETTLE_SECONDS)

    def send(self, box: str, name: str, pieces: Iterable[Piece]) -> None:
        """See `ports.Carrier.send`: some batches are under way at once."""
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="smr-send") as pool:
            under_way = []
            for partition, messages in _batches(name, pieces):
                under_way.append(pool.submit(self._send, box, partition, messages))
                if len(under_way) >= 2 * _THREADS:
                    under_way.pop(0).result()
            for sent in under_way:
                sent.result()

    def fetch(self, box: str, partition: int, wanted: Sequence[Wanted]) -> Iterator[Fetched]:
        """See `ports.Carrier.fetch`: all is collected before the first slice is given."""
        collector, url = Collector(partition, wanted), self._url(box, partition)
        held: list[str] = []
        try:
            self._collect(url, collector, held)
        finally:
            self._give_back(url, held)
        yield from collector.slices()

    def remove(self, box: str, partitions: int, name: str = "") -> None:
        """See `ports.Carrier.remove`: the queues go, with all that is in them. Messages of one name cannot be told from the others."""
        if name:
            return

        def drop(number: int) -> None:
            try:
                self._call("delete_queue", {"QueueUrl": self._url(box, number)}, doing="removing a queue", passing=_GONE)
            except CorruptObjectError:  # it is not there
                return

        with ThreadPoolExecutor(_THREADS, thread_name_prefix="smr-queues") as pool:
            list(pool.map(drop, range(partitions)))

    def _send(self, box: str, partition: int, messages: Sequence[bytes]) -> None:
        url, left = self._url(box, partition), dict(enumerate(messages))
        for number in range(_TRIES):
            if number:
                time.sleep(min(0.1 * 2**number, 3.0) * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            entries = [
                {"Id": str(n), "MessageBody": "slice", "MessageAttributes": {"data": {"DataType": "Binary", "BinaryValue": data}}}
                for n, data in left.items()
            ]
            answer = self._call("send_message_batch", {"QueueUrl": url, "Entries": entries}, doing=f"sending to {url}")
            for sent in answer.get("Successful", ()):
                left.pop(int(sent["Id"]), None)
            refused = [failed for failed in answer.get("Failed", ()) if failed.get("SenderFault")]
            if refused:
                raise StoreError(f"SQS takes no message for {url}: {refused[0].get('Code')}: {refused[0].get('Message')}.")
            if not left:
                return
        raise StoreError(f"SQS took {len(messages) - len(left)} of {len(messages)} messages for {url}, and not the others, {_TRIES} times.")

    def _collect(self, url: str, collector: Collector, held: list[str]) -> None:
        """Receive until all is there; `held` are the handles of messages that nobody else can see."""
        news = time.monotonic()
        wanted = {
            "QueueUrl": url,
            "MaxNumberOfMessages": _BATCH,
            "WaitTimeSeconds": min(_WAIT_SECONDS, self._visible),
            "VisibilityTimeout": self._visible,
            "MessageAttributeNames": ["data"],
        }
        while not collector.complete:
            answer = self._call("receive_message", wanted, doing=f"reading {url}")
            messages = answer.get("Messages", ())
            held += [message["ReceiptHandle"] for message in messages]
            found = [collector.take(_data(message)) for message in messages]
            if any(found):
                news = time.monotonic()
            elif time.monotonic() > news + self._patience:
                raise CorruptObjectError(
                    f"{url} has not given {collector.told()} within {self._patience:,} seconds: messages were deleted, or have "
                    "expired. Submit the job again."
                )
            elif not messages:
                self._give_back(url, held)
                time.sleep(random.uniform(0.0, min(1.0, self._visible / 4)))  # noqa: S311 - no secret

    def _give_back(self, url: str, held: list[str]) -> None:
        """Let others see what this reader received, as far as that can be done: it comes back by itself."""
        handles, held[:] = list(held), []
        for start in range(0, len(handles), _BATCH):
            entries = [
                {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                for number, handle in enumerate(handles[start : start + _BATCH])
            ]
            try:
                self._clients["sqs"].change_message_visibility_batch(QueueUrl=url, Entries=entries)
            except BOTO_ERRORS:
                return

    def _url(self, box: str, partition: int) -> str:
        """Return the URL of a queue: that of another one with its own name."""
        name = f"{queue_prefix(self._stack, box)}{partition}"
        if not self._root:
            answer = self._call("get_queue_url", {"QueueName": name}, doing=f"looking for the queue {name}")
            self._root = str(answer["QueueUrl"]).rpartition("/")[0]
        return f"{self._root}/{name}"

    def _call(self, operation: str, arguments: Mapping[str, Any], *, doing: str, passing: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Call SQS. What is gone is a `CorruptObjectError`: the queues of a job stand as long as it runs."""
        try:
            answer: dict[str, Any] = getattr(self._clients["sqs"], operation)(**arguments)
        except BOTO_ERRORS as error:
            if code_of(error) in passing:
                return {}
            if code_of(error) in _GONE:
                raise CorruptObjectError(f"{doing[:1].upper()}{doing[1:]} failed: it was removed. Submit the job again.") from None
            if code_of(error) == "OverLimit":
                raise StoreError(f"{doing[:1].upper()}{doing[1:]} failed: 120,000 messages are in flight. Say more reducers.") from None
            raise told(error, doing) from None
        return answer


def _data(message: Any) -> bytes:
    return bytes(message.get("MessageAttributes", {}).get("data", {}).get("BinaryValue", b""))


def _batches(name: str, pieces: Iterable[Piece]) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the messages of each call, and for which partition they are."""
    batch: list[bytes] = []
    partition = size = 0
    for piece in pieces:
        data = packed(name, piece)
        if batch and (piece.partition != partition or len(batch) == _BATCH or size + len(data) + 64 > _BATCH_BYTES):
            yield partition, batch
            batch, size = [], 0
        batch.append(data)
        partition, size = piece.partition, size + len(data) + 64
    if batch:
        yield partition, batch
