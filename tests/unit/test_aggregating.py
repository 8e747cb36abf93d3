"""Built-in aggregations in a job: from pairs to rows, for any plan, budget and number of legs, against plain Python."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook.dataflow.aggregates import Aggregation, col, collect, count, distinct, first, fold_of, max, mean, min, quantiles, sum, top
from smr_notebook.dataflow.aggregating import FoldCombiner, aggregate_groups, write_columns
from smr_notebook.dataflow.aggregations import as_reduce
from smr_notebook.dataflow.columns import Column, decode_values, encode_values
from smr_notebook.dataflow.folds.builtin_folds import Builtin, sum_in_order
from smr_notebook.dataflow.folds.steps import Collect, CountRows, CountValues, Distinct, Fold, Mean, One, Quantiles, Sum, Top
from smr_notebook.dataflow.functions import UserCodeError
from smr_notebook.dataflow.grouping import Pairs
from smr_notebook.dataflow.keys import decode_keys, encode_key, split_keys
from smr_notebook.dataflow.merging import Blocks
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.programs import Handed
from smr_notebook.errors import PlanError
from smr_notebook.model import Part, Position
from smr_notebook.testing.program_tasks import run_job

Batches = list[list[tuple[Any, Any]]]


@dataclass
class Columns:
    """A sink that keeps rows."""

    rows: list[tuple[Any, Any]] = field(default_factory=list)

    def add_columns(self, keys: Column, values: Column, *, ordered: bool) -> None:
        assert ordered
        self.rows += zip(decode_values(keys), decode_values(values), strict=True)

    def close(self) -> Part:
        return Part(0, ())

    def abort(self) -> None:
        self.rows.clear()


@dataclass
class Pieces:
    """Emits batches of pairs."""

    pieces: Batches
    meter: Meter
    position: Position | None = None

    def batches(self) -> Iterator[list[Pairs]]:
        for piece in self.pieces:
            values = encode_values([value for _, value in piece])
            self.meter.pairs_in += len(piece)
            yield [(keys, values if rows is None else values.take(rows)) for keys, rows in split_keys([key for key, _ in piece])]


@dataclass
class Step:
    """What of a program there is here."""

    fold: Fold

    def combiner(self) -> FoldCombiner:
        return FoldCombiner(self.fold)

    def reduce(self, blocks: Blocks, sink: Columns, *, meter: Meter, done: int) -> Handed:
        return aggregate_groups(self.fold, blocks, partial(write_columns, sink), meter=meter, done=done)


def run(fold: Fold, tasks: list[Batches], *, partitions: int = 1, budget: int = 1 << 26, legs: bool = False) -> list[tuple[Any, Any]]:
    """Run a whole job over batches of pairs, some for each map task."""
    emitters = [partial(Pieces, [piece for piece in pieces if piece]) for pieces in tasks]
    sinks = run_job(Step(fold), emitters, Columns, partitions=partitions, budget=budget, legs=legs)
    return [row for sink in sinks for row in sink.rows]


def exactly(value: Any) -> Any:
    if isinstance(value, list):
        return [exactly(item) for item in value]
    return type(value), repr(value)


def expected(fold: Fold, tasks: list[Batches]) -> dict[bytes, Any]:
    groups: dict[bytes, list[Any]] = {}
    for pieces in tasks:
        for piece in pieces:
            for key, value in piece:
                groups.setdefault(encode_key(key), []).append(value)
    return {key: exactly(fold.reference(groups[key])) for key in sorted(groups)}


keys = st.one_of(st.sampled_from(["a", "b", "c", "d"]), st.integers(0, 3), st.sampled_from([("x", 1), ("x", 2), None, 1.5]))
numbers = st.one_of(st.integers(), st.integers(-3, 3), st.floats(allow_nan=False), st.floats(-9, 9), st.booleans())
budgets = st.sampled_from([1 << 26, 1 << 16, 1 << 12])


def tasks_of(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Batches]]:
    piece = st.lists(st.tuples(keys, values), max_size=12)
    return st.lists(st.lists(piece, max_size=4), min_size=1, max_size=4)


FOLDS: list[Fold] = [
    *(Sum(), Mean(), CountRows(), CountValues(), One("min"), One("max"), One("first"), Collect(), Distinct(), Top(2), Quantiles((0.5,))),
    *(Builtin("sum"), Builtin("min"), Builtin("max")),
]


@settings(max_examples=3 * settings().max_examples // 2)
@given(st.sampled_from(FOLDS), tasks_of(numbers), st.integers(1, 3), budgets, st.booleans())
def test_a_job_gives_what_python_gives_whatever_the_plan(
    fold: Fold, tasks: list[Batches], partitions: int, budget: int, legs: bool
) -> None:
    rows = run(fold, tasks, partitions=partitions, budget=budget, legs=legs)
    want = expected(fold, tasks)
    found = {encode_key(key): exactly(value) for key, value in rows}
    assert len(found) == len(rows)
    assert found == want
    if partitions == 1:
        assert list(found) == list(want)


@pytest.mark.parametrize("fold", [Sum(), Mean(), One("min"), Distinct(), Top(2)])
def test_a_group_of_nothing_but_none_is_one_row_however_many_states_it_has(fold: Fold) -> None:
    tasks: list[Batches] = [[[("a", None), ("b", None)]]] * 3
    assert run(fold, tasks) == [("a", fold.reference([None])), ("b", fold.reference([None]))]


@pytest.mark.parametrize("value", [(1, 2), [3], None])
def test_a_mean_of_what_cannot_be_divided_names_the_key(value: Any) -> None:
    tasks: list[Batches] = [[[("a", 1), ("b", value)]]]
    if value is None:
        assert run(Mean(), tasks) == [("a", 1.0), ("b", None)]
        return
    with pytest.raises(UserCodeError) as caught:
        run(Mean(), tasks)
    assert caught.value.record == "'b'"


@settings(max_examples=builtins.min(50, settings().max_examples))
@given(tasks_of(st.floats(allow_nan=False)), st.integers(1, 5), budgets)
def test_a_sum_of_floats_is_bit_equal_for_any_plan(tasks: list[Batches], size: int, budget: int) -> None:
    pairs = [pair for pieces in tasks for piece in pieces for pair in piece]
    cut = [[pairs[start:stop]] for start, stop in pairwise([*range(0, len(pairs), size), len(pairs)])]
    one = sorted((encode_key(key), repr(value)) for key, value in run(Sum(), tasks))
    other = sorted((encode_key(key), repr(value)) for key, value in run(Sum(), cut, partitions=2, budget=budget))
    assert one == other


def test_a_group_that_goes_on_from_block_to_block_is_one() -> None:
    tasks = [[[("a", "x" * 500), ("b", "y" * 500)] * 40] for _ in range(6)]
    assert run(Collect(), tasks, budget=1 << 13) == [("a", ["x" * 500] * 240), ("b", ["y" * 500] * 240)]
    assert run(CountRows(), tasks, budget=1 << 13, legs=True) == [("a", 240), ("b", 240)]


@dataclass(frozen=True)
class Counted(Collect):
    """Counts the values that it is given to merge."""

    moved: list[int] = field(default_factory=list)

    def merge(self, states: Column, offsets: Any) -> Column:
        merged = super().merge(states, offsets)
        self.moved.append(len(decode_values(merged)[-1]) if len(merged) else 0)
        return merged


def test_a_group_as_long_as_all_is_moved_a_few_times_only() -> None:
    fold = Counted()
    tasks = [[[("a", number) for number in range(1000)]] for _ in range(100)]
    rows = run(fold, tasks, budget=1 << 13)
    assert rows == [("a", [number for _ in range(100) for number in range(1000)])]
    assert builtins.sum(fold.moved) < 40 * 100_000  # spills are merged too


def test_integers_that_repeat_their_keys_are_added_before_they_are_held() -> None:
    ((some, _),) = split_keys(["a", "b", "a", "a"])
    kept, sums = FoldCombiner(Builtin("sum")).combine_batch(some, encode_values([1, 2, 3, 4]))
    assert list(zip(decode_keys(kept), decode_values(sums), strict=True)) == [("a", 8), ("b", 2)]
    kept, sums = FoldCombiner(CountRows()).combine_batch(some, encode_values(["x", None, "y", "z"]))
    assert list(zip(decode_keys(kept), decode_values(sums), strict=True)) == [("a", 3), ("b", 1)]
    for values in ([1.5, 2.0, 3.0, 4.0], [1, 2, 3, 1 << 62]):
        assert FoldCombiner(Sum()).combine_batch(some, encode_values(values))[0] is some


@pytest.mark.parametrize(
    ("fold", "values", "error"),
    [
        (Sum(), ["x"], TypeError),
        (One("max"), [1, "x"], TypeError),
        (Builtin("min"), [None, 1], TypeError),
        (Builtin("sum"), ["x"], TypeError),
    ],
)
def test_what_cannot_be_aggregated_names_the_key(fold: Fold, values: list[Any], error: type[Exception]) -> None:
    with pytest.raises(UserCodeError) as caught:
        run(fold, [[[("fine", 1)], [("wrong", value) for value in values]]])
    assert (caught.value.function, caught.value.record) == ("reduce", "'wrong'")
    assert isinstance(caught.value.__cause__, error)


def test_a_reduce_names_its_fold() -> None:
    assert [fold_of(reduce) for reduce in (sum, count, mean, first, collect, distinct)] == [
        *(Sum(), CountRows(), Mean(), One("first"), Collect(), Distinct()),
    ]
    assert fold_of(min) == fold_of(Aggregation(One("min"), None, "min")) == One("min")
    assert fold_of(max) == One("max")
    assert fold_of(count()) == fold_of(len) == CountRows()
    assert fold_of(top(3)) == Top(3)
    assert fold_of(quantiles([0, 0.5])) == Quantiles((0.0, 0.5))
    others: list[Any] = [None, 3, [], print, lambda key, values: 0, set, any]
    assert [fold_of(other) for other in others] == [None] * 7


@pytest.mark.parametrize("wrong", [[1, 2], 3, len])
def test_an_aggregation_of_values_instead_of_a_column_is_refused(wrong: Any) -> None:
    with pytest.raises(PlanError, match=r"smr\.sum takes the name of a column, .*Python's own sum"):
        sum(wrong)


def test_an_aggregation_shows_how_it_is_called() -> None:
    assert [repr(sum("amount")), repr(top(3)), repr(mean(col("n") > 1))] == ["<smr.sum of amount>", "<smr.top>", "<smr.mean of (n > 1)>"]


def test_an_aggregation_can_be_called_with_values() -> None:
    assert top(2)([1, None, 3, 2]) == [3, 2]
    assert as_reduce(top(1))("key", iter([1, 2])) == [2]


@pytest.mark.parametrize("wrong", [sum("x"), top("x", 3), count("x"), top, quantiles])
def test_a_reduce_that_names_a_column_or_lacks_its_parameter_is_refused(wrong: Any) -> None:
    with pytest.raises(PlanError, match="reduce"):
        fold_of(wrong)


@pytest.mark.parametrize(
    "make", [lambda: top(0), lambda: top("x", 0), lambda: quantiles([]), lambda: quantiles([2]), lambda: quantiles("x", [-1])]
)
def test_parameters_that_make_no_sense_are_refused(make: Any) -> None:
    with pytest.raises(PlanError, match="such as"):
        make()


@given(st.lists(st.one_of(st.integers(), st.floats(), st.booleans())))
def test_a_builtin_that_is_taken_together_gives_what_the_function_gives(values: list[Any]) -> None:
    assert repr(sum_in_order(values)) == repr(as_reduce(builtins.sum)("key", iter(values)))
    assert as_reduce(sum)("key", iter([0.1] * 10)) == 1.0
