"""The map side of frames: rows of a split as frames, the user's `map` over each, and its rows as pairs.

Rules:

* A frame holds rows that follow one another, of one object where `map` asks for the source. It is as large as pays: about `frame_bytes`.
* An attempt that is due ends in front of a frame.
* A pair is a row: its key is worked out from the columns that are grouped by, its value is the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from smr_notebook.dataflow.arrow_kinds import Rows, concat_rows, kind_of_schema, struct_array
from smr_notebook.dataflow.blocks import GroupBlock
from smr_notebook.dataflow.columns import Column
from smr_notebook.dataflow.draining import collect_young
from smr_notebook.dataflow.exact_arrays import exact_array
from smr_notebook.dataflow.frames.keys import keys_of
from smr_notebook.dataflow.frames.rows import FrameLibrary, rows_of_arrays
from smr_notebook.dataflow.functions import UserCodeError, place_of
from smr_notebook.dataflow.grouping import Pairs
from smr_notebook.dataflow.keys import KeyColumn
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.table_blocks import TableBlock
from smr_notebook.dataflow.tolerant_tables import NoRow
from smr_notebook.errors import InputFormatError, PairShapeError
from smr_notebook.model import Position

MOST_ROWS: Final = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """One block of a frame: its object, how many records of the split stand in front of it, how many it has, and which are no rows."""

    source: str
    done: int
    records: int
    others: tuple[NoRow, ...]


@dataclass(frozen=True, slots=True, eq=False)
class InputFrame:
    """Rows of the input that go to `map` together.

    Attributes:
        rows: They.
        source: Object that they, or the first of them, came from.
        at: Position of the first record.
        records: Records that it accounts for.
        size: Input bytes that it accounts for.
        origins: Of the blocks that it was made of, where something may be left out.
    """

    rows: Rows | None
    source: str
    at: Position
    records: int
    size: int
    origins: tuple[Origin, ...] = ()

    def place(self, row: int) -> tuple[str, int]:
        """Return the object of a row, and its number among the records of the split, from 1."""
        for origin in self.origins:
            if row < origin.records - len(origin.others):
                for other in origin.others:
                    row += other.index <= row
                return origin.source, origin.done + row + 1
            row -= origin.records - len(origin.others)
        return self.source, self.at.done + row + 1


@dataclass(frozen=True, slots=True)
class FrameMap:
    """The user's `map` over frames, or none: then the rows stay as they are."""

    map: Callable[..., Any] | None
    takes_source: bool
    library: FrameLibrary

    def __call__(self, frame: InputFrame, by: Sequence[str]) -> tuple[Rows, list[Pairs]] | None:
        """Return the rows that it gives, and the same as pairs where `by` says how; `None` when it gives none.

        Raises:
            UserCodeError: It raised, or gave something else than a frame with these columns.
        """
        if frame.rows is None:
            return None
        result = None
        try:
            rows: Rows | None = frame.rows
            if self.map is not None:
                given = self.library.frame_of(frame.rows)
                result = self.map(frame.source, given) if self.takes_source else self.map(given)
                rows = None if result is None else self.library.rows_of(result, "map")
            if rows is None:
                return None
            return rows, pairs_of(rows, by, "map" if self.map is not None else "the input") if by else []
        except BaseException as error:
            failure = UserCodeError("map", _told(frame), source=frame.source, record_number=frame.at.done + 1)
            failure.place = place_of(self.map, result) if isinstance(error, PairShapeError) else None
            raise failure from error


def _told(frame: InputFrame) -> str:
    return f"rows {frame.at.done + 1:,} to {frame.at.done + frame.records:,} of the task's input"


def pairs_of(rows: Rows, by: Sequence[str], function: str) -> list[Pairs]:
    """Return rows as pairs, one column for each kind of key. Raises `PairShapeError`."""
    if not rows.count:
        return []
    values = Column(kind_of_schema(rows.schema), struct_array(rows))
    return [(keys, values if numbers is None else values.take(numbers)) for keys, numbers in keys_of(rows, by, function)]


def input_frames(blocks: Iterable[TableBlock], *, frame_bytes: int, whole_sources: bool) -> Iterator[InputFrame]:
    """Join blocks into frames.

    Args:
        blocks: Of a split, in order.
        frame_bytes: About how large a frame shall be.
        whole_sources: Whether a frame has rows of one object only.

    Raises:
        InputFormatError: A column has values that go into no one type.
    """
    held: list[TableBlock] = []
    held_bytes = 0
    for block in blocks:
        if held and (whole_sources and block.source != held[0].source):
            yield _frame(_taken(held))
            held_bytes = 0
        held.append(block)
        held_bytes += _bytes(block)
        if held_bytes >= frame_bytes or sum(block.rows for block in held) >= MOST_ROWS:
            del block
            yield _frame(_taken(held))
            held_bytes = 0
    if held:
        yield _frame(_taken(held))


