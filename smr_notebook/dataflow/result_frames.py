"""Rows as pandas frames.

* Columns have their true types: `str`, `int64`, `float64`, `bool`, `datetime64[us]`; with missing values `Int64` and `boolean`. All
  else, and what has several types, is a column of exact Python objects.
* Values that are all dicts with text keys become columns, in the order in which names first appear; a name that a row does not have
  is a missing value there. A name `key` becomes `value.key`. Dicts with more than a thousand names among them stay one column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from smr_notebook.dataflow.columns import Column, decode_values, encode_typed
from smr_notebook.dataflow.keys import Rows
from smr_notebook.dataflow.kinds import parse_kind

_MOST_COLUMNS = 1_000

_NATIVE: dict[str, Any] = {
    "bool": pa.bool_(),
    "int": pa.int64(),
    "float": pa.float64(),
    "str": pa.large_string(),
    "datetime": pa.timestamp("us"),
}
"""Kinds that pandas holds as they are. Text gets 64-bit offsets, because all rows come together here."""

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
    columns.update(_value_columns([batch.value for batch in batches], order))
    return pd.DataFrame(columns)


def _value_columns(values: list[Column], order: Rows | None) -> dict[str, pd.Series[Any]]:
    kinds = {column.kind for column in values}
    if not all(kind == "pickle" or kind.startswith("dict(") for kind in kinds):
        return {"value": _series(values, order)}
    shape = parse_kind(values[0].kind)
    if len(kinds) == 1 and _plain(shape.names) and not any(column.array.null_count for column in values):
        return {
            _label(name): _series([_field(column, place, str(shape.parts[place])) for column in values], order)
            for place, name in enumerate(shape.names)
        }
    objects = _objects(values, order)
    names = _names(objects)
    if not names:
        return {"value": _object_series(objects)}
    return {_label(name): _series_of([row.get(name) for row in objects]) for name in names}


def _field(column: Column, place: int, kind: str) -> Column:
    structs: Any = column.array
    return Column(kind, structs.field(place))


def _label(name: str) -> str:
    return "value.key" if name == "key" else name


def _names(objects: list[Any]) -> tuple[str, ...]:
    """Return all names of the dicts in the order of their first appearance; none when they are not to become columns."""
    if set(map(type, objects)) != {dict}:
        return ()
    found: dict[str, None] = {}
    for row in objects:
        found.update(dict.fromkeys(row))
        if len(found) > _MOST_COLUMNS:
            return ()
    names = tuple(found)
    return names if _plain(names) else ()


def _plain(names: tuple[str, ...]) -> bool:
    """Return whether these names can be columns beside `key`."""
    return 0 < len(names) <= _MOST_COLUMNS and set(map(type, names)) == {str} and not {"key", "value.key"} <= set(names)


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
