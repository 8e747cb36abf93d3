"""A program whose functions are set up, for as long as an attempt lasts: see `hooks`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from smr_notebook.dataflow.functions import UserCodeError
from smr_notebook.dataflow.hooks import Hooked
from smr_notebook.dataflow.joined_programs import JoinedProgram
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.programs import Program
from smr_notebook.model import Phase

NAMES = {Phase.MAP: ("map", "combine"), Phase.REDUCE: ("reduce",)}
"""The functions that an attempt of each phase calls."""


@contextmanager
def opened(program: Program, names: Collection[str], *, meter: Meter | None = None, inlet: int | None = None) -> Iterator[Program]:
    """Set up functions of a program, give it as it is then, and tear them down. A program without hooks is given as it is.

    Of several inputs each has a `map` of its own; what comes behind is that of the first in all of them.

    Args:
        program: The program.
        names: Names of the functions that are called within the block.
        meter: Of the attempt: it is told that a hook is under way.
        inlet: Which of several inputs is mapped, counted from 0; `None` for any of them.

    Raises:
        UserCodeError: A hook raised, or gave something else than it should.
    """
    if isinstance(program, JoinedProgram):
        with ExitStack() as stack:
            each = [(one, _called(names, place, inlet)) for place, one in enumerate(program.inlets)]
            yield replace(program, inlets=tuple([stack.enter_context(opened(one, own, meter=meter)) for one, own in each]))
        return
    found = [(name, function) for name, function in program.named() if name in names and isinstance(function, Hooked)]
    if not found:
        yield program
        return
    from smr_notebook.dataflow.mending import Mended, mended  # noqa: PLC0415 - knows all kinds of programs, of which a worker has one

    with ExitStack() as stack:
        given = {name: stack.enter_context(function.entered(name, meter)) for name, function in found}
        if meter is not None:
            meter.counts.keep()
        yield mended(program, Mended(**given))


def _called(names: Collection[str], place: int, inlet: int | None) -> list[str]:
    """Return which of the functions of one of several inputs are called."""
    return [name for name in names if (inlet in {None, place} if name == "map" else place == 0)]


@contextmanager
def passing_over() -> Iterator[None]:
    """Pass over what a hook raises where functions are only tried: the job tells of it. An interrupt is nothing of that kind."""
    try:
        yield
    except UserCodeError as error:
        cause = error.__cause__ or error
        if not isinstance(cause, Exception | SystemExit):
            raise cause from None
