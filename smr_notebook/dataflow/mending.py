"""A program with other functions in it: what runs when only a part of a job is done again, with mended code.

Theory. What stands of a job was made by the functions that it was submitted with. Other functions may take their place from here on where
what they are given, and what is made of what they give, stays of the same kind. So only functions of the user's are replaced, each by one
in the same place. A built-in aggregation is none: its states are what lies in the runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from smr_notebook.dataflow.aggregates import fold_of, told
from smr_notebook.dataflow.aggregations import as_reduce, makes_generators
from smr_notebook.dataflow.code import takes_source
from smr_notebook.dataflow.frames.programs import FrameProgram
from smr_notebook.dataflow.hooks import MAP, REDUCE, arranged
from smr_notebook.dataflow.joined_programs import JoinedProgram
from smr_notebook.dataflow.pair_programs import AggregatedPairs, PairProgram
from smr_notebook.dataflow.parsed_programs import ParsedProgram
from smr_notebook.dataflow.programs import Program
from smr_notebook.errors import PlanError


@dataclass(frozen=True, slots=True)
class Mended:
    """Functions to run from now on, by what they are; `None` for those of before."""

    map: object = None
    reduce: object = None
    combine: object = None

    def named(self) -> Iterable[tuple[str, object]]:
        """Return those that are given, by name."""
        found = (("map", self.map), ("reduce", self.reduce), ("combine", self.combine))
        return [(name, function) for name, function in found if function is not None]

    def arranged(self, bare: int) -> Mended:
        """Return them as a job runs them (`hooks.arranged`), where `bare` is that of `reduce`."""
        return Mended(arranged(self.map, MAP), arranged(self.reduce, bare), arranged(self.combine, bare))


def mended(program: Program, given: Mended) -> Program:
    """Return a program with functions replaced.

    Raises:
        PlanError: The program has no such function, or what is given is none.
    """
    functions = dict(program.named())
    for name, function in given.named():
        if name not in functions:
            here = f"it has {' and '.join(functions)}" if functions else "it has none: submit it again with other aggregations"
            raise PlanError(f"{name}= has nothing to mend: the job has no {name} of your own; {here}.")
        if not callable(function) or (name != "map" and (fold_of(function) is not None or told(function))):
            raise PlanError(
                f"{name}= must be a function, like the one that it mends; got {function!r}. Submit another job for another kind."
            )
    return _MENDERS[type(program)](program, given) if given.named() else program


def changes_combiner(program: Program, given: Mended) -> bool:
    """Whether other functions would combine: the combiner is given, or `reduce`, which is the combiner as well."""
    functions = dict(program.named())
    shared = "combine" in functions and functions["combine"] is functions.get("reduce")
    return given.combine is not None or (given.reduce is not None and shared)


def _pairs(program: PairProgram, given: Mended) -> Program:
    given = given.arranged(REDUCE)
    old, functions = program.functions, program.functions
    if callable(given.map):
        functions = replace(functions, map=given.map, map_takes_source=takes_source(given.map))
    if callable(given.reduce):
        reduce = as_reduce(given.reduce)
        functions = replace(functions, reduce=reduce, reduce_yields=makes_generators(reduce))
        if old.combine is old.reduce:
            functions = replace(functions, combine=reduce, combine_yields=makes_generators(reduce))
    if callable(given.combine):
        combine = as_reduce(given.combine)
        functions = replace(functions, combine=combine, combine_yields=makes_generators(combine))
    return replace(program, functions=functions)


def _aggregated(program: AggregatedPairs, given: Mended) -> Program:
    given = given.arranged(REDUCE)
    assert callable(given.map)  # noqa: S101 - the only function that it has
    return replace(program, functions=replace(program.functions, map=given.map, map_takes_source=takes_source(given.map)))


def _frames(program: FrameProgram, given: Mended) -> Program:
    given = given.arranged(MAP)
    old, functions = program.functions, program.functions
    if callable(given.map):
        functions = replace(functions, map=given.map, map_takes_source=takes_source(given.map))
    if callable(given.reduce):
        functions = replace(functions, reduce=given.reduce, combine=given.reduce if old.combine is old.reduce else old.combine)
    if callable(given.combine):
        functions = replace(functions, combine=given.combine)
    return replace(program, functions=functions)


def _joined(program: JoinedProgram, given: Mended) -> Program:
    if given.map is not None:
        raise PlanError("The job has several inputs, each with a map function of its own: submit it again with the one that is mended.")
    return JoinedProgram(tuple(mended(inlet, given) for inlet in program.inlets))


def _parsed(program: ParsedProgram, given: Mended) -> Program:
    return replace(program, inner=mended(program.inner, given))


_MENDERS: Final[dict[type, Callable[[Any, Mended], Program]]] = {
    PairProgram: _pairs,
    AggregatedPairs: _aggregated,
    FrameProgram: _frames,
    ParsedProgram: _parsed,
    JoinedProgram: _joined,
}
