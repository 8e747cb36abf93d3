"""From what the first records took to what the whole input is thought to take. Pure.

Theory. The beginning of an input stands for all of it: as many records in each byte, as many pairs of each record, as much time for each.
That is a thought, and no more: it is told with its range where it is money. What reading takes here says little of what it takes where the
workers are, so it counts for no more than a guess would.

Pairs that are combined before they travel do not grow with the records, but with the tasks: each hands over about as many as the first
records did, once combining has made them few.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from smr_notebook.control.costs import UNSAMPLED_SECONDS_PER_BYTE, Sample, Shape, elapsed, estimate, task_seconds
from smr_notebook.control.moving import moves_of
from smr_notebook.model import OBJECTS, Estimate
from smr_notebook.values.usage import Rates

LOCAL_OVERHEAD: Final = 0.05
"""Seconds of an attempt besides the user's code where nothing costs: the workers are warm, and on this machine."""

_COMBINED: Final = 0.5
"""Part of the pairs that may be left of them after combining, for it to have made them few."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What the first records took.

    Attributes:
        records: How many.
        bytes: Their input bytes.
        pairs: Pairs that `map` gave.
        travelling: Pairs that are left of them where they are combined.
        fetched: Input bytes that were read for them: readers read more than the first records at once.
        read_seconds: How long that took.
        map_seconds: How long mapping them took, without reading.
        reduce_seconds: How long reducing what they gave took.
    """

    records: int
    bytes: int
    pairs: int
    travelling: int
    fetched: int
    read_seconds: float
    map_seconds: float
    reduce_seconds: float


@dataclass(frozen=True, slots=True)
class Whole:
    """What the whole input is, and what it is thought to take.

    Attributes:
        records: How many records there are, or are thought to be; `None` where nobody knows.
        exact: Whether that is no thought: they were counted.
        bytes: Input bytes; 0 where nobody knows.
        maps: Map tasks.
        reducers: Reduce tasks.
        workers: How many tasks run at once.
        seconds: How long the job is thought to take; `None` where nobody knows.
        estimate: What it is thought to cost; `None` where nothing costs, or nobody knows.
    """

    records: int | None
    exact: bool
    bytes: int
    maps: int
    reducers: int
    workers: int
    seconds: float | None = None
    estimate: Estimate | None = None


def whole_of(
    looked: Looked,
    shape: Shape,
    rates: Rates | None,
    *,
    memory_bytes: int,
    records: int | None,
    exchange: str = OBJECTS,
    merge_above: int = 0,
) -> Whole:
    """Return what the whole input is thought to take.

    Args:
        looked: What its first records took.
        shape: How the job is cut.
        rates: The prices; `None` where nothing costs.
        memory_bytes: Memory of one invocation.
        records: How many records there are, where that is known.
        exchange: What pairs travel by.
        merge_above: As of `merges.choose_merging`.
    """
    exact = records is not None
    sample = _sample(looked, shape)
    moves = moves_of(shape, sample, rates, exchange=exchange, memory_bytes=memory_bytes, merge_above=merge_above)
    map_seconds, reduce_seconds = task_seconds(shape, sample)
    if records is None and looked.bytes:
        records = round(shape.input_bytes * looked.records / looked.bytes)
    return Whole(
        records,
        exact,
        shape.input_bytes,
        shape.maps,
        shape.reducers,
        shape.concurrency,
        elapsed(shape, map_seconds, reduce_seconds),
        estimate(moves.shape, sample, rates, memory_bytes=memory_bytes) if rates is not None else None,
    )


def _sample(looked: Looked, shape: Shape) -> Sample:
    per_byte = looked.read_seconds / looked.fetched if looked.fetched else UNSAMPLED_SECONDS_PER_BYTE
    reading = looked.bytes * min(per_byte, UNSAMPLED_SECONDS_PER_BYTE)
    pairs: float = looked.pairs
    if looked.travelling <= _COMBINED * looked.pairs and shape.input_bytes:
        pairs = min(pairs, looked.travelling * shape.maps * looked.bytes / shape.input_bytes)
    per_pair = looked.reduce_seconds / looked.travelling if looked.travelling else 0.0
    return Sample(looked.records, looked.bytes, pairs, looked.map_seconds + reading, per_pair)
