"""The programs of a user's `map` over single records: with a `reduce` and `combine` of the user's own, or with a built-in aggregation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final, Protocol

from smr_notebook.dataflow.aggregates import fold_of
from smr_notebook.dataflow.aggregating import FoldCombiner, aggregate_groups, check_values_for, write_columns
from smr_notebook.dataflow.aggregations import as_reduce, makes_generators
from smr_notebook.dataflow.code import takes_source
from smr_notebook.dataflow.combining import FunctionCombiner, check_combiner
from smr_notebook.dataflow.emitting import PairEmitter, PairSink, write_rows
from smr_notebook.dataflow.folds.steps import Fold
from smr_notebook.dataflow.functions import Functions, Pair
from smr_notebook.dataflow.hooks import MAP, REDUCE, arranged
from smr_notebook.dataflow.inputs import SplitInput
from smr_notebook.dataflow.merging import Blocks
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.passing import ColumnSink, pass_groups
from smr_notebook.dataflow.programs import Handed, Tried
from smr_notebook.dataflow.records import Unreadable
from smr_notebook.dataflow.reducing import reduce_groups
from smr_notebook.dataflow.tolerant_groups import TolerantCombiner, reduce_tolerantly
from smr_notebook.errors import PlanError
from smr_notebook.model import UNSORTED, Position, Sorting

_TRIED_PAIRS: Final = 500
"""Most pairs of one record that are looked at when it is only tried."""


class RowSink(PairSink, ColumnSink, Protocol):
    """A sink for rows of either form: `dataflow.outputs.PartWriter`."""


@dataclass(frozen=True, slots=True)
class PairProgram:
    """Implements `programs.Program`."""

    functions: Functions
    sorting: Sorting = UNSORTED

    @property
    def reduces(self) -> bool:
        """Whether there is a `reduce`, or the pairs themselves are sorted."""
        return self.functions.reduce is not None or self.sorting.keys

    @property
    def combines(self) -> bool:
        """Whether there is a combiner."""
        return self.functions.combine is not None

    @property
    def splits_per_worker(self) -> int:
        """Four."""
        return 4

    @property
    def grouped_order(self) -> bool:
        """Whether `reduce` yields rows of any key."""
        return self.functions.reduce_yields

    def named(self) -> Iterable[tuple[str, Callable[..., Any]]]:
        """Return the functions that there are, by the names of their parameters."""
        functions = self.functions
        for name, function in (("map", functions.map), ("reduce", functions.reduce), ("combine", functions.combine)):
            if function is not None:
                yield name, function

    def check_input(self, inputs: Sequence[SplitInput]) -> None:
        """Records of every format can be mapped."""

    def try_out(self, input: SplitInput) -> Iterator[Tried]:
        """Map the records one by one."""
        return _try_out(self.functions, input)

    @property
    def has_law(self) -> bool:
        """Whether there is a combiner of the user's own."""
        return self.functions.combine is not None

    def check(self, pairs: Sequence[Pair]) -> None:
        """Check the law of the combiner. Raises `CombinerLawError`."""
        check_combiner(self.functions, pairs, ordered=self.sorting.values)

    def emitter(self, input: SplitInput, *, meter: Meter, batch_bytes: int) -> PairEmitter:
        """Return what drains `map`."""
        ordered = self.sorting.values
        return PairEmitter(self.functions, input.blocks(), meter=meter, batch_bytes=batch_bytes, ordered=ordered)

    def combiner(self, *, tolerant: bool = False) -> FunctionCombiner:
        """Return what calls `combine`."""
        return TolerantCombiner(self.functions) if tolerant else FunctionCombiner(self.functions)

    def map_to_rows(self, input: SplitInput, sink: PairSink, *, meter: Meter) -> Position | None:
        """Write what `map` emits."""
        return write_rows(self.functions, input.blocks(), sink, meter=meter)

    def reduce(self, blocks: Blocks, sink: RowSink, *, meter: Meter, done: int) -> Handed:
        """Call `reduce` for each group; without one, the pairs are the rows."""
        if self.functions.reduce is None:
            return pass_groups(blocks, sink, meter=meter, done=done)
        if meter.bad is not None:
            return reduce_tolerantly(self.functions, blocks, sink, meter.bad, meter=meter, done=done)
        return reduce_groups(self.functions, blocks, sink, meter=meter, done=done)


