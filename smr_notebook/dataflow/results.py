"""The result of a job: its parts, read back.

* What frames gave is read by `dataflow.row_results`; the rest of this concerns keys and values.
* Rows come in key order over all parts (`dataflow.ordering`), so that a frame does not depend on the number of reducers.
* What was stored is checked before it is used: checksum, size and number of rows of each file. A head, which reads pages of files
  rather than files, checks the checksum of each page.
* Nothing is unpickled of a file whose digest is not the one that its commit names; so a head reads such a file as a whole.
* A result larger than the limit is not loaded, and the error says what to do instead.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import hmac
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from smr_notebook.dataflow.arrow_kinds import Rows
from smr_notebook.dataflow.columns import Column, decode_values, encode_values
from smr_notebook.dataflow.kinds import arrow_type
from smr_notebook.dataflow.ordering import order_of, token_of
from smr_notebook.dataflow.outputs import DIGEST_BYTES, METADATA, ROWS, holds_pickles
from smr_notebook.dataflow.result_frames import RowBatch, build_columns, build_frame
from smr_notebook.dataflow.row_results import check_rows, head_rows, holds_rows, iter_joined, iter_rows, load_rows
from smr_notebook.errors import ConfigError, CorruptObjectError, ResultTooLargeError, SmrError, UntrustedObjectError
from smr_notebook.model import Part, PartFile
from smr_notebook.ports import ObjectStore

_ADVICE = "The result is damaged: submit the job again."


def load_frame(objects: ObjectStore, parts: Sequence[Part], *, limit_bytes: int | None) -> pd.DataFrame:
    """Return all rows, in key order.

    Args:
        objects: Where the parts are.
        parts: The parts of the result, in any order.
        limit_bytes: Most memory that the columns may take as Arrow; `None` for no limit.

    Raises:
        ResultTooLargeError: They would take more.
        CorruptObjectError: A file is not what was written.
    """
    raw_bytes = _raw_bytes(parts)
    if limit_bytes is not None and raw_bytes > limit_bytes:
        rows = sum(part.rows for part in parts)
        raise ResultTooLargeError(
            f"The result has {rows:,} rows and takes {_size(raw_bytes)} of memory, more than the limit of {_size(limit_bytes)}. "
            "See its first rows with `job.head()`, go through it frame by frame with `job.scan()`, write it to Parquet files of your own "
            "with `job.to_parquet(path)`, or raise the session's `result_limit`."
        )
    if holds_rows(parts):
        return load_rows(_files(parts), partial(_read_table, objects))
    batches = [batch for file in _files(parts) for batch in _read_file(objects, file)]
    return build_frame(batches, _order(batches))


def iter_frames(objects: ObjectStore, parts: Sequence[Part]) -> Iterator[pd.DataFrame]:
    """Yield one frame for each file, part after part, with rows as the tasks gave them: one file in memory at a time.

    Raises:
        CorruptObjectError: A file is not what was written.
    """
    if holds_rows(parts):
        yield from iter_rows(_files(parts), partial(_read_table, objects))
        return
    for file in _files(parts):
        yield build_frame(list(_read_file(objects, file)), None)


def iter_values(objects: ObjectStore, part: Part) -> Iterator[tuple[Any, Any]]:
    """Yield key and value of each row of a part, in the order in which they were written: one file in memory at a time.

    Raises:
        CorruptObjectError: A file is not what was written.
    """
    for file in part.files:
        for batch in _read_file(objects, file):
            yield from zip(decode_values(batch.key), decode_values(batch.value), strict=True)


def iter_row_columns(objects: ObjectStore, parts: Sequence[Part]) -> Iterator[Rows]:
    """Yield the same as Arrow columns.

    Raises:
        CorruptObjectError: A file is not what was written.
        ConfigError: A column has values that no one type of Arrow holds exactly.
    """
    if holds_rows(parts):
        yield from iter_joined(_files(parts), partial(_read_table, objects))
        return
    for file in _files(parts):
        batches = list(_read_file(objects, file))
        try:
            yield build_columns(batches)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            found = f"The result has a column whose values go into no one type of Arrow or Parquet: {error}."
            raise ConfigError(f"{found} Go through it with `job.scan()`, whose pandas frames hold them as they are.") from error


def head_frame(objects: ObjectStore, parts: Sequence[Part], n: int, *, limit_bytes: int | None = None) -> pd.DataFrame:
    """Return the first `n` rows in key order.

    Where all parts are in key order, as `reduce` leaves them, only the beginnings of files are read. Else all are, one at a time.

    Args:
        objects: Where the parts are.
        parts: The parts of the result, in any order.
        n: How many rows.
        limit_bytes: As of `load_frame`, for so many rows of the size that a row has on the average; `None` for no limit.

    Raises:
        ResultTooLargeError: They would take more.
        CorruptObjectError: What was read is not what was written.
    """
    rows = sum(part.rows for part in parts)
    size = _raw_bytes(parts) * min(max(n, 0), rows) // max(rows, 1)
    if limit_bytes is not None and size > limit_bytes:
        raise ResultTooLargeError(
            f"The first {min(n, rows):,} of {rows:,} rows of the result take about {_size(size)} of memory, more than the limit of "
            f"{_size(limit_bytes)}. Ask for fewer rows, go through the result frame by frame with `job.scan()`, write it to Parquet files "
            "of your own with `job.to_parquet(path)`, or raise the session's `result_limit`."
        )
    if holds_rows(parts):
        return head_rows(_files(parts), partial(_read_table, objects), max(n, 0))
    numbered = [part for part in sorted(parts, key=lambda part: part.number) if part.files]
    if n <= 0 or not numbered:
        return build_frame([], None)
    if not all(_is_ordered(objects, part) for part in numbered):
        return _head_of_all(objects, numbered, n)
    first = list(islice(heapq.merge(*(_first_rows(objects, part, n) for part in numbered)), n))
    batch = RowBatch(encode_values([row.key for row in first]), encode_values([row.value for row in first]), None)
    return build_frame([batch], None)


# ---------------------------------------------------------------- whole files


def _raw_bytes(parts: Sequence[Part]) -> int:
    return sum(file.raw_bytes for part in parts for file in part.files)


def _files(parts: Sequence[Part]) -> list[PartFile]:
    return [file for part in sorted(parts, key=lambda part: part.number) for file in part.files]


def _read_table(objects: ObjectStore, file: PartFile) -> pa.Table:
    with _checked(file):
        table = pq.ParquetFile(in_arrow(_whole(objects, file))).read()
        table.validate(full=True)
        if file.kinds[0] == ROWS:
            check_rows(table)
        else:
            _check_schema(table.schema, file)
    if table.num_rows != file.rows:
        raise CorruptObjectError(f"{file.key} holds {table.num_rows:,} rows, written were {file.rows:,}. {_ADVICE}")
    return table


def in_arrow(data: bytes) -> pa.BufferReader:
    """Return bytes as a file in memory of Arrow's own.

    Arrow's threads let go of what they have read when they come to it. Memory of Python's they can let go of only by way of Python: where
    that ends at this moment, a script that has just taken its result for example, the process is aborted.
    """
    memory = pa.allocate_buffer(len(data))
    pa.FixedSizeBufferWriter(memory).write(data)
    return pa.BufferReader(memory)


def _whole(objects: ObjectStore, file: PartFile) -> bytes:
    """Return the bytes of a file: those that were written, or, where they hold pickles, nothing that anybody could have made."""
    data = objects.get(file.key)
    if len(data) != file.size or zlib.crc32(data) != file.crc:
        raise CorruptObjectError(f"{file.key} is not what was written ({len(data):,} bytes, written {file.size:,}). {_ADVICE}")
    if holds_pickles(file.kinds) and not hmac.compare_digest(hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest(), file.digest):
        raise UntrustedObjectError(
            f"{file.key} was not written by this workspace: its digest differs. What it holds was not loaded, because to load it "
            "is to run it. Submit the job again, and look who else may write to the object store."
        )
    return data


def _read_file(objects: ObjectStore, file: PartFile) -> Iterator[RowBatch]:
    for batch in _read_table(objects, file).to_batches():
        yield _row_batch(batch, file.kinds)


def _row_batch(batch: pa.RecordBatch, kinds: tuple[str, str]) -> RowBatch:
    groups = batch.column("group") if "group" in batch.schema.names else None
    return RowBatch(Column(kinds[0], batch.column("key")), Column(kinds[1], batch.column("value")), groups)


def _order(batches: Sequence[RowBatch]) -> Any:
    groups = [batch.group for batch in batches if batch.group is not None]
    return order_of([batch.key for batch in batches], groups or None)


def _size(count: int) -> str:
    size, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.3g} {unit}" if size < 1000 else f"{size:,.0f} {unit}"


# ---------------------------------------------------------------- first rows


@dataclass(frozen=True, slots=True, order=True)
class _Row:
    """A row in the order of the result: no two have the same token, group, part and number, so key and value are never compared."""

    token: bytes
    group: bytes
    part: int
    number: int
    key: Any
    value: Any


class _StoredFile(io.RawIOBase):
    """An object of a store as a seekable file: reads what is asked for."""

    def __init__(self, objects: ObjectStore, file: PartFile) -> None:
        self._objects = objects
        self._file = file
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        stop = self._file.size if size < 0 else min(self._at + size, self._file.size)
        data = self._objects.get(self._file.key, self._at, stop) if stop > self._at else b""
        self._at += len(data)
        return data


@contextlib.contextmanager
def _checked(file: PartFile) -> Iterator[None]:
    """Say that the file is damaged when what is read of it makes no sense."""
    try:
        yield
    except SmrError:
        raise
    except (pa.ArrowException, EOFError, OSError, ValueError, LookupError, OverflowError, MemoryError) as error:
        raise CorruptObjectError(f"{file.key} is not what was written ({error}). {_ADVICE}") from error


def _open(objects: ObjectStore, file: PartFile) -> pq.ParquetFile:
    """Open a file of whose footer all that can be known beforehand holds: pages have checksums, the footer has none."""
    if holds_pickles(file.kinds):
        return pq.ParquetFile(in_arrow(_whole(objects, file)))
    parquet = pq.ParquetFile(pa.PythonFile(_StoredFile(objects, file), mode="r"), page_checksum_verification=True)
    _check_schema(parquet.schema_arrow, file)
    if parquet.metadata.num_rows != file.rows:
        raise ValueError("its footer tells other rows")
    return parquet


def _check_schema(schema: pa.Schema, file: PartFile) -> None:
    """Raise `ValueError` when the columns of a file are not those that its kinds tell."""
    types = {"key": arrow_type(file.kinds[0]), "value": arrow_type(file.kinds[1]), "group": pa.binary()}
    if {field.name: field.type for field in schema} not in (types, {name: types[name] for name in ("key", "value")}):
        raise ValueError("it has other columns")


def _is_ordered(objects: ObjectStore, part: Part) -> bool:
    """Return what the last file says about the whole part. Where several attempts wrote it, no file speaks for what others wrote."""
    if len({file.key.rpartition("/")[0] for file in part.files}) > 1:
        return False
    with _checked(part.files[-1]):
        metadata = _open(objects, part.files[-1]).metadata.metadata or {}
        return json.loads(metadata.get(METADATA, b"{}")).get("ordered") is True


def _first_rows(objects: ObjectStore, part: Part, n: int) -> Iterator[_Row]:
    number = 0
    for file in part.files:
        for rows in _first_batches(objects, file, n):
            groups = [b""] * len(rows.key) if rows.group is None else rows.group.to_pylist()
            for key, value, group in zip(decode_values(rows.key), decode_values(rows.value), groups, strict=True):
                yield _Row(token_of(key), group or b"", part.number, number, key, value)
                number += 1


def _first_batches(objects: ObjectStore, file: PartFile, n: int) -> Iterator[RowBatch]:
    with _checked(file):
        parquet = _open(objects, file)
    for place in range(parquet.num_row_groups):
        with _checked(file):
            table = parquet.read_row_group(place, use_threads=False)  # which would hold a file of Python's: see `in_arrow`
            table.validate(full=True)
            batches = table.to_batches(max_chunksize=n)
        for batch in batches:
            yield _row_batch(batch, file.kinds)


def _head_of_all(objects: ObjectStore, parts: Sequence[Part], n: int) -> pd.DataFrame:
    best: list[RowBatch] = []
    for file in _files(parts):
        best += [batch.take(_order([batch])[:n]) for batch in _read_file(objects, file)]
    return build_frame(best, _order(best)[:n])
