"""The run: all blocks of one map attempt (or of one spill), partition after partition, and an index behind them.

::

    ┌──────────── slice of partition 0 ───────────┐┌─ slice of partition 1 ─┐ … ┌─ index ─┐┌─ tail ─┐
     length block  length block  length block …      length block …              one row     where the
     (uint64)      (opaque bytes)                                                per         index is,
                                                                                 partition   and its CRC

The blocks come first because their number and sizes are known only after they were written, and nothing is ever
rewritten: a run is streamed. A row of the index says where a slice is, what is in it, and its CRC-32; the CRC of the
rows stands in the tail and in the receipt; the tail has a CRC of its own. So each byte of a run is under one CRC.
`FORMAT.md` is the specification.

Rules of this module: a block is opaque bytes; nothing is handed out of a slice that fits in one read before its CRC
has been checked, and the last blocks of a longer one only after.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from smr_notebook.errors import CorruptObjectError, FormatVersionError

MAGIC = b"SMRrun\r\n"
VERSION = 1
STEP = 4 << 20
"""A slice up to so many bytes is read at once, a longer one in steps of so many."""

ROW = np.dtype(
    [("offset", "<u8"), ("length", "<u8"), ("groups", "<u8"), ("pairs", "<u8"), ("checksum", "<u8"), ("crc", "<u4"), ("zero", "<u4")]
)
"""A row of the index."""

Rows = npt.NDArray[np.void]
Get = Callable[[int, int], bytes]
"""Returns bytes `[start, stop)`, clamped to what there is."""

_LENGTH = struct.Struct("<Q")
_TAIL = struct.Struct("<QIII8s")  # offset of the index, partitions, CRC of the rows, version, magic
_TAIL_BYTES = _TAIL.size + 4  # … and the CRC of these


@dataclass(frozen=True, slots=True)
class Slice:
    """What a run holds of one partition.

    Attributes:
        offset: First byte in the run object.
        length: Bytes; 0 for an empty partition.
        groups: Rows stored: (key, values) groups, the same key possibly in several rows.
        pairs: Pairs in them.
        checksum: Sum over the pairs of the hash of their key, modulo 2**64 (see `dataflow.hashing`).
        crc: CRC-32 of the bytes.
    """

    offset: int
    length: int
    groups: int
    pairs: int
    checksum: int
    crc: int


@dataclass(frozen=True, slots=True)
class RunEnd:
    """What stands at the end of a run. `crc` is that of the index rows, `pairs` the sum over all partitions."""

    size: int
    footer: int
    crc: int
    pairs: int


class Writable(Protocol):
    """What a run is written to."""

    def write(self, data: bytes, /) -> int:
        """Append bytes."""
        ...

    def flush(self) -> None:
        """See to it that what was written can be read."""
        ...


class RunWriter:
    """Writes a run into a file, partition after partition.

    Args:
        file: At its start. It is not closed here.
        partitions: How many partitions the run has.
    """

    def __init__(self, file: Writable, partitions: int) -> None:
        self._file = file
        self._rows = np.zeros(partitions, ROW)
        self._row: list[int] = [0] * 6
        self._partition = 0
        self._position = 0

    def write(self, partition: int, block: bytes, *, groups: int, pairs: int, checksum: int) -> None:
        """Append a block to a partition; partitions must come in ascending order.

        Args:
            partition: Which one, from 0.
            block: Opaque bytes.
            groups: Groups in the block.
            pairs: Pairs in the block.
            checksum: Sum of the hashes of its pairs, modulo 2**64.

        Raises:
            ValueError: The partition is behind the current one, or there is no such partition.
        """
        if not self._partition <= partition < len(self._rows):
            raise ValueError(f"partition {partition} cannot follow {self._partition} in a run of {len(self._rows)} partitions")
        self._advance(partition)
        prefix = _LENGTH.pack(len(block))
        self._file.write(prefix)
        self._file.write(block)
        row = self._row
        row[1] += len(prefix) + len(block)
        row[2] += groups
        row[3] += pairs
        row[4] = (row[4] + checksum) % 2**64
        row[5] = zlib.crc32(block, zlib.crc32(prefix, row[5]))
        self._position += len(prefix) + len(block)

    def close(self) -> RunEnd:
        """Write the index and the tail, and say where they are. The file stays open."""
        index, crc = self._end(self._position)
        self._file.write(index)
        self._file.flush()
        return RunEnd(self._position + len(index), self._position, crc, int(self._rows["pairs"].sum()))

    def detach(self) -> tuple[bytes, RunEnd, list[Slice]]:
        """Return index and tail as they stand where the slices do not, what they say of themselves, and the slices."""
        index, crc = self._end(0)
        slices = [as_slice(row) for row in self._rows]
        return index, RunEnd(len(index), 0, crc, int(self._rows["pairs"].sum())), slices

    def _end(self, footer: int) -> tuple[bytes, int]:
        self._advance(len(self._rows))
        return index_and_tail(self._rows, footer)

    def _advance(self, partition: int) -> None:
        while self._partition < partition:
            self._rows[self._partition] = (*self._row, 0)
            self._partition += 1
            self._row = [self._position, 0, 0, 0, 0, 0]


def framed(block: bytes) -> bytes:
    """Return a block as it stands in a slice: its length, and the block."""
    return _LENGTH.pack(len(block)) + block


def index_and_tail(rows: Rows, footer: int) -> tuple[bytes, int]:
    """Return what stands behind the slices of a run, at byte `footer`, and the CRC of its index."""
    index = rows.tobytes()
    crc = zlib.crc32(index)
    tail = _TAIL.pack(footer, len(rows), crc, VERSION, MAGIC)
    return index + tail + zlib.crc32(tail).to_bytes(4, "little"), crc


class RunReader:
    """Reads the slices of one run.

    Args:
        get: Returns bytes of the run.
        rows: Its index, from `read_rows` or from the gathered index.
        name: What error messages call the run.
    """

    def __init__(self, get: Get, rows: Rows, name: str) -> None:
        self._get = get
        self._rows = rows
        self._name = name

    @property
    def partitions(self) -> int:
        """How many partitions the run has."""
        return len(self._rows)

    def slice(self, partition: int) -> Slice:
        """Return what the index says of a partition."""
        return as_slice(self._rows[partition])

    def blocks(self, partition: int, *, step: int = STEP) -> Iterator[bytes]:
        """Yield the blocks of a partition; see `read_slice`."""
        return read_slice(self._get, self.slice(partition), name=self._name, step=step)


def as_slice(row: Any) -> Slice:
    """Return a row of an index as the noun."""
    offset, length, groups, pairs, checksum, crc, _ = row.item()
    return Slice(offset, length, groups, pairs, checksum, crc)


def read_rows(get: Get, *, size: int, footer: int, crc: int, name: str) -> Rows:
    """Read and check the index of a run, and its tail.

    Args:
        get: Returns bytes of the run.
        size: Bytes of the run.
        footer: Where the index begins.
        crc: CRC-32 of its rows.
        name: What error messages call the run.

    Raises:
        CorruptObjectError: It is not what was written.
        FormatVersionError: It is a run of another version.
    """
    data = get(footer, size)
    if len(data) != size - footer or len(data) < _TAIL_BYTES:
        raise _corrupt(name, f"{size - footer} bytes of index are expected at byte {footer}, {len(data)} are there")
    rows, tail = data[:-_TAIL_BYTES], data[-_TAIL_BYTES:]
    start, partitions, row_crc, version, magic = _TAIL.unpack(tail[:-4])
    if magic != MAGIC or zlib.crc32(tail[:-4]) != int.from_bytes(tail[-4:], "little"):
        raise _corrupt(name, "its tail is damaged, or it is no run")
    if version != VERSION:
        raise FormatVersionError(f"{name} is a run of version {version}; this package reads version {VERSION}. Submit the job again.")
    if start != footer or len(rows) != partitions * ROW.itemsize or not row_crc == crc == zlib.crc32(rows):
        raise _corrupt(name, "its index is damaged, or belongs to another run")
    return np.frombuffer(rows, ROW)


def read_slice(get: Get, part: Slice, *, name: str, step: int = STEP) -> Iterator[bytes]:
    """Yield the blocks of a slice in the order written, holding one step and one block in memory.

    Args:
        get: Returns bytes of the run.
        part: Which bytes, and their CRC.
        name: What error messages call the run.
        step: Bytes to read at once.

    Raises:
        CorruptObjectError: The bytes are not what was written.
    """
    position, stop = part.offset, part.offset + part.length
    crc, missing, rest = 0, 0, b""
    while position < stop:
        wanted = min(max(step, missing), stop - position)
        data = get(position, position + wanted)
        if len(data) != wanted:
            raise _corrupt(name, f"it ends at byte {position + len(data)}, inside a slice up to byte {stop}")
        crc = zlib.crc32(data, crc)
        position += wanted
        if position == stop and crc != part.crc:
            raise _corrupt(name, f"the CRC of bytes {part.offset} to {stop} differs")
        data = rest + data if rest else data
        start = 0
        missing = 0
        while missing == 0 and start + _LENGTH.size <= len(data):
            end = start + _LENGTH.size + _LENGTH.unpack_from(data, start)[0]
            if end <= len(data):
                yield data[start + _LENGTH.size : end]
                start = end
            else:
                missing = end - len(data)
        rest = data[start:]
    if rest:
        raise _corrupt(name, f"the last block of bytes {part.offset} to {stop} is cut")


def _corrupt(name: str, what: str) -> CorruptObjectError:
    return CorruptObjectError(f"{name} is not what was written: {what}. Submit the job again; if it happens again, check the store.")
