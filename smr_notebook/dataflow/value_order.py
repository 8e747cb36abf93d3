"""The order of the values of a group, where a job asks for one: that of keys, by type and then by value.

A typed column of plain values is sorted by Arrow as it stands, one of flat tuples field by field; everything else by the encodings of its
values (`keys.encode_key`), which is slower and the same order. A value that has no encoding has no order.

Rules of this module:

* Only groups of several values are touched, and equal values keep their order.
* NaN comes after all floats; `None` comes after numbers, text and bytes, and before everything else; `-0.0` and `0.0` are equal.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from smr_notebook.dataflow.blocks import GroupBlock
from smr_notebook.dataflow.columns import Column, decode_values
from smr_notebook.dataflow.functions import UserCodeError, short_repr
from smr_notebook.dataflow.grouping import stable_order
from smr_notebook.dataflow.keys import decode_keys, encode_key
from smr_notebook.dataflow.kinds import parse_kind
from smr_notebook.dataflow.pickles import type_name
from smr_notebook.dataflow.tuple_keys import encode_tuples

_BEFORE_NONE: Final = frozenset({"bool", "int", "float", "str", "bytes"})
_AFTER_NONE: Final = frozenset({"date", "datetime", "uuid"})
_PLAIN: Final = _BEFORE_NONE | _AFTER_NONE
"""Kinds whose Arrow order is that of the encodings, `None` last or first."""

Indices = npt.NDArray[np.int64]


def sort_values(block: GroupBlock, *, function: str = "map") -> GroupBlock:
    """Return a block with the values of each group in ascending order.

    Args:
        block: The block.
        function: Whose values they are, for the error.

    Raises:
        UserCodeError: A value has no order; the error names its key.
    """
    counts = np.diff(block.offsets)
    if len(block.values) <= len(counts) or block.values.kind == "null":
        return block
    groups = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    try:
        order = _value_rows(block.values)
    except TypeError as error:
        row = next(row for row, value in enumerate(decode_values(block.values)) if not has_order(value))
        group = int(groups[row])
        raise UserCodeError(function, short_repr(decode_keys(block.keys.slice(group, group + 1))[0])) from error
    return GroupBlock(block.keys, block.values.take(order[stable_order(groups[order], len(counts))]), block.offsets)


def check_values(values: Column) -> None:
    """See to it that each value has its place in the order.

    Raises:
        TypeError: One has none.
    """
    if values.kind != "null" and values.kind not in _PLAIN and not _is_flat(values):
        value_tokens(decode_values(values))


def value_tokens(values: list[Any]) -> list[bytes]:
    """Return what orders each value.

    Raises:
        TypeError: One has no order.
    """
    tokens = encode_tuples(values)
    return [_token(value) for value in values] if tokens is None else tokens


def value_token(values: Column, row: int) -> bytes:
    """Return what orders the value at a row, among values of any kinds."""
    return _token(decode_values(values.slice(row, row + 1))[0])


def has_order(value: object) -> bool:
    """Whether a value has its place in the order."""
    try:
        encode_key(value)
    except TypeError:
        return False
    return True


def _token(value: object) -> bytes:
    try:
        return encode_key(value)
    except TypeError as error:
        raise TypeError(
            f"A value of type {type_name(type(value))} cannot be sorted, as sort='values' asks for. It needs an order that is the same in "
            "every process: yield numbers, text, dates or tuples of them as values, or leave the sorting of values out."
        ) from error


def _is_flat(values: Column) -> bool:
    """Whether the values are tuples of plain values, and Arrow has their nulls where they belong."""
    shape, array = parse_kind(values.kind), values.array
    if shape.name != "tuple" or array.null_count:
        return False
    parts = [part.name for part in shape.parts]
    return all(
        name in _BEFORE_NONE or (name in _AFTER_NONE and not part.null_count) for name, part in zip(parts, _fields(array), strict=True)
    )


def _value_rows(values: Column) -> Indices:
    """Return the rows in the order of their values; a stable order."""
    array: Any = values.array
    if values.kind in _PLAIN:
        order = _numbers(pc.sort_indices(array))
        return order if values.kind in _BEFORE_NONE else np.roll(order, array.null_count)  # Arrow has nulls last
    if _is_flat(values):
        fields = _fields(array)
        names = [str(place) for place in range(len(fields))]
        ascending: list[tuple[str, Any]] = [(name, "ascending") for name in names]
        return _numbers(pc.sort_indices(pa.table(fields, names=names), sort_keys=ascending))
    return _numbers(pc.sort_indices(pa.array(value_tokens(decode_values(values)), pa.binary())))


def _fields(array: Any) -> list[Any]:
    fields: list[Any] = array.flatten()
    return fields


def _numbers(rows: Any) -> Indices:
    numbers: Indices = rows.to_numpy().astype(np.int64)
    return numbers
