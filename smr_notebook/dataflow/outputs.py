"""Parts: the rows that one task gives, as Parquet files with exact types.

* All rows of one file share one schema, so that each column is typed exactly and memory stays bounded. Where the kinds of keys or
  values change on the way, the file ends and the next one begins; a few rows of changing kinds are pickled together instead.
* Columns: `key`, `value`, and `group` where rows must be ordered by the key of the group that they came from.
* The metadata of a file names the kinds of its columns; in the last one it says whether the whole part is in key order.
* Rows of frames are a file with the frame's own columns, of kind `rows`, and metadata that says by which of them the result is sorted.
  Rows whose types differ are brought together as far as that loses nothing. A part of frames without rows still has their columns.
* Of a file that holds pickles a digest is taken (BLAKE2b): what is not the file that the commit names is not unpickled.
* A file is spooled (`spooling`), then streamed to the store: an object is never a part of a file, and nothing is left behind by a
  process that dies. Rows that hardly get smaller are not compressed.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Literal, cast

import pyarrow as pa
import pyarrow.parquet as pq

from smr_notebook.dataflow.arrow_kinds import Rows, concat_rows
from smr_notebook.dataflow.columns import Column, concat_columns, decode_values, encode_values
from smr_notebook.dataflow.ordering import in_order, token_of
from smr_notebook.dataflow.spooling import IN_MEMORY, Spool
from smr_notebook.errors import PairShapeError
from smr_notebook.model import Part, PartFile
from smr_notebook.ports import ObjectStore

METADATA = b"smr_notebook"
"""Key of the file's metadata, a JSON object: `key` and `value` are kinds of columns, `ordered` is a boolean; of rows of frames, `by` is a
list of names."""

ROWS: Final = "rows"
"""The kind of the files of frames, in the place of that of the keys."""

DIGEST_BYTES: Final = 32
"""Of the digest of a file that holds pickles. It stands in the commit row and in the manifest, which the table vouches for."""

Compression = Literal["zstd", "none"]

_GROUP_ROWS = 65_536
_MOST_ROWS = 1 << 20
_GROUP_BYTES = 8 << 20
_FEW_ROWS = 4_096
_TRIED_BYTES = 64 << 10
_WORTHWHILE = 0.7
"""Bytes that must be left of one by compressing it, or it costs more than it saves."""


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    keys: Column
    values: Column
    groups: pa.Array[Any] | None

    @property
    def bytes(self) -> int:
        return self.keys.array.nbytes + self.values.array.nbytes + (0 if self.groups is None else self.groups.nbytes)

    @property
    def kinds(self) -> tuple[str, str]:
        return self.keys.kind, self.values.kind


class PartWriter:
    """Writes the rows of one task.

    Args:
        objects: Where the files go.
        prefix: Key under which they stand, as `<prefix>/part-<n:03d>.parquet`, `n` counted from 0.
        number: Number of the task, and so of the part.
        grouped_order: Whether rows tell the group that they came from.
        scratch: Folder for a file that outgrows memory.
        in_memory: Bytes of a file that may stay in memory.
    """

    def __init__(
        self, objects: ObjectStore, prefix: str, number: int, *, grouped_order: bool, scratch: Path, in_memory: int = IN_MEMORY
    ) -> None:
        self._objects = objects
        self._prefix = prefix
        self._number = number
        self._grouped_order = grouped_order
        self._scratch = scratch
        self._in_memory = in_memory
        self._pending: list[_Batch] = []
        self._pending_rows = 0
        self._pending_bytes = 0
        self._file: _File | None = None
        self._files: list[PartFile] = []
        self._ordered = True
        self._last_token = b""
        self._last_group: tuple[object, bytes] | None = None
        self._rows: list[Rows] = []
        self._by: tuple[str, ...] = ()

    def add(self, keys: list[Any], values: list[Any], groups: list[Any] | None = None) -> None:
        """Append a batch of rows.

        Args:
            keys: Key of each row; any values.
            values: Value of each row.
            groups: With `grouped_order`, the key of the group that each row came from; else `None`.

        Raises:
            TypeError: A key or a value cannot be pickled.
            StoreError: A file that was full could not be stored.
        """
        if not len(keys) == len(values) or (groups is None) is self._grouped_order or (groups is not None and len(groups) != len(keys)):
            raise ValueError("A batch has a key and a value for each row, and the key of its group exactly with grouped_order.")
        if not keys:
            return
        self._watch_order(keys)
        tokens = None if groups is None else pa.array([self._group_token(group) for group in groups], pa.binary())
        self._append(_Batch(encode_values(keys), encode_values(values), tokens))

    def add_columns(self, keys: Column, values: Column, *, ordered: bool) -> None:
        """Append a batch of rows that are columns already; they tell no groups.

        Args:
            keys: Key of each row.
            values: Value of each row.
            ordered: Whether the keys ascend, from the last one of the rows before them on.

        Raises:
            StoreError: A file that was full could not be stored.
        """
        if len(keys) != len(values) or self._grouped_order:
            raise ValueError("A batch has a key and a value for each row, and with grouped_order the key of its group, which columns lack.")
        if len(keys):
            self._ordered = self._ordered and ordered
            self._last_token = token_of(decode_values(keys.slice(len(keys) - 1, len(keys)))[0])
            self._append(_Batch(keys, values, None))

    def _append(self, batch: _Batch) -> None:
        if self._pending_rows >= _FEW_ROWS and batch.kinds != self._pending[-1].kinds:
            self._flush()
        self._pending.append(batch)
        self._pending_rows += len(batch.keys)
        self._pending_bytes += batch.bytes
        if self._pending_rows >= _GROUP_ROWS or self._pending_bytes >= _GROUP_BYTES:
            self._flush()

    def add_rows(self, rows: Rows, *, by: Sequence[str]) -> None:
        """Append the rows of a frame. No part has both these and rows of keys and values.

        Args:
            rows: The rows.
            by: The columns by which the result is sorted, the same for all rows of a part.

        Raises:
            PairShapeError: Their columns do not go together with those before them, or are of a type that Parquet has not.
            StoreError: A file that was full could not be stored.
        """
        self._by = tuple(by)
        self._rows.append(rows)
        self._pending_rows += rows.count
        self._pending_bytes += sum(column.nbytes for column in rows.columns)
        if self._pending_rows >= _MOST_ROWS or self._pending_bytes >= _GROUP_BYTES:
            self._flush_rows()

    def close(self) -> Part:
        """Store what is left, and return what names all files. A part without rows has none.

        Raises:
            StoreError: The last file could not be stored.
        """
        self._flush()
        self._flush_rows()
        self._store()
        return Part(self._number, tuple(self._files))

    def abort(self) -> None:
        """Drop what is not stored yet. Harmless after `close`."""
        self._pending.clear()
        self._rows.clear()
        if self._file is not None:
            self._file.drop()
            self._file = None

    def _watch_order(self, keys: list[Any]) -> None:
        if self._ordered:
            self._ordered = self._last_token <= token_of(keys[0]) and in_order(keys)
            self._last_token = token_of(keys[-1])

    def _group_token(self, group: object) -> bytes:
        if self._last_group is None or self._last_group[0] is not group:
            self._last_group = group, token_of(group)
        return self._last_group[1]

    def _flush(self) -> None:
        """Write what is pending as one row group, into the next file when its kinds are others."""
        if not self._pending:
            return
        pending, self._pending, self._pending_rows, self._pending_bytes = self._pending, [], 0, 0
        keys = concat_columns([batch.keys for batch in pending])
        values = concat_columns([batch.values for batch in pending])
        arrays: dict[str, pa.Array[Any]] = {"key": keys.array, "value": values.array}
        if self._grouped_order:
            arrays["group"] = pa.concat_arrays([batch.groups for batch in pending if batch.groups is not None])
        table = pa.table(arrays)
        if self._file is not None and self._file.kinds != (keys.kind, values.kind):
            self._store()
        if self._file is None:
            spool = Spool(self._scratch, in_memory=self._in_memory)
            self._file = _File(spool, table.schema, (keys.kind, values.kind), compression=_compression(table))
        self._file.write(table)

    def _flush_rows(self) -> None:
        """Write the pending rows of frames as one row group, into the next file when their columns are others."""
        if not self._rows:
            return
        pending, self._rows, self._pending_rows, self._pending_bytes = self._rows, [], 0, 0
        rows = concat_rows(pending)
        if not rows.count and (self._file is not None or self._files):
            return
        table = pa.Table.from_arrays(list(rows.columns), schema=rows.schema)
        if self._file is not None and not self._file.schema.equals(rows.schema, check_metadata=True):
            self._store()
        try:
            if self._file is None:
                spool = Spool(self._scratch, in_memory=self._in_memory)
                self._file = _File(spool, rows.schema, (ROWS, ""), compression=_compression(table))
            self._file.write(table)
        except pa.ArrowNotImplementedError as error:
            raise PairShapeError(f"A frame has a column that Parquet cannot hold: {error}. Convert it, or drop it.") from error

    def _store(self) -> None:
        """End the open file and stream it to the store."""
        if self._file is None:
            return
        file, self._file = self._file, None
        key = f"{self._prefix}/part-{len(self._files):03d}.parquet"
        facts: dict[str, object] = {"key": file.kinds[0], "value": file.kinds[1], "ordered": self._ordered}
        if file.kinds[0] == ROWS:
            facts = {"by": self._by}
        self._files.append(file.store(self._objects, key, facts))


class _File:
    """The open Parquet file."""

    __slots__ = ("_raw_bytes", "_rows", "_spool", "_writer", "kinds", "schema")

    def __init__(self, spool: Spool, schema: pa.Schema, kinds: tuple[str, str], *, compression: Compression) -> None:
        self.kinds = kinds
        self.schema = schema
        self._rows = 0
        self._raw_bytes = 0
        self._spool = spool
        repeats = compression != "none"  # what does not compress has no dictionary worth writing either
        self._writer = pq.ParquetWriter(
            cast("IO[bytes]", spool), schema, compression=compression, use_dictionary=repeats, write_page_checksum=True
        )

    def write(self, table: pa.Table) -> None:
        """Append a row group."""
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self._rows += table.num_rows
        self._raw_bytes += table.nbytes

    def store(self, objects: ObjectStore, key: str, facts: dict[str, object]) -> PartFile:
        """End the file, with these facts as its metadata, and stream it to the store."""
        self._writer.add_key_value_metadata({METADATA.decode(): json.dumps(facts)})
        self._writer.close()
        pieces = _Pieces(self._spool.pieces(), digested=holds_pickles(self.kinds))
        try:
            objects.put(key, pieces)
        finally:
            self._spool.close()
        return PartFile(
            key=key,
            rows=self._rows,
            size=pieces.size,
            crc=pieces.crc,
            raw_bytes=self._raw_bytes,
            kinds=self.kinds,
            digest=pieces.digest.digest() if pieces.digest else b"",
        )

    def drop(self) -> None:
        """Give the file up."""
        self._writer.close()
        self._spool.close()


class _Pieces:
    """The bytes of a file, counted and summed as they pass, once; and digested where that is asked for."""

    def __init__(self, pieces: Iterator[bytes], *, digested: bool) -> None:
        self._pieces = pieces
        self.size = 0
        self.crc = 0
        self.digest = hashlib.blake2b(digest_size=DIGEST_BYTES) if digested else None

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.size += len(piece)
            self.crc = zlib.crc32(piece, self.crc)
            if self.digest is not None:
                self.digest.update(piece)
            yield piece


def holds_pickles(kinds: tuple[str, str]) -> bool:
    """Whether whoever decodes columns of these kinds unpickles any of them."""
    return any("pickle" in kind for kind in kinds)


def _compression(table: pa.Table) -> Compression:
    """Return how a file is compressed that begins with these rows: not at all where a sample shows that it does not pay."""
    if table.nbytes < _GROUP_BYTES // 2:
        return "zstd"
    some = pa.BufferOutputStream()
    with pa.ipc.new_stream(some, table.schema) as writer:
        writer.write_table(table.slice(table.num_rows // 2, max(1, _TRIED_BYTES * table.num_rows // table.nbytes)))
    tried = some.getvalue()
    return "zstd" if len(pa.compress(tried, "zstd", asbytes=True)) < _WORTHWHILE * len(tried) else "none"
