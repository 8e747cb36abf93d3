"""How the pairs of a job travel from map to reduce, and what that takes: for plans, and for previews of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from smr_notebook.control.carriage import carriage, carrier_rates
from smr_notebook.control.costs import Sample, Shape, elapsed, task_seconds
from smr_notebook.control.merges import Shuffle, choose_merging, direct_cost, merging_usage
from smr_notebook.dataflow.grids import Grid
from smr_notebook.model import OBJECTS
from smr_notebook.values.shuffles import CarriageCost, Merging
from smr_notebook.values.usage import Rates

PAIR_BYTES: Final = 16
"""What a pair takes on its way, about, where nobody knows better."""


@dataclass(frozen=True, slots=True)
class Moves:
    """How pairs travel.

    Attributes:
        shape: How the job is cut, with what travelling takes.
        rates: The prices, with those of the carrier; `None` where nothing costs.
        merging: How runs are merged, if they are.
        carriage: What the carrier costs, if it costs anything.
    """

    shape: Shape
    rates: Rates | None
    merging: Merging | None = None
    carriage: CarriageCost | None = None


def moves_of(shape: Shape, sample: Sample, rates: Rates | None, *, exchange: str, memory_bytes: int, merge_above: int) -> Moves:
    """Return how the pairs of a job travel.

    Args:
        shape: How the job is cut.
        sample: What mapping some of its records gave; an empty one gives a guess.
        rates: The prices of the platform; `None` where nothing costs.
        exchange: What pairs travel by.
        memory_bytes: Memory of one invocation.
        merge_above: As of `merges.choose_merging`.
    """
    if not shape.reducers:
        return Moves(shape, rates)
    travels = min(1.0, sample.pairs * PAIR_BYTES / sample.bytes) if sample.bytes else 1.0
    shuffle = Shuffle(shape.maps, shape.reducers, int(shape.input_bytes * travels))
    if exchange == OBJECTS:
        merging = choose_merging(shuffle, rates, memory_bytes=memory_bytes, above=merge_above)
        if merging is None:
            return Moves(shape, rates)
        grid = Grid(shape.maps, shape.reducers, merging.task_groups, merging.partition_groups)
        return Moves(replace(shape, merges=merging.tasks, moved=merging_usage(grid, shuffle.bytes)), rates, merging)
    seconds = elapsed(shape, *task_seconds(shape, sample))
    dollars = carriage(exchange, shuffle, seconds=seconds)
    if dollars is None:
        return Moves(shape, rates)
    cost = CarriageCost(dollars, _by_objects(shuffle, rates, memory_bytes))
    return Moves(replace(shape, carried=dollars), carrier_rates(rates, exchange, partitions=shape.reducers), carriage=cost)


def _by_objects(shuffle: Shuffle, rates: Rates | None, memory_bytes: int) -> float:
    """Return dollars that objects would take: of what is cheaper, merged runs or all of them."""
    if rates is None:
        return 0.0
    merging = choose_merging(shuffle, rates, memory_bytes=memory_bytes)
    return merging.cost if merging else direct_cost(shuffle, rates, memory_bytes)
