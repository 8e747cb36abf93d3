"""The order of rows: by key, then by group.

Rows with equal keys stand in the order of their groups (when rows tell their group), and rows of one group as they came.
A row's key may be any value: `map` without `reduce`, or a generator, may give a list or a dict, which could not be grouped. When
there is such a key among rows of several types, it comes last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from smr_notebook.dataflow.columns import Column, decode_values
from smr_notebook.dataflow.keys import KeyColumn, KeyKind, Rows, encode_key, split_keys

_LAST = b"\xff"
"""Sorts behind the token of every key."""

_SORTABLE = frozenset({"bool", "int", "float", "str", "bytes"})


def token_of(key: object) -> bytes:
    """Return what orders a row of this key: `keys.encode_key`, or for what is no key, something greater than each."""
    try:
        return encode_key(key)
    except TypeError:
        return _LAST


def order_of(keys: Sequence[Column], groups: Sequence[pa.Array[Any]] | None) -> Rows:
    """Return the numbers of rows in order, counted through all columns.

    Args:
        keys: The rows' keys.
        groups: Tokens of the rows' groups, as long as the columns of keys; `None` when rows do not tell.

    Returns:
        A stable order: rows with equal keys and groups stay as they are.
    """
    tokens = None if groups is None else pa.chunked_array(groups)
    kinds = {column.kind for column in keys}
    if len(kinds) == 1 and kinds <= _SORTABLE and not any(column.array.null_count for column in keys):
        return _sorted_rows(pa.chunked_array([column.array for column in keys]), tokens)
    order = []
    for typed, rows in _split([key for column in keys for key in decode_values(column)]):
        if rows is None:
            order.append(_sorted_rows(typed.array, tokens))
        else:
            order.append(rows[_sorted_rows(typed.array, None if tokens is None else tokens.take(rows))])
    return np.concatenate(order) if order else np.zeros(0, np.int64)


def _split(keys: list[Any]) -> list[tuple[KeyColumn, Rows | None]]:
    try:
        return split_keys(keys)
    except TypeError:
        tokens = pa.array([token_of(key) for key in keys], pa.binary())
        return [(KeyColumn(KeyKind.OTHER, tokens), None)]


def _sorted_rows(array: Any, groups: Any) -> Rows:
    columns = {"key": array} if groups is None else {"key": array, "group": groups}
    names: list[tuple[str, Any]] = [(name, "ascending") for name in columns]
    rows: Any = pc.sort_indices(pa.table(columns), sort_keys=names)
    numbers: npt.NDArray[np.int64] = rows.to_numpy().astype(np.int64)
    return numbers


def in_order(keys: list[Any]) -> bool:
    """Return whether the keys ascend (equal neighbours are in order)."""
    at = 0
    for column, rows in _split(keys):
        if rows is not None and not np.array_equal(rows, np.arange(at, at + len(rows))):
            return False
        at += len(column)
        array: Any = column.array
        if column.kind is KeyKind.FLOAT:
            floats = array.to_numpy()
            floats = floats[: len(floats) - int(np.isnan(floats).sum())]
            if not (floats[:-1] <= floats[1:]).all():  # a NaN before its place fails as well
                return False
        elif not pc.all(pc.less_equal(array[:-1], array[1:]), min_count=0).as_py():
            return False
    return True
