"""What came of calls, as Python has it: a value, or an exception with the traceback of the worker as its cause.

Rules of this module:

* A row is unpickled after the digest of its part was found right (`dataflow.results`), and never else.
* What cannot be loaded here is the error of its own call. The others are as they were.
* The lines of a traceback come from what travelled with the code of the job, so that a cell is a cell in any kernel. It is read when the
  first call has raised, and not before.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from smr_notebook.control.failures import told_frames
from smr_notebook.control.keys import keys_of
from smr_notebook.control.plans import read_code
from smr_notebook.dataflow.calls import Link, Raised, Returned
from smr_notebook.dataflow.code import Sources, load_sources
from smr_notebook.dataflow.results import iter_values
from smr_notebook.errors import CorruptObjectError, SmrError, TaskError, UnpicklableError
from smr_notebook.model import Part
from smr_notebook.ports import Backend


class RemoteTraceback(Exception):  # noqa: N818 - named like the standard library's own
    """The traceback of a call in its worker: the `__cause__` of what the call raised."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}\n"""'


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call: a value, or the exception that it raised."""

    value: Any = None
    error: BaseException | None = None


class Outcomes:
    """Reads what came of the calls of one job.

    Args:
        backend: The platform.
        job: Identifier of the job.
    """

    def __init__(self, backend: Backend, job: str) -> None:
        self._backend = backend
        self._job = job
        self._sources: Sources | None = None

    def of_part(self, part: Part) -> Iterator[tuple[int, Outcome]]:
        """Yield number and outcome of each call of a task, in their order.

        Raises:
            CorruptObjectError: The part is not what was written.
            StoreError: It cannot be read.
        """
        for number, found in iter_values(self._backend.objects, part):
            if type(number) is not int:
                raise CorruptObjectError(f"The job {self._job} holds no outcomes of calls: a key of its result is {number!r}.")
            yield number, self._outcome(number, found)

    def _outcome(self, number: int, found: object) -> Outcome:
        if isinstance(found, Raised):
            return Outcome(error=self._error(number, found))
        if not isinstance(found, Returned):
            return Outcome(found)
        try:
            return Outcome(pickle.loads(found.pickled))
        except BaseException as error:
            if _interrupts(error):
                raise
            told = f"What call {number:,} of job {self._job} returned cannot be loaded here: {type(error).__name__}: {error}."
            return Outcome(error=_caused(UnpicklableError(f"{told} Import here what it is made of, and take the result again."), error))

    def _error(self, number: int, raised: Raised) -> BaseException:
        if raised.unsent:
            told = f"What call {number:,} of job {self._job} returned cannot travel back: {raised.unsent}"
            return UnpicklableError(told)
        cause = RemoteTraceback(self._text(raised.links))
        if (error := _loaded(raised.pickled)) is not None:
            return _caused(error, cause)
        told = f"Call {number:,} of job {self._job} raised {raised.name}: {raised.message}"
        return _caused(TaskError(f"{told} (the exception itself cannot be pickled and loaded here).", job=self._job), cause)

    def _text(self, links: tuple[Link, ...]) -> str:
        if self._sources is None:
            self._sources = self._read_sources()
        return "\n".join(_lines(links, self._sources))

    def _read_sources(self) -> Sources:
        with suppress(SmrError):  # a traceback without lines is still one
            return load_sources(read_code(self._backend.objects, self._job, keys_of(self._backend.table)))
        return {}


def _lines(links: tuple[Link, ...], sources: Sources) -> Iterator[str]:
    """Yield the lines of a traceback as Python prints it."""
    for link in links:
        if link.joint:
            yield f"\n{link.joint}\n"
        yield "Traceback (most recent call last):"
        for frame in told_frames(link.steps, sources):
            yield f'  File "{frame.label}", line {frame.line}, in {frame.function}'
            if frame.text:
                yield f"    {frame.text}"
        yield link.text


def _loaded(pickled: bytes) -> BaseException | None:
    """Return the exception that a call raised, or `None` where it cannot be made again: what workers have may be missing here."""
    try:
        error = pickle.loads(pickled) if pickled else None
    except BaseException as raised:
        if _interrupts(raised):
            raise
        return None
    return error if isinstance(error, BaseException) else None


def _interrupts(error: BaseException) -> bool:
    """Whether it is the user who interrupts, of which Python tells the main thread alone, and not what the user's classes raise."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


def _caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error
