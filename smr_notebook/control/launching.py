"""Launching many attempts: rows, then calls; side by side where a call is a journey, and as a tree where they are many.

Theory. A row takes some milliseconds of a processor to write, and so does an asynchronous call: one caller launches a few hundred a
second. So beyond that, the first workers launch the next before their own work: each call carries the attempts of its branch, and
whoever is called cuts them into branches again (Lambada, SIGMOD 2020, section 4.2).

Rules of this module:

* An attempt is written down before it is called, by whoever calls it. What is lost then expires, and is launched again.
* Attempts that a call carries are *entrusted* to its worker for the time of a launch. Nobody else launches them meanwhile; those that have
  no row by then are launched again. Whoever launches for others has claimed its own attempt before, so that a doubled call launches
  once, and does not wait for them.
* A refusal ends the round: what was not called stays unanswered, and is called again later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeVar

from smr_notebook.control.ledger import Ledger
from smr_notebook.control.messages import AttemptRange, Message, attempt_message, encode
from smr_notebook.control.scheduling import Launch
from smr_notebook.errors import PlatformError, ServiceError, ThrottledError
from smr_notebook.model import Attempt, AttemptId, AttemptState, Failure, FailureKind, TaskId
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
        entrusted: Attempts that those will launch.
        refused: Whether the service refused a call.
    """

    answered: frozenset[AttemptId]
    entrusted: frozenset[AttemptId]
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
    wanted = {launched.attempt: launched for launched in launches}
    answered: set[AttemptId] = set()
    entrusted: set[AttemptId] = set()
    refused = False
    alone = {
        attempt for attempt in wanted if wanted[attempt].speculative or wanted[attempt].size
    }  # nobody launches what is larger than itself
    branches = plan_branches([attempt for attempt in wanted if attempt not in alone], branching=backend.branching)
    branches += [[attempt] for attempt in wanted if attempt in alone]
    width = max(backend.parallel, 1)
    for start in range(0, len(branches), width):
        if refused or not proceed():
            break
        together = branches[start : start + width]
        ours = _write(backend, ledger, [wanted[first] for first, *_ in together])
        answered.update(first for first, *_ in together if first not in ours)
        called = [branch for branch in together if branch[0] in ours]
        for branch, error in zip(
            called,
            side_by_side(lambda branch: _call(backend, job, branch, size=wanted[branch[0]].size), called, threads=width),
            strict=True,
        ):
            if error is not None and not isinstance(error, ThrottledError | ServiceError):
                raise error
            refused = refused or error is not None
            if isinstance(error, ServiceError):
                _bury(ledger, branch[0], error, now=backend.clock.now())
            if not isinstance(error, ThrottledError):
                answered.add(branch[0])
            if error is None:
                entrusted.update(branch[1:])
    return Launched(frozenset(answered), frozenset(entrusted), refused)


def _write(backend: Backend, ledger: Ledger, launches: Sequence[Launch]) -> set[AttemptId]:
    """Write launches down, and return those that wait for a call."""
    now = backend.clock.now()

    def write(wanted: Launch) -> Attempt:
        return ledger.launch(wanted.attempt, now=now, expires=wanted.expires, speculative=wanted.speculative, size=wanted.size)

    standing = side_by_side(write, launches, threads=backend.parallel)
    return {found.id for found in standing if found.state is AttemptState.LAUNCHED}


def launch_rest(backend: Backend, ledger: Ledger, message: Message) -> None:
    """Launch what a message entrusts to its worker, unless the job is to end; what fails is launched again by whoever coordinates.

    Raises:
        StoreError: The table cannot be reached.
    """
    rest = [
        AttemptId(TaskId(message.phase, number), found.attempt) for found in message.then for number in range(found.first, found.last + 1)
    ]
    if not rest or ledger.unwanted() is not None:
        return
    now = backend.clock.now()

    def pass_on(branch: Sequence[AttemptId]) -> None:
        with suppress(PlatformError):
            standing = ledger.launch(branch[0], now=now, expires=now + backend.policy.launch)
            if standing.state is AttemptState.LAUNCHED:
                _call(backend, message.job, branch)

    for _ in side_by_side(pass_on, shares(rest, backend.branching or 1), threads=backend.parallel):
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


def _call(backend: Backend, job: str, branch: Sequence[AttemptId], *, size: int = 0) -> PlatformError | None:
    first, *rest = branch
    try:
        backend.functions.invoke(encode(attempt_message(job, first, ranges_of(rest), size=size)))
    except PlatformError as error:
        return error
    return None


def _bury(ledger: Ledger, attempt: AttemptId, error: ServiceError, *, now: float) -> None:
    ledger.bury(attempt, owner="", failure=Failure(FailureKind.LOST, type(error).__name__, str(error)), now=now)
