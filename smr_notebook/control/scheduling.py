"""What to do next: a function of what stands, and of nothing else.

`decide` takes the plan, one look at the table and the time, and returns actions as values. It is *level-triggered*: it
knows no events and no history, so that a look may be late, stale or repeated, a coordinator may die between any two
actions, and two may act at once. Each action is safe to do twice, because the ledger answers with what stands.

Rules of this module:

* A task is worked on while it has no commit. The first commit wins, whoever made it, also after its lease has passed.
* What a lease says is written down before it is acted on: an expired attempt is first failed (`Expire`), then replaced.
* A phase begins when the manifest of the one before stands, and is gathered when each of its tasks has a commit.
* A job that fails or is cancelled launches nothing, stops what lives, and then ends.
* In-flight work is capped, because a call beyond what the service runs and queues would count as lost.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from smr_notebook.control.verdicts import failed_outcome, out_of_tries
from smr_notebook.errors import JobCancelled
from smr_notebook.model import (
    Attempt,
    AttemptId,
    AttemptState,
    Failure,
    FailureKind,
    JobState,
    Outcome,
    Phase,
    Plan,
    Snapshot,
    TaskId,
)

_Tasks = Mapping[TaskId, tuple[Attempt, ...]]

_BACKLOG = 1.0
"""Seconds of work that may wait in a service's queue for one job."""

_SHORTEST = 0.001
"""Seconds: a task counts as at least so long, so that the cap stays finite."""


@dataclass(frozen=True, slots=True)
class Launch:
    """Write down a new attempt that counts as lost unless claimed by `expires`, and invoke it."""

    attempt: AttemptId
    expires: float


@dataclass(frozen=True, slots=True)
class Expire:
    """Fail an attempt whose lease has passed."""

    attempt: AttemptId
    failure: Failure


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop a live attempt of a job that ends."""

    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class Gather:
    """Check the sums of a phase whose tasks are all committed, and write its manifest."""

    phase: Phase


@dataclass(frozen=True, slots=True)
class End:
    """Write the outcome. The proof of a job that is done is added by whoever reads the manifests."""

    outcome: Outcome


Action = Launch | Expire | Stop | Gather | End


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, and when to look again at the latest (`inf`: never, the job has ended)."""

    actions: tuple[Action, ...]
    wake_at: float


def decide(plan: Plan, snapshot: Snapshot, now: float, *, concurrency: int, queue_seconds: float) -> Decision:
    """Return what to do next.

    Args:
        plan: The plan of the job.
        snapshot: What the table says.
        now: The time.
        concurrency: How many invocations the service runs at once.
        queue_seconds: How long it lets a call wait for its turn; 0 if it refuses instead.
    """
    if snapshot.outcome is not None:
        return Decision((), math.inf)
    phase = next((phase for phase in plan.phases if phase not in snapshot.manifests), None)
    if phase is None:
        return Decision((End(Outcome(JobState.DONE, now, manifest=snapshot.manifests[plan.phases[-1]])),), now)
    tasks = {task: snapshot.attempts.get(task, ()) for task in _open_tasks(plan, snapshot, phase)}
    ending = _ending(plan, snapshot, tasks, now)
    if ending is not None:
        return _wind_down(tasks, ending, now)
    if not tasks:
        return Decision((Gather(phase),), now)
    live = _live(tasks)
    expired = [attempt for attempt in live if attempt.expired(now)]
    if expired:
        return Decision(tuple(Expire(attempt.id, _lost(attempt, now)) for attempt in expired), now)
    room = cap(snapshot, phase, concurrency=concurrency, queue_seconds=queue_seconds) - len(live)
    launches = tuple(_launches(tasks, room=room, expires=now + plan.policy.launch + queue_seconds))
    return Decision(launches, min([attempt.expires for attempt in live] + [launch.expires for launch in launches]))


def cap(snapshot: Snapshot, phase: Phase, *, concurrency: int, queue_seconds: float) -> int:
    """Return how many attempts of a phase may be in flight.

    That is what the service runs at once, and, if it queues calls and tasks are short, so much work besides that its workers do not
    wait for the next look; never more, because another job's calls stand behind ours.
    """
    concurrency = max(concurrency, 1)
    seconds = [commit.seconds for task, commit in snapshot.commits.items() if task.phase is phase]
    if not seconds:
        return concurrency
    waves = min(queue_seconds, _BACKLOG) / max(statistics.median(seconds), _SHORTEST)
    return int(concurrency * min(max(waves, 1.0), 64.0))


def _open_tasks(plan: Plan, snapshot: Snapshot, phase: Phase) -> Iterator[TaskId]:
    for number in range(plan.tasks(phase)):
        task = TaskId(phase, number)
        if task not in snapshot.commits:
            yield task


def _launches(tasks: _Tasks, *, room: int, expires: float) -> Iterator[Launch]:
    for task, attempts in tasks.items():
        if room <= 0:
            return
        if not any(attempt.live for attempt in attempts):
            yield Launch(AttemptId(task, len(attempts) + 1), expires)
            room -= 1


def _live(tasks: _Tasks) -> list[Attempt]:
    return [attempt for attempts in tasks.values() for attempt in attempts if attempt.live]


def _ending(plan: Plan, snapshot: Snapshot, tasks: _Tasks, now: float) -> Outcome | None:
    if snapshot.cancel is not None:
        return Outcome(JobState.CANCELLED, now, error=JobCancelled.__name__, message=snapshot.cancel)
    ended = [task for task, attempts in tasks.items() if out_of_tries(attempts, plan.policy)]
    return failed_outcome(tasks, ended, now=now) if ended else None


def _wind_down(tasks: _Tasks, outcome: Outcome, now: float) -> Decision:
    live = _live(tasks)
    if live:
        return Decision(tuple(Stop(attempt.id) for attempt in live), now)
    return Decision((End(outcome),), now)


def _lost(attempt: Attempt, now: float) -> Failure:
    if attempt.state is AttemptState.LAUNCHED:
        return Failure(FailureKind.LOST, "LaunchLost", f"launched {now - attempt.started:.0f} s ago, and no worker began it")
    return Failure(
        FailureKind.LOST,
        "HeartbeatsStopped",
        f"worker {attempt.owner} was last heard of {now - attempt.changed:.0f} s ago, "
        f"{attempt.numbers.records_read:,} records read, {attempt.numbers.resident_bytes / 1e6:,.0f} MB of memory",
    )
