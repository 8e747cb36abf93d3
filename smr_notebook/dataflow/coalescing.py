"""A merge task: slices of many runs become those of one, without a look at what is in them.

Theory. A reduce task takes the blocks of its partition run after run, whatever run they are from. So runs that follow one another are
merged by writing their blocks one behind the other: the reduce task then gets the very same blocks in the very same order, and its
answer is the same byte for byte. Nothing is decoded, sorted or combined: sums of floats that are combined once more are rounded otherwise,
and the answer would depend on the exchange. What a merge task takes is the time to read and write its bytes.

Rules of this module:

* Each slice is proved before the run can be read: its CRC, and the signature of each block that has one. Blocks are signed anew, since a
  signature covers their place.
* Memory is bounded, and nothing goes to disk: as many partitions as fit are put together at once, with one range of each run read for
  them. A partition that does not fit is passed on as it is read.
* The slices of neighbouring partitions lie side by side in a run; an index that says otherwise is not one of ours.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from smr_notebook.dataflow.exchange import getter_of
from smr_notebook.dataflow.fetching import fetch_ahead
from smr_notebook.dataflow.runs import ROW, STEP, Rows, as_slice, framed, index_and_tail, read_slice
from smr_notebook.dataflow.vouching import proved, signed
from smr_notebook.errors import CorruptObjectError
from smr_notebook.model import AttemptId, Receipt

if TYPE_CHECKING:
    from smr_notebook.dataflow.meter import Meter
    from smr_notebook.dataflow.runs import Get
    from smr_notebook.dataflow.signing import JobKey
    from smr_notebook.ports import ObjectStore

_MOST_AHEAD: Final = 16 << 20  # of runs, before they are asked for


@dataclass(frozen=True, slots=True)
class SourceRun:
    """A run that slices are taken from.

    Attributes:
        receipt: Of the run.
        rows: What the index says of it, a row for each partition that is taken.
        key: Proves its blocks; `None` where nothing is signed.
    """

    receipt: Receipt
    rows: Rows
    key: JobKey | None = None


@dataclass(slots=True)
class _Written:
    """What was written of each partition so far."""

    rows: Rows
    blocks: list[int]
    position: int = 0
    end: tuple[int, int] = field(default=(0, 0))


class Coalescer:
    """Writes the run of one merge attempt.

    Args:
        objects: Where runs are.
        sources: In the order of the input.
        partitions: Which partitions are taken.
        attempt: Whose run it is.
        key: Signs its blocks; `None` where nothing is signed.
        meter: Counts runs, pairs and bytes, and may stop the attempt.
        most_bytes: Bytes that may be put together in memory.
        parallel: How many reads may be under way at once.
    """

    def __init__(
        self,
        objects: ObjectStore,
        sources: Sequence[SourceRun],
        partitions: range,
        *,
        attempt: AttemptId,
        key: JobKey | None,
        meter: Meter,
        most_bytes: int,
        parallel: int = 1,
    ) -> None:
        self._objects = objects
        self._sources = sources
        self._partitions = partitions
        self._attempt = attempt
        self._key = key
        self._meter = meter
        self._most_bytes = most_bytes
        self._parallel = parallel
        self._lengths = np.array([source.rows["length"] for source in sources], np.int64).reshape(len(sources), len(partitions))
        self._written = _Written(np.zeros(len(partitions), ROW), [0] * len(partitions))

    def write(self, key: str) -> Receipt:
        """Put the run under a key, and return its receipt.

        Raises:
            AttemptStopped: Somebody asked the meter to stop.
            CorruptObjectError: A slice is missing, or not what was written.
            UntrustedObjectError: A block is not one that its attempt wrote.
            StoreError: The store cannot be reached.
        """
        for source in self._sources:
            _check_places(source)
        self._objects.put(key, self._pieces())
        size, crc = self._written.end
        self._meter.records_read += len(self._sources)
        self._meter.records_mapped += len(self._sources)
        pairs = int(self._written.rows["pairs"].sum())
        return Receipt(self._attempt, key, size, self._written.position, crc, pairs)

    def _pieces(self) -> Iterator[bytes | bytearray]:
        for first, last in self._passes():
            size = int(self._lengths[:, first:last].sum())
            if size > self._most_bytes:
                yield from self._streamed(first)
            elif size:
                yield self._together(first, last, size)
            else:
                self._count(first, last)
        index, crc = index_and_tail(self._written.rows, self._written.position)
        self._written.end = (self._written.position + len(index), crc)
        yield index

    def _passes(self) -> Iterator[tuple[int, int]]:
        """Yield stretches of partitions that fit in memory together; one that does not is alone."""
        first, held = 0, 0
        for number, size in enumerate(self._lengths.sum(axis=0).tolist()):
            if number > first and held + size > self._most_bytes:
                yield first, number
                first, held = number, 0
            held += size
        if first < len(self._partitions):
            yield first, len(self._partitions)

    def _together(self, first: int, last: int, size: int) -> bytearray:
        """Return the slices of some partitions, each one's from all runs side by side, with one read of each run."""
        buffer = bytearray(size)
        ends = np.cumsum(self._lengths[:, first:last].sum(axis=0)).tolist()
        at = [0, *ends[:-1]]
        reads = (self._read(source, first, last) for source in self._sources)
        for source, data in zip(self._sources, fetch_ahead(reads, threads=self._parallel, most_bytes=_MOST_AHEAD), strict=True):
            self._meter.check()
            start = int(source.rows["offset"][first])
            for number in range(first, last):
                for piece in self._blocks(source, number, partial(_part_of, data, start)):
                    buffer[at[number - first] : at[number - first] + len(piece)] = piece
                    at[number - first] += len(piece)
            self._meter.bytes_read += len(data)
        if at != ends:
            raise CorruptObjectError(f"{self._attempt} merged {at} bytes instead of {ends}. Submit the job again.")
        crcs = [zlib.crc32(memoryview(buffer)[begin:end]) for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
        self._count(first, last, crcs)
        return buffer

    def _streamed(self, number: int) -> Iterator[bytes]:
        """Yield the slices of one partition from all runs, as they are read."""
        crc = 0
        for source in self._sources:
            for piece in self._blocks(source, number, getter_of(self._objects, source.receipt.key)):
                self._meter.check()
                self._meter.bytes_read += len(piece)
                crc = zlib.crc32(piece, crc)
                yield piece
        self._count(number, number + 1, [crc])

    def _blocks(self, source: SourceRun, number: int, get: Get) -> Iterator[bytes]:
        """Yield the blocks of one slice as they stand in the run that is written."""
        part, partition, receipt = as_slice(source.rows[number]), self._partitions[number], source.receipt
        blocks = read_slice(get, part, name=receipt.key)
        for block in blocks if source.key is None else proved(blocks, partition, receipt, source.key):
            mine = block if self._key is None else signed(block, self._attempt, partition, self._written.blocks[number], self._key)
            self._written.blocks[number] += 1
            yield framed(mine)

    def _read(self, source: SourceRun, first: int, last: int) -> tuple[int, _Range]:
        begin = int(source.rows["offset"][first])
        end = int(source.rows["offset"][last - 1] + source.rows["length"][last - 1])
        return end - begin, _Range(getter_of(self._objects, source.receipt.key), begin, end)

    def _count(self, first: int, last: int, crcs: Sequence[int] = ()) -> None:
        """Write down what the run holds of some partitions, which follow those before."""
        for number in range(first, last):
            found = [as_slice(source.rows[number]) for source in self._sources]
            length = sum(part.length for part in found)
            groups, pairs = sum(part.groups for part in found), sum(part.pairs for part in found)
            checksum = sum(part.checksum for part in found) % 2**64
            crc = crcs[number - first] if crcs else 0
            self._written.rows[number] = (self._written.position, length, groups, pairs, checksum, crc, 0)
            self._written.position += length
            self._meter.pairs_in += pairs
            self._meter.pairs_out += pairs


@dataclass(frozen=True, slots=True)
class _Range:
    """Bytes of an object, read in steps when called."""

    get: Get
    begin: int
    end: int

    def __call__(self) -> bytes:
        steps = [self.get(start, min(start + STEP, self.end)) for start in range(self.begin, self.end, STEP)]
        return steps[0] if len(steps) == 1 else b"".join(steps)


def _part_of(data: bytes, start: int, begin: int, end: int) -> bytes:
    """Return bytes `[begin, end)` of an object of which `data` is what stands from `start` on."""
    return data[begin - start : end - start]


def _check_places(source: SourceRun) -> None:
    """Refuse an index by which slices do not lie side by side in their run."""
    offsets, ends = source.rows["offset"], source.rows["offset"] + source.rows["length"]
    if (offsets[1:] != ends[:-1]).any() or (len(ends) and ends[-1] > source.receipt.footer):
        raise CorruptObjectError(
            f"{source.receipt.key} has no slices where the index says: it belongs to another run. Submit the job again."
        )
