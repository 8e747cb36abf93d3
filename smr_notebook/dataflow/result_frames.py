"""Rows as pandas frames, and as Arrow columns.

* Columns have their true types: `str`, `int64`, `float64`, `bool`, `datetime64[us]`; with missing values `Int64` and `boolean`. All
  else, and what has several types, is a column of exact Python objects.
* Values that are all dicts with text keys become columns, in the order in which names first appear; a name that a row does not have
  is a missing value there. A name `key` becomes `value.key`. Dicts with more than a thousand names among them stay one column.
* As Arrow columns, the same, but that a column has one type, which holds each of its values as it was: else there are none. Tuples of one
  shape are structs whose fields are called `0`, `1` and so on. The schema's metadata tells which names of dicts became columns
  (`names_of`), because rows elsewhere may forbid it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa

from smr_notebook.dataflow import arrow_kinds
from smr_notebook.dataflow.arrow_kinds import is_arrow_kind
from smr_notebook.dataflow.columns import Column, decode_values, encode_typed
from smr_notebook.dataflow.dict_columns import can_be_columns, label_of, names_of_dicts
from smr_notebook.dataflow.exact_arrays import exact_column
from smr_notebook.dataflow.keys import Rows
from smr_notebook.dataflow.kinds import FLAT_TYPES, Shape, arrow_type, parse_kind

T = TypeVar("T")

_NATIVE: dict[str, Any] = {
    "bool": pa.bool_(),
    "int": pa.int64(),
    "float": pa.float64(),
    "str": pa.large_string(),
    "datetime": pa.timestamp("us"),
}
"""Kinds that pandas holds as they are. Text gets 64-bit offsets, because all rows come together here."""

_NAMES = b"smr_notebook.names"

_LARGE = {"str": pa.large_string(), "bytes": pa.large_binary()}
_STAND_INS = frozenset({"pickle", "uuid"})
"""Kinds whose arrays hold something that stands for the values."""

_NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}


@dataclass(frozen=True, slots=True, eq=False)
class RowBatch:
    """Rows of one part: keys, values, and where rows tell it the tokens of their groups."""

    key: Column
    value: Column
    group: pa.Array[Any] | None

    def take(self, rows: Rows) -> RowBatch:
        """Return the rows of these numbers, in this order."""
        return RowBatch(self.key.take(rows), self.value.take(rows), None if self.group is None else self.group.take(rows))


def build_frame(batches: Sequence[RowBatch], order: Rows | None) -> pd.DataFrame:
    """Return the rows as a frame with the column `key`, and `value` or one column for each name of the dicts.

    Args:
        batches: The rows.
        order: Their numbers, counted through all batches, in the order in which they shall stand; `None` as they are.
    """
    if not batches:
        return pd.DataFrame({"key": [], "value": []}, dtype=object)
    columns = {"key": _series([batch.key for batch in batches], order)}
    columns.update(_value_columns([batch.value for batch in batches], order, _SERIES)[0])
    return pd.DataFrame(columns)


def build_columns(batches: Sequence[RowBatch]) -> arrow_kinds.Rows:
    """Return the rows as Arrow columns, named as those of the frame.

    Raises:
        pa.ArrowException, TypeError, ValueError, OverflowError: A column has values that go into no one type.
    """
    if not batches:
        return arrow_kinds.Rows(pa.schema([("key", pa.null()), ("value", pa.null())]), [pa.nulls(0)] * 2, 0)
    columns = {"key": _array([batch.key for batch in batches], None)}
    values, names = _value_columns([batch.value for batch in batches], None, _ARRAYS)
    columns.update(values)
    metadata: dict[bytes | str, bytes | str] | None = None if names is None else {_NAMES: json.dumps(names).encode()}
    schema = pa.schema([pa.field(name, column.type) for name, column in columns.items()], metadata)
    return arrow_kinds.Rows(schema, list(columns.values()), len(columns["key"]))


def names_of(schema: pa.Schema) -> tuple[str, ...] | None:
    """Return the names of dicts that became columns in what `build_columns` gave: none of empty dicts, `None` of other values."""
    found = (schema.metadata or {}).get(_NAMES)
    return None if found is None else tuple(json.loads(found))


@dataclass(frozen=True, slots=True)
class _Makes(Generic[T]):
    """What columns are made of.

    Attributes:
        typed: Of stored columns, in an order.
        fields: Of what rows have under a name, with `None` for what they lack.
        objects: Of values that stay as they are.
    """

    typed: Callable[[list[Column], Rows | None], T]
    fields: Callable[[list[Any]], T]
    objects: Callable[[list[Any]], T]


def _value_columns(values: list[Column], order: Rows | None, makes: _Makes[T]) -> tuple[dict[str, T], tuple[str, ...] | None]:
    """Return the columns of the values, and the names that became columns, or `None`."""
    kinds = {column.kind for column in values}
    if not all(kind == "pickle" or kind.startswith("dict(") for kind in kinds):
        return {"value": makes.typed(values, order)}, None
    shape = parse_kind(values[0].kind)
    if len(kinds) == 1 and can_be_columns(shape.names) and not any(column.array.null_count for column in values):
        return {
            label_of(name): makes.typed([_field(column, place, str(shape.parts[place])) for column in values], order)
            for place, name in enumerate(shape.names)
        }, shape.names
    objects = _objects(values, order)
    names = names_of_dicts(objects)
    if not names:
        return {"value": makes.objects(objects)}, () if set(map(type, objects)) == {dict} and not any(objects) else None
    return {label_of(name): makes.fields([row.get(name) for row in objects]) for name in names}, names


def _field(column: Column, place: int, kind: str) -> Column:
    structs: Any = column.array
    return Column(kind, structs.field(place))


def _series(columns: list[Column], order: Rows | None) -> pd.Series[Any]:
    kinds = {column.kind for column in columns} - {"null"}
    if len(kinds) != 1 or not kinds <= _NATIVE.keys():
        return _object_series(_objects(columns, order))
    arrow = _NATIVE[kinds.pop()]
    chunks = [pa.array([None] * len(column), arrow) if column.kind == "null" else column.array.cast(arrow) for column in columns]
    array: Any = pa.chunked_array(chunks, arrow)
    if order is not None:
        array = array.take(order)
    series: pd.Series[Any] = array.to_pandas(types_mapper=_NULLABLE.get if array.null_count else None)
    return series


def _series_of(objects: list[Any]) -> pd.Series[Any]:
    column = encode_typed(objects)
    return _object_series(objects) if column is None else _series([column], None)


def _objects(columns: list[Column], order: Rows | None) -> list[Any]:
    objects = [value for column in columns for value in decode_values(column)]
    return objects if order is None else [objects[row] for row in order.tolist()]


def _object_series(objects: list[Any]) -> pd.Series[Any]:
    array = np.empty(len(objects), object)
    for row, value in enumerate(objects):
        array[row] = value
    return pd.Series(array, dtype=object)


def _array(columns: list[Column], _order: Rows | None) -> Any:
    kinds = {column.kind for column in columns} - {"null"} or {"null"}
    kind = min(kinds)
    if len(kinds) > 1 or is_arrow_kind(kind) or not _held(parse_kind(kind)):
        return _exact(_objects(columns, None))
    arrow: Any = _LARGE.get(kind) or arrow_type(kind)
    arrays = [column.array if column.array.type.equals(arrow) else column.array.cast(arrow) for column in columns]
    return pa.chunked_array(arrays, arrow).combine_chunks()


def _exact(objects: list[Any]) -> Any:
    array = exact_column(objects)
    large = _LARGE.get({pa.string(): "str", pa.binary(): "bytes"}.get(array.type, ""))
    return array if large is None else array.cast(large)


def _held(shape: Shape) -> bool:
    """Whether Arrow holds values of this shape as they are, a tuple as a struct of its places."""
    return all(map(_held, shape.parts)) if shape.parts else shape.name in FLAT_TYPES.keys() - _STAND_INS


_SERIES = _Makes(_series, _series_of, _object_series)
_ARRAYS: _Makes[Any] = _Makes(_array, _exact, _exact)
