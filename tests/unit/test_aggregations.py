"""What `reduce=sum` and its like mean."""

from __future__ import annotations

import inspect
import math
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.dataflow.aggregations import as_reduce
from smr_notebook.errors import PlanError


@given(st.lists(st.integers(), min_size=1), st.sampled_from([sum, min, max, len, any, all, list, tuple, set, frozenset, sorted]))
def test_builtins_give_what_they_give(values: list[int], known: Callable[..., Any]) -> None:
    result = as_reduce(known)("key", iter(values))
    assert result == known(values)
    assert type(result) is type(known(values))


@given(st.lists(st.floats()))
def test_a_sum_of_floats_is_the_builtin_sum_to_the_last_bit(values: list[float]) -> None:
    assert repr(as_reduce(sum)("key", iter(values))) == repr(sum(values))


@given(st.lists(st.one_of(st.integers(), st.floats(-1e9, 1e9), st.booleans())))
def test_a_mixed_sum_differs_only_in_rounding(values: list[Any]) -> None:
    result = as_reduce(sum)("key", iter(values))
    assert type(result) is type(sum(values))
    assert math.isclose(result, math.fsum(values), rel_tol=1e-9, abs_tol=1e-3)


def test_a_sum_of_what_cannot_be_added_to_zero_raises_as_the_builtin_does() -> None:
    with pytest.raises(TypeError):
        as_reduce(sum)("key", iter(["a", "b"]))


def test_a_function_of_the_values_gets_them_as_a_list() -> None:
    assert as_reduce(statistics.mean)("key", iter([1, 2, 6])) == 3
    assert as_reduce(np.mean)("key", iter([1, 2, 6])) == 3
    assert as_reduce(lambda values: values[0])("key", iter([7, 8])) == 7


def test_a_function_of_key_and_values_is_taken_as_it_is() -> None:
    def reduce(key: str, values: Iterator[int], scale: int = 1) -> int:
        return sum(values) * scale

    assert as_reduce(reduce) is reduce
    assert as_reduce(partial(reduce, scale=2))("key", iter([1, 2])) == 6

    def anything(*arguments: Any) -> int:
        return len(arguments)

    assert as_reduce(anything) is anything


def test_a_generator_of_the_values_stays_a_generator_function() -> None:
    def pairs(values: list[int]) -> Iterator[tuple[int, int]]:
        for value in values:
            yield value, 1

    reduce = as_reduce(pairs)
    assert inspect.isgeneratorfunction(reduce)
    assert list(reduce("key", iter([5, 6]))) == [(5, 1), (6, 1)]


def test_what_cannot_be_called_so_is_refused_with_what_to_write() -> None:
    def three(a: int, b: int, c: int) -> None: ...

    def keyword(key: str, *, values: int) -> None: ...

    for wrong in (three, keyword, lambda: 0):
        with pytest.raises(PlanError, match=r"def reduce\(key, values\)"):
            as_reduce(wrong)


@pytest.mark.parametrize("known", [sum, min, len, statistics.mean, lambda values: max(values) + 0])
def test_what_it_gives_travels(known: Callable[..., Any]) -> None:
    reduce = cloudpickle.loads(cloudpickle.dumps(as_reduce(known)))
    assert reduce("key", iter([1, 2, 6])) == known([1, 2, 6])
