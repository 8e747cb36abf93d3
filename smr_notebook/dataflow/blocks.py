"""The group block: sorted distinct keys, each with its values; the unit of spills, runs and the exchange.

A block is self-delimiting, so that blocks can stand one behind the other. All numbers are little-endian::

    magic       4   "SMRB"
    version     1   1
    key kind    1   keys.KeyKind
    originals   1   1 when the keys have originals, else 0
    unused      1   0
    kind bytes  4   length of the kind of the values
    body bytes  8   length of the body
    groups      8   number of keys
    values      8   number of values
    crc         4   CRC-32 of the 36 bytes before it, the kind and the body
    kind            UTF-8, see dataflow.columns
    body            an Arrow IPC record batch message (without its schema, which follows from the kinds)

The batch has the columns `key`, `originals` (if any) and `values`, a large list of the values of each key.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from smr_notebook.dataflow.columns import Column
from smr_notebook.dataflow.keys import ARROW_TYPES, KeyColumn, KeyKind
from smr_notebook.dataflow.kinds import arrow_type
from smr_notebook.errors import CorruptObjectError, FormatVersionError

_MAGIC = b"SMRB"
_VERSION = 1
_HEADER = struct.Struct("<4sBBBBIQQQ")
_CRC = struct.Struct("<I")
_HEAD = _HEADER.size + _CRC.size


Codec = Literal["lz4", "zstd"]
"""How a block may be compressed; whoever reads it sees how it was."""


@dataclass(frozen=True, slots=True, eq=False)
class GroupBlock:
    """Keys in order, each once; the values of key `i` are `values[offsets[i]:offsets[i + 1]]`.

    Attributes:
        keys: Distinct keys of one kind, ascending.
        values: The values of all keys, one key after the other.
        offsets: `len(keys) + 1` positions in `values`, from 0 to `len(values)`.
    """

    keys: KeyColumn
    values: Column
    offsets: npt.NDArray[np.int64]


def pack(block: GroupBlock, compression: Codec | None = "lz4") -> bytes:
    """Return the block as bytes."""
    lists = pa.LargeListArray.from_arrays(pa.array(block.offsets, pa.int64()), block.values.array)
    originals = block.keys.originals
    arrays: list[pa.Array[Any]] = [block.keys.array, lists] if originals is None else [block.keys.array, originals, lists]
    schema = _schema(block.keys.kind, originals is not None, block.values.kind)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression=compression, use_threads=False)) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
        stop = sink.tell()
    body = memoryview(sink.getvalue())[schema.serialize().size : stop]
    kind = block.values.kind.encode()
    head = _HEADER.pack(
        _MAGIC, _VERSION, block.keys.kind, originals is not None, 0, len(kind), len(body), len(block.keys), len(block.values)
    )
    crc = zlib.crc32(body, zlib.crc32(kind, zlib.crc32(head)))
    return b"".join((head, _CRC.pack(crc), kind, body))


def unpack(data: bytes | memoryview, *, foreign: bool = False) -> GroupBlock:
    """Return the block whose bytes these are, without copying what is not compressed.

    Args:
        data: They.
        foreign: Whether somebody else might have made them, checksum and all: then each offset is checked, lest it lead out of memory.

    Raises:
        CorruptObjectError: The bytes are not exactly one block as it was written.
    """
    blocks = list(iter_blocks(data, foreign=foreign))
    if len(blocks) != 1:
        raise CorruptObjectError(f"{len(data)} bytes hold {len(blocks)} blocks where one is expected: {_ADVICE}")
    return blocks[0]


def iter_blocks(data: bytes | memoryview, *, foreign: bool = False) -> Iterator[GroupBlock]:
    """Yield the blocks that stand one behind the other in `data`. Arguments as for `unpack`.

    Raises:
        CorruptObjectError: The bytes from some position on are not a block as it was written.
    """
    view = memoryview(data)
    at = 0
    while at < len(view):
        block, size = _read_block(view[at:], at, foreign=foreign)
        yield block
        at += size


def holds_pickles(data: bytes | memoryview) -> bool:
    """Whether whoever decodes the block that `data` begins with unpickles any of it. No byte of it need be right.

    It answers by the very fields by which the block is decoded: originals of keys are pickles, and so are values of a kind that says so.
    """
    if len(data) < _HEAD:
        return False  # no block: nobody decodes it
    fields = _HEADER.unpack(data[: _HEADER.size])
    return bool(fields[3]) or _PICKLED in bytes(data[_HEAD : _HEAD + fields[5]])


_PICKLED = b"pickle"
_ADVICE = "the data is damaged or incomplete. Submit the job again."


def _read_block(view: memoryview, at: int, *, foreign: bool) -> tuple[GroupBlock, int]:
    if len(view) < _HEAD:
        raise CorruptObjectError(f"The block at byte {at} is cut after {len(view)} bytes: {_ADVICE}")
    magic, version, key_kind, has_originals, _, kind_size, body_size, groups, values = _HEADER.unpack(view[: _HEADER.size])
    size = _HEAD + kind_size + body_size
    if magic != _MAGIC or len(view) < size:
        raise CorruptObjectError(f"There is no whole block at byte {at} ({len(view)} bytes are left): {_ADVICE}")
    (crc,) = _CRC.unpack(view[_HEADER.size : _HEAD])
    if zlib.crc32(view[_HEAD:size], zlib.crc32(view[: _HEADER.size])) != crc:
        raise CorruptObjectError(f"The checksum of the block at byte {at} ({size} bytes) differs: {_ADVICE}")
    if version != _VERSION:
        raise FormatVersionError(
            f"The block at byte {at} has format version {version}, this package reads {_VERSION}: install the one that wrote it."
        )
    try:
        kind = str(view[_HEAD : _HEAD + kind_size], "utf-8")
        schema = _schema(KeyKind(key_kind), bool(has_originals), kind)
        batch = pa.ipc.read_record_batch(pa.py_buffer(view[_HEAD + kind_size : size]), schema)
        lists: Any = batch.column(batch.num_columns - 1)
        if foreign:
            batch.validate(full=True)
        offsets = lists.offsets.to_numpy()
    except _SENSELESS as error:
        raise CorruptObjectError(f"The block at byte {at} makes no sense ({type(error).__name__}: {error}): {_ADVICE}") from error
    if batch.num_rows != groups or len(lists.values) != values or (foreign and not _whole(batch, offsets, values)):
        raise CorruptObjectError(f"The block at byte {at} counts other groups or values than it holds: {_ADVICE}")
    keys = KeyColumn(KeyKind(key_kind), batch.column(0), batch.column(1) if has_originals else None)
    return GroupBlock(keys, Column(kind, lists.values), offsets), size


_SENSELESS = (
    pa.ArrowException,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What the libraries raise that read what is well summed and of no meaning."""


def _whole(batch: pa.RecordBatch, offsets: npt.NDArray[np.int64], values: int) -> bool:
    """Whether each key is there, and its values are all those that there are."""
    lists = batch.column(batch.num_columns - 1)
    return not batch.column(0).null_count and not lists.null_count and len(offsets) > 0 and offsets[0] == 0 and int(offsets[-1]) == values


def _schema(key_kind: KeyKind, has_originals: bool, kind: str) -> pa.Schema:  # noqa: FBT001 - private
    fields: list[pa.Field[Any]] = [pa.field("key", ARROW_TYPES[key_kind])]
    if has_originals:
        fields.append(pa.field("originals", pa.binary()))
    fields.append(pa.field("values", pa.large_list(arrow_type(kind))))
    return pa.schema(fields)
