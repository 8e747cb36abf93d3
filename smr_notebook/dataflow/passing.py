"""The reduce phase of a job without `reduce` whose pairs are sorted: each pair becomes a row, in order, and columns stay columns.

Rules of this module:

* An attempt that is due ends behind a group, as where a function reduces them: so a position means the same.
* A key is repeated for each of its values only a piece at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from smr_notebook.dataflow.blocks import GroupBlock
from smr_notebook.dataflow.columns import Column, encode_values
from smr_notebook.dataflow.grouping import block_checksum, slice_groups, slice_values
from smr_notebook.dataflow.keys import KeyColumn, KeyKind, decode_keys
from smr_notebook.dataflow.mapping import Sink
from smr_notebook.dataflow.merging import Blocks
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.programs import Handed
from smr_notebook.dataflow.reducing import behind, goes_on
from smr_notebook.model import Position

_MOST_BYTES: Final = 8 << 20
_KINDS: Final = {KeyKind.BOOL: "bool", KeyKind.INT: "int", KeyKind.FLOAT: "float", KeyKind.STR: "str", KeyKind.BYTES: "bytes"}


class ColumnSink(Sink, Protocol):
    """A sink that takes rows as columns: `dataflow.outputs.PartWriter`."""

    def add_columns(self, keys: Column, values: Column, *, ordered: bool) -> None:
        """Append rows; `ordered` says whether the keys ascend, from the last one of the rows before them on."""
        ...


def pass_groups(blocks: Blocks, sink: ColumnSink, *, meter: Meter, done: int) -> Handed:
    """Write all pairs of a partition as rows; arguments and errors as of `programs.Program.reduce`."""
    checksum = 0
    last: GroupBlock | None = None
    for block in behind(blocks, done, meter):
        meter.check()
        begun = last is not None and goes_on(last, block)
        taken = block
        if meter.ending:
            if not begun:
                return Handed(checksum, Position(done=done + meter.records_mapped))
            taken = slice_groups(block, 0, 1)
        for piece in _pieces(taken):
            sink.add_columns(_repeated(piece), piece.values, ordered=True)
        checksum = (checksum + block_checksum(taken)) % 2**64
        meter.pairs_in += len(taken.values)
        meter.pairs_out += len(taken.values)
        meter.records_read += len(taken.keys) - begun
        meter.records_mapped += len(taken.keys) - begun
        if len(taken.keys) < len(block.keys):
            return Handed(checksum, Position(done=done + meter.records_mapped))
        last = slice_groups(block, len(block.keys) - 1, len(block.keys))
    return Handed(checksum, None)


def key_values(keys: KeyColumn) -> Column:
    """Return keys as a column of values."""
    kind = _KINDS.get(keys.kind)
    return encode_values(decode_keys(keys)) if kind is None else Column(kind, keys.array)


def _repeated(block: GroupBlock) -> Column:
    """Return the key of each pair."""
    keys = key_values(block.keys)
    if len(block.values) == len(block.keys):
        return keys
    return keys.take(np.repeat(np.arange(len(keys), dtype=np.int64), np.diff(block.offsets)))


def _pieces(block: GroupBlock) -> Iterator[GroupBlock]:
    """Yield a block in pieces whose repeated keys are not too large."""
    rows = len(block.values)
    if rows <= 1 or rows == len(block.keys) or _longest(block.keys) * rows <= _MOST_BYTES:
        yield block
        return
    yield from _pieces(slice_values(block, 0, rows // 2))
    yield from _pieces(slice_values(block, rows // 2, rows))


def _longest(keys: KeyColumn) -> int:
    """Return the bytes of the longest key."""
    array: Any = keys.array
    if not (pa.types.is_binary(array.type) or pa.types.is_string(array.type)):
        return 8
    longest: int = pc.max(pc.binary_length(array)).as_py()
    return longest
