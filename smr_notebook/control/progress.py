"""How far a job is, and what it has cost: functions of the snapshot.

Rules of this module:

* Nothing is counted up: each number is derived from the rows, so that it cannot drift, whatever was lost or doubled.
* A committed task counts once, with the numbers of its commit; its other attempts count as nothing but retries.
* Numbers of a task that runs come from its last heartbeat, so they may fall when an attempt is lost.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from smr_notebook.control.costs import spent
from smr_notebook.control.snapshots import add, phase_progress
from smr_notebook.control.troubles import troubles
from smr_notebook.model import JobState, Phase, Plan
from smr_notebook.standing import Lease, PhaseProgress, Progress, Snapshot

_AT_WORK: Final = {Phase.MAP: JobState.MAPPING, Phase.MERGE: JobState.MERGING, Phase.REDUCE: JobState.REDUCING}


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
        merge=_phase(plan, snapshot, Phase.MERGE),
        started=plan.created,
        updated=now,
        epoch=lease.epoch,
        lease_expires=lease.expires,
        proof=snapshot.outcome.proof if snapshot.outcome else "",
        cost=spent(plan, replace(snapshot, lease=lease)) if plan.rates else None,
        estimate=plan.estimate,
        troubles=troubles(snapshot, plan.memory_sizes),
    )


def job_state(plan: Plan, snapshot: Snapshot) -> JobState:
    """Return what the job does now."""
    if snapshot.outcome is not None:
        return snapshot.outcome.state
    if not snapshot.attempts and not snapshot.commits and not any(settled.tasks for settled in snapshot.settled.values()):
        return JobState.SUBMITTED
    phase = next((phase for phase in plan.phases if phase not in snapshot.manifests), plan.phases[-1])
    return _AT_WORK[phase]


def _phase(plan: Plan, snapshot: Snapshot, phase: Phase) -> PhaseProgress:
    attempts = [of_task for task, of_task in snapshot.attempts.items() if task.phase is phase]
    commits = {task: commit for task, commit in snapshot.commits.items() if task.phase is phase}
    settled = snapshot.settled_in(phase)
    whole = add(settled.progress, phase_progress(attempts, commits))
    return replace(whole, tasks=plan.tasks(phase))
