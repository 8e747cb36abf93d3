"""Whether runs are merged between map and reduce, and in which grid: by what reading them costs. Pure.

Theory. Each reduce task reads a range of the run of each map task: M × R requests, each paid for, and each a journey. Merge tasks
(`dataflow.coalescing`) make them M × H + G × R, for G × H tasks more and all bytes once more read and written. Below some hundred thousand
requests that is not worth the time of a phase of its own; above, it is cheaper, and near what a store answers in a second faster too.

The grid is the cheapest of some, by prices alone: tasks of a few bytes each cost their start, and few tasks cost reads. A merge task moves
`TASK_BYTES` at most, as far as one can tell, so that it takes seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from smr_notebook.control.costs import OVERHEAD_SECONDS, PRICES, priced
from smr_notebook.dataflow.grids import Grid
from smr_notebook.values.shuffles import Merging
from smr_notebook.values.usage import Rates, Usage

MOST_READS: Final = 300_000
"""Reads of the shuffle up to which nothing is merged: they cost $0.12 on S3, and some minutes of all workers together."""

TASK_BYTES: Final = 128 << 20
"""Bytes that a merge task moves, at most: a few seconds."""

MOST_RUNS: Final = 1_000
"""Runs that a merge task reads, at most: a second of journeys."""

BYTES_PER_SECOND: Final = 40e6
"""How fast a merge task moves bytes: what a function of Lambda gets from S3, there and back."""

READ_SECONDS: Final = 0.025
"""How long a range takes to come from S3, however short."""

READS_AT_ONCE: Final = 32
"""How many of them an invocation has under way."""

_MEMORY: Final = 1769 << 20
_ROWS: Final = (4, 8)  # units written and read for a task
_MOST_TASKS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Shuffle:
    """What is between map and reduce.

    Attributes:
        maps: Map tasks.
        reducers: Partitions.
        bytes: Bytes that travel, about.
    """

    maps: int
    reducers: int
    bytes: int

    @property
    def reads(self) -> int:
        """Ranges that are read if nothing is merged."""
        return self.maps * self.reducers


def choose_merging(shuffle: Shuffle, rates: Rates | None, *, memory_bytes: int, above: int = 0) -> Merging | None:
    """Return how runs are merged, or `None` where each reduce task reads those of all map tasks.

    Args:
        shuffle: What is between map and reduce.
        rates: The prices; `None` where nothing costs.
        memory_bytes: Memory of one invocation.
        above: Merge if there are more reads than this, whatever it costs; 0 for whenever it is cheaper, and there are more
            than `MOST_READS`.
    """
    if shuffle.reads <= (above or MOST_READS) or not (above or rates):
        return None
    prices, memory = rates or PRICES["aws/us-east-1/arm64"], memory_bytes or _MEMORY
    direct = direct_cost(shuffle, prices, memory)
    costs = {grid: priced(merging_usage(grid, shuffle.bytes), prices, memory_bytes=memory).total for grid in _grids(shuffle)}
    best = min(costs, key=lambda grid: (costs[grid], grid.tasks))
    if not above and costs[best] >= direct:
        return None
    told = (direct, costs[best]) if rates else (0.0, 0.0)
    return Merging(best.task_groups, best.partition_groups, *told)


def direct_cost(shuffle: Shuffle, rates: Rates, memory_bytes: int) -> float:
    """Return dollars that it takes to read what travels in the run of each map task."""
    return priced(reading_usage(shuffle), rates, memory_bytes=memory_bytes).total


def reading_usage(shuffle: Shuffle) -> Usage:
    """Return what the reads of reduce tasks use that find what they want in the run of each map task."""
    return Usage(seconds=_waiting(shuffle.reads), gets=shuffle.reads)


def merging_usage(grid: Grid, size: int) -> Usage:
    """Return what merge tasks use that move so many bytes, with the reads of the reduce tasks behind them."""
    writes, reads = _ROWS
    return Usage(
        seconds=grid.tasks * OVERHEAD_SECONDS + size / BYTES_PER_SECOND + _waiting(grid.reads),
        invocations=grid.tasks,
        puts=grid.tasks + size // (8 << 20),
        gets=grid.reads + 4 * grid.tasks,
        row_writes=writes * grid.tasks,
        row_reads=reads * grid.tasks,
    )


def _waiting(reads: int) -> float:
    return reads * READ_SECONDS / READS_AT_ONCE


def _grids(shuffle: Shuffle) -> Iterator[Grid]:
    """Yield grids to choose from: with about twice as many tasks each time, and in each the sides that read least."""
    tasks = max(1, -(-shuffle.bytes // TASK_BYTES))
    most = min(_MOST_TASKS, shuffle.reads)
    while True:
        tasks = min(tasks, most)
        rows = min(max(round(math.sqrt(tasks * shuffle.reducers / shuffle.maps)), 1), shuffle.reducers)
        yield Grid(shuffle.maps, shuffle.reducers, min(max(-(-tasks // rows), -(-shuffle.maps // MOST_RUNS)), shuffle.maps), rows)
        if tasks == most:
            return
        tasks *= 2
