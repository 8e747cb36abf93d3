"""Gathered indexes where runs are merged: what each merge task reads of the map tasks', and each reduce task of the merge tasks'.

The index of the map phase is laid out by merge task: the rows of its partitions, partition after partition, and in each one run after the
other. So a merge task reads its rows in one range, as a reduce task does without a merge phase. The index of the merge phase
is an ordinary one, in which each partition has a row for each merge task that holds it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import TYPE_CHECKING

import numpy as np

from smr_notebook.dataflow.exchange import GatheredIndex, gather_index, getter_of, read_indexes
from smr_notebook.dataflow.runs import ROW, Rows
from smr_notebook.errors import CorruptObjectError

if TYPE_CHECKING:
    from smr_notebook.dataflow.grids import Grid
    from smr_notebook.model import Receipt
    from smr_notebook.ports import ObjectStore


def gather_for_merging(objects: ObjectStore, runs: Sequence[Sequence[Receipt]], grid: Grid) -> GatheredIndex:
    """Read the index of every run of the map phase, and lay the rows out by merge task.

    Args:
        objects: Where the runs are.
        runs: Those of each map task, in task order: one for each leg.
        grid: Which merge task reads what.

    Returns:
        The index; its `crcs` are one for each merge task, all else is one for each partition.

    Raises:
        CorruptObjectError: A run is missing, damaged, or has another number of partitions.
    """
    sizes = [len(grid.partitions_of(task)) * _count(runs, grid, task) for task in range(grid.tasks)]
    flat = np.zeros(sum(sizes), ROW)
    blocks = [
        flat[end - size : end].reshape(len(grid.partitions_of(task)), -1 if size else 0)
        for task, (size, end) in enumerate(zip(sizes, accumulate(sizes), strict=True))
    ]
    pairs, checksums = np.zeros(grid.partitions, np.uint64), np.zeros(grid.partitions, np.uint64)
    columns = [0] * grid.tasks
    of_run = [task for task, its in enumerate(runs) for _ in its]
    for task, rows in zip(of_run, read_indexes(objects, list(chain.from_iterable(runs)), grid.partitions), strict=True):
        pairs += rows["pairs"]
        checksums += rows["checksum"]
        for merge in grid.readers_of(task):
            mine = grid.partitions_of(merge)
            blocks[merge][:, columns[merge]] = rows[mine.start : mine.stop]
            columns[merge] += 1
    data = flat.view(np.uint8).data
    crcs = tuple(zlib.crc32(block.tobytes()) for block in blocks)
    return GatheredIndex(data, crcs, tuple(map(int, pairs)), tuple(map(int, checksums)))


def rows_to_merge(objects: ObjectStore, index: str, runs: Sequence[Sequence[Receipt]], grid: Grid, *, task: int, crc: int) -> Rows:
    """Return what the index of the map phase says of the slices that a merge task moves: partitions by runs.

    Args:
        objects: Where it is.
        index: Its key.
        runs: Those of each map task, in task order.
        grid: Which merge task reads what.
        task: Number of the merge task.
        crc: CRC-32 of its rows.

    Raises:
        CorruptObjectError: It is not what was written.
    """
    sizes = [len(grid.partitions_of(one)) * _count(runs, grid, one) * ROW.itemsize for one in range(task + 1)]
    start = sum(sizes[:-1])
    data = getter_of(objects, index)(start, start + sizes[-1])
    if len(data) != sizes[-1] or zlib.crc32(data) != crc:
        raise CorruptObjectError(f"{index} is not what was written: the rows of merge task {task} differ. Submit the job again.")
    return np.frombuffer(data, ROW).reshape(len(grid.partitions_of(task)), _count(runs, grid, task))


def gather_merged(objects: ObjectStore, receipts: Sequence[Receipt], grid: Grid) -> GatheredIndex:
    """Read the index of every run of the merge phase, and lay the rows out by partition.

    Args:
        objects: Where the runs are.
        receipts: One for each merge task, in task order.
        grid: Which merge task holds what.

    Raises:
        CorruptObjectError: A run is missing, damaged, or has another number of partitions.
    """
    groups = range(0, grid.tasks, grid.task_groups)
    found = [gather_index(objects, receipts[first : first + grid.task_groups], len(grid.partitions_of(first))) for first in groups]
    return GatheredIndex(
        memoryview(b"".join(one.data for one in found)),
        tuple(crc for one in found for crc in one.crcs),
        tuple(pairs for one in found for pairs in one.pairs),
        tuple(checksum for one in found for checksum in one.checksums),
    )


def _count(runs: Sequence[Sequence[Receipt]], grid: Grid, task: int) -> int:
    mine = grid.maps_of(task)
    return sum(map(len, runs[mine.start : mine.stop]))
