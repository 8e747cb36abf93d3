"""Frames of pandas: the default of `map_frames`, and what a result is.

* Levels of the index that have a name become the first columns, since `groupby` puts there what one has grouped by. Other indexes, such as
  the one that counts rows, are dropped.
* Missing values are missing, of whatever sort pandas' were. A column goes back to the dtype that it had. Where it had none, because it
  was read from Parquet, integers and booleans with missing values become `Int64` (or its like) and `boolean`, which hold them exactly.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from smr_notebook.dataflow.arrow_kinds import DTYPE, Rows, categories_of
from smr_notebook.dataflow.exact_arrays import exact_array
from smr_notebook.dataflow.frames.rows import rows_of_arrays
from smr_notebook.dataflow.functions import short_repr
from smr_notebook.errors import PairShapeError

_ARROW = "pyarrow"
"""Stands for pandas' `ArrowDtype` of the column's own type."""

_NULLABLE: dict[pa.DataType, Any] = {
    pa.bool_(): pd.BooleanDtype(),
    pa.int8(): pd.Int8Dtype(), pa.int16(): pd.Int16Dtype(), pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(), pa.uint16(): pd.UInt16Dtype(), pa.uint32(): pd.UInt32Dtype(), pa.uint64(): pd.UInt64Dtype(),
}  # fmt: skip


def frame_of(rows: Rows) -> pd.DataFrame:
    """Return the rows as a DataFrame whose index counts them."""
    columns = {field.name: _series(field, column) for field, column in zip(rows.schema, rows.columns, strict=True)}
    return pd.DataFrame(columns, index=pd.RangeIndex(rows.count))


def rows_of(frame: object, function: str) -> Rows:
    """Return a DataFrame as rows. Raises `PairShapeError`."""
    if not isinstance(frame, pd.DataFrame):
        hint = ". Add .reset_index() to make a DataFrame of it" if isinstance(frame, pd.Series) else ""
        got = "a Series" if isinstance(frame, pd.Series) else f"{short_repr(frame)} ({type(frame).__name__})"
        raise PairShapeError(f"{function} must return a pandas DataFrame, or None for no rows; got {got}{hint}")
    levels = [place for place, name in enumerate(frame.index.names) if name is not None]
    names: list[Any] = [frame.index.names[place] for place in levels] + list(frame.columns)
    series = [pd.Series(frame.index.get_level_values(place)) for place in levels] + [
        frame.iloc[:, place] for place in range(len(frame.columns))
    ]
    arrays = [_array(name, column, function) for name, column in zip(names, series, strict=True)]
    dtypes = {
        name: mark for name, column in zip(names, series, strict=True) if isinstance(name, str) and (mark := dtype_mark(column.dtype))
    }
    return rows_of_arrays(names, arrays, count=len(frame), function=function, dtypes=dtypes)


def _array(name: object, column: Any, function: str) -> Any:
    try:
        if column.dtype != object:
            return pa.array(column, from_pandas=True)
        return exact_array([None if gone else value for value, gone in zip(column.tolist(), column.isna().tolist(), strict=True)])
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise PairShapeError(
            f"{function} returned a frame whose column {name!r} ({column.dtype}) Arrow cannot hold: {error}. "
            "Give it values of one plain type, or drop it."
        ) from error


def dtype_mark(dtype: Any) -> str | None:
    """Return the name of a dtype to which Arrow's type alone does not lead back."""
    if isinstance(dtype, pd.ArrowDtype):
        return _ARROW
    plain = isinstance(dtype, pd.CategoricalDtype | pd.DatetimeTZDtype) or str(dtype) == "str"
    return str(dtype) if isinstance(dtype, pd.api.extensions.ExtensionDtype) and not plain else None


def _series(field: pa.Field[Any], column: Any) -> pd.Series[Any]:
    found = categories_of(field)
    if found is not None:
        categories, ordered = found
        codes = pc.fill_null(pc.index_in(column, categories), -1).to_numpy()
        dtype = pd.CategoricalDtype(pd.Index(categories.to_pandas()), ordered=ordered)
        return pd.Series(pd.Categorical.from_codes(codes, dtype=dtype))
    mark = (field.metadata or {}).get(DTYPE, b"").decode()
    marked: Any = pd.ArrowDtype(column.type) if mark == _ARROW else pd.api.types.pandas_dtype(mark) if mark else None
    if marked is None and column.null_count:
        marked = _NULLABLE.get(column.type)
    if marked is not None:
        return pd.Series(marked.__from_arrow__(column))
    series: pd.Series[Any] = column.to_pandas()
    return series
