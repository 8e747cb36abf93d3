"""Launching many attempts: rows, then calls; side by side where a call is a journey, and as a tree where they are many.

Theory. An asynchronous call of a cloud function takes some 20 ms, most of it waiting, and some milliseconds of a processor: one caller
reaches a few hundred a second. So beyond some hundreds of launches the first workers launch the next before their own work: each call
carries the attempts of its branch, and whoever is called cuts them into branches again (Lambada, SIGMOD 2020, section 4.2).

Rules of this module:

* All rows of a branch are written before it is called, so that whatever is lost of it is there, expires unless it is claimed, and is
  launched again. Whoever launches for others does not wait, and does not tell.
* A refusal ends the round: what was not called stays unanswered, and is called again later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

FLAT: Final = 6
"""Up to so many times `Backend.branching` launches one caller makes all calls itself: some two hundred on AWS."""

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
        PlatformError: The service cannot be called, and trying again does not help.
    """
    expires = {wanted.attempt: wanted.expires for wanted in launches}
    answered: set[AttemptId] = set()
    refused = False
    for round_of in _rounds(plan_branches(list(expires), branching=backend.branching), calls=backend.parallel):
        if refused or not proceed():
            break
        ours = _write(backend, ledger, {attempt: expires[attempt] for branch in round_of for attempt in branch})
        answered.update(attempt for branch in round_of for attempt in branch if attempt not in ours)
        called = [kept for branch in round_of if (kept := [attempt for attempt in branch if attempt in ours])]
        errors = side_by_side(lambda branch: _call(backend, job, branch), called, threads=backend.parallel)
        for branch, error in zip(called, errors, strict=True):
            if error is not None and not isinstance(error, ThrottledError | ServiceError):
                raise error
            refused = refused or error is not None
            if not isinstance(error, ThrottledError):
                answered.update(branch)
            if isinstance(error, ServiceError):
                _bury(ledger, branch, error, now=backend.clock.now())
    return Launched(frozenset(answered), refused)


def _rounds(branches: Sequence[Sequence[AttemptId]], *, calls: int) -> Iterator[list[Sequence[AttemptId]]]:
    """Yield branches that are written and called together: as many attempts as calls may be under way at once, or one branch."""
    together: list[Sequence[AttemptId]] = []
    for branch in branches:
        if together and sum(map(len, together)) + len(branch) > calls:
            yield together
            together = []
        together.append(branch)
    if together:
        yield together


def _write(backend: Backend, ledger: Ledger, expires: Mapping[AttemptId, float]) -> set[AttemptId]:
    """Write launches down, and return those that wait for a call."""
    now = backend.clock.now()
    standing = side_by_side(
        lambda attempt: ledger.launch(attempt, now=now, expires=expires[attempt]), list(expires), threads=backend.parallel
    )
    return {found.id for found in standing if found.state is AttemptState.LAUNCHED}


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
    if not branching or len(attempts) <= FLAT * branching:
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
    except PlatformError as error:
        return error
    return None


def _bury(ledger: Ledger, branch: Sequence[AttemptId], error: ServiceError, *, now: float) -> None:
    failure = Failure(FailureKind.LOST, type(error).__name__, str(error))
    for attempt in branch:
        ledger.bury(attempt, owner="", failure=failure, now=now)
