"""What an attempt leaves out: records that could not be read or mapped, groups that could not be reduced, with their places and errors.

Theory. A record that fails leaves nothing behind but a line here. So the lines are part of the answer: they are written as the attempt
goes, to one object that its commit names, and only those of the attempt that counts are ever read.

Format, version 1. The object is a sequence of pieces, so that the writer never holds all of it::

    length of the piece    4 bytes, big endian
    piece                  a sealed object (`sealing`) of kind "bad": a msgpack array of records, each an array in the order of the fields

Rules of this module:

* Nothing of the user's is pickled: a line is told as what it is, anything else by its `repr`, both cut where they are long.
* Memory is bounded: what is told goes to a spool, and where only some are to be told, all others are counted.
* A text that is no Unicode (lone surrogates) is escaped, because it must be written.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from smr_notebook.dataflow.functions import bounded_repr, writable
from smr_notebook.dataflow.sealing import seal, unseal
from smr_notebook.dataflow.spooling import IN_MEMORY, Spool
from smr_notebook.errors import CorruptObjectError
from smr_notebook.ports import ObjectStore
from smr_notebook.values.tolerance import BadFile

KIND: Final = "bad"
VERSION: Final = 1

SOME: Final = 100
"""Records that an attempt tells where not all are asked for, …"""
SOME_BYTES: Final = 1 << 20
"""… as long as they are small."""

LINE_CHARACTERS: Final = 64 << 10
"""How much of a line is told."""
REPR_CHARACTERS: Final = 2_000
"""How much of the `repr` of anything else, and of an error, is told."""
SAMPLE_CHARACTERS: Final = 300

_PIECE_BYTES: Final = 256 << 10
_LENGTH: Final = struct.Struct(">I")


class BadRecord(msgspec.Struct, frozen=True, array_like=True):
    """A record, or a group, that was left out.

    Attributes:
        source: Object that the record came from, as `map` gets it; empty for a group.
        offset: Byte offset of the record in the (decompressed) object; -1 if unknown.
        number: Number of the record in its split, or of the group in its partition, counted from 1.
        data: The record as it is if it is a line, or what stands where one should be; else its `repr`, or that of the group's key.
        text: Whether `data` is text in UTF-8, rather than bytes.
        error: Type and text of what was raised.
        function: `map` or `reduce`; `read` where there is no record to call `map` with.
        place: The line of the user's code that raised, with its text; empty if none did.
        cut: Whether `data` is only the beginning.
    """

    source: str
    offset: int
    number: int
    data: bytes
    text: bool
    error: str
    function: str
    place: str = ""
    cut: bool = False

    @property
    def record(self) -> str | bytes:
        """The record, as far as it is told."""
        return self.data.decode() if self.text else self.data


@dataclass(frozen=True, slots=True)
class Told:
    """What is said of an exception: its type and text, and the line of the user's code that raised it."""

    error: str
    place: str = ""


Tell = Callable[[BaseException], Told]

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(list[BadRecord])


def unknown() -> int:
    """Return the offset of what has none."""
    return -1


class BadRecords:
    """Takes what one attempt leaves out.

    Args:
        tell: Says what an exception is.
        everything: Whether all is told, or only some.
        scratch: Folder for what outgrows memory.
        in_memory: Bytes that may stay in memory.

    Attributes:
        sample: What is said of the first one, in a line; empty if there is none.
    """

    def __init__(self, tell: Tell, *, everything: bool, scratch: Path, in_memory: int = IN_MEMORY) -> None:
        self._tell = tell
        self._everything = everything
        self._spool = Spool(scratch, in_memory=in_memory)
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._rows = 0
        self._crc = 0
        self.sample = ""

    def add(
        self, function: str, record: object, error: BaseException, *, number: int, source: str = "", offset: Callable[[], int] = unknown
    ) -> None:
        """Tell of one record or group, if it is to be told.

        Args:
            function: As of `BadRecord`.
            record: The record, or the key of the group.
            error: What was raised.
            number: As of `BadRecord`; so is `source`.
            source: See above.
            offset: Finds the offset, as of `BadRecord`: that takes a look at what stands before the record.
        """
        if not self._everything and (self._rows >= SOME or self._spool.tell() + self._held_bytes > SOME_BYTES):
            return
        shown, cut = _shown(record, as_it_is=function != "reduce")
        told = self._tell(error)
        text = isinstance(shown, str)
        raw = shown.encode() if isinstance(shown, str) else shown
        bad = BadRecord(writable(source), offset(), number, raw, text, writable(told.error), function, writable(told.place), cut)
        if not self.sample:
            self.sample = sample_of(bad)
        data = _ENCODER.encode(bad)
        self._held.append(data)
        self._held_bytes += len(data)
        self._rows += 1
        if self._held_bytes >= _PIECE_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._held:
            return
        body = _array_head(len(self._held)) + b"".join(self._held)
        piece = seal(KIND, body, VERSION)
        for data in (_LENGTH.pack(len(piece)), piece):
            self._crc = zlib.crc32(data, self._crc)
            self._spool.write(data)
        self._held, self._held_bytes = [], 0

    def store(self, objects: ObjectStore, key: str) -> BadFile | None:
        """Write what is told, and return where; `None` if there is nothing.

        Raises:
            StoreError: The store cannot be written.
        """
        self._flush()
        if not self._rows:
            return None
        size = self._spool.tell()
        objects.put(key, self._spool.pieces())
        return BadFile(key, self._rows, size, self._crc)

    def close(self) -> None:
        """Let go of everything."""
        self._spool.close()


