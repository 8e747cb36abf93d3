"""Backups for stragglers: which tasks get a second attempt, because the first one takes long. Pure.

Theory. The last few tasks decide when a phase ends, and they may be slow for no reason of their own: a tired disk, a noisy neighbour, a
worker that hangs and still beats its heart. A second attempt elsewhere costs what a task usually costs, and most often ends sooner. The
first commit wins, as always, and the other one is stopped (Dean and Ghemawat, OSDI 2004, section 3.6; the rule is that of `Speculation`).

Rules of this module:

* A backup is made where capacity is free and nothing waits to be launched: `scheduling.decide` asks for nothing else.
* A task has at most two attempts that live, and each attempt at most one backup, whatever becomes of it; a backup has none.
* What is usual is the median of what committed, and no less than the mean of what settled: a phase that gets slower is not all late.
* An attempt begins where the last leg ends that stood when it was claimed. One that began before the newest leg can only still commit:
  it does not keep its task from going on behind that leg.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from smr_notebook.model import Attempt, AttemptState, Phase, Plan, TaskId
from smr_notebook.standing import Snapshot

MOST_ALIVE = 2
"""Attempts of a task that live at the same time, at most."""


def slow_tasks(
    plan: Plan, snapshot: Snapshot, begun: Mapping[TaskId, Sequence[Attempt]], *, now: float, most: int
) -> tuple[list[TaskId], float]:
    """Return the tasks that get a backup now, the slowest first, and when the next attempt will take long (`inf`: none that is known).

    Args:
        plan: The plan of the job.
        snapshot: What the table says.
        begun: The attempts of each task of one phase that has any and no commit.
        now: The time.
        most: How many backups there is room for.
    """
    rule = plan.policy.speculation
    phase = next(iter(begun)).phase if begun else Phase.MAP
    limit = _long(plan, snapshot, phase)
    if rule is None or math.isinf(limit):
        return [], math.inf
    alone = [of_task[-1] for of_task in begun.values() if _may_have_one(of_task)]
    slow = sorted((attempt.claimed, attempt.id.task) for attempt in alone if now - attempt.claimed >= limit)
    next_at = min((attempt.claimed + limit for attempt in alone if now - attempt.claimed < limit), default=math.inf)
    there = sum(attempt.live and attempt.speculative for of_task in begun.values() for attempt in of_task)
    room = min(most, max(int(rule.share * plan.tasks(phase)), 1) - there)
    return [task for _, task in slow[: max(room, 0)]], next_at


def at_rest(of_task: Sequence[Attempt]) -> bool:
    """Whether no attempt of a task brings it on, so that it wants another one."""
    live = [attempt for attempt in of_task if attempt.live]
    return len(live) < MOST_ALIVE and all(left_behind(attempt, of_task) for attempt in live)


def left_behind(attempt: Attempt, of_task: Sequence[Attempt]) -> bool:
    """Whether a leg stands that a live attempt does not go on from: what it counts, the leg counted too."""
    return any(
        other.id.number > attempt.id.number or (attempt.speculative and 0 < attempt.claimed < other.changed)
        for other in of_task
        if other.state is AttemptState.PAUSED
    )


def _long(plan: Plan, snapshot: Snapshot, phase: Phase) -> float:
    """Return how long an attempt of a phase must run to count as a straggler, in seconds; infinity while nobody can say."""
    rule, settled = plan.policy.speculation, snapshot.settled_in(phase)
    seconds = [commit.seconds for task, commit in snapshot.commits.items() if task.phase is phase]
    done = settled.tasks + len(seconds)
    if rule is None or not done or plan.tasks(phase) < rule.tasks or done < rule.done * plan.tasks(phase):
        return math.inf
    usual = [statistics.median(seconds)] if seconds else []
    usual += [settled.seconds / settled.tasks] if settled.tasks else []
    return max(rule.factor * max(usual), rule.seconds)


def _may_have_one(of_task: Sequence[Attempt]) -> bool:
    """Whether the last attempt of a task runs alone, and is no backup itself."""
    last = of_task[-1]
    return last.state is AttemptState.RUNNING and not last.speculative and sum(attempt.live for attempt in of_task) == 1
