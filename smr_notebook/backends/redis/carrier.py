"""A Redis as a carrier of slices: keys that expire, in a memory that is watched.

::

    smr:<box>           set of the names in it
    smr:<box>:<name>    hash: "<partition>:<offset>" → the bytes of a piece

Theory. A piece has a field of its own, so that to send it twice is to send it once, whatever reply was lost; and a slice is read by naming
its fields, because its length says which there are. A field that is not there is an error, and never the end of a slice.

Redis keeps what it has in memory, and has three ways to lose it: it evicts keys when it is full (refused: its policy must be `noeviction`),
keys expire (a day after they were last held; whoever coordinates a job holds them each hour), or the server restarts. What is lost is
noticed by whoever fetches it.

Rules of this module:

* Memory is looked at before anything is sent, and every so many bytes: a Redis that others use, too, is not filled to its brim.
* Where nobody set `maxmemory`, the memory of its machine is the limit.
* Several commands travel at once, as many as make some megabytes.
* One server. A cluster would need all keys of a command in one slot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from smr_notebook.backends.redis.faults import asking, full
from smr_notebook.errors import ConfigError, CorruptObjectError
from smr_notebook.ports import PIECE_BYTES, Piece, Wanted
from smr_notebook.values.addresses import address_of, url_for

if TYPE_CHECKING:
    from smr_notebook.ports import Fetched

KEEP_SECONDS: Final = 86_400
"""Keys expire so long after they were last held."""

FILLED: Final = 0.9
"""Share of its memory that a Redis may have in use when something is sent to it."""

_BATCH_BYTES: Final = 4 << 20
_BATCH_KEYS: Final = 1_000
_WATCH_BYTES: Final = 32 << 20
"""Bytes that are sent between two looks at its memory."""

_BEGINNING: Final = 4 << 20
"""Bytes of a slice that are read ahead: those that are asked for first, which is `dataflow.runs.STEP`."""

_TRIES: Final = 5
_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 5.0


def open_redis(place: str, *, told: str = "") -> RedisCarrier:
    """Return a Redis that can carry slices.

    Args:
        place: Its address, as a plan names it.
        told: What this process was told itself: the URL with credentials, if any.

    Raises:
        ConfigError: It would lose keys, or does not let us in.
        StoreError: It cannot be reached.
    """
    retry = Retry(ExponentialBackoff(cap=1.0, base=0.05), _TRIES)
    client = Redis.from_url(url_for(place, told), retry=retry, socket_timeout=_SECONDS, socket_connect_timeout=_CONNECT_SECONDS)
    carrier = RedisCarrier(client, address_of(place))
    carrier.check()
    return carrier


class RedisCarrier:
    """Implements `ports.Carrier`.

    Args:
        client: Of the server; it tries again by itself.
        address: For people, without credentials.
    """

    def __init__(self, client: Redis, address: str) -> None:
        self._client: Any = client  # its types say that each answer may be awaited
        self._address = address

    def check(self) -> Mapping[str, Any]:
        """Return what Redis says of its memory. Raises `ConfigError` where it evicts keys, and as `hold` does."""
        with asking(self._address):
            memory: Mapping[str, Any] = self._client.info("memory")
        policy = str(memory.get("maxmemory_policy", "noeviction"))
        if policy != "noeviction":
            raise ConfigError(
                f"The Redis at {self._address} drops keys when it is full: its maxmemory-policy is {policy}. Pairs would be lost. Set "
                "it to noeviction (`redis-cli CONFIG SET maxmemory-policy noeviction`), or use another exchange."
            )
        return memory

    def hold(self, box: str, partitions: int) -> None:  # noqa: ARG002 - a hash has room for any number
        """See `ports.Carrier.hold`: what is in the box expires a day from now."""
        self.check()
        with asking(self._address):
            keys = [_set(box), *(_hash(box, name) for name in self._names(box))]
            for start in range(0, len(keys), _BATCH_KEYS):
                with self._client.pipeline(transaction=False) as commands:
                    for key in keys[start : start + _BATCH_KEYS]:
                        commands.expire(key, KEEP_SECONDS)
                    commands.execute()

    def send(self, box: str, name: str, pieces: Iterable[Piece]) -> None:
        """See `ports.Carrier.send`.

        Raises:
            StoreError: Redis cannot be reached, or has no room for this.
        """
        key, unwatched = _hash(box, name), _WATCH_BYTES
        for batch in _batches(pieces):
            size = sum(len(piece.data) for piece in batch)
            unwatched += size
            if unwatched >= _WATCH_BYTES:
                self._watch(size)
                unwatched = 0
            with asking(self._address), self._client.pipeline(transaction=False) as commands:
                commands.sadd(_set(box), name)
                commands.hset(key, mapping={_field(piece.partition, piece.offset): piece.data for piece in batch})
                commands.expire(_set(box), KEEP_SECONDS)
                commands.expire(key, KEEP_SECONDS)
                commands.execute()

    def fetch(self, box: str, partition: int, wanted: Sequence[Wanted]) -> Iterator[Fetched]:
        """See `ports.Carrier.fetch`. The beginnings of some slices are read at once, the others as they are asked for."""
        start = 0
        while start < len(wanted):
            stop, size = start, 0
            while stop < len(wanted) and (stop == start or size + _begins(wanted[stop]) <= _BATCH_BYTES) and stop - start < _BATCH_KEYS:
                size += _begins(wanted[stop])
                stop += 1
            slices = [_Stored(self, box, partition, each) for each in wanted[start:stop]]
            with asking(self._address), self._client.pipeline(transaction=False) as commands:
                for each in slices:
                    commands.hmget(each.key, each.fields(0, _begins(each.wanted)))
                answers = commands.execute()
            for each, answer in zip(slices, answers, strict=True):
                yield _begun(each, each.whole(answer, 0)[: _begins(each.wanted)])
            start = stop

    def ask(self, key: str, fields: Sequence[str]) -> list[bytes | None]:
        """Return what stands in some fields of a hash."""
        with asking(self._address):
            found: list[bytes | None] = self._client.hmget(key, fields)
        return found

    def lost(self, key: str, field: str) -> CorruptObjectError:
        """Return the error of a field that is not there."""
        return CorruptObjectError(
            f"The Redis at {self._address} has lost {key}, field {field}, which was stored there: it was restarted or flushed, somebody "
            f"removed the key, or it expired ({KEEP_SECONDS // 3600} hours after a job was last coordinated). Submit the job again."
        )

    def remove(self, box: str, partitions: int, name: str = "") -> None:  # noqa: ARG002 - a hash holds any number
        """See `ports.Carrier.remove`. Memory is given back behind the scenes."""
        with asking(self._address):
            if name:
                self._client.unlink(_hash(box, name))
                self._client.srem(_set(box), name)
                return
            keys = [*(_hash(box, each) for each in self._names(box)), _set(box)]
            for start in range(0, len(keys), _BATCH_KEYS):
                self._client.unlink(*keys[start : start + _BATCH_KEYS])

    def _names(self, box: str) -> list[str]:
        return sorted(name.decode() for name in self._client.smembers(_set(box)))

    def _watch(self, size: int) -> None:
        memory = self.check()
        used, most = int(memory.get("used_memory", 0)), int(memory.get("maxmemory", 0)) or int(memory.get("total_system_memory", 0))
        if most and used + size > FILLED * most:
            raise full(self._address, f"{used:,} of {most:,} bytes are in use, and {size:,} more were to be stored")


@dataclass(frozen=True, slots=True)
class _Stored:
    """A slice as it lies in Redis."""

    carrier: RedisCarrier
    box: str
    partition: int
    wanted: Wanted

    @property
    def key(self) -> str:
        """The hash that it lies in."""
        return _hash(self.box, self.wanted.name)

    def fields(self, start: int, stop: int) -> list[str]:
        """Return the fields that hold bytes `[start, stop)`."""
        return [_field(self.partition, offset) for offset in range(start - start % PIECE_BYTES, stop, PIECE_BYTES)]

    def whole(self, pieces: Sequence[bytes | None], start: int) -> bytes:
        """Return the pieces from the one that holds byte `start` on, as one. Raises `CorruptObjectError` where one is missing."""
        for number, piece in enumerate(pieces):
            if piece is None:
                raise self.carrier.lost(self.key, _field(self.partition, start - start % PIECE_BYTES + number * PIECE_BYTES))
        return b"".join(piece for piece in pieces if piece is not None)

    def get(self, start: int, stop: int) -> bytes:
        """Return bytes of the slice."""
        fields = self.fields(start, stop)
        if not fields:
            return b""
        first = start % PIECE_BYTES
        return self.whole(self.carrier.ask(self.key, fields), start)[first : first + stop - start]


def _begun(stored: _Stored, beginning: bytes) -> Fetched:
    """Return what gives the bytes of a slice whose beginning is here already; it is let go of when it was asked for."""
    held = {(0, len(beginning)): beginning}

    def get(start: int, stop: int) -> bytes:
        data = held.pop((start, stop), None)
        return stored.get(start, stop) if data is None else data

    return get


def _begins(wanted: Wanted) -> int:
    return min(wanted.length, _BEGINNING)


def _batches(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    batch: list[Piece] = []
    size = 0
    for piece in pieces:
        if batch and (size + len(piece.data) > _BATCH_BYTES or len(batch) >= _BATCH_KEYS):
            yield batch
            batch, size = [], 0
        batch.append(piece)
        size += len(piece.data)
    if batch:
        yield batch


def _set(box: str) -> str:
    return f"smr:{box}"


def _hash(box: str, name: str) -> str:
    return f"smr:{box}:{name}"


def _field(partition: int, offset: int) -> str:
    return f"{partition}:{offset}"