def read_bad(objects: ObjectStore, file: BadFile) -> Iterator[BadRecord]:
    """Yield what one attempt told, in the order in which it met it.

    Raises:
        CorruptObjectError: It is not what was written.
        StoreError: The store cannot be read.
    """
    position, crc, rows = 0, 0, 0
    while position < file.size:
        head = objects.get(file.key, position, position + _LENGTH.size)
        if len(head) != _LENGTH.size:
            raise _damaged(file, "it ends too early")
        (length,) = _LENGTH.unpack(head)
        if length > file.size - position - _LENGTH.size:
            raise _damaged(file, "a piece reaches beyond its end")
        piece = objects.get(file.key, position + _LENGTH.size, position + _LENGTH.size + length)
        crc = zlib.crc32(piece, zlib.crc32(head, crc))
        records = _decoded(file, unseal(KIND, piece, name=file.key, versions=frozenset({VERSION})))
        rows += len(records)
        yield from records
        position += _LENGTH.size + length
    if (crc, rows) != (file.crc, file.rows):
        raise _damaged(file, "its checksum differs" if crc != file.crc else f"it tells of {rows:,} instead of {file.rows:,}")


def sample_of(bad: BadRecord) -> str:
    """Return one line that says what was left out, where it stands and why."""
    what = "key" if bad.function == "reduce" else "record"
    offset = f", byte {bad.offset:,}" if bad.offset >= 0 else ""
    place = f" ({bad.source}{offset})" if bad.source else ""
    shown = bad.record if bad.function == "reduce" else bounded_repr(bad.record, 100)
    text = f"{bounded(bad.error, 120)} in {bad.function} of the {what} {bounded(str(shown), 100)}{place}"
    return bounded(text, SAMPLE_CHARACTERS)


def bounded(text: str, characters: int) -> str:
    """Return a text, cut if it is longer than so many characters."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


def _shown(record: object, *, as_it_is: bool) -> tuple[str | bytes, bool]:
    """Return how a record is told, and whether it is cut."""
    if as_it_is and type(record) is bytes:
        return record[:LINE_CHARACTERS], len(record) > LINE_CHARACTERS
    if as_it_is and type(record) is str:
        return writable(record[:LINE_CHARACTERS]), len(record) > LINE_CHARACTERS
    text = bounded_repr(record, REPR_CHARACTERS)
    return writable(text), len(text) == REPR_CHARACTERS - 2 and text.endswith("…")


def _array_head(length: int) -> bytes:
    """Return the head of a msgpack array: its elements follow one after the other."""
    return struct.pack(">BI", 0xDD, length)


def _decoded(file: BadFile, body: bytes) -> list[BadRecord]:
    try:
        records = _DECODER.decode(body)
        for bad in records:
            if bad.text:
                bad.data.decode()
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _damaged(file, f"it is not what this package writes ({error})") from error
    return records


def _damaged(file: BadFile, reason: str) -> CorruptObjectError:
    return CorruptObjectError(f"{file.key}, which tells what a job left out, is not what was written: {reason}. Submit the job again.")
