"""Arrays of Python values: each is what it was, or there is no array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from smr_notebook.dataflow.exact_arrays import exact_array, exact_column

ARRAYS: list[Callable[[list[Any]], pa.Array[Any]]] = [exact_array, exact_column]


@pytest.mark.parametrize("made", ARRAYS)
@pytest.mark.parametrize(
    "values",
    [
        [0.5, True],
        [True, 0.5],
        [1, True],
        [[0.5], [True]],
        [[0.5, True]],
        [{"a": 0.5}, {"a": True}],
        [(0.5, True)],
        [[(0.5,), (False,)]],
        [np.float64(0.5), np.True_],
    ],
)
def test_a_boolean_is_no_number(made: Callable[[list[Any]], pa.Array[Any]], values: list[Any]) -> None:
    if made is exact_column and values == [(0.5, True)]:  # a struct, whose fields have types of their own
        assert made(values).to_pylist() == [{"0": 0.5, "1": True}]
        return
    with pytest.raises((pa.ArrowException, TypeError)):
        made(values)


@pytest.mark.parametrize("made", ARRAYS)
@pytest.mark.parametrize(
    "values", [[1, 0.5], [True, None], [[True], []], [np.True_, False], [{"a": True}, {"a": None}], [[1], [0.5]], [None]]
)
def test_what_one_type_holds_is_what_it_was(made: Callable[[list[Any]], pa.Array[Any]], values: list[Any]) -> None:
    assert made(values).to_pylist() == values
