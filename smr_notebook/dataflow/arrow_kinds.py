"""The kind `arrow(…)`: rows of a frame as one column of structs, whatever Arrow types their columns have.

The kind holds the schema of the rows, as Arrow writes it, in base64. What Arrow's record batches cannot carry by themselves stands in the
metadata of a field: `categories` (with `ordered`), an Arrow stream of the values that a categorical column may have, and `dtype`, the
pandas dtype to which the column goes back where that does not follow from its type. The values of a categorical column travel plain.

Frames of one job may differ. They are brought together when nothing is lost by that, and only then:

* A column that a frame lacks is missing in its rows; a column of nothing but missing values takes any type.
* Numbers and times get the wider type of the same sort, integers become floats, if each value comes back as it was.
* Of lists and structs the same holds for what is in them, and a struct that lacks a field has it missing; but a tuple, whose fields are
  called `0`, `1` and so on, has its length.
* Categories without order are joined, and sorted where they differ, so that they do not depend on the plan; where a frame has plain
  values instead, the column is plain.
* Everything else is a `PairShapeError` that names the column and both types.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from smr_notebook.dataflow.common_types import common_type
from smr_notebook.errors import PairShapeError

CATEGORIES: Final = b"categories"
ORDERED: Final = b"ordered"
DTYPE: Final = b"dtype"

_BEGIN, _END = "arrow(", ")"

_HOLD_MISSING: Final = MappingProxyType(
    {pa.float32(): b"Float32", pa.float64(): b"Float64", pa.string(): b"string", pa.large_string(): b"string"}
)
"""Dtypes in which a missing value is not NaN, of types that pandas else holds with NaN for it."""


def mark_missing(rows: Rows) -> Rows:
    """Return the rows so marked that pandas tells missing values from NaN."""
    fields = [
        field.with_metadata({DTYPE: b"pyarrow" if _has_nan(column) else _HOLD_MISSING[field.type]})
        if column.null_count and field.type in _HOLD_MISSING and CATEGORIES not in (field.metadata or {})
        else field
        for field, column in zip(rows.schema, rows.columns, strict=True)
    ]
    return Rows(pa.schema(fields), rows.columns, rows.count)


def _has_nan(column: Any) -> bool:
    return pa.types.is_floating(column.type) and bool(pc.any(pc.is_nan(column)).as_py())


def is_arrow_kind(kind: str) -> bool:
    """Whether a column of this kind holds rows of a frame."""
    return kind.startswith(_BEGIN)


def kind_of_schema(schema: pa.Schema) -> str:
    """Return the kind of rows with this schema."""
    return _BEGIN + base64.b64encode(schema.serialize().to_pybytes()).decode() + _END


@lru_cache(maxsize=64)
def schema_of_kind(kind: str) -> pa.Schema:
    """Return the schema of the rows of an arrow kind.

    Raises:
        ValueError: It is no such kind.
    """
    if not (kind.startswith(_BEGIN) and kind.endswith(_END)):
        raise ValueError(f"{kind[:80]!r} is no kind of rows.")
    try:
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(kind[len(_BEGIN) : -len(_END)], validate=True)))
    except (pa.ArrowException, EOFError, OSError, ValueError) as error:
        raise ValueError(f"{kind[:80]!r} is no kind of rows: {error}") from error


@lru_cache(maxsize=64)
def struct_of_kind(kind: str) -> pa.StructType:
    """Return the Arrow type of the array of an arrow kind."""
    return pa.struct([pa.field(field.name, field.type) for field in schema_of_kind(kind)])


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows of a frame as plain Arrow columns.

    Attributes:
        schema: Types without dictionaries and extensions, with the metadata of the module's docstring.
        columns: As the schema says.
        count: How many rows there are.
    """

    schema: pa.Schema
    columns: Sequence[pa.Array[Any]]
    count: int


def struct_array(rows: Rows) -> pa.Array[Any]:
    """Return the rows as one array of structs, of at least one column."""
    fields = [pa.field(field.name, field.type) for field in rows.schema]
    return pa.StructArray.from_arrays(list(rows.columns), fields=fields)


def rows_of_struct(kind: str, array: Any) -> Rows:
    """Return the rows of an array of structs."""
    schema = schema_of_kind(kind)
    return Rows(schema, [array.field(place) for place in range(len(schema))], len(array))


# ---------------------------------------------------------------- categories


def with_categories(field: pa.Field[Any], categories: pa.Array[Any], *, ordered: bool) -> pa.Field[Any]:
    """Return a field whose metadata holds what values a categorical column may have."""
    sink = pa.BufferOutputStream()
    batch = pa.record_batch([categories], names=["categories"])
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return field.with_metadata({CATEGORIES: sink.getvalue().to_pybytes(), ORDERED: b"1" if ordered else b"0"})


def categories_of(field: pa.Field[Any]) -> tuple[pa.Array[Any], bool] | None:
    """Return the categories of a field and whether they are ordered, or `None` when it is not categorical."""
    data = (field.metadata or {}).get(CATEGORIES)
    if data is None:
        return None
    table = pa.ipc.open_stream(data).read_all()
    return table.column(0).combine_chunks(), (field.metadata or {}).get(ORDERED) == b"1"


