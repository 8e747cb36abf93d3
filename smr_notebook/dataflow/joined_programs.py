"""The program of a job with several inputs, each with a map function of its own: one program for each, and one reduce for all.

A split belongs to one input, which follows from its number (`Reading.inlets`). Whatever is done before pairs are shuffled is done by the
program of that input; whatever is done behind is the same in all of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from smr_notebook.dataflow.combining import Combiner
from smr_notebook.dataflow.functions import Pair
from smr_notebook.dataflow.inputs import SplitInput
from smr_notebook.dataflow.merging import Blocks
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.outputs import PartWriter
from smr_notebook.dataflow.parsed_programs import ParsedProgram
from smr_notebook.dataflow.programs import Emitter, Handed, Program, Tried
from smr_notebook.model import Phase, Position, Reading, Sorting, TaskId


@dataclass(frozen=True, slots=True)
class JoinedProgram:
    """Implements `programs.Program`.

    Attributes:
        inlets: A program for each input, in the order of the inputs; they differ in what maps.
    """

    inlets: tuple[Program, ...]

    @property
    def reduces(self) -> bool:
        """As each of them."""
        return self.inlets[0].reduces

    @property
    def combines(self) -> bool:
        """As each of them."""
        return self.inlets[0].combines

    @property
    def splits_per_worker(self) -> int:
        """As each of them."""
        return self.inlets[0].splits_per_worker

    @property
    def grouped_order(self) -> bool:
        """As each of them."""
        return self.inlets[0].grouped_order

    @property
    def sorting(self) -> Sorting:
        """As each of them."""
        return self.inlets[0].sorting

    @property
    def has_law(self) -> bool:
        """As each of them."""
        return self.inlets[0].has_law

    def named(self) -> Iterable[tuple[str, Callable[..., Any]]]:
        """Return the functions of all of them, those that they share once."""
        seen: list[tuple[str, Callable[..., Any]]] = []
        for inlet in self.inlets:
            seen += [one for one in inlet.named() if not any(one[0] == name and one[1] is function for name, function in seen)]
        return seen

    def check_input(self, inputs: Sequence[SplitInput]) -> None:
        """Have each look at its own splits."""
        for inlet in self.inlets:
            own = [found for program, found in map(self.inlet_of, inputs) if program is inlet]
            if own:
                inlet.check_input(own)

    def try_out(self, input: SplitInput) -> Iterator[Tried]:
        """As the one of the split."""
        program, own = self.inlet_of(input)
        return program.try_out(own)

    def check(self, pairs: Sequence[Pair]) -> None:
        """As each of them."""
        self.inlets[0].check(pairs)

    def emitter(self, input: SplitInput, *, meter: Meter, batch_bytes: int) -> Emitter:
        """As the one of the split."""
        program, own = self.inlet_of(input)
        return program.emitter(own, meter=meter, batch_bytes=batch_bytes)

    def combiner(self, *, tolerant: bool = False) -> Combiner:
        """As each of them."""
        return self.inlets[0].combiner(tolerant=tolerant)

    def map_to_rows(self, input: SplitInput, sink: PartWriter, *, meter: Meter) -> Position | None:
        """As the one of the split."""
        program, own = self.inlet_of(input)
        return program.map_to_rows(own, sink, meter=meter)

    def reduce(self, blocks: Blocks, sink: PartWriter, *, meter: Meter, done: int) -> Handed:
        """As each of them."""
        return self.inlets[0].reduce(blocks, sink, meter=meter, done=done)

    def inlet_of(self, input: SplitInput) -> tuple[Program, SplitInput]:
        """Return the program of a split, and the split as that reads it."""
        number = inlet_of_split(input.reading, input.split.number)
        told = input.reading.inlets[number]
        return self.inlets[number], replace(input, format=told.format, reading=told.reading)


def inlet_of_split(reading: Reading, split: int) -> int:
    """Return which of several inputs a split is of, counted from 0."""
    return bisect_right([inlet.first for inlet in reading.inlets], split) - 1


def inlet_of_task(reading: Reading, task: TaskId) -> int:
    """Return which of several inputs a task is of, counted from 0: 0 where there is one, and for tasks that do not map."""
    return inlet_of_split(reading, task.number) if task.phase is Phase.MAP and reading.inlets else 0


def mapped_by(program: Program, input: SplitInput) -> tuple[Program, SplitInput]:
    """Return what maps the records of a split, and the split as a source of just these records."""
    if isinstance(program, JoinedProgram):
        return mapped_by(*program.inlet_of(input))
    return (program.inner, program.parsed(input)) if isinstance(program, ParsedProgram) else (program, input)


def core_of(program: Program, inlet: int = 0) -> Program:
    """Return the program that holds the functions; where several inputs have theirs, that of one of them, counted from 0."""
    if isinstance(program, JoinedProgram):
        return core_of(program.inlets[inlet])
    return program.inner if isinstance(program, ParsedProgram) else program
