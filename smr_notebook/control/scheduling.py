"""What to do next: a function of what stands, and of nothing else.

`decide` takes the plan, one look at the table and the time, and returns actions as values. It is *level-triggered*: it
knows no events and no history, so that a look may be late, stale or repeated, a coordinator may die between any two
actions, and two may act at once. Each action is safe to do twice, because the ledger answers with what stands.

Rules of this module:

* A task is worked on while it has no commit. The first commit wins, whoever made it, also after its lease has passed.
* What a lease says is written down before it is acted on: an expired attempt is first failed (`Expire`), then replaced.
* A phase begins when the manifest of the one before stands, and is gathered when each of its tasks has a commit.
* A job that fails or is cancelled launches nothing, stops what lives, and then ends.
* What fails again and again is tried later and later (`retrying`).
* What is at work for a task that has a commit is stopped, and nobody waits for it.
* In-flight work is capped, because a call beyond what the service runs and queues would count as lost; it grows as the service does.
* Nothing is launched that, with all that is in flight, would take the job above its `max_cost`.
* A job that will leave out more than it may ends as soon as that is clear.
* Nothing goes on for ever: a job has an absolute end, and its coordinators are counted.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from types import MappingProxyType

from smr_notebook.control.costs import price_of_attempt, spent
from smr_notebook.control.counters import too_many_counters
from smr_notebook.control.retrying import not_yet
from smr_notebook.control.row_keys import pages_of, tasks_on
from smr_notebook.control.snapshots import losers
from smr_notebook.control.speculation import at_rest, slow_tasks
from smr_notebook.control.tolerances import too_many_bad
from smr_notebook.control.verdicts import cancelled_outcome, failed_outcome, out_of_tries, size_wanted
from smr_notebook.errors import BudgetExceededError, JobTimeoutError
from smr_notebook.model import Attempt, AttemptId, AttemptState, Failure, FailureKind, JobState, Phase, Plan, Policy, TaskId
from smr_notebook.showing.amounts import brief, dollars
from smr_notebook.standing import Outcome, Snapshot
from smr_notebook.values.capacity import Capacity

_Tasks = Mapping[TaskId, tuple[Attempt, ...]]

_BACKLOG = 1.0
"""Seconds of work that may wait in a service's queue for one job."""

_SHORTEST = 0.001
"""Seconds: a task counts as at least so long, so that the cap stays finite."""

_LATE_SECONDS = 10.0
"""A launch that nobody began for so long waits for others: a cold start is over by then."""

_FEW = 3
"""So many late launches may just have been lost."""

_CALL_SECONDS = 0.5
"""What may lie between writing down a launch and its arrival: a service begins to grow when it is called, and not before."""

_RAMP_SECONDS = 1.0
"""How soon to look again at a service that grows."""


@dataclass(frozen=True, slots=True)
class Launch:
    """Write down a new attempt that counts as lost unless claimed by `expires`, and invoke it in memory of a size."""

    attempt: AttemptId
    expires: float
    speculative: bool = False
    size: int = 0