def _taken(held: list[TableBlock]) -> list[TableBlock]:
    """Return the blocks and forget them, so that they do not live on beside the frame that is made of them."""
    blocks = held.copy()
    held.clear()
    return blocks


def _bytes(block: TableBlock) -> int:
    arrays = [column.nbytes for column in block.columns.values() if not isinstance(column, list)]
    return sum(arrays) if arrays else block.size


def _frame(blocks: list[TableBlock]) -> InputFrame:
    first = blocks[0]
    pieces = [_rows(block) for block in blocks if block.rows]
    try:
        rows = concat_rows(pieces) if pieces else None
    except PairShapeError as error:
        raise InputFormatError(f"{first.source}: {error} Or read it with a map function over records.") from error
    origins = tuple(Origin(block.source, block.at.done, block.records, block.others) for block in blocks)
    return InputFrame(rows, first.source, first.at, sum(block.records for block in blocks), sum(block.size for block in blocks), origins)


def _rows(block: TableBlock) -> Rows:
    arrays = [_array(name, column, block.source) for name, column in block.columns.items()]
    try:
        return rows_of_arrays(list(block.columns), arrays, count=block.rows, function="the input", dtypes=block.dtypes)
    except PairShapeError as error:
        raise InputFormatError(f"{block.source}: {error}") from error


def _array(name: str, column: Any, source: str) -> Any:
    if not isinstance(column, list):
        return column
    try:
        return exact_array(column)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise InputFormatError(
            f"{source}: the column {name!r} has values that go into no one type of Arrow: {error}. "
            "Name the columns that you need (columns=[...]), or use a map function over records."
        ) from error


MapTolerantly = Callable[[FrameMap, InputFrame, Sequence[str]], Iterator[tuple[Rows, list[Pairs]]]]


class FrameEmitter:
    """Implements `programs.Emitter` for a `map` over frames.

    Args:
        map: The user's.
        frames: The input.
        by: The columns that rows are grouped by.
        meter: Counts, and may end or stop the attempt.
        tolerantly: Maps a frame and leaves out what fails; `None` where nothing is left out.
    """

    def __init__(
        self, map: FrameMap, frames: Iterable[InputFrame], by: Sequence[str], *, meter: Meter, tolerantly: MapTolerantly | None = None
    ) -> None:
        self._tolerantly = tolerantly
        self._map = map
        self._frames = frames
        self._by = by
        self._meter = meter
        self.position: Position | None = None

    def batches(self) -> Iterator[Sequence[Pairs]]:
        """Yield the rows of each frame. Raises as `Emitter.batches` does."""
        for _, pairs in self.mapped():
            if pairs:
                yield pairs

    def mapped(self) -> Iterator[tuple[Rows, list[Pairs]]]:
        """Yield what `map` gives for each frame, counted. Raises as `Emitter.batches` does."""
        meter = self._meter
        for frame in self._frames:
            meter.check()
            if meter.ending:
                self.position = frame.at
                return
            if self._tolerantly is not None:
                yield from self._count(self._tolerantly(self._map, frame, self._by))
                continue
            given = self._map(frame, self._by)
            meter.bytes_read += frame.size
            meter.records_read += frame.records
            meter.records_mapped += frame.records
            del frame  # so that memory has what map gave, and not what it got besides
            if given is not None:
                meter.pairs_in += given[0].count
                yield given
            collect_young()

    def _count(self, given: Iterable[tuple[Rows, list[Pairs]]]) -> Iterator[tuple[Rows, list[Pairs]]]:
        for rows, pairs in given:
            self._meter.pairs_in += rows.count
            yield rows, pairs
        collect_young()


class NoCombiner:
    """Implements `combining.Combiner` where rows travel as `map` gives them."""

    present = False
    worthwhile = False

    def combine_batch(self, keys: KeyColumn, values: Column) -> Pairs:
        """Return the batch as it is."""
        return keys, values

    def begin(self, block: GroupBlock) -> GroupBlock:
        """Return the block as it is."""
        return block

    def combine(self, block: GroupBlock) -> GroupBlock:
        """Return the block as it is."""
        return block
