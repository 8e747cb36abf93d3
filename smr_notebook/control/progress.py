"""How far a job is: a function of the snapshot.

Rules of this module:

* Nothing is counted up: each number is derived from the rows, so that it cannot drift, whatever was lost or doubled.
* A committed task counts once, with the numbers of its commit; its other attempts count as nothing but retries.
* Numbers of a task that runs come from its last heartbeat, so they may fall when an attempt is lost.
"""

from __future__ import annotations

from collections.abc import Sequence

from smr_notebook.model import (
    Attempt,
    AttemptState,
    JobState,
    Lease,
    Numbers,
    Phase,
    PhaseProgress,
    Plan,
    Progress,
    Snapshot,
)


def progress(plan: Plan, snapshot: Snapshot, now: float, *, lease: Lease) -> Progress:
    """Return the numbers that every view renders.

    Args:
        plan: The plan of the job.
        snapshot: What the table says.
        now: Time of the look.
        lease: The lease of whoever looks.
    """
    return Progress(
        state=job_state(plan, snapshot),
        map=_phase(plan, snapshot, Phase.MAP),
        reduce=_phase(plan, snapshot, Phase.REDUCE),
        started=plan.created,
        updated=now,
        epoch=lease.epoch,
        lease_expires=lease.expires,
        proof=snapshot.outcome.proof if snapshot.outcome else "",
    )


def job_state(plan: Plan, snapshot: Snapshot) -> JobState:
    """Return what the job does now."""
    if snapshot.outcome is not None:
        return snapshot.outcome.state
    if not snapshot.attempts:
        return JobState.SUBMITTED
    return JobState.REDUCING if plan.reducers and Phase.MAP in snapshot.manifests else JobState.MAPPING


def _phase(plan: Plan, snapshot: Snapshot, phase: Phase) -> PhaseProgress:
    tasks = plan.tasks(phase)
    attempts = [of_task for task, of_task in snapshot.attempts.items() if task.phase is phase]
    commits = [commit for task, commit in snapshot.commits.items() if task.phase is phase]
    live = [
        attempt
        for of_task in attempts
        if len(commits) < tasks and of_task[0].id.task not in snapshot.commits
        for attempt in of_task
        if attempt.live
    ]
    return PhaseProgress(
        tasks=tasks,
        done=len(commits),
        running=sum(attempt.state is AttemptState.RUNNING for attempt in live),
        launched=sum(attempt.state is AttemptState.LAUNCHED for attempt in live),
        retried=sum(len(of_task) - 1 for of_task in attempts),
        failed=sum(attempt.state is AttemptState.FAILED for of_task in attempts for attempt in of_task),
        numbers=_total([commit.numbers for commit in commits], live),
        slowest=max((commit.seconds for commit in commits), default=0.0),
    )


def _total(committed: Sequence[Numbers], live: Sequence[Attempt]) -> Numbers:
    return sum((attempt.numbers for attempt in live), start=sum(committed, start=Numbers()))
