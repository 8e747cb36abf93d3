"""Values as typed columns: exact, or pickled.

A list of Python values becomes one Arrow array and a *kind*, a string that says how to read it back. Rules:

* Exact types only: a column is typed when all its values have exactly the Python type of its kind, and come back equal and of
  the same type. As soon as one does not fit, the whole column is `pickle`: one pickle for each value.
* `None` among typed values is an Arrow null. A column of nothing but `None` (or of nothing) is `null`.
* Not exact, so pickled: integers beyond 64 bits, text with lone surrogates, datetimes with a time zone or `fold`, empty tuples and
  dicts, dicts whose keys differ, differ in order, or are no printable text.

The kinds are those of `dataflow.kinds`. Text, bytes and lists have 32-bit offsets: one column holds less than 2 GiB of them.
Batches are bounded far below that.
"""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from smr_notebook.dataflow import pickles
from smr_notebook.dataflow.arrow_kinds import concat_rows, is_arrow_kind, kind_of_schema, rows_of_struct, struct_array
from smr_notebook.dataflow.kinds import FLAT_TYPES, Shape, arrow_type, fields_of, parse_kind
from smr_notebook.errors import CorruptObjectError

DEPTH = 8
"""Containers nested deeper than this are pickled."""


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """Values of one kind; `array` has the type `arrow_type(kind)`."""

    kind: str
    array: pa.Array[Any]

    def __len__(self) -> int:
        return len(self.array)

    def take(self, rows: npt.NDArray[np.int64]) -> Column:
        """Return the values at these row numbers, in this order."""
        return Column(self.kind, self.array.take(rows))

    def slice(self, start: int, stop: int) -> Column:
        """Return values `[start, stop)` without copying."""
        return Column(self.kind, self.array.slice(start, stop - start))


_KINDS: dict[type, str] = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    bytes: "bytes",
    date: "date",
    datetime: "datetime",
    uuid.UUID: "uuid",
    tuple: "tuple",
    list: "list",
    dict: "dict",
}


# ---------------------------------------------------------------- encode


class _InexactError(Exception):
    """Some value does not fit its typed column."""


def encode_values(values: list[Any]) -> Column:
    """Return the values as a typed column if that is exact, else as pickles.

    Raises:
        TypeError: A value neither fits a typed column nor can be pickled.
    """
    column = encode_typed(values)
    if column is not None:
        return column
    pickled = [None if value is None else pickles.dumps(value) for value in values]
    return Column("pickle", pa.array(pickled, pa.binary()))


def repeated(value: Any, count: int) -> Column:
    """Return a column that holds one value so many times. Raises as `encode_values` does."""
    one = encode_values([value])
    return Column(one.kind, pa.repeat(one.array[0], count))


def encode_typed(values: list[Any]) -> Column | None:
    """Return the values as a typed column, or `None` if none is exact."""
    try:
        shape, array = _encode(values, 0)
    except _InexactError:
        return None
    return Column(str(shape), array)


def _encode(values: list[Any], depth: int) -> tuple[Shape, pa.Array[Any]]:
    types = set(map(type, values))
    types.discard(type(None))
    if not types:
        return Shape("null"), pa.nulls(len(values))
    kind = _KINDS.get(types.pop())
    if types or kind is None or depth > DEPTH:
        raise _InexactError
    nested = _NESTED.get(kind)
    if nested is not None:
        return nested(values, depth + 1)
    if kind == "datetime" and any(value is not None and (value.tzinfo is not None or value.fold) for value in values):
        raise _InexactError
    if kind == "uuid":
        if any(value is not None and value.is_safe is not uuid.SafeUUID.unknown for value in values):
            raise _InexactError
        values = [None if value is None else value.bytes for value in values]
    try:
        array: Any = pa.array(values, FLAT_TYPES[kind])
    except (OverflowError, UnicodeEncodeError) as error:
        raise _InexactError from error
    if isinstance(array, pa.ChunkedArray):
        raise ValueError(f"A batch of {len(values):,} values takes 2 GiB or more: encode smaller batches.")  # noqa: TRY004 - a matter of size
    return Shape(kind), array


