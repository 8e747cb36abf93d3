"""Columns of tuples, put together from columns and taken apart, without a look at any value."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from smr_notebook.dataflow.columns import Column
from smr_notebook.dataflow.kinds import Shape, fields_of, parse_kind


def tuple_column(columns: list[Column]) -> Column:
    """Return a column of tuples without `None`, from its positions."""
    shape = Shape("tuple", (), tuple(parse_kind(column.kind) for column in columns))
    arrays = [column.array for column in columns]
    return Column(str(shape), pa.StructArray.from_arrays(arrays, fields=fields_of(shape, [array.type for array in arrays])))


def tuple_parts(column: Column) -> list[Column]:
    """Return the positions of a column of tuples without `None`."""
    array: Any = column.array
    return [Column(str(part), array.field(place)) for place, part in enumerate(parse_kind(column.kind).parts)]
