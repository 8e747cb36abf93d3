"""A result as files of one's own: its pieces, checked as they are read, as Parquet files that any reader takes for one table, or as text.

First they are Parquet files, one for each piece; from these, where it is wished, one for each partition or for all is made, of any format.

The files are written to a folder that nobody sees, brought to one schema there, and only then put where they belong (`export_targets`).

Rules of this module:

* What the columns are does not depend on how the rows were dealt to pieces: it is decided over all pieces, by the rules of `arrow_kinds`. A
  column of several types is written as the one that holds each value of it exactly, or not at all; and dicts become columns only if all
  values of all pieces are dicts, else structs in one column `value`.
* One piece is in memory at a time.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, groupby, islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from smr_notebook.dataflow.arrow_kinds import Rows, bring, exact_cast, unify
from smr_notebook.dataflow.dict_columns import can_be_columns, label_of
from smr_notebook.dataflow.export_marks import write_mark
from smr_notebook.dataflow.export_shapes import Shape
from smr_notebook.dataflow.export_targets import Target
from smr_notebook.dataflow.export_texts import WRITERS
from smr_notebook.dataflow.frames import arrow_rows
from smr_notebook.dataflow.frames.rows import FrameLibrary
from smr_notebook.dataflow.result_frames import build_columns, names_of
from smr_notebook.dataflow.results import iter_frames, iter_row_columns
from smr_notebook.errors import ConfigError, PairShapeError, StoreError
from smr_notebook.model import Part
from smr_notebook.ports import ObjectStore

_BATCH_ROWS = 65_536
_INSIDE: Final[Mapping[pa.DataType, pa.DataType]] = MappingProxyType({pa.large_string(): pa.string(), pa.large_binary(): pa.binary()})
"""Types that columns have, and within structs are others."""


@dataclass(frozen=True, slots=True)
class WrittenFiles:
    """What `Job.to_parquet` or `Job.export` wrote.

    It shows what is a fact of the data: into how many files a result goes depends on the machine.

    Attributes:
        path: The folder, or the file.
        files: The files, in the order of the partitions. Beside those of a folder stands its mark, `_SUCCESS`.
        rows: How many rows they hold.
        size: How many bytes.
    """

    path: str
    files: tuple[str, ...] = dataclasses.field(repr=False)
    rows: int
    size: int = dataclasses.field(repr=False)


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
    shape = target.shape
    with target.staging() as folder:
        with telling_disk(f"the files for {target.path}"):
            staged = stage(objects, parts, folder)
            files = _shaped_files(staged, shape, folder)
            mark = None if shape.whole else write_mark(files, files[0][0].parent, format=shape.format)
            size = sum(file.stat().st_size for file, _ in files)
        return WrittenFiles(target.path, tuple(target.publish([file for file, _ in files], mark)), staged.rows, size)


@contextmanager
def telling_disk(what: str) -> Iterator[None]:
    """Raise `StoreError` where a file that is made on the way cannot be written."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"Cannot write {what}: {error.strerror}. Check that its disk is not full.") from error


@dataclass(frozen=True, slots=True, eq=False)
class Staged:
    """A result as Parquet files of one schema that nobody else sees.

    Attributes:
        files: One for each piece, each with the number of its partition and of its rows; at least one.
        schema: The columns of all, without dictionaries.
        rows: How many they hold.
    """

    files: tuple[tuple[Path, int, int], ...]
    schema: pa.Schema
    rows: int

    def tables(self, batch_rows: int = _BATCH_ROWS) -> Iterator[pa.Table]:
        """Yield all rows, some at a time."""
        for file, _, _ in self.files:
            yield from _read(file, batch_rows)


def stage(objects: ObjectStore, parts: Sequence[Part], folder: Path) -> Staged:
    """Write a result to files in a folder, one piece in memory at a time.

    Raises:
        ConfigError: A column has values of types that go into no one column.
        CorruptObjectError: A part is not what was written.
        OSError: The files cannot be written.
    """
    numbers = [part.number for part in sorted(parts, key=lambda part: part.number) for _ in part.files] or [0]
    files, counts, schema = _staged(_found(objects, parts), folder)
    return Staged(tuple(zip(files, numbers, counts, strict=True)), schema, sum(counts))


@contextmanager
def staged_result(objects: ObjectStore, parts: Sequence[Part]) -> Iterator[Staged]:
    """Give a result as files that are removed afterwards, to whoever must know its columns before the first row. Raises as `export`."""
    with tempfile.TemporaryDirectory(prefix="smr-", ignore_cleanup_errors=True) as folder:
        with telling_disk("the result on its way"):
            staged = stage(objects, parts, Path(folder))
        yield staged


def _shaped_files(staged: Staged, shape: Shape, folder: Path) -> list[tuple[Path, int]]:
    """Return the files that a shape asks for, each with the number of its rows, in a folder that holds nothing else."""
    if shape == Shape():
        return [(file, rows) for file, _, rows in staged.files]
    shaped = folder.parent / "shaped"
    shaped.mkdir()
    made = []
    for number, pieces in _groups(staged, shape):
        file = shaped / shape.name(number)
        files = [file for file, _, _ in pieces]
        WRITERS.get(shape.suffix, _write)((table for file in files for table in _read(file)), pq.read_schema(files[0]), file)
        for piece in files:
            piece.unlink()
        made.append((file, sum(rows for _, _, rows in pieces)))
    return made


