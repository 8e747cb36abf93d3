"""Columns of numbers that are to be added up: integers, floats and all else apart, so that mixed ones need no Python object each.

JSON tells `3` from `2.5`, and what writes it seldom does: so integers and floats stand in one column more often than not. Such a column is
one of tuples (integer, float, other), of which one position at most is not `None`; a position that nobody needs takes no space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from smr_notebook.dataflow.columns import Column
from smr_notebook.dataflow.folds.arrow_values import values_of
from smr_notebook.dataflow.folds.segments import Indices, Segments, over_groups
from smr_notebook.dataflow.folds.steps import Mean, Sum
from smr_notebook.dataflow.folds.totals import totals_of, totals_of_parts
from smr_notebook.dataflow.folds.tuples import tuple_column, tuple_parts


def numbers_of(column: Any) -> Column:
    """Return a column of a table as numbers. Arguments as of `arrow_values.values_of`."""
    nothing = Column("null", pa.nulls(len(column)))
    if isinstance(column, list) and set(map(type, column)) - {type(None)} == {int, float}:
        try:
            ints = pa.array([value if type(value) is int else None for value in column], pa.int64())
        except OverflowError:
            return tuple_column([nothing, nothing, values_of(column)])
        floats = pa.array([value if type(value) is float else None for value in column], pa.float64())
        return tuple_column([Column("int", ints), Column("float", floats), nothing])
    values = values_of(column)
    parts = [nothing, nothing, nothing]
    parts[_PLACES.get(values.kind, 2)] = values
    return tuple_column(parts)


_PLACES = {"int": 0, "float": 1}


@dataclass(frozen=True, slots=True)
class Numbers:
    """Implements `steps.Fold`: a sum or mean over a column of `numbers_of`. A sum is a float in a column of which any is."""

    fold: Sum | Mean
    additive = False

    def prepare(self, values: Column) -> Column:
        """The numbers."""
        return values

    def begin(self, segments: Segments) -> Column:
        """Totals, and counts for a mean."""
        parts = [Segments(part, segments.offsets) for part in tuple_parts(segments.values)]
        totals = totals_of(parts[2]) if parts[0].values.kind == parts[1].values.kind == "null" else totals_of_parts(*parts)
        if isinstance(self.fold, Sum):
            return totals.column()
        valid = sum(_valid(part.values) for part in parts)
        return self.fold.state(totals, over_groups(np.add, np.asarray(valid, np.int64), segments.offsets, 0))

    def merge(self, states: Column, offsets: Indices) -> Column:
        """As the fold does."""
        return self.fold.merge(states, offsets)

    def finish(self, states: Column) -> Column:
        """As the fold does, all sums as floats where there are floats."""
        return self.fold.finish(states) if isinstance(self.fold, Mean) else self.fold.finish_as_column(states)

    def reference(self, values: list[Any]) -> Any:
        """As the fold does."""
        return self.fold.reference(values)


def _valid(column: Column) -> Any:
    valid: Any = column.array.is_valid()
    return valid.to_numpy(zero_copy_only=False).astype(np.int64)
