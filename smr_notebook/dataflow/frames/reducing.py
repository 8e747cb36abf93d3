"""The reduce side of frames: the groups of a partition, many whole ones at a time, to the user's `reduce`.

Rules:

* A frame holds whole groups, in key order, and a group's rows in input order; so `frame.groupby(by)` inside `reduce` sees each group once,
  and all of it. A group is never cut, so the largest one must fit into a worker's memory, as a frame and as what `reduce` makes of it.
* Rows are counted, and their keys hashed anew, as they are handed to `reduce`: so they prove all that lies between the two functions.
* An attempt that is due ends between two frames; the position is how many groups are done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from smr_notebook.dataflow.arrow_kinds import Rows, rows_of_struct
from smr_notebook.dataflow.blocks import GroupBlock
from smr_notebook.dataflow.columns import concat_columns
from smr_notebook.dataflow.draining import collect_young
from smr_notebook.dataflow.frames.rows import FrameLibrary
from smr_notebook.dataflow.functions import UserCodeError, place_of, short_repr
from smr_notebook.dataflow.grouping import block_bytes, block_checksum, slice_groups
from smr_notebook.dataflow.merging import Blocks
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.programs import Handed
from smr_notebook.dataflow.reducing import behind, goes_on
from smr_notebook.errors import PairShapeError
from smr_notebook.model import Position

FRAME_BYTES: Final = 8 << 20
"""About how large a frame for `reduce` is, keys included."""


class RowSink(Protocol):
    """What takes rows: `outputs.PartWriter`."""

    def add_rows(self, rows: Rows, *, by: Sequence[str]) -> None:
        """Append the rows of a frame; `by` are the columns by which the result is sorted."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class WholeGroups:
    """Blocks whose groups are whole, and how many groups there are."""

    blocks: list[GroupBlock]
    groups: int


@dataclass(frozen=True, slots=True)
class FrameCall:
    """The user's `reduce` or `combine` over frames.

    Attributes:
        name: Which of the two.
        function: It.
        by: The columns that rows are grouped by.
        library: Whose frames it takes and returns.
    """

    name: str
    function: Callable[[Any], Any]
    by: Sequence[str]
    library: FrameLibrary

    def __call__(self, rows: Rows) -> Rows | None:
        """Return the rows that it gives, or `None`.

        Raises:
            UserCodeError: It raised, or gave something else than a frame.
        """
        result = None
        try:
            result = self.function(self.library.frame_of(rows))
            return None if result is None else self.library.rows_of(result, self.name)
        except BaseException as error:
            failure = UserCodeError(self.name, self.told(rows))
            failure.place = place_of(self.function, result) if isinstance(error, PairShapeError) else None
            raise failure from error

    def told(self, rows: Rows) -> str:
        """Return how a message names the groups of some rows, at least one, in key order."""
        ends = [tuple(rows.columns[rows.schema.names.index(name)][row].as_py() for name in self.by) for row in (0, rows.count - 1)]
        first, last = (short_repr(end[0] if len(end) == 1 else end)[:80] for end in ends)
        return f"{', '.join(self.by)} from {first} to {last}"


def reduce_frames(reduce: FrameCall, blocks: Blocks, sink: RowSink, *, meter: Meter, done: int, frame_bytes: int = FRAME_BYTES) -> Handed:
    """Call the user's `reduce` for frames of whole groups, as `programs.Program.reduce` says."""
    checksum = 0
    for whole in whole_groups(behind(blocks, done, meter), frame_bytes, meter):
        if meter.ending:
            return Handed(checksum, Position(done=done + meter.records_mapped))
        values = concat_columns([block.values for block in whole.blocks])
        meter.records_read += whole.groups
        rows = reduce(rows_of_struct(values.kind, values.array))
        meter.records_mapped += whole.groups
        meter.pairs_in += len(values)
        checksum = (checksum + sum(map(block_checksum, whole.blocks))) % 2**64
        if rows is not None:
            sink.add_rows(rows, by=reduce.by)
            meter.pairs_out += rows.count
        collect_young()
    return Handed(checksum, None)


def whole_groups(blocks: Blocks, size: int, meter: Meter) -> Iterator[WholeGroups]:
    """Join blocks, in which a group may go on from one to the next, until they are about `size` bytes of whole groups."""
    held: list[GroupBlock] = []
    held_bytes = groups = 0
    for block in blocks:
        meter.check()
        following = block
        if held:
            begun = goes_on(slice_groups(held[-1], len(held[-1].keys) - 1, len(held[-1].keys)), block)
            if begun:
                held.append(slice_groups(block, 0, 1))
                held_bytes += block_bytes(held[-1])
                following = slice_groups(block, 1, len(block.keys))
            if held_bytes >= size and not (begun and not len(following.keys)):
                yield WholeGroups(held, groups)
                held, held_bytes, groups = [], 0, 0
        if len(following.keys):
            held.append(following)
            held_bytes += block_bytes(following)
            groups += len(following.keys)
    if held:
        yield WholeGroups(held, groups)
