"""Whether a job leaves out more than it may: while it runs, and when a phase ends. Pure.

Theory. How many records may be left out is a number, or a share of all records, and how many these are is known at the end only. While
a phase runs, it is estimated from how much of its input has been read: if the rest is as dense, and *twice* as dense to be on the safe
side, and nothing of it fails, would there be too many even so? Then the job ends now. So a job of which half fails ends early, and
one whose first file is bad goes on. Nothing is estimated from a few records, and nothing at the end of the phase.

Rules of this module:

* What counts are commits, legs, and the heartbeats of attempts that live; of two attempts of one task that are alive, the one that left
  out less.
* Records and groups are counted apart: `max_bad` holds for the map phase, and again for the reduce phase.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from smr_notebook.control.speculation import left_behind
from smr_notebook.errors import TooManyBadError
from smr_notebook.model import Attempt, AttemptState, JobState, Numbers, Phase, Plan
from smr_notebook.standing import Outcome, Snapshot

DENSER: Final = 2.0
"""How many times as many records there may be in a byte of what is not read as in what is."""

ENOUGH: Final = 1_000
"""Records, or groups, that must have been met before anything is estimated from them."""

_UNKNOWN: Final = 1e18
"""Records of an input of which too little was read."""

_ADVICE: Final = "Mend the input or the function, or raise max_bad; job.bad shows what the tasks that ended have left out."


def too_many_bad(plan: Plan, snapshot: Snapshot, phase: Phase, *, now: float) -> Outcome | None:
    """Return how a job ends that will leave out more than it may, whatever comes; `None` while it may not."""
    if not plan.tolerance.tolerant:
        return None
    numbers = _counted(snapshot, phase)
    if numbers.records_bad <= plan.tolerance.allowed(_most(plan, snapshot, phase, numbers)):
        return None
    return Outcome(JobState.FAILED, now, error=TooManyBadError.__name__, message=_message(plan, phase, numbers, " so far"))


def check_tolerance(plan: Plan, phase: Phase, numbers: Numbers) -> None:
    """Refuse a phase that has left out more than it may.

    Raises:
        TooManyBadError: It has.
    """
    if numbers.records_bad > plan.tolerance.allowed(numbers.records_read):
        raise TooManyBadError(_message(plan, phase, numbers), job=plan.job)


def _most(plan: Plan, snapshot: Snapshot, phase: Phase, numbers: Numbers) -> float:
    """Return how many records, or groups, there may be in a phase that has counted so many."""
    if phase is Phase.MAP and plan.input_records is not None:
        return plan.input_records
    if phase is Phase.MAP:
        done, whole = numbers.bytes_read, plan.input_bytes
    else:
        done, whole = numbers.pairs_in, _counted(snapshot, Phase.MAP).pairs_out
    seen = max(numbers.records_read, numbers.records_bad)
    if not done or seen < ENOUGH:
        return _UNKNOWN
    return seen + DENSER * seen / done * max(whole - done, 0)


def _counted(snapshot: Snapshot, phase: Phase) -> Numbers:
    """Return what the tasks of a phase have counted, each once."""
    total = snapshot.settled_in(phase).progress.numbers
    for task, commit in snapshot.commits.items():
        if task.phase is phase:
            total += commit.numbers
    for task, attempts in snapshot.attempts.items():
        if task.phase is phase and task not in snapshot.commits:
            total += _of_open(attempts)
    return total


def _of_open(attempts: Sequence[Attempt]) -> Numbers:
    legs = [attempt.numbers for attempt in attempts if attempt.state is AttemptState.PAUSED]
    live = [attempt.numbers for attempt in attempts if attempt.live and not left_behind(attempt, attempts)]
    least = min(live, key=lambda numbers: numbers.records_bad, default=Numbers())
    return sum(legs, start=least)


def _message(plan: Plan, phase: Phase, numbers: Numbers, when: str = "") -> str:
    noun = "records read" if phase is Phase.MAP else "groups formed"
    seen = max(numbers.records_read, numbers.records_bad)
    sample = f" The first: {numbers.bad_sample}." if numbers.bad_sample else ""
    return (
        f"Job {plan.job} has no result: {numbers.records_bad:,} of {seen:,} {noun}{when} were left out ({numbers.records_bad / seen:.2%}), "
        f"and max_bad allows {plan.tolerance}.{sample} {_ADVICE}"
    )
