"""What somebody can put into an object store who may write there: intact by every checksum, and with a pickle inside.

A CRC is no obstacle to whoever wants it to agree: it is linear, so that some free bytes anywhere make it any value. What is forged here
has the size, the checksums and the form of what it replaces, and its pickle makes a file when it is loaded. It lacks what only the key
could give.
"""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from smr_notebook.dataflow.blocks import GroupBlock, iter_blocks, pack
from smr_notebook.dataflow.columns import Column
from smr_notebook.dataflow.runs import ROW
from smr_notebook.dataflow.sealing import seal
from smr_notebook.dataflow.signing import SIGNATURE_BYTES

_FREE: Final = 64
_LENGTH: Final = struct.Struct("<Q")
_HEAD: Final = 40  # bytes of a block before its kind
_CRC_AT: Final = 36
_BODY_AT: Final = 12


@dataclass(frozen=True, slots=True)
class Trap:
    """What makes a file when it is unpickled."""

    path: Path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))

    @property
    def pickled(self) -> bytes:
        """The pickle."""
        return pickle.dumps(self, 5)


def make_equal(build: Callable[[bytes], bytes], crc: int) -> bytes:
    """Return what `build` makes of some free bytes, chosen so that its CRC-32 is the one wanted.

    Args:
        build: Makes bytes whose CRC-32 is affine in the bits of the `_FREE` letters that it is given, each an `a` or a `b`.
        crc: The CRC-32 wanted.

    Raises:
        ValueError: No choice gives it.
    """
    start = zlib.crc32(build(b"a" * _FREE))
    rows: dict[int, tuple[int, int]] = {}  # highest bit -> (change of the CRC, which letters make it)
    for place in range(_FREE):
        change, letters = zlib.crc32(build(_letters(1 << place))) ^ start, 1 << place
        while change and change.bit_length() in rows:
            known = rows[change.bit_length()]
            change, letters = change ^ known[0], letters ^ known[1]
        if change:
            rows[change.bit_length()] = change, letters
    wanted, chosen = start ^ crc, 0
    while wanted:
        if wanted.bit_length() not in rows:
            raise ValueError("The free bytes do not reach this checksum.")
        change, letters = rows[wanted.bit_length()]
        wanted, chosen = wanted ^ change, chosen ^ letters
    return build(_letters(chosen))


def forged_code(trap: Trap) -> bytes:
    """Return a bundle of functions, well sealed."""
    head = b'{"sources":{}}'
    return seal("code", _LENGTH.pack(len(head)) + head + trap.pickled) + bytes(SIGNATURE_BYTES)


def forged_items(stored: bytes, trap: Trap, *, first: int) -> bytes:
    """Return an object of items whose first frame, of the size of the one before, is a trap."""
    (size,) = _LENGTH.unpack_from(stored)
    body = struct.pack("<Q?I", first, False, 1) + trap.pickled  # noqa: FBT003 - as stored
    room = size - SIGNATURE_BYTES - len(seal("items", b"", 2))
    if room < len(body):
        raise ValueError(f"A forged frame takes {len(body)} bytes, and there are {room}.")
    frame = seal("items", body.ljust(room, b"\0"), 2) + bytes(SIGNATURE_BYTES)
    return stored[: _LENGTH.size] + frame + stored[_LENGTH.size + size :]


def forged_run(run: bytes, trap: Trap, *, partitions: int) -> bytes:
    """Return a run of the same index, where each partition that holds something is one block of pickles."""
    data = bytearray(run)
    tail = len(run) - 32
    for row in np.frombuffer(run[tail - partitions * ROW.itemsize : tail], ROW):
        start, length = int(row["offset"]), int(row["length"])
        if length:
            block = next(iter_blocks(run[start + 8 : start + 8 + _LENGTH.unpack_from(run, start)[0]]))
            data[start : start + length] = _slice(block, trap, length=length, crc=int(row["crc"]))
    return bytes(data)


def forged_block(block: GroupBlock, trap: Trap, *, size: int, free: bytes) -> bytes:
    """Return a block of so many bytes with a pickle for its only value. The free bytes are of no meaning."""
    lies = GroupBlock(block.keys.slice(0, 1), Column("pickle", pa.array([trap.pickled], pa.binary())), np.array([0, 1], np.int64))
    packed = bytearray(pack(lies, None))
    if size < len(packed) + _FREE:
        raise ValueError(f"A forged block takes {len(packed) + _FREE} bytes, and there are {size}.")
    (body,) = struct.unpack_from("<Q", packed, _BODY_AT)
    struct.pack_into("<Q", packed, _BODY_AT, body + size - len(packed))
    packed += bytes(size - len(packed) - _FREE) + free
    crc = zlib.crc32(packed[_HEAD:], zlib.crc32(packed[:_CRC_AT]))
    packed[_CRC_AT:_HEAD] = crc.to_bytes(4, "little")
    return bytes(packed)


def forged_part(part: bytes, trap: Trap) -> bytes:
    """Return a Parquet file with the schema, the size and the CRC of `part`, whose values are pickles."""
    then = pq.read_table(io.BytesIO(part))
    table = pa.table({"key": then["key"].combine_chunks(), "value": pa.array([trap.pickled] * then.num_rows, pa.binary())})
    padding = len(part) - len(_parquet(table, b"a" * _FREE, padding=0, then=then))
    for more in range(-min(padding, 64), 128):
        if len(_parquet(table, b"a" * _FREE, padding=padding + more, then=then)) == len(part):
            return make_equal(partial(_parquet, table, padding=padding + more, then=then), zlib.crc32(part))
    raise ValueError("The forged file cannot be made as large as the one that it replaces.")


def _parquet(table: pa.Table, free: bytes, *, padding: int, then: pa.Table) -> bytes:
    if padding < 0:
        raise ValueError("The forged file is larger than the one that it replaces.")
    told = {name.decode(): value.decode() for name, value in (then.schema.metadata or {}).items()}
    told |= {"free": free.decode(), "padding": "a" * padding}
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, compression="zstd", store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(told)
    return sink.getvalue()


def _slice(block: GroupBlock, trap: Trap, *, length: int, crc: int) -> bytes:
    size = length - _LENGTH.size - SIGNATURE_BYTES
    prefix, suffix = _LENGTH.pack(length - _LENGTH.size), bytes(SIGNATURE_BYTES)
    return make_equal(lambda free: prefix + forged_block(block, trap, size=size, free=free) + suffix, crc)


def _letters(chosen: int) -> bytes:
    return bytes(b"ab"[chosen >> place & 1] for place in range(_FREE))
