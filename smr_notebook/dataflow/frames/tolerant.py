"""Functions over frames where what fails is left out: rows for `map`, groups for `reduce`.

A frame is too much to leave out, and where it is cut is nobody's promise. So a frame that fails is halved, and its halves again, until what
fails is one row, or one group: some twenty calls for each that is at fault. What the function gives for the other pieces counts, as it
would if the input had been cut there.

Rules of this module: as in `tolerating` and `tolerant_groups`, also for what is counted. The pieces of a frame keep their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from smr_notebook.dataflow.arrow_kinds import Rows, rows_of_struct
from smr_notebook.dataflow.bad_records import BadRecords
from smr_notebook.dataflow.blocks import GroupBlock
from smr_notebook.dataflow.columns import concat_columns
from smr_notebook.dataflow.draining import collect_young
from smr_notebook.dataflow.frames.combining import FrameCombiner
from smr_notebook.dataflow.frames.mapping import FrameMap, InputFrame
from smr_notebook.dataflow.frames.reducing import FRAME_BYTES, FrameCall, RowSink, WholeGroups, whole_groups
from smr_notebook.dataflow.functions import UserCodeError
from smr_notebook.dataflow.grouping import Pairs, block_checksum, slice_groups
from smr_notebook.dataflow.merging import Blocks
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.programs import Handed
from smr_notebook.dataflow.reducing import behind, goes_on
from smr_notebook.dataflow.tolerant_tables import leave_out
from smr_notebook.dataflow.tolerating import is_fatal
from smr_notebook.model import Position

_Mapped = tuple[Rows, list[Pairs]]
_T = TypeVar("_T")


def map_tolerantly(map: FrameMap, frame: InputFrame, by: Sequence[str], bad: BadRecords, *, meter: Meter) -> Iterator[_Mapped]:
    """Yield what `map` gives for the rows of a frame that do not fail, and count the records.

    Args:
        map: The user's.
        frame: The rows, and what is none.
        by: The columns that rows are grouped by.
        bad: Takes what is left out.
        meter: Counts; what is read is counted first, so that whoever looks knows of how much so much is bad.
    """
    meter.bytes_read += frame.size
    meter.records_read += frame.records
    for origin in frame.origins:
        leave_out(meter, origin.others, source=origin.source, done=origin.done)
    rows = frame.rows
    if rows is None:
        return

    def call(start: int, stop: int) -> _Mapped | None:
        return map(replace(frame, rows=sliced(rows, start, stop)), by)

    for start, given, cause in _halved(call, rows.count, meter):
        if cause is not None:
            source, number = frame.place(start)
            bad.add("map", _row(rows, start), cause, number=number, source=source)
        elif given is not None:
            yield given


def reduce_frames_tolerantly(reduce: FrameCall, blocks: Blocks, sink: RowSink, bad: BadRecords, *, meter: Meter, done: int) -> Handed:
    """Call the user's `reduce` for frames of whole groups, as `reducing.reduce_frames` does, and leave out the groups that fail.

    Args:
        reduce: As of `reduce_frames`; so are `blocks`, `sink`, `meter` and `done`.
        blocks: See above.
        sink: See above.
        bad: Takes what is left out.
        meter: See above.
        done: See above.
    """
    checksum = 0
    for whole in whole_groups(behind(blocks, done, meter), FRAME_BYTES, meter):
        if meter.ending:
            return Handed(checksum, Position(done=done + meter.done))
        values = concat_columns([block.values for block in whole.blocks])
        rows, bounds = rows_of_struct(values.kind, values.array), _bounds(whole)
        first = done + meter.records_read
        meter.records_read += whole.groups
        meter.pairs_in += len(values)
        checksum = (checksum + sum(map(block_checksum, whole.blocks))) % 2**64

        def call(start: int, stop: int) -> Rows | None:
            return reduce(sliced(rows, bounds[start], bounds[stop]))  # noqa: B023 - called before the next turn

        for start, found, cause in _halved(call, whole.groups, meter):
            if cause is not None:
                meter.pairs_bad += bounds[start + 1] - bounds[start]
                bad.add("reduce", _key(rows, bounds[start], reduce.by), cause, number=first + start + 1)
            elif found is not None:
                sink.add_rows(found, by=reduce.by)
                meter.pairs_out += found.count
        collect_young()
    return Handed(checksum, None)


def _halved(call: Callable[[int, int], _T | None], count: int, meter: Meter) -> Iterator[tuple[int, _T | None, BaseException | None]]:
    """Call for all of so many, then for each half of what fails, down to one; count what is mapped, and what is bad.

    Yields, of each call that went well, where its piece begins and what it gave; of each one that fails alone, where it is, and why.
    """
    pieces = [(0, count)]
    while pieces:
        meter.check()
        start, stop = pieces.pop()
        try:
            found = call(start, stop)
        except UserCodeError as error:
            meter.counts.drop()
            cause = error.__cause__ or error
            if is_fatal(cause):
                raise
            if stop - start > 1:
                middle = (start + stop) // 2
                pieces += [(middle, stop), (start, middle)]
                continue
            meter.records_bad += 1
            yield start, None, cause
        else:
            meter.counts.keep()
            meter.records_mapped += stop - start
            yield start, found, None


class TolerantFrameCombiner(FrameCombiner):
    """Combines with the user's function, and leaves a block for which it fails as it is."""

    def combine(self, block: GroupBlock) -> GroupBlock:
        """Return the block with its rows combined, or as it is."""
        try:
            return super().combine(block)
        except UserCodeError as error:
            if is_fatal(error.__cause__ or error):
                raise
            return block


def sliced(rows: Rows, start: int, stop: int) -> Rows:
    """Return rows `[start, stop)` without copying."""
    if (start, stop) == (0, rows.count):
        return rows
    return replace(rows, columns=[column.slice(start, stop - start) for column in rows.columns], count=stop - start)


def _row(rows: Rows, row: int) -> dict[str, object]:
    return {name: column[row].as_py() for name, column in zip(rows.schema.names, rows.columns, strict=True)}


def _key(rows: Rows, row: int, by: Sequence[str]) -> object:
    found = _row(rows, row)
    return found[by[0]] if len(by) == 1 else tuple(found[name] for name in by)


def _bounds(whole: WholeGroups) -> list[int]:
    """Return where the rows of each group begin, and where the last ones end. A group may go on from block to block."""
    starts: list[int] = []
    rows, last = 0, None
    for block in whole.blocks:
        begun = last is not None and goes_on(last, block)
        starts += [rows + int(offset) for offset in block.offsets[begun:-1]]
        rows += len(block.values)
        last = slice_groups(block, len(block.keys) - 1, len(block.keys))
    return [*starts, rows]
