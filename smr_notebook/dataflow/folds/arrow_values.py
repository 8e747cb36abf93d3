"""Columns of tables as columns of values, and back.

What has a plain type goes over as it is; text and bytes get 32-bit offsets, numbers 64 bits, times microseconds where that loses
nothing. Everything else (decimals, time zones, lists, integers beyond 63 bits, …) becomes Python objects, exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa

from smr_notebook.dataflow.columns import Column, decode_values, encode_values
from smr_notebook.dataflow.exact_arrays import exact_array

_PLAIN: Final[tuple[tuple[Callable[[pa.DataType], bool], str, pa.DataType], ...]] = (
    (pa.types.is_null, "null", pa.null()),
    (pa.types.is_boolean, "bool", pa.bool_()),
    (pa.types.is_integer, "int", pa.int64()),
    (pa.types.is_floating, "float", pa.float64()),
    (pa.types.is_string, "str", pa.string()),
    (pa.types.is_large_string, "str", pa.string()),
    (pa.types.is_binary, "bytes", pa.binary()),
    (pa.types.is_large_binary, "bytes", pa.binary()),
    (pa.types.is_date32, "date", pa.date32()),
    (lambda found: pa.types.is_timestamp(found) and found.tz is None, "datetime", pa.timestamp("us")),
)


def values_of(column: Any) -> Column:
    """Return a column of a table (an Arrow array without dictionary or extension, or a list of Python values) as values."""
    if isinstance(column, list):
        return encode_values(column)
    for belongs, kind, type in _PLAIN:
        if belongs(column.type):
            try:
                return Column(kind, column.cast(type))
            except pa.ArrowInvalid:  # a number or a time that does not fit
                break
    return encode_values(column.to_pylist())


def array_of(column: Column, told: str) -> pa.Array[Any]:
    """Return values as an Arrow array of one type.

    Args:
        column: The values.
        told: What they are, for messages.

    Raises:
        TypeError: There is no such type.
    """
    if "pickle" not in column.kind:
        return column.array
    try:
        return exact_array(decode_values(column))
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise TypeError(
            f"{told} gives values that go into no one type of a column ({error}). Cast what it is computed from, "
            'such as smr.col("amount").cast("float64"), or use smr.map_reduce, whose results may be any Python values'
        ) from error
