"""What rows say of attempts becomes a timeline, and nothing that they do not say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from smr_notebook.backends.memory.platform import open_memory
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.rows import JobEntry
from smr_notebook.control.snapshots import with_done
from smr_notebook.control.timelines import read_timeline, timed_attempts
from smr_notebook.errors import JobNotFoundError
from smr_notebook.model import Attempt, AttemptId, AttemptState, Commit, Failure, FailureKind, JobState, Numbers, Phase, TaskId
from smr_notebook.pictures.timed_attempts import Fate, TimedAttempt
from smr_notebook.standing import Outcome, Snapshot

TASK = TaskId(Phase.MAP, 3)
RUNNING = Attempt(AttemptId(TASK, 1), AttemptState.RUNNING, "w1", 30.0, 10.0, 18.0, claimed=12.0)
COMMIT = Commit(RUNNING.id, "w1", 19.5, 7.5, Numbers())


def timed(attempt: Attempt, *, commit: Commit | None = None, outcome: Outcome | None = None) -> TimedAttempt:
    commits = {} if commit is None else {TASK: commit}
    (found,) = timed_attempts(with_done(Snapshot({TASK: (attempt,)}, commits, {}, outcome=outcome)), 20.0)
    return found


def failed(kind: FailureKind) -> Attempt:
    return replace(RUNNING, state=AttemptState.FAILED, failure=Failure(kind, "Type", "text"))


@pytest.mark.parametrize(
    ("attempt", "fate", "started", "ended"),
    [
        (RUNNING, Fate.RUNNING, 12.0, None),
        (replace(RUNNING, state=AttemptState.LAUNCHED, owner="", claimed=0.0, changed=10.0), Fate.WAITING, None, None),
        (replace(RUNNING, expires=19.0), Fate.SILENT, 12.0, 18.0),
        (replace(RUNNING, state=AttemptState.PAUSED), Fate.PAUSED, 12.0, 18.0),
        (replace(RUNNING, state=AttemptState.STOPPED), Fate.STOPPED, 12.0, 18.0),
        (failed(FailureKind.USER), Fate.FAILED, 12.0, 18.0),
        (failed(FailureKind.CRASH), Fate.FAILED, 12.0, 18.0),
        (failed(FailureKind.LOST), Fate.LOST, 12.0, 18.0),
        (replace(failed(FailureKind.LOST), claimed=0.0), Fate.LOST, None, 18.0),
    ],
)
def test_an_attempt_is_what_its_row_says(attempt: Attempt, fate: Fate, started: float | None, ended: float | None) -> None:
    found = timed(attempt)
    assert (found.fate, found.launched, found.started, found.ended) == (fate, 10.0, started, ended)
    assert (found.phase, found.task, found.number, found.worker) == ("map", 3, 1, attempt.owner)
    assert found.error == ("Type" if attempt.failure else "")


def test_an_attempt_that_committed_ended_with_its_commit() -> None:
    attempt = timed(RUNNING, commit=COMMIT)
    assert (attempt.fate, attempt.started, attempt.ended) == (Fate.DONE, 12.0, 19.5)


def test_the_commit_of_another_attempt_is_not_its_own() -> None:
    assert timed(RUNNING, commit=replace(COMMIT, id=AttemptId(TASK, 2))).fate is Fate.RUNNING


def test_what_lives_by_its_row_when_the_job_has_ended_does_not() -> None:
    attempt = timed(RUNNING, outcome=Outcome(JobState.CANCELLED, 19.0))
    assert (attempt.fate, attempt.ended) == (Fate.STOPPED, 18.0)


def test_a_backup_is_told() -> None:
    assert timed(replace(RUNNING, speculative=True)).speculative


def test_the_timeline_of_a_job_is_read_from_its_rows() -> None:
    backend = open_memory()
    ledger = Ledger(backend.table, "job-1")
    now = backend.clock.now()
    ledger.create_job(JobEntry("job-1", "", now, "jobs/job-1/plan"))
    empty = read_timeline(backend, "job-1")
    assert (empty.attempts, empty.state, empty.submitted) == ((), "submitted", now)
    ledger.launch(RUNNING.id, now=now + 1, expires=now + 60)
    held = ledger.claim(RUNNING.id, owner="w1", now=now + 2, lease=60)
    assert held is not None
    ledger.commit(replace(COMMIT, at=now + 5))
    ledger.commit(replace(COMMIT, id=AttemptId(TaskId(Phase.MAP, 4), 0)))
    ledger.put_outcome(Outcome(JobState.DONE, now + 6))
    timeline = read_timeline(backend, "job-1")
    (attempt,) = timeline.attempts
    assert (attempt.fate, attempt.waited(timeline.until), attempt.ran(timeline.until)) == (Fate.DONE, 1.0, 3.0)
    assert (timeline.state, timeline.seconds, timeline.taken_over) == ("done", 6.0, 1)


def test_a_job_that_is_gone_has_no_timeline() -> None:
    with pytest.raises(JobNotFoundError, match="never submitted, or has been removed"):
        read_timeline(open_memory(), "job-1")
