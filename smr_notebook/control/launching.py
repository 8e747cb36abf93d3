"""Launching many attempts: rows first, then calls; side by side where a call is a journey, and as a tree where they are many.

Theory. An asynchronous call of a cloud function takes some 20 ms, most of it waiting, and some milliseconds of a processor: one caller
reaches a few hundred a second. So beyond some hundreds of launches the first workers launch the next before their own work: each call
carries the attempts of its branch, and whoever is called cuts them into branches again (Lambada, SIGMOD 2020, section 4.2).

Rules of this module:

* All rows are written before the first call, so that whatever is lost of a tree is there, expires unless it is claimed, and is
  launched again. Whoever launches for others does not wait, and does not tell.
* A refusal ends the round: what was not called stays unanswered, and is called again later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

from smr_notebook.control.ledger import Ledger
from smr_notebook.control.messages import AttemptRange, Message, attempt_message, encode
from smr_notebook.control.scheduling import Launch
from smr_notebook.errors import PlatformError, ServiceError, ThrottledError
from smr_notebook.model import AttemptId, AttemptState, Failure, FailureKind, TaskId
from smr_notebook.ports import Backend

T = TypeVar("T")
R = TypeVar("R")

FLAT: Final = 200
"""Up to so many launches one caller makes all calls itself."""

ROOTS: Final = 64
"""Branches that a tree has at its root, at most."""


@dataclass(frozen=True, slots=True)
class Launched:
    """What became of a round of launches.

    Attributes:
        answered: Attempts that need no further call: called, or found to be past that.
        refused: Whether the service refused a call.
    """

    answered: frozenset[AttemptId]
    refused: bool


def launch(backend: Backend, ledger: Ledger, job: str, launches: Sequence[Launch], *, proceed: Callable[[], bool]) -> Launched:
    """Write launches down and make the calls.

    Args:
        backend: The platform.
        ledger: The rows of the job.
        job: Identifier of the job.
        launches: What to launch, all of one phase.
        proceed: Asked before each round of calls whether to go on.

    Raises:
        StoreError: A row cannot be written; what was not called is called again later.
    """
    clock = backend.clock
    standing = side_by_side(
        lambda wanted: ledger.launch(wanted.attempt, now=clock.now(), expires=wanted.expires), launches, threads=backend.parallel
    )
    ours, answered = [], set()
    for wanted, found in zip(launches, standing, strict=True):
        if found.state is AttemptState.LAUNCHED and found.expires == wanted.expires:
            ours.append(wanted.attempt)
        else:
            answered.add(wanted.attempt)
    refused = False
    branches, width = plan_branches(ours, branching=backend.branching), max(backend.parallel, 1)
    for start in range(0, len(branches), width):
        if refused or not proceed():
            break
        chunk = branches[start : start + width]
        errors = side_by_side(lambda branch: _call(backend, job, branch), chunk, threads=width)
        for branch, error in zip(chunk, errors, strict=True):
            refused = refused or error is not None
            if not isinstance(error, ThrottledError):
                answered.update(branch)
            if isinstance(error, ServiceError):
                _bury(ledger, branch, error, now=clock.now())
    return Launched(frozenset(answered), refused)


def launch_rest(backend: Backend, message: Message) -> None:
    """Make the calls that a message asks its worker to make for others; what fails expires."""
    rest = [
        AttemptId(TaskId(message.phase, number), found.attempt) for found in message.then for number in range(found.first, found.last + 1)
    ]
    branches = shares(rest, backend.branching or 1)
    for _ in side_by_side(lambda branch: _call(backend, message.job, branch), branches, threads=backend.parallel):
        pass


def plan_branches(attempts: Sequence[AttemptId], *, branching: int) -> list[Sequence[AttemptId]]:
    """Cut launches into the branches of a tree, each to be called by its first attempt. Pure.

    Args:
        attempts: All of one phase.
        branching: How many calls one worker makes for others at most; 0 for no tree.
    """
    if not branching or len(attempts) <= FLAT:
        return [[attempt] for attempt in attempts]
    return shares(attempts, min(ROOTS, -(-len(attempts) // (branching + 1))))


def shares(items: Sequence[T], most: int) -> list[Sequence[T]]:
    """Cut a sequence into at most `most` pieces of the same length, to one; none is empty. Pure."""
    pieces = min(most, len(items))
    return [items[len(items) * piece // pieces : len(items) * (piece + 1) // pieces] for piece in range(pieces)]


def ranges_of(attempts: Iterable[AttemptId]) -> tuple[AttemptRange, ...]:
    """Return attempts of one phase, in order, as ranges of neighbours. Pure."""
    found: list[AttemptRange] = []
    for attempt in attempts:
        number = attempt.task.number
        if found and found[-1].last + 1 == number and found[-1].attempt == attempt.number:
            found[-1] = AttemptRange(found[-1].first, number, attempt.number)
        else:
            found.append(AttemptRange(number, number, attempt.number))
    return tuple(found)


def side_by_side(work: Callable[[T], R], items: Sequence[T], *, threads: int) -> Iterator[R]:
    """Yield what `work` returns for each item, in order; in several threads where that helps."""
    if threads <= 1 or len(items) <= 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(min(threads, len(items))) as pool:
        yield from pool.map(work, items)


def _call(backend: Backend, job: str, branch: Sequence[AttemptId]) -> PlatformError | None:
    first, *rest = branch
    try:
        backend.functions.invoke(encode(attempt_message(job, first, ranges_of(rest))))
    except (ThrottledError, ServiceError) as error:
        return error
    return None


def _bury(ledger: Ledger, branch: Sequence[AttemptId], error: ServiceError, *, now: float) -> None:
    failure = Failure(FailureKind.LOST, type(error).__name__, str(error))
    for attempt in branch:
        ledger.bury(attempt, owner="", failure=failure, now=now)