def _groups(staged: Staged, shape: Shape) -> Iterator[tuple[int, list[tuple[Path, int, int]]]]:
    """Yield the number of each file that there shall be, with the pieces that go into it."""
    if shape.whole or shape.files == "one":
        yield 0, list(staged.files)
    elif shape.files == "partitions":
        for number, pieces in groupby(staged.files, key=lambda piece: piece[1]):
            yield number, list(pieces)
    else:
        yield from ((number, [piece]) for number, piece in enumerate(staged.files))


def _found(objects: ObjectStore, parts: Sequence[Part]) -> Iterator[Rows]:
    """Yield the pieces of a result; one without rows where there is none, so that there is a file with columns."""
    found = iter_row_columns(objects, parts)
    first = list(islice(found, 1)) or [build_columns([])]
    return chain(first, found)


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """A piece as it was written first: where, and what its columns are."""

    file: Path
    schema: pa.Schema


def _staged(found: Iterable[Rows], folder: Path) -> tuple[list[Path], list[int], pa.Schema]:
    """Write a file for each piece, all of one schema, and return them with the number of rows of each, and the schema."""
    pieces: list[_Piece] = []
    counts: list[int] = []
    for rows in found:
        pieces.append(_Piece(_stage(rows, folder / Shape().name(len(pieces))), rows.schema))
        counts.append(rows.count)
    split = _split(pieces)
    try:
        schema = unify([_shaped(_none_of(piece.schema), split=split).schema for piece in pieces])
        whole = arrow_rows.frame_of(_none_of(schema)).schema
        files = [piece.file.with_suffix(".parquet") for piece in pieces]
        for piece, file in zip(pieces, files, strict=True):
            if piece.file != file or not piece.schema.remove_metadata().equals(schema, check_metadata=True):
                other = file.with_suffix(".other")
                _write((arrow_rows.frame_of(bring(_shaped(rows, split=split), schema)) for rows in _rows(piece)), whole, other)
                other.replace(file)
                if piece.file != file:
                    piece.file.unlink()
    except PairShapeError as error:
        raise ConfigError(f"The pieces of the result do not go into one table of Parquet. {error} {_ADVICE}") from error
    return files, counts, schema


def _split(pieces: Sequence[_Piece]) -> bool:
    """Whether the names of dicts become columns: they do if the values of all pieces are dicts, and all their names can be."""
    names: dict[str, None] = {}
    for piece in pieces:
        own = names_of(piece.schema)
        if own is None:
            return False
        names.update(dict.fromkeys(own))
    return can_be_columns(names)


def _shaped(rows: Rows, *, split: bool) -> Rows:
    """Return rows with one column for each name of their dicts, or with one column of structs."""
    names = names_of(rows.schema)
    plain = rows.schema.remove_metadata()
    if names is None or (split and names):
        return Rows(plain, rows.columns, rows.count)
    if split:  # of rows whose dicts are empty only the keys are left
        return Rows(pa.schema([plain.field("key")]), rows.columns[:1], rows.count)
    if not names:
        return Rows(plain, rows.columns, rows.count)
    columns = [rows.columns[plain.get_field_index(label_of(name))] for name in names]
    columns = [exact_cast(column, _INSIDE.get(column.type, column.type), name) for name, column in zip(names, columns, strict=True)]
    structs: Any = pa.StructArray.from_arrays(columns, names=list(names))
    return Rows(pa.schema([plain.field("key"), pa.field("value", structs.type)]), [rows.columns[0], structs], rows.count)


def _none_of(schema: pa.Schema) -> Rows:
    return Rows(schema, [pa.nulls(0, field.type) for field in schema], 0)


def _stage(rows: Rows, file: Path) -> Path:
    """Write a piece as it is. One that Parquet does not hold may be held when it is brought together with others: it waits as Arrow IPC."""
    table = arrow_rows.frame_of(rows)
    try:
        with pq.ParquetWriter(file, table.schema, compression="zstd", write_page_checksum=True) as writer:
            writer.write_table(table)
    except pa.ArrowNotImplementedError:
        file.unlink(missing_ok=True)
        file = file.with_suffix(".arrow")
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as ipc:
            ipc.write_table(table, max_chunksize=_BATCH_ROWS)
    return file


def _rows(piece: _Piece) -> Iterator[Rows]:
    """Yield the rows of a piece, with plain values where it has categories."""
    for table in _read(piece.file):
        columns = [_plain(column.combine_chunks(), field.type) for column, field in zip(table.columns, piece.schema, strict=True)]
        yield Rows(piece.schema, columns, table.num_rows)


def _plain(column: Any, type: pa.DataType) -> Any:
    plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    return plain if plain.type.equals(type) else plain.cast(type)


def _read(file: Path, batch_rows: int = _BATCH_ROWS) -> Iterator[pa.Table]:
    if file.suffix == ".arrow":
        with pa.memory_map(str(file)) as source:
            ipc = pa.ipc.open_file(source)
            for number in range(ipc.num_record_batches):
                yield pa.Table.from_batches([ipc.get_batch(number)], ipc.schema)
        return
    with pq.ParquetFile(file) as parquet:
        for batch in parquet.iter_batches(batch_rows):
            yield pa.Table.from_batches([batch], parquet.schema_arrow)


def _write(tables: Iterable[pa.Table], schema: pa.Schema, file: Path) -> None:
    try:
        with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
            for table in tables:
                writer.write_table(table)
    except pa.ArrowNotImplementedError as error:
        raise ConfigError(f"The result has a column that Parquet cannot hold: {error}. {_ADVICE}") from error


_ADVICE = "Go through it with `job.scan()`, whose pandas frames hold it as it is."