# ---------------------------------------------------------------- bringing together


def unify(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Return the schema to which rows of all these can be brought. Columns stand in the order in which they first appear.

    Raises:
        PairShapeError: There is none: a column has types that do not go together.
    """
    fields: dict[str, pa.Field[Any]] = {}
    for schema in schemas:
        for field in schema:
            known = fields.get(field.name)
            fields[field.name] = field if known is None else _joined(known, field)
    return pa.schema(list(fields.values()))


def bring(rows: Rows, schema: pa.Schema) -> Rows:
    """Return rows under a schema that `unify` gave for theirs among others.

    Raises:
        PairShapeError: A value would not come back as it was.
    """
    given = {field.name: column for field, column in zip(rows.schema, rows.columns, strict=True)}
    columns = [
        exact_cast(given[field.name], field.type, field.name) if field.name in given else pa.nulls(rows.count, field.type)
        for field in schema
    ]
    return Rows(schema, columns, rows.count)


def concat_rows(pieces: Sequence[Rows]) -> Rows:
    """Return the rows of several pieces, at least one, in one.

    Raises:
        PairShapeError: Their columns do not go together.
    """
    schema = pieces[0].schema
    if not all(piece.schema.equals(schema, check_metadata=True) for piece in pieces[1:]):
        schema = unify([piece.schema for piece in pieces])
        pieces = [bring(piece, schema) for piece in pieces]
    columns = [pa.concat_arrays([piece.columns[place] for piece in pieces]) for place in range(len(schema))]
    return Rows(schema, columns, sum(piece.count for piece in pieces))


def exact_cast(array: Any, type: pa.DataType, name: str) -> Any:
    """Return an array of another type whose values come back as they were.

    Args:
        array: The values.
        type: What they shall be.
        name: Of their column.

    Raises:
        PairShapeError: Some value does not.
    """
    if array.type.equals(type):
        return array
    try:
        cast = _cast_nested(array, type) if pa.types.is_nested(type) else array.cast(type)
        if pa.types.is_nested(type):
            same = _as_it_was(array.to_pylist(), cast.to_pylist())
        else:
            same = pa.types.is_null(array.type) or pa.types.is_floating(array.type) or cast.cast(array.type).equals(array)
    except pa.ArrowException:
        same = False
    if not same:
        raise PairShapeError(_clash(name, array.type, type, " and some value would be changed by bringing them together"))
    return cast


def _cast_nested(array: Any, type: pa.DataType) -> Any:
    try:
        return array.cast(type)
    except pa.ArrowException:  # such as fields, or lists, of nothing, of which Arrow does not cast all
        return pa.array(array.to_pylist(), type)


def _as_it_was(value: Any, cast: Any) -> bool:
    """Whether a value that was cast is what it was, but for fields that it did not have."""
    if isinstance(value, list | tuple) and isinstance(cast, list | tuple):
        return len(value) == len(cast) and all(map(_as_it_was, value, cast))
    if isinstance(value, dict) and isinstance(cast, dict):
        return all(_as_it_was(value.get(name), item) for name, item in cast.items())
    return bool(value == cast) or repr(value) == repr(cast)  # NaN


def _joined(one: pa.Field[Any], other: pa.Field[Any]) -> pa.Field[Any]:
    type = common_type(one.type, other.type)
    if type is None:
        raise PairShapeError(_clash(one.name, one.type, other.type, ""))
    field = pa.field(one.name, type)
    field = _with_common_categories(field, one, other)
    marks = {mark for side in (one, other) if (mark := (side.metadata or {}).get(DTYPE)) and side.type.equals(type)}
    if len(marks) == 1 and field.metadata is None:
        field = field.with_metadata({DTYPE: marks.pop()})
    return field


def _with_common_categories(field: pa.Field[Any], one: pa.Field[Any], other: pa.Field[Any]) -> pa.Field[Any]:
    empty = next((side for side in (one, other) if pa.types.is_null(side.type)), None)
    if empty is not None:  # it says nothing of what a value may be
        return other if empty is one else one
    mine, theirs = categories_of(one), categories_of(other)
    if mine is None or theirs is None:
        return field
    values = [exact_cast(side[0], field.type, field.name) for side in (mine, theirs)]
    if mine[1] == theirs[1] and values[0].equals(values[1]):
        return with_categories(field, values[0], ordered=mine[1])
    if mine[1] or theirs[1]:
        raise PairShapeError(
            f"The column {field.name!r} is categorical with an order, and its categories differ from frame to frame: "
            f"{_few(mine[0])} and {_few(theirs[0])}. Give all frames the same categories (`set_categories`), or plain values."
        )
    joined = pc.unique(pa.concat_arrays(values))
    return with_categories(field, joined.take(pc.sort_indices(joined)), ordered=False)


def _few(values: pa.Array[Any]) -> str:
    shown = values[:5].to_pylist()
    return f"{shown}" if len(values) <= 5 else f"{shown} and {len(values) - 5:,} more"


def _clash(name: str, one: pa.DataType, other: pa.DataType, why: str) -> str:
    return (
        f"The column {name!r} is of type {one} in some frames and {other} in others{why}. "
        "Give it one type in every frame (`astype`) before you return it."
    )
