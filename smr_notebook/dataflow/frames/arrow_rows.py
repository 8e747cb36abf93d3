"""Frames that are Arrow tables: `frame="arrow"`."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from smr_notebook.dataflow.arrow_kinds import Rows, categories_of
from smr_notebook.dataflow.frames.rows import rows_of_arrays
from smr_notebook.dataflow.functions import short_repr
from smr_notebook.errors import PairShapeError


def frame_of(rows: Rows) -> pa.Table:
    """Return the rows as a table; categorical columns are dictionaries."""
    fields, columns = [], []
    for field, column in zip(rows.schema, rows.columns, strict=True):
        array = as_dictionary(field, column)
        fields.append(pa.field(field.name, array.type))
        columns.append(array)
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def rows_of(frame: object, function: str) -> Rows:
    """Return a table, or a record batch, as rows. Raises `PairShapeError`."""
    if not isinstance(frame, pa.Table | pa.RecordBatch):
        raise PairShapeError(
            f'{function} must return a pyarrow Table (frame="arrow"), or None for no rows; got {short_repr(frame)} ({type(frame).__name__})'
        )
    return rows_of_arrays(frame.schema.names, frame.columns, count=frame.num_rows, function=function)


def as_dictionary(field: pa.Field[Any], column: Any) -> Any:
    """Return a column as a dictionary where its field has categories, else as it is."""
    found = categories_of(field)
    if found is None:
        return column
    categories, ordered = found
    indices = pc.index_in(column, categories)
    return pa.DictionaryArray.from_arrays(indices, categories, ordered=ordered)
