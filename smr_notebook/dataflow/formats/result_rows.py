"""The rows of a job that is done, as the input of the next one: records, or columns.

Theory. A part is a Parquet file that its commit vouches for: by size and CRC-32, and by a digest where it holds pickles. What stands there
travels in the version of each span, and a span is signed with its split, so that a worker knows what to expect without asking anybody.

A span is a share of a file's *rows*: row `r` of `R` is said to stand at byte `r * size // R`. So a file may be cut at any byte, each row is
read once by any plan, and the sizes of spans and blocks sum to the size of the file.

Rules:

* The file is read as a whole and found to be what was written before any of its rows is given: what is damaged is an error, always.
  One that is large is kept in a file without a name meanwhile.
* A record is the tuple of key and value, of exactly the types that they had; or, of rows of frames, a dict by the names of the columns.
* As columns, they are named as those of the result's DataFrame: `key`, and `value` or the names of dicts. Which of the two, the kinds of
  all files together tell (`named_values`), so that it depends on no cut; pickled values that are no dicts keep `value`. A column that a
  block lacks is missing there, and so are all names of dicts where a value is `None`, which keeps the DataFrame's from being columns.
* The source that `map` sees is the identifier of the job.
"""

from __future__ import annotations

import hashlib
import hmac
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from smr_notebook.dataflow.arrow_kinds import DTYPE, categories_of
from smr_notebook.dataflow.columns import Column, decode_values
from smr_notebook.dataflow.dict_columns import can_be_columns, label_of, names_of_dicts
from smr_notebook.dataflow.formats.arrow_objects import dicts_of
from smr_notebook.dataflow.kinds import FLAT_TYPES, arrow_type, parse_kind
from smr_notebook.dataflow.outputs import DIGEST_BYTES, ROWS, holds_pickles
from smr_notebook.dataflow.records import RecordBlock, nowhere
from smr_notebook.errors import CorruptObjectError, InputReadError, SmrError, UntrustedObjectError
from smr_notebook.model import PLAINLY, PartFile, Reading, Span
from smr_notebook.ports import InputSource

if TYPE_CHECKING:
    from smr_notebook.dataflow.table_blocks import TableColumn

_IN_MEMORY: Final = 64 << 20
"""Bytes of a file that is kept in memory while its rows are given."""

_STEP: Final = 8 << 20
_BLOCK_BYTES: Final = 1 << 20
_PLAIN: Final = frozenset(FLAT_TYPES) - {"pickle", "uuid"}
"""Kinds whose arrays hold the values themselves."""


@dataclass(frozen=True, slots=True)
class PriorFile:
    """What the version of a span tells.

    Attributes:
        job: Whose result it is.
        file: The file as its commit has it.
        named: Whether the names of dicts are columns, as all files of the result tell; `None` in older plans, where each block does.
    """

    job: str
    file: PartFile
    named: bool | None = None


_TOLD: Final = msgspec.json.Decoder(PriorFile)