@dataclass(frozen=True, slots=True)
class AggregatedPairs:
    """Implements `programs.Program`: the user's `map`, and a built-in aggregation of the values of each key.

    Attributes:
        functions: The user's; of them, `map`.
        fold: The aggregation.
        sorting: Whether partitions are ranges of keys. Values are never sorted: they travel as states.
    """

    functions: Functions
    fold: Fold
    sorting: Sorting = UNSORTED

    reduces = True
    combines = True
    splits_per_worker = 4
    grouped_order = False
    has_law = False

    def named(self) -> Iterable[tuple[str, Callable[..., Any]]]:
        """Return `map`."""
        yield "map", self.functions.map

    def check_input(self, inputs: Sequence[SplitInput]) -> None:
        """Every input has records."""

    def try_out(self, input: SplitInput) -> Iterator[Tried]:
        """Map the records one by one."""
        return _try_out(self.functions, input)

    def check(self, pairs: Sequence[Pair]) -> None:
        """Check nothing: states are merged as they may be."""

    def emitter(self, input: SplitInput, *, meter: Meter, batch_bytes: int) -> PairEmitter:
        """Return what drains `map`."""
        check = partial(check_values_for, self.fold)
        return PairEmitter(self.functions, input.blocks(), meter=meter, batch_bytes=batch_bytes, check=check)

    def combiner(self, *, tolerant: bool = False) -> FoldCombiner:  # noqa: ARG002 - a fold refuses values, and those are refused before
        """Return what makes states."""
        return FoldCombiner(self.fold)

    def map_to_rows(self, input: SplitInput, sink: PairSink, *, meter: Meter) -> Position | None:
        """Write what `map` emits."""
        return write_rows(self.functions, input.blocks(), sink, meter=meter)

    def reduce(self, blocks: Blocks, sink: ColumnSink, *, meter: Meter, done: int) -> Handed:
        """Merge and finish states."""
        return aggregate_groups(self.fold, blocks, partial(write_columns, sink), meter=meter, done=done)


def _try_out(functions: Functions, input: SplitInput) -> Iterator[Tried]:
    map, takes_source = functions.map, functions.map_takes_source
    for block in input.blocks():
        size = block.size / max(len(block.records), 1)
        for record in block.records:
            pairs: list[Pair] = []
            with suppress(Exception) if input.reading.tolerant else nullcontext():
                if type(record) is not Unreadable:
                    found = map(block.source, record) if takes_source else map(record)
                    pairs = [(key, value) for key, value in islice(found or (), _TRIED_PAIRS)]
            yield Tried(1, size, pairs)


def program_of_pairs(map: object, reduce: object, combine: object, sorting: Sorting = UNSORTED) -> PairProgram | AggregatedPairs:
    """Return what a job over pairs runs.

    Raises:
        PlanError: A function cannot be called, or `combine` or `sorting` has nothing to do it for.
    """
    map, reduce, combine = arranged(map, MAP), arranged(reduce, REDUCE), arranged(combine, REDUCE)
    if not callable(map):
        raise PlanError(f"map must be a function; got {map!r}.")
    fold = fold_of(reduce)
    if fold is None and not callable(reduce) and reduce is not None:
        raise PlanError(f"reduce must be a function, or None for the mapped pairs themselves; got {reduce!r}.")
    if not callable(combine) and combine is not None and not isinstance(combine, bool):
        raise PlanError(f"combine must be a function, or True for reduce itself; got {combine!r}.")
    if reduce is None and combine:
        raise PlanError("combine needs a reduce: without one, the mapped pairs are the result and nothing is combined.")
    if reduce is None and sorting == Sorting(values=True):
        raise PlanError("sort='values' needs a reduce, which gets the values in order; without one, sort='keys,values' sorts the pairs.")
    if fold is not None and not sorting.values and (combine is None or combine is True or combine is reduce):
        return AggregatedPairs(_functions(map, None, None), fold, sorting)
    reducer = None if reduce is None else as_reduce(reduce)
    if combine is True:
        return PairProgram(_functions(map, reducer, reducer), sorting)
    return PairProgram(_functions(map, reducer, as_reduce(combine) if callable(combine) else None), sorting)


def _functions(map: Callable[..., Any], reduce: Callable[..., Any] | None, combine: Callable[..., Any] | None) -> Functions:
    return Functions(
        map=map,
        map_takes_source=takes_source(map),
        reduce=reduce,
        reduce_yields=makes_generators(reduce),
        combine=combine,
        combine_yields=makes_generators(combine),
    )
