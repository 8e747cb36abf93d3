"""Several inputs of a job, each with a map function of its own, as a session's verbs take them: what a join is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from smr_notebook.control.inlets import Inlet, Inlets, told_of
from smr_notebook.control.naming import classify
from smr_notebook.dataflow.joined_programs import JoinedProgram
from smr_notebook.dataflow.pair_programs import program_of_pairs
from smr_notebook.dataflow.parsed_programs import ParsedProgram
from smr_notebook.dataflow.programs import Program
from smr_notebook.errors import PlanError
from smr_notebook.formats import AUTO, InputFormat, format_of
from smr_notebook.model import PLAINLY, Sorting
from smr_notebook.ports import Backend
from smr_notebook.sessions.stage_inputs import refuse_format, with_jobs_named

_USAGE = "smr.map_reduce(None, reduce, [smr.mapped(map_users, 'users.csv'), smr.mapped(map_orders, 'orders.jsonl')])"


@dataclass(frozen=True, slots=True)
class Mapped:
    """An input with the map function of its own. Made by `mapped`."""

    map: Callable[..., Any]
    input: object
    format: str | InputFormat = AUTO


def mapped(map: Callable[..., Any], input: object, *, format: str | InputFormat = AUTO) -> Mapped:
    """Name an input together with what maps its records: one of several inputs of a job.

    Args:
        map: As of `map_reduce`.
        input: As of `map_reduce`: files, items, a DataFrame, a job.
        format: As of `map_reduce`, of this input alone.

    Returns:
        An item of the list that `map_reduce` takes as `input`, where `map` is `None`.

    Raises:
        PlanError: `map` is no function.
    """
    if not callable(map):
        raise PlanError(f"The first argument of mapped must be a map function; got {map!r}.")
    return Mapped(map, input, format)


def several(input: object) -> bool:
    """Whether an input consists of several, each with a map function of its own."""
    return isinstance(input, Mapped) or (isinstance(input, list | tuple) and any(isinstance(one, Mapped) for one in input))


def program_over(map: object, reduce: object, combine: object, sorting: Sorting, *, input: object) -> Program:
    """Return what a job over pairs runs, of one input or several.

    Raises:
        PlanError: As of `program_of_pairs`; or there are map functions where there should be none, or none where there should be.
    """
    if not several(input):
        if map is None:
            raise PlanError(f"map must be a function; None goes with inputs that have their own: {_USAGE}.")
        return program_of_pairs(map, reduce, combine, sorting)
    if map is not None:
        raise PlanError(f"map must be None where each input has a map function of its own: {_USAGE}.")
    return JoinedProgram(tuple(_parsed(program_of_pairs(one.map, reduce, combine, sorting), one) for one in _all(input)))


def named_inlets(input: object, backend: Backend) -> Inlets:
    """Return several inputs by name.

    Args:
        input: What the user gave.
        backend: Where the job shall run.

    Raises:
        ConfigError, PlanError: As of one input, told with its number.
    """
    found = []
    for number, one in enumerate(_all(input), 1):
        with told_of(number):
            found.append(_inlet(one, backend))
    return Inlets(tuple(found))


def _inlet(one: Mapped, backend: Backend) -> Inlet:
    if several(one.input):
        raise PlanError("An input of mapped cannot have map functions itself: put all of them into one list.")
    told, named = format_of(one.format), classify(with_jobs_named(one.input, backend))
    refuse_format(told, named)
    return Inlet(named, told.format if told else AUTO, told.reading if told else PLAINLY)


def _all(input: object) -> Sequence[Mapped]:
    given = [input] if isinstance(input, Mapped) else cast("Sequence[object]", input)
    for number, one in enumerate(given, 1):
        if not isinstance(one, Mapped):
            raise PlanError(f"Input {number} has no map function of its own, as others have. Name each of them by smr.mapped: {_USAGE}.")
    return cast("Sequence[Mapped]", given)


def _parsed(program: Program, one: Mapped) -> Program:
    told = format_of(one.format)
    return ParsedProgram(program, told.parser) if told is not None and told.parser else program
