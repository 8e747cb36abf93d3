"""The shuffle over any object store: one run object for each map attempt, ranged reads by the reducers.

A reducer needs to know where its slice lies in each run. The footers of all runs would cost it one small read per run,
so the coordinator gathers them once: the *gathered index* holds the rows of all runs, partition after partition and, within
a partition, task after task. A reducer reads its own rows in one range, checks them against the CRC in the manifest, and
then reads one range of each run. Without a gathered index the footers themselves are read.

Rules of this module: only what a receipt names is read, never a listing; a key carries the attempt, so that no attempt
overwrites another's run; nothing can be read before `close`, since an object appears whole or not at all.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import tee
from typing import TYPE_CHECKING

import numpy as np

from smr_notebook.dataflow.fetching import fetch_ahead
from smr_notebook.dataflow.runs import ROW, STEP, Rows, RunWriter, Slice, as_slice, read_rows, read_slice
from smr_notebook.dataflow.spooling import IN_MEMORY, Spool
from smr_notebook.errors import CorruptObjectError, ObjectNotFoundError
from smr_notebook.model import AttemptId, Receipt

if TYPE_CHECKING:
    from pathlib import Path

    from smr_notebook.dataflow.runs import Get
    from smr_notebook.ports import ObjectStore

_FOOTER_READERS = 8  # a footer is a small read, so that its time is the store's latency
_MOST_AHEAD = 16 << 20  # of slices, before they are asked for
_FEW = 4  # runs that are not worth a thread
_FOOTERS_AT_ONCE = 256  # footers of many partitions are as large as the index


@dataclass(frozen=True, slots=True)
class GatheredIndex:
    """The index rows of all runs.

    Attributes:
        data: Rows of `runs.ROW`, partition after partition, in each one task after task.
        crcs: CRC-32 of each partition's rows.
        pairs: Pairs of each partition over all runs.
        checksums: Sum of the pair hashes of each partition, modulo 2**64.
    """

    data: memoryview
    crcs: tuple[int, ...]
    pairs: tuple[int, ...]
    checksums: tuple[int, ...]

    def pieces(self) -> Iterator[memoryview]:
        """Yield the data in pieces, so that nobody has to copy all of it."""
        return (self.data[start : start + STEP] for start in range(0, len(self.data), STEP))


@dataclass(frozen=True, slots=True)
class _Opened:
    """The slice of one run that is about to be read."""

    name: str
    get: Get
    part: Slice

    @property
    def begins(self) -> int:
        """Bytes of its first read."""
        return min(STEP, self.part.length)

    def begin(self) -> bytes:
        """Make its first read."""
        return self.get(self.part.offset, self.part.offset + self.begins) if self.begins else b""

    def behind(self, data: bytes) -> Get:
        """Return what gets its bytes when the first read has brought `data`."""
        first = (self.part.offset, self.part.offset + self.begins)
        return lambda start, stop: data if (start, stop) == first else self.get(start, stop)


class ObjectExchange:
    """Implements `ports.Exchange`.

    Args:
        objects: Where the runs are kept.
        prefix: What their keys begin with: `jobs/<job>`.
        scratch: Folder for the run that is being written.
        in_memory: Bytes of that run that may stay in memory.
        index: Key of the gathered index; empty while there is none.
        index_crcs: CRC-32 of each partition's rows in it.
        parallel: How many reads may be under way at once.
    """

    def __init__(
        self,
        objects: ObjectStore,
        prefix: str,
        *,
        scratch: Path,
        in_memory: int = IN_MEMORY,
        index: str = "",
        index_crcs: Sequence[int] = (),
        parallel: int = 1,
    ) -> None:
        self._objects = objects
        self._prefix = prefix
        self._scratch = scratch
        self._in_memory = in_memory
        self._index = index
        self._index_crcs = index_crcs
        self._parallel = parallel

    def writer(self, attempt: AttemptId, partitions: int) -> ObjectExchangeWriter:
        """Open a writer for one map attempt."""
        spool = Spool(self._scratch, in_memory=self._in_memory)
        return ObjectExchangeWriter(self._objects, f"{self._prefix}/{attempt}/run", attempt, partitions=partitions, spool=spool)

    def read(self, partition: int, receipts: Sequence[Receipt]) -> Iterator[Iterator[bytes]]:
        """Yield, for each receipt in the order given, the blocks of one partition in the order written.

        With a gathered index, `receipts` must be those that it was gathered from, in the same order.

        Raises:
            CorruptObjectError: A checksum differs, or something is missing.
        """
        gathered = (
            gathered_rows(self._objects, self._index, partition, tasks=len(receipts), crc=self._index_crcs[partition])
            if self._index
            else None
        )
        opened = (self._open(receipt, partition, None if gathered is None else gathered[n]) for n, receipt in enumerate(receipts))
        mine, ahead = tee(opened)
        begun = fetch_ahead(((run.begins, run.begin) for run in ahead), threads=self._parallel, most_bytes=_MOST_AHEAD)
        for run, data in zip(mine, begun, strict=True):
            yield read_slice(run.behind(data), run.part, name=run.name)

    def _open(self, receipt: Receipt, partition: int, row: np.void | None) -> _Opened:
        get = getter_of(self._objects, receipt.key)
        part = as_slice(own_row(self._objects, receipt, partition) if row is None else row)
        if part.offset + part.length > receipt.footer:
            raise CorruptObjectError(f"{receipt.key} has no bytes up to {part.offset + part.length}: the index belongs to another run.")
        return _Opened(receipt.key, get, part)


class ObjectExchangeWriter:
    """Implements `ports.ExchangeWriter`: the run grows in memory, then in the scratch folder, and is put as one object.

    Args:
        objects: Where the run is put.
        key: Under which key.
        attempt: Whose run it is.
        partitions: How many partitions there are.
        spool: Keeps it until it is whole.
    """

    def __init__(self, objects: ObjectStore, key: str, attempt: AttemptId, *, partitions: int, spool: Spool) -> None:
        self._objects = objects
        self._key = key
        self._attempt = attempt
        self._spool = spool
        self._run = RunWriter(spool, partitions)

    def write(self, partition: int, block: bytes, *, groups: int, pairs: int, checksum: int) -> None:
        """Append one block to a partition."""
        self._run.write(partition, block, groups=groups, pairs=pairs, checksum=checksum)

    def close(self) -> Receipt:
        """Put the run, and return its receipt."""
        end = self._run.close()
        try:
            self._objects.put(self._key, self._spool.pieces())
        finally:
            self._spool.close()
        return Receipt(self._attempt, self._key, end.size, end.footer, end.crc, end.pairs)

    def abort(self) -> None:
        """Drop what was written; harmless after `close`."""
        self._spool.close()


def gather_index(objects: ObjectStore, receipts: Sequence[Receipt], partitions: int) -> GatheredIndex:
    """Read the index of every run and lay the rows out by partition.

    Args:
        objects: Where the runs are.
        receipts: The committed runs, in task order.
        partitions: How many partitions each of them has.

    Raises:
        CorruptObjectError: A run is missing, damaged, or has another number of partitions.
    """
    rows = np.zeros((partitions, len(receipts)), ROW)  # as it is stored: for a large job it is most of the memory
    for task, found in enumerate(read_indexes(objects, receipts, partitions)):
        rows[:, task] = found
    data = rows.reshape(-1).view(np.uint8).data
    width = len(receipts) * ROW.itemsize
    return GatheredIndex(
        data,
        tuple(zlib.crc32(data[start : start + width]) for start in range(0, partitions * width, width)) if width else (0,) * partitions,
        tuple(int(pairs) for pairs in rows["pairs"].sum(axis=1)),
        tuple(int(checksum) for checksum in rows["checksum"].sum(axis=1, dtype=np.uint64)),
    )


def read_indexes(objects: ObjectStore, receipts: Sequence[Receipt], partitions: int) -> Iterator[Rows]:
    """Yield the index of each run, in order. Raises as `gather_index` does."""
    with nullcontext() if len(receipts) <= _FEW else ThreadPoolExecutor(_FOOTER_READERS) as pool:
        side_by_side = map if pool is None else pool.map
        for start in range(0, len(receipts), _FOOTERS_AT_ONCE):
            some = receipts[start : start + _FOOTERS_AT_ONCE]
            fetched = side_by_side(lambda receipt: _rows(getter_of(objects, receipt.key), receipt), some)
            for receipt, found in zip(some, fetched, strict=True):
                if len(found) != partitions:
                    raise CorruptObjectError(
                        f"{receipt.key} has {len(found)} partitions instead of {partitions}: it belongs to another job."
                    )
                yield found


def gathered_rows(objects: ObjectStore, index: str, partition: int, *, tasks: int, crc: int) -> Rows:
    """Return what the gathered index says of a partition, a row for each task.

    Args:
        objects: Where it is.
        index: Its key.
        partition: Which one.
        tasks: How many runs it was gathered from.
        crc: CRC-32 of the rows.

    Raises:
        CorruptObjectError: It is not what was written.
    """
    width = tasks * ROW.itemsize
    data = getter_of(objects, index)(partition * width, (partition + 1) * width)
    if len(data) != width or zlib.crc32(data) != crc:
        raise CorruptObjectError(f"{index} is not what was written: the rows of partition {partition} differ. Submit the job again.")
    return np.frombuffer(data, ROW)


def own_row(objects: ObjectStore, receipt: Receipt, partition: int) -> np.void:
    """Return what the index of one run says of a partition.

    Raises:
        CorruptObjectError: It is not what was written, or has no such partition.
    """
    rows = _rows(getter_of(objects, receipt.key), receipt)
    if partition >= len(rows):
        raise CorruptObjectError(f"{receipt.key} has {len(rows)} partitions, and no number {partition}: it belongs to another job.")
    row: np.void = rows[partition]
    return row


def _rows(get: Get, receipt: Receipt) -> Rows:
    return read_rows(get, size=receipt.size, footer=receipt.footer, crc=receipt.crc, name=receipt.key)


def getter_of(objects: ObjectStore, key: str) -> Get:
    """Return what gets bytes of an object that a running job needs: one that is not there raises `CorruptObjectError`."""

    def get(start: int, stop: int) -> bytes:
        try:
            return objects.get(key, start, stop)
        except ObjectNotFoundError as error:
            raise CorruptObjectError(f"{key} is missing: it was deleted while the job ran. Submit the job again.") from error

    return get