@dataclass(frozen=True, slots=True)
class Expire:
    """Fail an attempt whose lease has passed."""

    attempt: AttemptId
    failure: Failure


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop a live attempt of a job that ends, or of a task that has a commit."""

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


def decide(
    plan: Plan, snapshot: Snapshot, now: float, *, capacity: Capacity, entrusted: Mapping[TaskId, float] = MappingProxyType({})
) -> Decision:
    """Return what to do next.

    Args:
        plan: The plan of the job.
        snapshot: What the table says.
        now: The time.
        capacity: What the service can take.
        entrusted: Tasks that a worker will launch, and until when nobody else does.
    """
    if snapshot.outcome is not None:
        return Decision((), math.inf)
    stops = tuple(Stop(attempt.id) for attempt in losers(snapshot))
    phase = next((phase for phase in plan.phases if phase not in snapshot.manifests), None)
    if phase is None:
        return Decision((*stops, End(Outcome(JobState.DONE, now, manifest=snapshot.manifests[plan.phases[-1]]))), now)
    begun = {task: of_task for task, of_task in snapshot.attempts.items() if task.phase is phase and task not in snapshot.commits}
    live = [attempt for of_task in begun.values() for attempt in of_task if attempt.live]
    expired = [attempt for attempt in live if attempt.expired(now)]
    complete = _done(snapshot, phase) == plan.tasks(phase)
    in_flight = len(live) + len(entrusted)
    affordable = math.inf if complete else _affordable(plan, snapshot, phase, begun, in_flight=in_flight)
    ending = _ending(plan, snapshot, begun, now) or too_many_bad(plan, snapshot, phase, now=now)
    ending = ending or too_many_counters(snapshot, phase, now=now)
    if ending is None and not in_flight and affordable < 1:
        ending = _too_dear(plan, snapshot, phase, begun, now=now)
    if ending is not None:
        return _wind_down(stops, live, ending, now)
    if complete:
        return Decision((*stops, Gather(phase)), now)
    if expired:
        return Decision((*stops, *(Expire(attempt.id, _lost(attempt, now)) for attempt in expired)), now)
    free = room(snapshot, phase, live, now=now, capacity=capacity) - len(entrusted)
    later = not_yet(begun, plan.policy, now)
    most = int(min(max(free, 0), max(affordable, 0), plan.tasks(phase)))
    chosen = list(islice((task for task in _waiting(plan, snapshot, begun, phase) if task not in entrusted and task not in later), most))
    slow: Sequence[TaskId] = ()
    slow_at = math.inf
    if most and not chosen and not entrusted and not later:
        slow, slow_at = slow_tasks(plan, snapshot, begun, now=now, most=min(most, capacity.concurrency - in_flight))
    until = now + plan.policy.launch + capacity.queue_seconds
    launches = [Launch(_next(task, begun), until, size=size_wanted(begun.get(task, ()))) for task in chosen] + [
        Launch(_next(task, begun), until, speculative=True, size=size_wanted(begun.get(task, ()))) for task in slow
    ]
    soon = now + _RAMP_SECONDS if free < 1 and in_flight < capacity.concurrency else math.inf
    wake_at = min([soon, slow_at, *later.values(), *entrusted.values(), *(one.expires for one in live), *(one.expires for one in launches)])
    return Decision((*stops, *launches), wake_at)


def room(snapshot: Snapshot, phase: Phase, live: Sequence[Attempt], *, now: float, capacity: Capacity) -> float:
    """Return how many more attempts of a phase may be launched now, given those that live.

    A service that grows (`ramp`) is not asked for more than it has by now. One that refuses instead of queueing, and that has not
    begun what it was asked for some time ago, is full of other people's calls: it is asked for a little more than what it runs.
    """
    most: float = cap(snapshot, phase, concurrency=capacity.concurrency, queue_seconds=capacity.queue_seconds)
    running = sum(attempt.state is AttemptState.RUNNING for attempt in live)
    late = sum(attempt.state is AttemptState.LAUNCHED and now - attempt.started > _LATE_SECONDS for attempt in live)
    if not capacity.queue_seconds and late > max(running, _FEW):
        most = min(most, 2 * running + 1)
    started = min([snapshot.settled_in(phase).started, *(attempt.started for attempt in _of_phase(snapshot, phase)), now])
    most = min(most, capacity.grown(max(now - started - _CALL_SECONDS, 0.0)))
    return max(most - len(live), 0.0)


def cap(snapshot: Snapshot, phase: Phase, *, concurrency: int, queue_seconds: float) -> int:
    """Return how many attempts of a phase may be in flight.

    That is what the service runs at once, and, if it queues calls and tasks are short, so much work besides that its workers do not
    wait for the next look; never more, because another job's calls stand behind ours.
    """
    concurrency = max(concurrency, 1)
    settled = snapshot.settled_in(phase)
    seconds = [commit.seconds for task, commit in snapshot.commits.items() if task.phase is phase]
    seconds = seconds or ([settled.seconds / settled.tasks] if settled.tasks else [])
    if not seconds:
        return concurrency
    waves = min(queue_seconds, _BACKLOG) / max(statistics.median(seconds), _SHORTEST)
    return int(concurrency * min(max(waves, 1.0), 64.0))


def _next(task: TaskId, begun: _Tasks) -> AttemptId:
    return AttemptId(task, len(begun.get(task, ())) + 1)


def _done(snapshot: Snapshot, phase: Phase) -> int:
    return snapshot.settled_in(phase).tasks + sum(task.phase is phase for task in snapshot.commits)


def _of_phase(snapshot: Snapshot, phase: Phase) -> Iterator[Attempt]:
    return (attempt for task, of_task in snapshot.attempts.items() if task.phase is phase for attempt in of_task)


def _waiting(plan: Plan, snapshot: Snapshot, begun: _Tasks, phase: Phase) -> Iterator[TaskId]:
    """Yield the tasks that want an attempt, in order: those that no attempt brings on, and those that have none."""
    again = sorted(task for task, of_task in begun.items() if at_rest(of_task))
    return merge(again, _untouched(plan, snapshot, phase))


def _untouched(plan: Plan, snapshot: Snapshot, phase: Phase) -> Iterator[TaskId]:
    settled = snapshot.settled_in(phase).pages
    for page in pages_of(plan, phase):
        if page not in settled:
            for number in tasks_on(plan, phase, page):
                task = TaskId(phase, number)
                if task not in snapshot.attempts and task not in snapshot.commits:
                    yield task


def _affordable(plan: Plan, snapshot: Snapshot, phase: Phase, begun: _Tasks, *, in_flight: int) -> float:
    """Return how many more attempts `max_cost` allows for, if those in flight cost what those before them did."""
    each = _price(plan, snapshot, phase, begun) if plan.max_cost else 0.0
    if not each:
        return math.inf
    return max(plan.max_cost - spent(plan, snapshot).total - in_flight * each, 0.0) / each


def _price(plan: Plan, snapshot: Snapshot, phase: Phase, begun: _Tasks) -> float:
    """Return what one more attempt may cost, in dollars: in the largest size of memory that a task of the phase needs by now."""
    size = min(max(map(size_wanted, begun.values()), default=0), len(plan.memory_sizes) - 1)
    larger = plan.memory_sizes[size] / plan.memory_sizes[0] if size > 0 else 1.0
    return price_of_attempt(plan, snapshot, phase) * larger


def _ending(plan: Plan, snapshot: Snapshot, begun: _Tasks, now: float) -> Outcome | None:
    if snapshot.cancel is not None:
        return cancelled_outcome(snapshot.cancel, now=now)
    epoch = snapshot.lease.epoch if snapshot.lease else 0
    if now > plan.created + plan.policy.longest or epoch > plan.policy.coordinators:
        return _too_long(plan.policy, lost=now <= plan.created + plan.policy.longest, now=now)
    ended = [task for task, attempts in begun.items() if out_of_tries(attempts, plan.policy, sizes=max(len(plan.memory_sizes), 1))]
    return failed_outcome(begun, ended, now=now) if ended else None


def _too_long(policy: Policy, *, lost: bool, now: float) -> Outcome:
    """Say which of its limits a job reached, in numbers of the limits: a message is the same in each run of a notebook."""
    limit = f"with {policy.coordinators:,} coordinators" if lost else f"within {brief(policy.longest)}"
    text = (
        f"The job has not ended {limit}, which is all that it may take. "
        "Submit it again in smaller pieces, with tasks that end sooner, or with more time if job_timeout gave it that little."
    )
    return Outcome(JobState.FAILED, now, error=JobTimeoutError.__name__, message=text)


def _too_dear(plan: Plan, snapshot: Snapshot, phase: Phase, begun: _Tasks, *, now: float) -> Outcome:
    cost, each = spent(plan, snapshot).total, _price(plan, snapshot, phase, begun)
    text = (
        f"Job {plan.job} stopped at its max_cost of {dollars(plan.max_cost)}: {dollars(cost)} is spent, one more {phase} task would cost "
        f"about {dollars(each)}, and {_done(snapshot, phase):,} of {plan.tasks(phase):,} are done. job.resume(max_cost=…), in a shell "
        f"`smr resume {plan.job} --max-cost DOLLARS`, goes on from there: what max_cost allows then is for the rest."
    )
    return Outcome(JobState.FAILED, now, error=BudgetExceededError.__name__, message=text)


def _wind_down(stops: Sequence[Stop], live: Sequence[Attempt], outcome: Outcome, now: float) -> Decision:
    if stops or live:
        return Decision((*stops, *(Stop(attempt.id) for attempt in live)), now)
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
