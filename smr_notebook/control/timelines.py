"""The timeline of a job from its rows: what each of them says of an attempt, and nothing else.

What the rows hold: the time of the launch, of the claim, and of the last write, which is the end of an attempt that ended without a commit;
the time of a commit; the end of the job. Not stored are the times at which a call was made, and at which a process died: the end of its
attempt is the time at which somebody wrote that it had ended.
"""

from __future__ import annotations

from typing import Final

from smr_notebook.control.ledger import Ledger
from smr_notebook.model import Attempt, AttemptState, Commit, FailureKind
from smr_notebook.pictures.timed_attempts import Fate, TimedAttempt, with_stragglers
from smr_notebook.pictures.timeline import Timeline
from smr_notebook.ports import Backend
from smr_notebook.standing import Snapshot

_FATES: Final = {
    AttemptState.LAUNCHED: Fate.WAITING,
    AttemptState.RUNNING: Fate.RUNNING,
    AttemptState.DONE: Fate.DONE,
    AttemptState.PAUSED: Fate.PAUSED,
    AttemptState.FAILED: Fate.FAILED,
    AttemptState.STOPPED: Fate.STOPPED,
}


def read_timeline(backend: Backend, job: str) -> Timeline:
    """Return the timeline of a job, as far as it is: all its rows are read, a query for each of the groups of the table.

    Raises:
        JobNotFoundError: The job was removed.
        StoreError: The table cannot be reached.
    """
    ledger = Ledger(backend.table, job)
    snapshot = ledger.snapshot()
    entry, progress = ledger.job(), ledger.progress()  # behind the snapshot, so that none is told of rows that are half removed
    if entry is None:
        raise ledger.missing()
    until = backend.clock.now() if snapshot.outcome is None else snapshot.outcome.at
    state = snapshot.outcome.state if snapshot.outcome else progress.state if progress else "submitted"
    return Timeline(
        job=job,
        state=str(state),
        submitted=entry.created,
        until=until,
        attempts=with_stragglers(timed_attempts(snapshot, until), until),
        taken_over=sum(commit.id.number == 0 for commit in snapshot.commits.values()),
    )


def timed_attempts(snapshot: Snapshot, now: float) -> list[TimedAttempt]:
    """Return what the rows say of each attempt, at this time; the snapshot says which attempts are done."""
    return [
        _timed(attempt, snapshot.commits.get(task), now, ended=snapshot.outcome is not None)
        for task, of_task in snapshot.attempts.items()
        for attempt in of_task
    ]


def _timed(attempt: Attempt, commit: Commit | None, now: float, *, ended: bool) -> TimedAttempt:
    fate = _fate(attempt, now, ended=ended)
    started = attempt.claimed or None
    end = None if fate in {Fate.WAITING, Fate.RUNNING} else attempt.changed
    if fate is Fate.DONE and commit is not None:
        end = commit.at
    return TimedAttempt(
        phase=attempt.id.task.phase.value,
        task=attempt.id.task.number,
        number=attempt.id.number,
        fate=fate,
        launched=attempt.started,
        started=started,
        ended=end,
        speculative=attempt.speculative,
        worker=attempt.owner,
        error=attempt.failure.type if attempt.failure else "",
    )


def _fate(attempt: Attempt, now: float, *, ended: bool) -> Fate:
    """Return what became of an attempt: one that lives by its row does not if its lease is over, or its job."""
    if attempt.live and (ended or attempt.expired(now)):
        return Fate.STOPPED if ended else Fate.SILENT
    if attempt.failure is not None and attempt.failure.kind is FailureKind.LOST:
        return Fate.LOST
    return _FATES[attempt.state]
