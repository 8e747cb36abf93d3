"""When a task is out of tries, and what is said of a job that failed. Pure.

Rules of this module:

* A *failure* is an attempt that somebody began and that did not end well. There may be `retries` of them, and one more
  ends the task.
* A *lost launch* is a call that the service swallowed: nobody claimed it. It says nothing of the task, so it is counted
  on its own, up to `lost_launches`.
* A task is judged when none of its attempts lives. A *backup* that failed is no failure of the task: the attempt beside it may be well.
* A stopped attempt, and one that was paused with its leg published, count as neither. Behind a leg, counting begins anew: the task has
  come on, and one of many hours may lose an attempt now and then.
* What trying again cannot heal is not tried again: input that changed or is not what its format says, objects that somebody else
  wrote, workers of another environment, and a user's function that raised the same error, or did not end, at the same record twice.
* An attempt that ran out of memory is followed by one with the next size of memory, once for each size, and not counted among the
  failures. At the largest size it ends the task: trying again would run out again.
* Failures are told in groups of the same line: one sample, and how many tasks failed alike; of many groups, the first ones.
* A missing input is told behind a broken deployment, whichever task ended first: where a bucket goes, its objects go before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

from smr_notebook import errors
from smr_notebook.model import Attempt, AttemptState, Failure, FailureKind, JobState, Policy, TaskId
from smr_notebook.standing import FailedAttempt, Outcome, Snapshot

HOPELESS = frozenset(
    error.__name__
    for error in (
        errors.CounterError,
        errors.EnvironmentMismatchError,
        errors.FormatVersionError,
        errors.InputChangedError,
        errors.InputFormatError,
        errors.InputMissingError,
        errors.UntrustedObjectError,
    )
)
"""Types of failure that no further attempt can heal."""

MEMORY: Final = errors.OutOfMemoryError.__name__
"""Type of the failure of an attempt that ran out of memory."""

_DETERMINISTIC: Final = frozenset({errors.TaskTimeoutError.__name__})
"""Types of failure besides a user's own that end the task when they come at the same record twice."""

MOST_KINDS: Final = 10
"""Groups of failures that are told: an outcome is one row of a table."""


def lost_launch(attempt: Attempt) -> bool:
    """Whether a launch was lost, rather than an attempt that somebody had begun."""
    return attempt.failure is not None and attempt.failure.kind is FailureKind.LOST and not attempt.owner


def out_of_memory(attempt: Attempt) -> bool:
    """Whether an attempt failed for want of memory."""
    return attempt.state is AttemptState.FAILED and attempt.failure is not None and attempt.failure.type == MEMORY


def size_wanted(attempts: Sequence[Attempt]) -> int:
    """Return which size of memory the next attempt of a task needs, counted from 0: one more than was too little."""
    return max((attempt.size + 1 for attempt in attempts if out_of_memory(attempt)), default=0)


def out_of_tries(attempts: Sequence[Attempt], policy: Policy, *, sizes: int = 1) -> bool:
    """Whether a task without a commit must not be tried again.

    Args:
        attempts: All its attempts.
        policy: How hard to try.
        sizes: How many sizes of memory there are.
    """
    failed = [attempt for attempt in attempts if attempt.state is AttemptState.FAILED]
    if not failed or any(attempt.live for attempt in attempts):
        return False
    failures = [attempt.failure for attempt in failed if attempt.failure is not None]
    if any(failure.type in HOPELESS for failure in failures) or _same_error_twice(failures) or size_wanted(attempts) >= sizes:
        return True
    launches = sum(map(lost_launch, _since_leg(attempts)))
    return launches >= policy.lost_launches or len(failed_since_leg(attempts)) > policy.retries