@dataclass(frozen=True, slots=True, eq=False)
class ResultBlock:
    """Some rows of a file, in order.

    Attributes:
        job: Whose result they are.
        kinds: As of `PartFile`.
        table: The rows as they are stored.
        size: Input bytes that they account for.
        begin: Byte at which a span can begin with them; `None` where several rows share it.
        named: As of `PriorFile`.
    """

    job: str
    kinds: tuple[str, str]
    table: pa.Table
    size: int
    begin: int | None
    named: bool | None = None

    def records(self) -> list[Any]:
        """Return the rows as records. Raises `InputReadError` where a value cannot be unpickled here."""
        if self.kinds[0] == ROWS:
            return [record for batch in self.table.to_batches() for record in dicts_of(batch)]
        return list(zip(self._values("key"), self._values("value"), strict=True))

    def columns(self, names: Sequence[str] | None) -> dict[str, TableColumn]:
        """Return the rows as columns: those of some names, or all. Raises as `records` does."""
        rows = self.table.num_rows
        found = self._frame_columns() if self.kinds[0] == ROWS else self._pair_columns() if rows else {}
        return found if names is None else {name: found[name] if name in found else pa.nulls(rows) for name in names}

    def dtypes(self) -> dict[str, str]:
        """Return the names of pandas dtypes to which columns go back."""
        marks = {field.name: (field.metadata or {}).get(DTYPE) for field in self.table.schema}
        return {name: mark.decode() for name, mark in marks.items() if mark and self.kinds[0] == ROWS}

    def _column(self, name: str) -> Column:
        array: Any = self.table.column(name).combine_chunks()
        return Column(self.kinds[name == "value"], array)

    def _values(self, name: str) -> list[Any]:
        try:
            return decode_values(self._column(name))
        except SmrError:
            raise
        except Exception as error:
            raise InputReadError(
                f"The result of job {self.job} cannot be unpickled on the worker: {type(error).__name__}: {error}. "
                "Install there the package that its values come from, or give plain values."
            ) from error

    def _frame_columns(self) -> dict[str, TableColumn]:
        columns: dict[str, TableColumn] = {}
        for field in self.table.schema:
            array: Any = self.table.column(field.name).combine_chunks()
            found = categories_of(field)
            if found is not None:
                array = pa.DictionaryArray.from_arrays(pc.index_in(array, found[0]), found[0], ordered=found[1])
            columns[field.name] = array
        return columns

    def _pair_columns(self) -> dict[str, TableColumn]:
        if self.named and self.kinds[1] == "null":
            return {"key": self._plain("key")}
        return {"key": self._plain("key"), **(self._named_columns() or {"value": self._plain("value")})}

    def _named_columns(self) -> dict[str, TableColumn]:
        """Return the columns of dicts; none of other values, and where these are to stay one column."""
        if self.named is False or (self.named is None and self._column("value").array.null_count):
            return {}
        return _of_structs(self._column("value")) or self._of_dicts()

    def _plain(self, name: str) -> TableColumn:
        """Return the values of a column: as Arrow where that holds them as they are, else as exact Python values."""
        return _plain(self._column(name)) if self.kinds[name == "value"] in _PLAIN else self._values(name)

    def _of_dicts(self) -> dict[str, TableColumn]:
        """Return the columns of dicts that are pickled, because they differ; none of other values."""
        if self.kinds[1] != "pickle":
            return {}
        rows: list[Any] = [{} if value is None else value for value in self._values("value")]
        return {label_of(name): [row.get(name) for row in rows] for name in names_of_dicts(rows)}


def named_values(files: Iterable[PartFile]) -> bool:
    """Whether the values of a result are dicts whose names are columns, as far as the kinds of its files tell."""
    kinds = {file.kinds[1] for file in files if file.rows} - {"null"}
    if not kinds or not all(kind == "pickle" or kind.startswith("dict(") for kind in kinds):
        return False
    names = {name for kind in kinds if kind != "pickle" for name in parse_kind(kind).names}
    return not names or can_be_columns(names)


def version_of(job: str, file: PartFile, *, named: bool | None = None) -> str:
    """Return the version of spans of a file of a job's result. `named` is what `named_values` tells of all its files."""
    return msgspec.json.encode(PriorFile(job, file, named)).decode()


def rows_of_version(version: str) -> int:
    """Return how many rows the file has that a version tells of."""
    return _TOLD.decode(version).file.rows


def read_result(span: Span, source: InputSource, reading: Reading = PLAINLY) -> Iterator[RecordBlock]:  # noqa: ARG001 - the face of Reader
    """Yield the rows of a span as records.

    Raises:
        CorruptObjectError: The file is not what was written.
        InputMissingError: It is gone.
        InputReadError: It cannot be read.
    """
    for block in read_blocks(span, source):
        yield RecordBlock(block.job, block.records(), block.size, nowhere, block.begin)


def read_blocks(span: Span, source: InputSource) -> Iterator[ResultBlock]:
    """Yield the rows of a span, block by block; at least one block. Raises as `read_result` does."""
    told = _told(span)
    first, last = _row_at(span.start, told.file), _row_at(span.stop, told.file)
    counted = span.start
    with _opened(told, source) as parquet:
        for row, table in _tables(parquet, told, first, last):
            stop = span.stop if row + table.num_rows == last else _byte_of(row + table.num_rows, told.file)
            begin = _byte_of(row, told.file)
            yield ResultBlock(
                told.job,
                told.file.kinds,
                table,
                stop - counted,
                begin if _row_at(begin, told.file) == row and begin >= counted else None,
                told.named,
            )
            counted = stop
        if first == last:
            yield ResultBlock(told.job, told.file.kinds, parquet.schema_arrow.empty_table(), span.stop - span.start, None, told.named)


def _told(span: Span) -> PriorFile:
    try:
        told = _TOLD.decode(span.version)
    except msgspec.MsgspecError as error:
        raise CorruptObjectError(
            f"{span.key} is read as the result of a job, and its plan does not say whose. Submit the job again."
        ) from error
    if (told.file.key, told.file.size) != (span.key, span.size):
        raise CorruptObjectError(f"{span.key} is not the object that its plan tells of ({told.file.key}). Submit the job again.")
    return told