def _null_mask(values: list[Any]) -> pa.Array[Any] | None:
    nulls = [value is None for value in values]
    return pa.array(nulls, pa.bool_()) if any(nulls) else None


def _encode_struct(
    shape: tuple[str, tuple[str, ...]], values: list[Any], parts: list[list[Any]], depth: int
) -> tuple[Shape, pa.Array[Any]]:
    encoded = [_encode(part, depth) for part in parts]
    whole = Shape(shape[0], shape[1], tuple(part for part, _ in encoded))
    arrays = [array for _, array in encoded]
    fields = fields_of(whole, [array.type for array in arrays])
    return whole, pa.StructArray.from_arrays(arrays, fields=fields, mask=_null_mask(values))


def _encode_tuples(values: list[Any], depth: int) -> tuple[Shape, pa.Array[Any]]:
    lengths = {len(value) for value in values if value is not None}
    width = lengths.pop()
    if lengths or not width:
        raise _InexactError
    nothing = (None,) * width
    parts = zip(*(nothing if value is None else value for value in values), strict=True)
    return _encode_struct(("tuple", ()), values, [list(part) for part in parts], depth)


def _encode_dicts(values: list[Any], depth: int) -> tuple[Shape, pa.Array[Any]]:
    names = next(tuple(value) for value in values if value is not None)
    if not names or any(type(name) is not str or not name or not name.isprintable() for name in names):
        raise _InexactError
    if any(value is not None and tuple(value) != names for value in values):
        raise _InexactError
    nothing = dict.fromkeys(names)
    rows = [nothing if value is None else value for value in values]
    return _encode_struct(("dict", names), values, [list(map(itemgetter(name), rows)) for name in names], depth)


def _encode_lists(values: list[Any], depth: int) -> tuple[Shape, pa.Array[Any]]:
    items: list[Any] = []
    offsets = [0]
    for value in values:
        if value is not None:
            items += value
        offsets.append(len(items))
    part, array = _encode(items, depth)
    if offsets[-1] >= 1 << 31:
        raise _InexactError
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), array, mask=_null_mask(values))
    return Shape("list", (), (part,)), lists


_NESTED: dict[str, Callable[[list[Any], int], tuple[Shape, pa.Array[Any]]]] = {
    "tuple": _encode_tuples,
    "list": _encode_lists,
    "dict": _encode_dicts,
}

# ---------------------------------------------------------------- decode


def decode_values(column: Column) -> list[Any]:
    """Return the values as they were: equal, and of the same exact types.

    Raises:
        CorruptObjectError: A typed column holds what no value of its kind can have been.
        Exception: What the user's own classes raise when they are unpickled.
    """
    try:
        return _decode(parse_kind(column.kind), column.array)
    except (pa.ArrowException, OverflowError, ValueError) as error:
        if "pickle" in column.kind:
            raise
        raise CorruptObjectError(f"A column of kind {column.kind} holds what was never written ({error}). Submit the job again.") from error


def _decode(shape: Shape, array: Any) -> list[Any]:
    match shape.name:
        case "pickle":
            return [None if data is None else pickle.loads(data) for data in array.to_pylist()]
        case "uuid":
            return [None if data is None else uuid.UUID(bytes=data) for data in array.to_pylist()]
        case "tuple" | "dict":
            rows: list[Any] = list(zip(*(_decode(part, array.field(place)) for place, part in enumerate(shape.parts)), strict=True))
            if shape.name == "dict":
                rows = [dict(zip(shape.names, row, strict=True)) for row in rows]
            return _with_nulls(rows, array)
        case "list":
            offsets = array.offsets.to_pylist()
            items = _decode(shape.parts[0], array.values.slice(offsets[0], offsets[-1] - offsets[0]))
            first = offsets[0]
            rows = [items[start - first : stop - first] for start, stop in pairwise(offsets)]
            return _with_nulls(rows, array)
    values: list[Any] = array.to_pylist()
    return values


