"""The program of a user's `map` and `reduce` over frames: whole blocks of rows in, rows grouped by columns, frames of whole groups out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from smr_notebook.dataflow.aggregates import told
from smr_notebook.dataflow.code import takes_source
from smr_notebook.dataflow.frames.combining import FrameCombiner, check_frame_combiner
from smr_notebook.dataflow.frames.mapping import FrameEmitter, FrameMap, InputFrame, NoCombiner, input_frames
from smr_notebook.dataflow.frames.reducing import FrameCall, RowSink, reduce_frames
from smr_notebook.dataflow.frames.rows import library
from smr_notebook.dataflow.frames.tolerant import TolerantFrameCombiner, map_tolerantly, reduce_frames_tolerantly
from smr_notebook.dataflow.functions import Pair
from smr_notebook.dataflow.hooks import MAP, Hooked, arranged
from smr_notebook.dataflow.inputs import SplitInput, require_columns
from smr_notebook.dataflow.merging import Blocks
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.programs import Handed, Tried
from smr_notebook.dataflow.tables import has_columns
from smr_notebook.errors import PlanError
from smr_notebook.model import UNSORTED, Position, Sorting

MOST_FRAME_BYTES: Final = 32 << 20
"""About how large a frame for `map` is at most; less where memory is: it is there several times, as Arrow and as the user's.
Half as large shuffles more, and twice as large costs in fresh pages what it saves."""

_TRIED_BYTES: Final = 256 << 10


@dataclass(frozen=True, slots=True)
class FrameFunctions:
    """What the user asked for.

    Attributes:
        map: Called with a frame, or with (source, frame) if `map_takes_source`; gives a frame, or `None` for no rows. `None`: as it is.
        map_takes_source: Whether `map` has two parameters.
        reduce: `None`, or called with frames of whole groups; gives a frame, or `None` for no rows.
        combine: `None`, or called with frames of rows; gives a frame of the same columns.
        by: The columns that rows are grouped by, and by which the result is sorted.
        frame: Whose frames: a name in `rows.LIBRARIES`.
        columns: The columns that are read, or `None` for all.
    """

    map: Callable[..., Any] | None
    map_takes_source: bool
    reduce: Callable[[Any], Any] | None
    combine: Callable[[Any], Any] | None
    by: tuple[str, ...]
    frame: str
    columns: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class FrameProgram:
    """Implements `programs.Program`."""

    functions: FrameFunctions

    @property
    def reduces(self) -> bool:
        """Whether there is a `reduce`."""
        return self.functions.reduce is not None

    @property
    def combines(self) -> bool:
        """Whether there is a combiner."""
        return self.functions.combine is not None

    @property
    def splits_per_worker(self) -> int:
        """Two: what `map` groups in a large frame need not be shuffled."""
        return 2

    @property
    def grouped_order(self) -> bool:
        """Never: rows of frames have no key of their own."""
        return False

    @property
    def sorting(self) -> Sorting:
        """Nothing: the result is sorted when it is read."""
        return UNSORTED

    def named(self) -> Iterable[tuple[str, Callable[..., Any]]]:
        """Return the functions that there are, by the names of their parameters."""
        functions = self.functions
        found = (("map", functions.map), ("reduce", functions.reduce), ("combine", functions.combine))
        return [(name, function) for name, function in found if function is not None]

    def check_input(self, inputs: Sequence[SplitInput]) -> None:
        """Refuse input without columns, or without those that are asked for or grouped by. Raises `PlanError`."""
        first = inputs[0]
        if not has_columns(first.format):
            raise PlanError(
                f"The input is {first.format}, whose records have no columns to make frames of. Give Parquet, JSON lines, dicts or a "
                "DataFrame, or use map_reduce."
            )
        if self.functions.columns is not None:
            require_columns(self.functions.columns, inputs)
        elif self.functions.map is None and self.functions.by:
            require_columns(self.functions.by, inputs)

    def try_out(self, input: SplitInput) -> Iterator[Tried]:
        """Map small frames. A pair is a row: the rows that it is one of, and its number among them."""
        mapped = self._mapped()
        for frame in self._frames(input, frame_bytes=_TRIED_BYTES):
            given = mapped(frame, self.functions.by)
            yield Tried(frame.records, frame.size, [(given[0], row) for row in range(given[0].count)] if given else [])

    @property
    def has_law(self) -> bool:
        """Whether there is a combiner."""
        return self.combines

    def check(self, pairs: Sequence[Pair]) -> None:
        """Check the law of the combiner on the rows that these are. Raises `CombinerLawError`."""
        pieces = list({id(rows): rows for rows, _ in pairs}.values())
        if pieces and self.combines:
            check_frame_combiner(self._call("reduce"), self._call("combine"), pieces)

    def emitter(self, input: SplitInput, *, meter: Meter, batch_bytes: int) -> FrameEmitter:
        """Return what calls `map`."""
        frames = self._frames(input, frame_bytes=min(batch_bytes, MOST_FRAME_BYTES))
        tolerantly = partial(map_tolerantly, bad=meter.bad, meter=meter) if meter.bad is not None else None
        return FrameEmitter(self._mapped(), frames, self.functions.by if self.reduces else (), meter=meter, tolerantly=tolerantly)

    def combiner(self, *, tolerant: bool = False) -> NoCombiner | FrameCombiner:
        """Return what calls `combine`, or leaves rows as they are."""
        if not self.combines:
            return NoCombiner()
        return (TolerantFrameCombiner if tolerant else FrameCombiner)(self._call("combine"))

    def map_to_rows(self, input: SplitInput, sink: RowSink, *, meter: Meter) -> Position | None:
        """Write the rows that `map` gives."""
        emitter = self.emitter(input, meter=meter, batch_bytes=MOST_FRAME_BYTES)
        for rows, _ in emitter.mapped():
            sink.add_rows(rows, by=self.functions.by)
            meter.pairs_out += rows.count
        return emitter.position

    def reduce(self, blocks: Blocks, sink: RowSink, *, meter: Meter, done: int) -> Handed:
        """Call `reduce` for frames of whole groups."""
        if meter.bad is not None:
            return reduce_frames_tolerantly(self._call("reduce"), blocks, sink, meter.bad, meter=meter, done=done)
        return reduce_frames(self._call("reduce"), blocks, sink, meter=meter, done=done)

    def _call(self, name: str) -> FrameCall:
        """Return a function that is there: without `reduce` there is no reduce phase, and without `combine` nothing is combined."""
        return FrameCall(name, dict(self.named())[name], self.functions.by, library(self.functions.frame))

    def _mapped(self) -> FrameMap:
        return FrameMap(self.functions.map, self.functions.map_takes_source, library(self.functions.frame))

    def _frames(self, input: SplitInput, *, frame_bytes: int) -> Iterator[InputFrame]:
        blocks = input.tables(self.functions.columns, batch_bytes=frame_bytes)
        return input_frames(blocks, frame_bytes=frame_bytes, whole_sources=self.functions.map_takes_source)


def program_of_frames(map: object, reduce: object, *, by: object, frame: str, columns: object, combine: object = None) -> FrameProgram:
    """Return the program of what the user asked for. Arguments as of `Session.map_frames`.

    Raises:
        PlanError: One of them is not what it should be, or the library is not installed.
    """
    map, reduce, combine = arranged(map, MAP), arranged(reduce, MAP), arranged(combine, MAP)
    for name, function in (("map", map), ("reduce", reduce), ("combine", None if isinstance(combine, bool) else combine)):
        if function is not None and not callable(function):
            raise PlanError(f"{name} must be a function, or None; got {function!r}.")
        if named := told(function):
            raise PlanError(f"{name} must be a function of frames; {named} is for smr.aggregate, or for reduce of smr.map_reduce.")
        if name != "map" and callable(function):
            _check_takes_a_frame(name, function)
    if combine and reduce is None:
        raise PlanError("combine needs a reduce: without one, the mapped frames are the result and nothing is combined.")
    library(frame)
    names, read = _names("by", by), None if columns is None else _names("columns", columns)
    if reduce is not None and not names:
        raise PlanError("reduce needs by: the column, or the columns, whose equal values make a group.")
    left_out = [name for name in names if map is None and read is not None and name not in read]
    if left_out:
        raise PlanError(f"columns={list(read or ())} leaves out {left_out[0]!r}, by which the rows are grouped. Add it.")
    mapper = map if callable(map) else None
    reducer = reduce if callable(reduce) else None
    takes = mapper is not None and takes_source(mapper)
    combiner = reducer if combine is True else combine if callable(combine) else None
    return FrameProgram(FrameFunctions(mapper, takes, reducer, combiner, names, frame, read))


def _check_takes_a_frame(name: str, function: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(function.plain if isinstance(function, Hooked) else function)
    except (TypeError, ValueError):
        return  # a builtin that does not tell its parameters
    try:
        signature.bind(None)
    except TypeError:
        takes = f"{getattr(function, '__name__', 'it')} takes {signature}"
        raise PlanError(f"{name} of map_frames must take (frame), the rows of whole groups, many groups at once; {takes}.") from None


def _names(argument: str, value: object) -> tuple[str, ...]:
    names = () if value is None else (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else (value,)
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong or len(set(names)) != len(names):
        raise PlanError(f"{argument} must be the name of a column, or several, each once; got {value!r}.")
    return tuple(str(name) for name in names)
