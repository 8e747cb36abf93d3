"""The result of a job over frames: the rows of its parts as one DataFrame.

The rows are sorted by the columns that they were grouped by, stably, if they all are there; else they follow each other part after part.
Missing values come last, ordered categories stand in their order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from smr_notebook.dataflow.arrow_kinds import Rows, categories_of, concat_rows
from smr_notebook.dataflow.frames import pandas_rows
from smr_notebook.dataflow.outputs import METADATA, ROWS
from smr_notebook.model import Part, PartFile

ReadTable = Callable[[PartFile], pa.Table]


def holds_rows(parts: Sequence[Part]) -> bool:
    """Whether the parts are those of a job over frames. A result without any file might be."""
    return any(file.kinds[0] == ROWS for part in parts for file in part.files)


def load_rows(files: Iterable[PartFile], read: ReadTable) -> pd.DataFrame:
    """Return all rows in order.

    Args:
        files: Of the result, in the order of the parts.
        read: Reads one, and checks that it is what was written.

    Raises:
        PairShapeError: Columns of several files do not go together.
    """
    rows, by = _joined([read(file) for file in files])
    return pandas_rows.frame_of(_sorted(rows, by))


def head_rows(files: Iterable[PartFile], read: ReadTable, n: int) -> pd.DataFrame:
    """Return the first rows in order, with one file in memory at a time. Arguments and errors as of `load_rows`."""
    best: list[pa.Table] = []
    for file in files:
        rows, by = _joined([*best, read(file)])
        first = _sliced(_sorted(rows, by), n)
        best = [_table(first, by)]
    rows, by = _joined(best)
    return pandas_rows.frame_of(rows)


def iter_rows(files: Iterable[PartFile], read: ReadTable) -> Iterator[pd.DataFrame]:
    """Yield one frame for each file, with rows as the tasks gave them."""
    yield from map(pandas_rows.frame_of, iter_joined(files, read))


def iter_joined(files: Iterable[PartFile], read: ReadTable) -> Iterator[Rows]:
    """Yield the same as Arrow columns."""
    return (_joined([read(file)])[0] for file in files)


def check_rows(table: pa.Table) -> None:
    """See to it that a file of rows can become a frame, by what its metadata say and the values that it has.

    Raises:
        ValueError, LookupError, OverflowError, pa.ArrowException: It cannot.
    """
    rows, by = _joined([table])
    if not all(isinstance(name, str) for name in by):
        raise ValueError("it is sorted by something without a name")
    for field in rows.schema:
        found = categories_of(field)
        if found is not None:
            found[0].validate(full=True)
    try:
        pandas_rows.frame_of(_sliced(rows, 0))
    except (AttributeError, TypeError) as error:
        raise ValueError(f"it has a column that is none of pandas: {error}") from error


def _joined(tables: Sequence[pa.Table]) -> tuple[Rows, tuple[str, ...]]:
    pieces = []
    by: tuple[str, ...] = ()
    for table in tables:
        facts = json.loads((table.schema.metadata or {}).get(METADATA, b"{}"))
        if not isinstance(facts, dict):
            raise ValueError("its metadata are not ours")  # noqa: TRY004 - of what was stored
        by = tuple(facts.get("by", ()))
        columns: list[Any] = [column.combine_chunks() for column in table.columns]
        pieces.append(Rows(table.schema.remove_metadata(), columns, table.num_rows))
    return concat_rows(pieces), by


def _table(rows: Rows, by: Sequence[str]) -> pa.Table:
    metadata = {METADATA: json.dumps({"by": by}).encode()}
    return pa.Table.from_arrays(list(rows.columns), schema=rows.schema.with_metadata(metadata))


def _sliced(rows: Rows, n: int) -> Rows:
    return Rows(rows.schema, [column[:n] for column in rows.columns], min(n, rows.count))


def _sorted(rows: Rows, by: Sequence[str]) -> Rows:
    names = rows.schema.names
    if not by or not set(by) <= set(names):
        return rows
    columns = [_ranked(rows.schema.field(name), rows.columns[names.index(name)]) for name in by]
    keys: list[tuple[str, Any]] = [(str(place), "ascending") for place, column in enumerate(columns) if not pa.types.is_null(column.type)]
    if not keys:
        return rows
    order: npt.NDArray[np.int64] = pc.sort_indices(
        pa.table({str(place): column for place, column in enumerate(columns)}), sort_keys=keys
    ).to_numpy()
    return Rows(rows.schema, [column.take(order) for column in rows.columns], rows.count)


def _ranked(field: pa.Field[Any], column: Any) -> Any:
    """Return what a column is sorted by."""
    found = categories_of(field)
    return pc.index_in(column, found[0]) if found is not None and found[1] else column
