"""What every reader gives, and how it gets the bytes of a planned object.

Rules:

* A block's `size` is what the input accounts for: over all splits of an input the sizes sum to the size of the input.
* Nothing is read past a difference between plan and object: `SpanBytes` compares size and version *after* the first read,
  before its bytes are handed over, and `verify` does so again at the end when more was read. So bytes of one version only
  become records, and a small object costs one `get` and one `stat`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, Self

from smr_notebook.errors import InputChangedError, InputFormatError, InputReadError
from smr_notebook.model import Position, Reading, Span
from smr_notebook.ports import InputSource

NOWHERE_YET: Final = Position(done=0)
"""Of a block that no split has placed yet."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Bytes that should be a record and are none, in the place of one: only where the reading is tolerant. They count as a record.

    Attributes:
        raw: What stands there.
        error: What is wrong with it.
    """

    raw: str | bytes
    error: InputFormatError


@dataclass(frozen=True, slots=True)
class RecordBlock:
    """Some records of one object, in order.

    Attributes:
        source: Object that they came from, as `map` gets it.
        records: The records; there may be none, when bytes hold none.
        size: Input bytes that the block accounts for (stored bytes where the object is compressed).
        locate: Gives, for an index into `records`, the byte offset of that record in the (decompressed) object; -1 unknown.
        begin: Byte of the object at which a reader can begin with this very block; `None` where it must begin with the span.
        at: Position of the first record in the split; `inputs.open_blocks` knows it, a reader does not.
        token: Of an object without bytes, what reading goes on behind to begin with this very block; `None` for any other.
        token_at: The same, to begin with a record of it, by its index.
    """

    source: str
    records: Sequence[object]
    size: int
    locate: Callable[[int], int]
    begin: int | None
    at: Position = NOWHERE_YET
    token: str | None = None
    token_at: Callable[[int], str] | None = None

    @property
    def count(self) -> int:
        """How many records there are."""
        return len(self.records)

    def rest(self, dropped: int, *, size: int, at: Position) -> Self:
        """Return the block without its first records, at a position, and accounting for so many bytes."""
        if not dropped:
            return type(self)(self.source, self.records, size, self.locate, self.begin, at, self.token, self.token_at)
        return replace(self, records=self.records[dropped:], size=size, locate=_behind(self.locate, dropped), at=at)


def nowhere(index: int) -> int:  # noqa: ARG001 - the face of RecordBlock.locate
    """Return that the byte of a record is not known: `RecordBlock.locate` for objects whose records have no place of their own."""
    return -1


class Offsets:
    """Where the records of a block stand: as `RecordBlock.locate`, for a reader that must go through the block to tell.

    It does so once, when somebody asks for the first time: where many records are left out, each is asked for.

    Args:
        find: Returns the offset of each record.
    """

    __slots__ = ("_find", "_found")

    def __init__(self, find: Callable[[], Sequence[int]]) -> None:
        self._find = find
        self._found: Sequence[int] | None = None

    def __call__(self, index: int) -> int:
        """Return the offset of one record."""
        if self._found is None:
            self._found = self._find()
        return self._found[index]


def _behind(locate: Callable[[int], int], dropped: int) -> Callable[[int], int]:
    return lambda index: locate(index + dropped)


class Reader(Protocol):
    """Turns one span into blocks."""

    def __call__(self, span: Span, source: InputSource, reading: Reading) -> Iterator[RecordBlock]:
        """Yield the blocks of the span in order, read as it is said."""
        ...


class SpanBytes:
    """The bytes of one planned object, and only of the version that was planned.

    Attributes:
        fetched: Bytes read so far.
    """

    __slots__ = ("_source", "_span", "_state", "fetched")

    def __init__(self, span: Span, source: InputSource) -> None:
        self._span = span
        self._source = source
        self._state = "unread"
        self.fetched = 0

    def read(self, start: int, stop: int) -> bytes:
        """Return exactly the bytes `[start, stop)` of the object.

        Raises:
            InputChangedError: The object is not the one that was planned.
            InputMissingError: It is gone.
            InputReadError: It cannot be read, or gives fewer bytes than it has.
        """
        data = self._source.get(self._span.key, start, stop)
        first = self._state == "unread"
        self._state = "read"
        if first or len(data) != stop - start:
            self.verify()
        if len(data) != stop - start:
            raise InputReadError(
                f"Reading {self._span.key} gave {len(data):,} bytes at offset {start:,} where {stop - start:,} were asked for, "
                "though the object has not changed. Try again; if it stays so, copy the object anew."
            )
        self.fetched += len(data)
        return data

    def chunks(self, start: int, stop: int, step: int) -> Iterator[bytes]:
        """Yield the bytes `[start, stop)` in pieces of at most `step` bytes. Raises as `read` does."""
        for position in range(start, stop, step):
            yield self.read(position, min(position + step, stop))

    def verify(self) -> None:
        """Compare the object with the plan, unless nothing was read since that was done last. Raises as `read` does."""
        if self._state == "verified":
            return
        found = self._source.stat(self._span.key)
        if (found.size, found.version) != (self._span.size, self._span.version):
            raise InputChangedError(
                f"{self._span.key} has changed since the job was planned: {self._span.size:,} bytes, version {self._span.version!r} "
                f"were planned; {found.size:,} bytes, version {found.version!r} are there. Submit the job again."
            )
        self._state = "verified"