def _row_at(byte: int, file: PartFile) -> int:
    """Return the first row that stands at a byte or behind it."""
    return -(-byte * file.rows // max(file.size, 1))


def _byte_of(row: int, file: PartFile) -> int:
    return row * file.size // max(file.rows, 1)


# ---------------------------------------------------------------- the file


@contextmanager
def _opened(told: PriorFile, source: InputSource) -> Iterator[pq.ParquetFile]:
    """Open a file that was found to be what was written. Raises as `read_result` does."""
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as kept:
        _fetch(told, source, kept)
        kept.seek(0)
        with _whole(told):
            parquet = pq.ParquetFile(pa.BufferReader(kept.read()) if told.file.size <= _IN_MEMORY else pa.PythonFile(kept, mode="r"))
            _check(parquet, told.file)
            yield parquet


def _fetch(told: PriorFile, source: InputSource, kept: Any) -> None:
    """Copy a file, and see to it that it is what was written."""
    file, crc, size = told.file, 0, 0
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for start in range(0, file.size, _STEP):
        piece = source.get(file.key, start, min(start + _STEP, file.size))
        crc, size = zlib.crc32(piece, crc), size + len(piece)
        digest.update(piece)
        kept.write(piece)
    if (size, crc) != (file.size, file.crc):
        raise _damaged(told, f"{size:,} bytes, written {file.size:,}")
    if holds_pickles(file.kinds) and not hmac.compare_digest(digest.digest(), file.digest):
        raise UntrustedObjectError(
            f"{file.key}, a part of the result of job {told.job}, was not written by this workspace: its digest differs. What it holds was "
            "not loaded, because to load it is to run it. Run that job again, and look who else may write to the object store."
        )


def _check(parquet: pq.ParquetFile, file: PartFile) -> None:
    """Raise `ValueError` when a file holds other columns, or rows, than its commit tells."""
    if parquet.metadata.num_rows != file.rows:
        raise ValueError("its footer tells other rows")
    if file.kinds[0] != ROWS:
        types = {"key": arrow_type(file.kinds[0]), "value": arrow_type(file.kinds[1])}
        found = {field.name: field.type for field in parquet.schema_arrow if field.name != "group"}
        if found != types:
            raise ValueError("it has other columns")


def _tables(parquet: pq.ParquetFile, told: PriorFile, first: int, last: int) -> Iterator[tuple[int, pa.Table]]:
    """Yield the rows from one to another in pieces of about `_BLOCK_BYTES`, each with the number of its first."""
    names = None if told.file.kinds[0] == ROWS else ["key", "value"]
    at = 0
    for number in range(parquet.num_row_groups):
        rows = parquet.metadata.row_group(number).num_rows
        begin, stop = max(first, at), min(last, at + rows)
        if begin < stop:
            table = parquet.read_row_group(number, columns=names)
            table.validate(full=True)
            step = max(1, rows * _BLOCK_BYTES // max(table.nbytes, 1))
            for row in range(begin, stop, step):
                yield row, table.slice(row - at, min(step, stop - row))
        at += rows


@contextmanager
def _whole(told: PriorFile) -> Iterator[None]:
    """Say that the file is damaged when what is read of it makes no sense."""
    try:
        yield
    except SmrError:
        raise
    except (pa.ArrowException, EOFError, OSError, ValueError, LookupError, OverflowError) as error:
        raise _damaged(told, str(error)) from error


def _damaged(told: PriorFile, why: str) -> CorruptObjectError:
    return CorruptObjectError(
        f"{told.file.key}, a part of the result of job {told.job}, is not what was written ({why}). Run that job again, and this one with "
        "its result."
    )


# ---------------------------------------------------------------- columns


def _plain(column: Column) -> TableColumn:
    """Return the values of a column: as Arrow where that holds them as they are, else as exact Python values."""
    return column.array if column.kind in _PLAIN else decode_values(column)


def _of_structs(column: Column) -> dict[str, TableColumn]:
    """Return the columns of dicts that are stored as such; none of other values. What is `None` among them has nothing in any."""
    if not column.kind.startswith("dict("):
        return {}
    shape, structs = parse_kind(column.kind), column.array
    if not can_be_columns(shape.names):
        return {}
    fields: Any = structs
    return {
        label_of(name): _plain(Column(str(part), field))
        for name, part, field in zip(shape.names, shape.parts, fields.flatten(), strict=True)
    }
