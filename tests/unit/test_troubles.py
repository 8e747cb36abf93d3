"""What befell a job, counted from its rows and said in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.control.snapshots import settle
from smr_notebook.control.troubles import MOST, STALLED_SECONDS, sentences, stalled, summary, together, troubles, troubles_of
from smr_notebook.model import Attempt, AttemptId, AttemptState, Commit, Failure, FailureKind, Numbers, Phase, TaskId
from smr_notebook.standing import Settled, Snapshot, Trouble, TroubleKind

MB = 1 << 20
SIZES = (1_024 * MB, 2_048 * MB)
KILLED = Failure(FailureKind.CRASH, "WorkerDied", "killed by signal 9 (SIGKILL), after 12 records of map task 7 at its last heartbeat")
EXITED = Failure(FailureKind.CRASH, "WorkerDied", "exited with code 3")
MEMORY = Failure(FailureKind.CRASH, "OutOfMemoryError", "ended", resident_bytes=1_020 * MB, limit_bytes=1_024 * MB)
SILENT = Failure(FailureKind.LOST, "HeartbeatsStopped", "was last heard of 15 s ago")
LAUNCH = Failure(FailureKind.LOST, "LaunchLost", "launched 60 s ago")
USER = Failure(FailureKind.USER, "ValueError", "bad")
DISK = Failure(FailureKind.SYSTEM, "DiskFullError", "no space")
HANGS = Failure(FailureKind.SYSTEM, "TaskTimeoutError", "no record was finished")
STORE = Failure(FailureKind.SYSTEM, "StoreError", "503")
INPUT = Failure(FailureKind.INPUT, "InputReadError", "cannot be read")
FAILURES = (KILLED, EXITED, MEMORY, SILENT, LAUNCH, USER, DISK, HANGS, STORE, INPUT)


def attempts(task: int, *failures: Failure | None, size: int = 0) -> tuple[Attempt, ...]:
    """Return the attempts of a task: those that failed, and one at work for each `None`."""
    return tuple(
        Attempt(
            AttemptId(TaskId(Phase.MAP, task), number),
            AttemptState.FAILED if failure else AttemptState.RUNNING,
            "w",
            30.0,
            0.0,
            15.0,
            Numbers(),
            failure,
            claimed=1.0,
            size=size,
        )
        for number, failure in enumerate(failures, start=1)
    )


def told(*of_tasks: Sequence[Attempt], commits: Mapping[TaskId, Commit] | None = None) -> tuple[str, ...]:
    return sentences(troubles_of(of_tasks, commits or {}, SIZES))


def test_how_long_nothing_was_heard_does_not_depend_on_when_that_was_noticed() -> None:
    (running,) = attempts(0, None)
    lost = replace(running, state=AttemptState.FAILED, failure=SILENT, changed=running.expires + 0.4)
    assert told([lost]) == ("1 attempt of the map phase was lost: nothing was heard of its worker for 15 s.",)


def test_a_job_without_troubles_has_no_sentence() -> None:
    assert told(attempts(0, None), attempts(1, None)) == ()
    assert summary(()) == ""


@pytest.mark.parametrize(
    ("failure", "one", "three"),
    [
        (
            KILLED,
            "1 worker of the map phase died (signal 9, SIGKILL), and its task was run again.",
            "3 workers of the map phase died (signal 9, SIGKILL), and their tasks were run again.",
        ),
        (
            EXITED,
            "1 worker of the map phase died (exit code 3), and its task was run again.",
            "3 workers of the map phase died (exit code 3), and their tasks were run again.",
        ),
        (
            MEMORY,
            "1 attempt of the map phase ran out of memory (1,020 of 1,024 MiB), and its task was run again with 2,048 MiB.",
            "3 attempts of the map phase ran out of memory (1,020 of 1,024 MiB), and their tasks were run again with 2,048 MiB.",
        ),
        (
            SILENT,
            "1 attempt of the map phase was lost: nothing was heard of its worker for 15 s.",
            "3 attempts of the map phase were lost: nothing was heard of their workers for 15 s.",
        ),
        (LAUNCH, "1 launch of the map phase was lost and repeated.", "3 launches of the map phase were lost and repeated."),
        (
            USER,
            "1 attempt of the map phase ended with an exception of the function (ValueError), and its task was run again.",
            "3 attempts of the map phase ended with an exception of the function (ValueError), and their tasks were run again.",
        ),
        (
            DISK,
            "1 attempt of the map phase found the disk full, and its task was run again.",
            "3 attempts of the map phase found the disk full, and their tasks were run again.",
        ),
        (
            HANGS,
            "1 attempt of the map phase took too long over one record or group, and its task was run again.",
            "3 attempts of the map phase took too long over one record or group, and their tasks were run again.",
        ),
        (
            STORE,
            "1 attempt of the map phase failed (StoreError), and its task was run again.",
            "3 attempts of the map phase failed (StoreError), and their tasks were run again.",
        ),
    ],
)
def test_each_trouble_has_a_sentence(failure: Failure, one: str, three: str) -> None:
    assert told(attempts(0, failure, None)) == (one,)
    assert told(*(attempts(task, failure, None) for task in range(3))) == (three,)


def test_what_was_not_tried_again_is_not_said_to_be() -> None:
    assert told(attempts(0, EXITED, EXITED)) == ("2 workers of the map phase died (exit code 3); 1 of the tasks was run again.",)
    assert told(attempts(0, MEMORY, size=1)) == ("1 attempt of the map phase ran out of memory (1,020 of 1,024 MiB).",)


def test_an_attempt_that_was_given_up_and_committed_all_the_same_is_told_as_that() -> None:
    zombie = attempts(0, SILENT, None)
    commit = Commit(zombie[0].id, "w", 40.0, 39.0, Numbers())
    assert told(zombie, commits={commit.id.task: commit}) == (
        "1 attempt of the map phase was given up for lost, came back, and had done the work first.",
    )


def test_an_attempt_that_finishes_nothing_is_shown_after_a_minute_by_the_clock_of_its_worker() -> None:
    (at_work,) = attempts(0, None)
    idle = replace(at_work, changed=1_000.0, moved=1_000.0 - STALLED_SECONDS)
    assert stalled(idle)
    assert not stalled(replace(idle, moved=idle.moved + 1))
    assert not stalled(replace(idle, moved=0.0)), "before its first heartbeat"
    assert not stalled(replace(idle, state=AttemptState.FAILED))
    assert told([idle]) == ("1 attempt of the map phase lives and finished nothing for 60 s.",)
    assert summary(troubles_of([[idle]], {})) == "1 stalled"
    commit = Commit(idle.id, "w", 1_001.0, 1.0, Numbers())
    assert told([idle], commits={commit.id.task: commit}) == ()


def test_one_line_says_all_while_the_job_runs() -> None:
    found = troubles_of([attempts(0, KILLED, EXITED, None), attempts(1, MEMORY, None)], {}, SIZES)
    assert sorted(summary(found).split(" · ")) == ["1 out of memory", "2 died"]


TASKS = st.lists(st.lists(st.sampled_from(FAILURES), max_size=4), max_size=30)


@given(tasks=TASKS, cut=st.integers(0, 30))
def test_settled_pages_keep_their_counts(tasks: list[list[Failure]], cut: int) -> None:
    rows = [attempts(task, *failures, None) for task, failures in enumerate(tasks)]
    done = {of_task[0].id.task: Commit(of_task[-1].id, "w", 40.0, 1.0, Numbers()) for of_task in rows[:cut]}
    settled = settle(Settled(), 0, done, rows[:cut], sizes=SIZES)
    seen = Snapshot({of_task[0].id.task: of_task for of_task in rows[cut:]}, {}, {}, settled={Phase.MAP: settled})
    whole = Snapshot({of_task[0].id.task: of_task for of_task in rows}, done, {})
    assert counted(troubles(seen, SIZES)) == counted(troubles(whole, SIZES))


def counted(found: Sequence[Trouble]) -> dict[TroubleKind, tuple[int, int]]:
    kinds = {trouble.kind for trouble in found}
    return {
        kind: (sum(one.count for one in found if one.kind is kind), sum(one.again for one in found if one.kind is kind)) for kind in kinds
    }


@given(st.lists(st.builds(Trouble, st.sampled_from(TroubleKind), st.sampled_from(Phase), st.integers(1, 9), sample=st.text(max_size=3))))
def test_however_many_kinds_there_are_no_count_is_lost_and_they_fit_into_a_row(found: list[Trouble]) -> None:
    kept = together(found)
    assert counted(kept) == counted(found)
    assert len(kept) <= MOST + len(TroubleKind) * len(Phase)
    assert together(kept, ()) == together((), kept)
    assert all(sentences(kept))