def failed_since_leg(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Return the failures of a task since its last leg, lost launches left out, by number."""
    return [attempt for attempt in _since_leg(attempts) if not lost_launch(attempt)]


def _since_leg(attempts: Sequence[Attempt]) -> list[Attempt]:
    leg = max((attempt.id.number for attempt in attempts if attempt.state is AttemptState.PAUSED), default=0)
    failed = (attempt for attempt in attempts if attempt.state is AttemptState.FAILED and not attempt.speculative)
    return [attempt for attempt in failed if attempt.id.number > leg and not out_of_memory(attempt)]


def _same_error_twice(failures: Iterable[Failure]) -> bool:
    seen = Counter(
        (failure.where, failure.function, failure.source, failure.offset, failure.record_number, failure.record)
        for failure in failures
        if failure.kind is FailureKind.USER or (failure.type in _DETERMINISTIC and failure.record)
    )
    return any(count > 1 for count in seen.values())


def failed_outcome(attempts: Mapping[TaskId, Sequence[Attempt]], ended: Sequence[TaskId], *, now: float) -> Outcome:
    """Return the outcome of a job that failed.

    Args:
        attempts: The attempts of each task that has no commit.
        ended: The tasks among them that are out of tries: not empty.
        now: Time of the end.
    """
    first = set(ended)
    failures = _explained(_grouped(attempts[task] for task in (*ended, *(task for task in attempts if task not in first))))
    return Outcome(JobState.FAILED, now, failures=failures, error=error_name(failures[0].failure), message=_message(attempts[ended[0]]))


def cancelled_outcome(reason: str, *, now: float) -> Outcome:
    """Return the outcome of a job that somebody asked to end."""
    return Outcome(JobState.CANCELLED, now, error=errors.JobCancelled.__name__, message=reason)


def broken_outcome(error: Exception, *, who: str, now: float) -> Outcome:
    """Return the outcome of a job that its driver or its coordinator cannot go on with, for an error that repetition does not heal."""
    known = isinstance(error, errors.SmrError)
    name = type(error).__name__ if known else errors.JobError.__name__
    text = str(error) if known else f"The {who} failed with {type(error).__name__}: {error}"
    return Outcome(JobState.FAILED, now, error=name, message=text)


def failures_so_far(snapshot: Snapshot) -> tuple[FailedAttempt, ...]:
    """Return a sample of each kind of failure, with the number of tasks that failed alike, healed or not."""
    return _grouped(snapshot.attempts.values())


def error_name(failure: Failure) -> str:
    """Return the class name in `smr_notebook.errors` that a failure is raised as."""
    if failure.kind is FailureKind.USER:
        return errors.PairShapeError.__name__ if failure.type == errors.PairShapeError.__name__ else errors.TaskError.__name__
    if failure.kind in {FailureKind.CRASH, FailureKind.LOST} and failure.type != MEMORY:
        return errors.WorkerLostError.__name__
    named = getattr(errors, failure.type, None)
    known = isinstance(named, type) and issubclass(named, errors.SmrError)
    return failure.type if known else errors.JobError.__name__


def _grouped(tasks: Iterable[Sequence[Attempt]]) -> tuple[FailedAttempt, ...]:
    """Group the last failure of each task, in the order given."""
    groups: dict[tuple[str, str, int], FailedAttempt] = {}
    for attempts in tasks:
        last = _last_failed(attempts)
        if last is not None and last.failure is not None:
            known = groups.get(last.failure.where)
            groups[last.failure.where] = replace(known, tasks=known.tasks + 1) if known else FailedAttempt(last.id, last.failure)
    return tuple(islice(groups.values(), MOST_KINDS))


def _explained(failures: tuple[FailedAttempt, ...]) -> tuple[FailedAttempt, ...]:
    """Put what explains a missing input before it."""
    if failures[0].failure.type != errors.InputMissingError.__name__:
        return failures
    return tuple(sorted(failures, key=lambda failed: failed.failure.type != errors.DeploymentError.__name__))


def _last_failed(attempts: Sequence[Attempt]) -> Attempt | None:
    return next((attempt for attempt in reversed(attempts) if attempt.state is AttemptState.FAILED), None)


def _message(attempts: Sequence[Attempt]) -> str:
    last = _last_failed(attempts)
    if last is None or last.failure is None:
        return ""
    failed = [attempt for attempt in attempts if attempt.state is AttemptState.FAILED]
    launches = sum(map(lost_launch, failed))
    counts = [f"failed {_times(len(failed) - launches)}"] if len(failed) > launches else []
    counts += [f"was launched {_times(launches)} without being started"] if launches else []
    failure = last.failure
    return f"Task {last.id.task.number} of the {last.id.task.phase} phase {' and '.join(counts)}: {failure.type}: {failure.message}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
