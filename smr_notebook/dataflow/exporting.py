"""A result as files of one's own: its pieces, checked as they are read, as Parquet files that any reader takes for one table, or as text.

The files are written to a folder that nobody sees, brought to one schema there, and only then put where they belong (`export_targets`).

Rules of this module:

* A column of several types is written as the one that holds each value of it exactly, or not at all.
* One piece is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from smr_notebook.dataflow.export_targets import Target, file_name
from smr_notebook.dataflow.export_texts import WRITERS
from smr_notebook.dataflow.frames import arrow_rows
from smr_notebook.dataflow.frames.rows import FrameLibrary
from smr_notebook.dataflow.result_frames import build_columns
from smr_notebook.dataflow.results import iter_frames, iter_row_columns
from smr_notebook.errors import ConfigError, StoreError
from smr_notebook.model import Part
from smr_notebook.ports import ObjectStore

_BATCH_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class WrittenFiles:
    """What `Job.to_parquet` or `Job.export` wrote.

    Attributes:
        path: The folder, or the file.
        files: The files, in the order of the partitions.
        rows: How many rows they hold.
        size: How many bytes.
    """

    path: str
    files: tuple[str, ...]
    rows: int
    size: int


def iter_pieces(objects: ObjectStore, parts: Sequence[Part], frames: FrameLibrary | None) -> Iterator[Any]:
    """Yield the result piece by piece, as frames of a library, or as `iter_frames` does. Raises as `iter_row_columns` does."""
    if frames is None:
        return iter_frames(objects, parts)
    return (frames.frame_of(rows) for rows in iter_row_columns(objects, parts))


def export(objects: ObjectStore, parts: Sequence[Part], target: Target) -> WrittenFiles:
    """Write a result to where a target says.

    Raises:
        ConfigError: Something is there already, or a column has values of types that go into no one column.
        CorruptObjectError: A part is not what was written.
        StoreError: The files cannot be written.
    """
    with target.staging() as folder:
        try:
            files, rows = _staged(_tables(objects, parts), folder)
            if target.whole:
                files = [_joined(files, folder, Path(target.path).suffix)]
            size = sum(file.stat().st_size for file in files)
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(f"Cannot write the files for {target.path}: {error.strerror}. Check that its disk is not full.") from error
        return WrittenFiles(target.path, tuple(target.publish(files)), rows, size)


def _tables(objects: ObjectStore, parts: Sequence[Part]) -> Iterator[pa.Table]:
    """Yield the tables of a result; one without rows where there is none, so that there is a file with columns."""
    found = (arrow_rows.frame_of(rows) for rows in iter_row_columns(objects, parts))
    first = list(islice(found, 1)) or [arrow_rows.frame_of(build_columns([]))]
    return chain(first, found)


def _staged(tables: Iterable[pa.Table], folder: Path) -> tuple[list[Path], int]:
    """Write a file for each table, all of one schema, and return them with the number of their rows."""
    files: list[Path] = []
    schemas: list[pa.Schema] = []
    rows = 0
    for table in tables:
        files.append(folder / file_name(len(files)))
        schemas.append(table.schema)
        _write([table], table.schema, files[-1])
        rows += table.num_rows
    schema = _one_of(schemas)
    for file, own in zip(files, schemas, strict=True):
        if not own.equals(schema):
            other = file.with_suffix(".other")
            _write((_cast(table, schema) for table in _read(file)), schema, other)
            other.replace(file)
    return files, rows


def _joined(files: Sequence[Path], folder: Path, suffix: str) -> Path:
    whole = folder / f"whole{suffix}"
    WRITERS.get(suffix, _write)((table for file in files for table in _read(file)), pq.read_schema(files[0]), whole)
    return whole


def _one_of(schemas: Sequence[pa.Schema]) -> pa.Schema:
    try:
        return pa.unify_schemas(list(dict.fromkeys(schemas)), promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ConfigError(
            f"The pieces of the result have columns of types that go into no one column of Parquet: {error}. {_ADVICE}"
        ) from error


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table as a schema says, with what it lacks missing, and each value as it was."""
    columns = []
    for field in schema:
        try:
            column = table.column(field.name) if field.name in table.schema.names else pa.nulls(table.num_rows)
            columns.append(column.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ConfigError(
                f"The column {field.name!r} of the result cannot be {field.type} in all its rows: {error}. {_ADVICE}"
            ) from error
    return pa.Table.from_arrays(columns, schema=schema)


def _read(file: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(file) as parquet:
        for batch in parquet.iter_batches(_BATCH_ROWS):
            yield pa.Table.from_batches([batch], parquet.schema_arrow)


def _write(tables: Iterable[pa.Table], schema: pa.Schema, file: Path) -> None:
    try:
        with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
            for table in tables:
                writer.write_table(table)
    except pa.ArrowNotImplementedError as error:
        raise ConfigError(f"The result has a column that Parquet cannot hold: {error}. {_ADVICE}") from error


_ADVICE = "Go through it with `job.scan()`, whose pandas frames hold it as it is."
