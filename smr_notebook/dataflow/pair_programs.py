"""The program of a user's `map`, `reduce` and `combine` over single records and pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Protocol

from smr_notebook.dataflow.aggregations import is_natural
from smr_notebook.dataflow.combining import FunctionCombiner, check_combiner
from smr_notebook.dataflow.emitting import PairEmitter, PairSink, write_rows
from smr_notebook.dataflow.functions import Functions, Pair
from smr_notebook.dataflow.inputs import SplitInput
from smr_notebook.dataflow.merging import Blocks
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.passing import ColumnSink, pass_groups
from smr_notebook.dataflow.programs import Handed, Tried
from smr_notebook.dataflow.reducing import reduce_groups
from smr_notebook.model import UNSORTED, Position, Sorting

_TRIED_PAIRS: Final = 500
"""Most pairs of one record that are looked at when it is only tried."""


class RowSink(PairSink, ColumnSink, Protocol):
    """A sink for rows of either form: `dataflow.outputs.PartWriter`."""


@dataclass(frozen=True, slots=True)
class PairProgram:
    """Implements `programs.Program`."""

    functions: Functions
    sorting: Sorting = UNSORTED

    @property
    def reduces(self) -> bool:
        """Whether there is a `reduce`, or the pairs themselves are sorted."""
        return self.functions.reduce is not None or self.sorting.keys

    @property
    def combines(self) -> bool:
        """Whether there is a combiner."""
        return self.functions.combine is not None

    @property
    def splits_per_worker(self) -> int:
        """Four."""
        return 4

    @property
    def grouped_order(self) -> bool:
        """Whether `reduce` yields rows of any key."""
        return self.functions.reduce_yields

    def named(self) -> Iterable[tuple[str, Callable[..., Any]]]:
        """Return the functions that there are, by the names of their parameters."""
        functions = self.functions
        for name, function in (("map", functions.map), ("reduce", functions.reduce), ("combine", functions.combine)):
            if function is not None:
                yield name, function

    def check_input(self, inputs: Sequence[SplitInput]) -> None:
        """Records of every format can be mapped."""

    def try_out(self, input: SplitInput) -> Iterator[Tried]:
        """Map the records one by one."""
        map, takes_source = self.functions.map, self.functions.map_takes_source
        for block in input.blocks():
            size = block.size / max(len(block.records), 1)
            for record in block.records:
                found = map(block.source, record) if takes_source else map(record)
                yield Tried(1, size, [(key, value) for key, value in islice(found or (), _TRIED_PAIRS)])

    @property
    def has_law(self) -> bool:
        """Whether there is a combiner of the user's own."""
        combine = self.functions.combine
        return combine is not None and not is_natural(combine)

    def check(self, pairs: Sequence[Pair]) -> None:
        """Check the law of the combiner. Raises `CombinerLawError`."""
        check_combiner(self.functions, pairs)

    def emitter(self, input: SplitInput, *, meter: Meter, batch_bytes: int) -> PairEmitter:
        """Return what drains `map`."""
        ordered = self.sorting.values
        return PairEmitter(self.functions, input.blocks(), meter=meter, batch_bytes=batch_bytes, ordered=ordered)

    def combiner(self) -> FunctionCombiner:
        """Return what calls `combine`."""
        return FunctionCombiner(self.functions)

    def map_to_rows(self, input: SplitInput, sink: PairSink, *, meter: Meter) -> Position | None:
        """Write what `map` emits."""
        return write_rows(self.functions, input.blocks(), sink, meter=meter)

    def reduce(self, blocks: Blocks, sink: RowSink, *, meter: Meter, done: int) -> Handed:
        """Call `reduce` for each group; without one, the pairs are the rows."""
        if self.functions.reduce is None:
            return pass_groups(blocks, sink, meter=meter, done=done)
        return reduce_groups(self.functions, blocks, sink, meter=meter, done=done)
