"""The program of a job whose input has a reader of its own, such as a user's function: another program, to which it gives the records.

`parse` travels in the job's code like `map`, so that nothing else needs to know of it: what is planned, stored and told of the input has no
function in it, and whoever reads the input of such a job does so through its program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from smr_notebook.dataflow.combining import Combiner
from smr_notebook.dataflow.formats.parsed import ParsedReader
from smr_notebook.dataflow.formats.passages import PassageReader
from smr_notebook.dataflow.functions import Pair
from smr_notebook.dataflow.inputs import SplitInput
from smr_notebook.dataflow.merging import Blocks
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.outputs import PartWriter
from smr_notebook.dataflow.programs import Emitter, Handed, Program, Tried
from smr_notebook.model import Position, Sorting

OwnReader = ParsedReader | PassageReader
"""A reader that travels with the program."""


@dataclass(frozen=True, slots=True)
class ParsedProgram:
    """Implements `programs.Program`.

    Attributes:
        inner: What the job computes.
        reader: Makes the records.
    """

    inner: Program
    reader: OwnReader

    @property
    def reduces(self) -> bool:
        """As the inner one."""
        return self.inner.reduces

    @property
    def combines(self) -> bool:
        """As the inner one."""
        return self.inner.combines

    @property
    def splits_per_worker(self) -> int:
        """As the inner one."""
        return self.inner.splits_per_worker

    @property
    def grouped_order(self) -> bool:
        """As the inner one."""
        return self.inner.grouped_order

    @property
    def sorting(self) -> Sorting:
        """As the inner one."""
        return self.inner.sorting

    @property
    def has_law(self) -> bool:
        """As the inner one."""
        return self.inner.has_law

    def named(self) -> Iterable[tuple[str, Callable[..., Any]]]:
        """Return `parse`, if there is one, and the functions of the inner one."""
        return [*self.reader.named(), *self.inner.named()]

    def check_input(self, inputs: Sequence[SplitInput]) -> None:
        """As the inner one; it may look at records."""
        self.inner.check_input(list(map(self.parsed, inputs)))

    def try_out(self, input: SplitInput) -> Iterator[Tried]:
        """As the inner one."""
        return self.inner.try_out(self.parsed(input))

    def check(self, pairs: Sequence[Pair]) -> None:
        """As the inner one."""
        self.inner.check(pairs)

    def emitter(self, input: SplitInput, *, meter: Meter, batch_bytes: int) -> Emitter:
        """As the inner one."""
        return self.inner.emitter(self.parsed(input), meter=meter, batch_bytes=batch_bytes)

    def combiner(self, *, tolerant: bool = False) -> Combiner:
        """As the inner one."""
        return self.inner.combiner(tolerant=tolerant)

    def map_to_rows(self, input: SplitInput, sink: PartWriter, *, meter: Meter) -> Position | None:
        """As the inner one."""
        return self.inner.map_to_rows(self.parsed(input), sink, meter=meter)

    def reduce(self, blocks: Blocks, sink: PartWriter, *, meter: Meter, done: int) -> Handed:
        """As the inner one."""
        return self.inner.reduce(blocks, sink, meter=meter, done=done)

    def parsed(self, input: SplitInput) -> SplitInput:
        """Return an input whose records the parser makes."""
        return replace(input, reader=self.reader)