def _with_nulls(rows: list[Any], array: pa.Array[Any]) -> list[Any]:
    if array.null_count:
        valid = array.is_valid().to_pylist()
        return [row if there else None for row, there in zip(rows, valid, strict=True)]
    return rows


# ---------------------------------------------------------------- concatenate


def concat_columns(columns: Sequence[Column]) -> Column:
    """Return the values of several columns in one. Where kinds differ, what differs is encoded anew, or rows are brought together.

    Raises:
        PairShapeError: Rows of frames have columns that do not go together.
    """
    kinds = {column.kind for column in columns}
    if len(columns) == 1:
        return columns[0]
    if len(kinds) == 1:
        return Column(columns[0].kind, pa.concat_arrays([column.array for column in columns]))
    if any(map(is_arrow_kind, kinds)):
        rows = concat_rows([rows_of_struct(column.kind, column.array) for column in columns])
        return Column(kind_of_schema(rows.schema), struct_array(rows))
    shape, array = _concat([(parse_kind(column.kind), column.array) for column in columns])
    if shape.name == "pickle":
        return encode_values([value for column in columns for value in decode_values(column)])
    return Column(str(shape), array)


def _concat(parts: list[tuple[Shape, Any]]) -> tuple[Shape, pa.Array[Any]]:
    typed = list({shape: None for shape, _ in parts if shape.name != "null"})
    if len(typed) <= 1:
        shape = typed[0] if typed else Shape("null")
        kind = arrow_type(str(shape))
        typed_parts: list[pa.Array[Any]] = [array if own == shape else pa.array([None] * len(array), kind) for own, array in parts]
        return shape, pa.concat_arrays(typed_parts)
    if len({(shape.name, shape.names, len(shape.parts)) for shape in typed}) == 1 and typed[0].parts:
        return (_concat_lists if typed[0].name == "list" else _concat_structs)(typed[0], parts)
    pickled = [None if value is None else pickles.dumps(value) for shape, array in parts for value in _decode(shape, array)]
    return Shape("pickle"), pa.array(pickled, pa.binary())


def _concat_structs(like: Shape, parts: list[tuple[Shape, Any]]) -> tuple[Shape, pa.Array[Any]]:
    nothing = Shape("null")
    fields = []
    for place in range(len(like.parts)):
        here = [(shape.parts[place], array.field(place)) if shape.parts else (nothing, pa.nulls(len(array))) for shape, array in parts]
        fields.append(_concat(here))
    whole = Shape(like.name, like.names, tuple(shape for shape, _ in fields))
    arrays = [array for _, array in fields]
    return whole, pa.StructArray.from_arrays(arrays, fields=fields_of(whole, [array.type for array in arrays]), mask=_concat_nulls(parts))


def _concat_lists(_: Shape, parts: list[tuple[Shape, Any]]) -> tuple[Shape, pa.Array[Any]]:
    items, offsets, end = [], [np.zeros(1, np.int64)], 0
    for shape, array in parts:
        if shape.parts:
            own = array.offsets.to_numpy().astype(np.int64)
            items.append((shape.parts[0], array.values.slice(own[0], own[-1] - own[0])))
            offsets.append(own[1:] - own[0] + end)
            end += int(own[-1] - own[0])
        else:
            offsets.append(np.full(len(array), end))
    if end >= 1 << 31:
        raise ValueError(f"Lists of {end:,} values in all are too many for one column: encode smaller batches.")
    part, values = _concat(items)
    bounds: Any = pa.array(np.concatenate(offsets).astype(np.int32))
    lists: pa.Array[Any] = pa.ListArray.from_arrays(bounds, values, mask=_concat_nulls(parts))
    return Shape("list", (), (part,)), lists


def _concat_nulls(parts: list[tuple[Shape, Any]]) -> pa.Array[Any] | None:
    if not any(array.null_count for _, array in parts):
        return None
    nulls: pa.Array[Any] = pa.concat_arrays([array.is_null() for _, array in parts])
    return nulls
