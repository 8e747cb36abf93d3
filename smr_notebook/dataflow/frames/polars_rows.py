"""Frames of polars: `frame="polars"`. polars is imported here and nowhere else, and only when it is asked for."""

from __future__ import annotations

import polars as pl

from smr_notebook.dataflow.arrow_kinds import Rows
from smr_notebook.dataflow.frames import arrow_rows
from smr_notebook.dataflow.frames.rows import rows_of_arrays
from smr_notebook.dataflow.functions import short_repr
from smr_notebook.errors import ConfigError, PairShapeError


def frame_of(rows: Rows) -> pl.DataFrame:
    """Return the rows as a DataFrame.

    Raises:
        ConfigError: A column has decimals of more digits than polars holds.
    """
    for field in rows.schema:
        if "decimal256" in str(field.type):  # which polars does not refuse: it panics
            raise ConfigError(
                f"The column {field.name!r} has decimals of more than 38 digits, which polars does not hold. Use pandas or arrow."
            )
    frame = pl.from_arrow(arrow_rows.frame_of(rows))
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table gives no Series
    return frame


def rows_of(frame: object, function: str) -> Rows:
    """Return a DataFrame as rows. Raises `PairShapeError`."""
    if not isinstance(frame, pl.DataFrame):
        hint = ". Add .collect()" if isinstance(frame, pl.LazyFrame) else ""
        got = "a LazyFrame" if isinstance(frame, pl.LazyFrame) else f"{short_repr(frame)} ({type(frame).__name__})"
        raise PairShapeError(f"{function} must return a polars DataFrame, or None for no rows; got {got}{hint}")
    table = frame.to_arrow()
    return rows_of_arrays(table.schema.names, table.columns, count=table.num_rows, function=function)
