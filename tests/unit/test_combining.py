"""The combiner's law, and the watch over whether combining is worth it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.dataflow.blocks import GroupBlock
from smr_notebook.dataflow.columns import encode_values
from smr_notebook.dataflow.combining import FunctionCombiner, check_combiner
from smr_notebook.dataflow.functions import Functions
from smr_notebook.dataflow.keys import decode_keys, split_keys
from smr_notebook.errors import CombinerLawError

Values = Iterator[Any]


def functions(reduce: Callable[..., Any], combine: Callable[..., Any], *, yields: bool = False, combine_yields: bool = False) -> Functions:
    return Functions(
        map=lambda _: None,
        map_takes_source=False,
        reduce=reduce,
        reduce_yields=yields,
        combine=combine,
        combine_yields=combine_yields,
    )


def total(_key: Any, values: Values) -> Any:
    return sum(values)


def mean(_key: Any, values: Values) -> float:
    everything: list[float] = list(values)
    return sum(everything) / len(everything)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(-1e6, 1e6))))
def test_sums_of_positive_and_negative_floats_may_round(pairs: list[tuple[str, float]]) -> None:
    positive = [(key, abs(value) + 1) for key, value in pairs]
    check_combiner(functions(total, total), positive)
    check_combiner(functions(lambda key, values: {"n": [total(key, values)]}, total), positive)


def test_a_mean_of_means_is_refused_with_the_counter_example() -> None:
    with pytest.raises(CombinerLawError) as caught:
        check_combiner(functions(mean, mean), [("a", 1.0), ("b", 9.0), ("a", 2.0), ("a", 6.0)])
    message = str(caught.value)
    assert "For the key 'a' with the values [1.0, 2.0, 6.0], reduce of all gives 3.0" in message
    assert "reduce of the combined parts" in message


def test_a_combiner_that_holds_once_and_not_twice_is_refused() -> None:
    """Counting values works on one part only if the counts are not counted again."""
    with pytest.raises(CombinerLawError):
        check_combiner(functions(lambda _, values: sum(1 for _ in values), lambda _, values: sum(1 for _ in values)), [("a", 1)] * 5)


def test_a_result_of_another_type_is_another_result() -> None:
    with pytest.raises(CombinerLawError):
        check_combiner(functions(total, lambda _, values: float(sum(values))), [("a", 1), ("a", 2)])


def test_a_combiner_whose_result_reduce_cannot_take_is_refused() -> None:
    with pytest.raises(CombinerLawError, match="raises TypeError") as caught:
        check_combiner(functions(total, lambda _, values: tuple(values)), [("a", 1), ("a", 2)])
    assert isinstance(caught.value.__cause__, TypeError)


def test_a_combiner_that_raises_is_refused() -> None:
    with pytest.raises(CombinerLawError, match=r"combine of the parts .* raises ZeroDivisionError"):
        check_combiner(functions(total, lambda _, values: sum(values) // 0), [("a", 1), ("a", 2)])


def test_a_combiner_that_drops_values_is_refused() -> None:
    def nothing(_key: Any, _values: Values) -> Iterator[Any]:
        yield from ()

    with pytest.raises(CombinerLawError):
        check_combiner(functions(total, nothing, combine_yields=True), [("a", 1), ("a", 2)])


@pytest.mark.parametrize("value", [1, [1], (1, "a"), None], ids=["numbers", "lists", "tuples", "nothing"])
def test_the_law_is_tried_on_sorted_values_where_reduce_gets_them_so(value: Any) -> None:
    """What has no order is left as it is: the job will tell."""

    def last(_key: Any, values: Values) -> Any:
        given = list(values)
        assert type(value) is not int or given == sorted(given)
        return given[-1]

    pairs = [("a", number if value == 1 else value) for number in (3, 1, 2, 5, 4, 1)]
    check_combiner(functions(last, last), pairs, ordered=True)

    def first_but_one(_key: Any, values: Values) -> Any:
        return sorted(values, key=repr)[1:][:1] or [0]

    if value == 1:
        with pytest.raises(CombinerLawError):
            check_combiner(functions(last, first_but_one), pairs, ordered=True)


def test_what_fails_without_the_combiner_is_left_to_the_job() -> None:
    check_combiner(functions(mean, mean), [(["unhashable"], 1), ("text", "a"), ("text", "b"), ("alone", 1)])


def test_generators_are_compared_row_by_row() -> None:
    def rows(key: Any, values: Values) -> Iterator[tuple[Any, Any]]:
        yield key, sum(values)

    check_combiner(functions(rows, rows, yields=True, combine_yields=True), [("a", 1), ("a", 2), ("a", 3)])
    with pytest.raises(CombinerLawError):
        check_combiner(
            functions(lambda key, values: ((key, value) for value in values), total, yields=True), [("a", 1), ("a", 2), ("a", 3)]
        )


def block(groups: dict[str, list[int]]) -> GroupBlock:
    ((keys, _),) = split_keys(sorted(groups))
    counts = [len(groups[key]) for key in sorted(groups)]
    values = [value for key in sorted(groups) for value in groups[key]]
    return GroupBlock(keys, encode_values(values), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


def content(block: GroupBlock) -> dict[str, list[Any]]:
    values, offsets = block.values.array.to_pylist(), block.offsets.tolist()  # noqa: PD011 - a column, no series
    return {key: values[offsets[row] : offsets[row + 1]] for row, key in enumerate(decode_keys(block.keys))}


def test_groups_of_one_are_left_alone_and_empty_ones_vanish() -> None:
    called = []

    def drop_b(key: str, values: Values) -> Iterator[tuple[str, int]]:
        called.append(key)
        if key != "b":
            yield key, sum(values)
            yield key, -1

    combiner = FunctionCombiner(functions(total, drop_b, combine_yields=True))
    assert content(combiner.combine(block({"a": [1, 2], "b": [3, 4], "c": [5], "d": [6, 7, 8]}))) == {"a": [3, -1], "c": [5], "d": [21, -1]}
    assert called == ["a", "b", "d"]


def test_a_combiner_that_does_not_shrink_is_let_rest() -> None:
    def same(key: str, values: Values) -> Iterator[tuple[str, int]]:
        return ((key, value) for value in values)

    idle, busy = FunctionCombiner(functions(total, same, combine_yields=True)), FunctionCombiner(functions(total, total))
    for combiner in (idle, busy):
        for _ in range(3):
            combiner.combine(block({"a": [1, 2], "b": [3, 4]}))
    assert (idle.worthwhile, busy.worthwhile) == (False, True)


@pytest.mark.parametrize("kind", [lambda number: np.array([number, 1.0]), lambda number: pd.Series({"a": number, "b": 1.0}, dtype=float)])
def test_results_that_compare_item_by_item_can_keep_the_law(kind: Any) -> None:
    """Arrays and series have no single truth; sums of floats differ in the last bit."""
    pairs = [("a", kind(number / 7)) for number in range(50)]
    check_combiner(functions(lambda _, values: sum(values), lambda _, values: sum(values)), pairs)
    with pytest.raises(CombinerLawError):
        check_combiner(functions(lambda _, values: sum(values), lambda _, values: 2 * sum(values)), pairs)
