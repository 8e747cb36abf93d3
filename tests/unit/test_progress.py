"""Progress: derived from what stands, whatever happened on the way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from smr_notebook.control.costs import PRICES
from smr_notebook.control.progress import progress
from smr_notebook.model import Attempt, AttemptId, AttemptState, Commit, Environment, Format, JobState, Numbers, Phase, Plan, Policy, TaskId
from smr_notebook.standing import Lease, Outcome, PhaseProgress, Progress, Snapshot
from smr_notebook.values.usage import Usage

LEASE = Lease("me", 4, 50.0)


PLAN = Plan(
    "job",
    "",
    7.0,
    Format.TEXT,
    3,
    2,
    combine=False,
    grouped_order=False,
    input_bytes=10,
    input_records=None,
    budget=1,
    policy=Policy(),
    environment=Environment("3.11", 5, ()),
)


def seen(snapshot: Snapshot, *, reducers: int = 2) -> Progress:
    return progress(replace(PLAN, reducers=reducers), snapshot, 40.0, lease=LEASE)


def attempt(task: TaskId, number: int, state: AttemptState, *, records: int = 0, resident: int = 0) -> Attempt:
    return Attempt(AttemptId(task, number), state, "w", 50.0, 30.0, 39.0, Numbers(records_read=records, resident_bytes=resident))


def commit(task: TaskId, *, records: int, seconds: float) -> Commit:
    return Commit(AttemptId(task, 1), "w", 39.0, seconds, Numbers(records_read=records, resident_bytes=3))


def test_a_job_that_was_only_submitted() -> None:
    assert seen(Snapshot({}, {}, {})) == Progress(
        JobState.SUBMITTED, PhaseProgress(tasks=3), PhaseProgress(tasks=2), 7.0, 40.0, epoch=4, lease_expires=50.0
    )


def test_a_job_at_work() -> None:
    tasks = [TaskId(Phase.MAP, number) for number in range(3)]
    snapshot = Snapshot(
        {
            tasks[0]: (attempt(tasks[0], 1, AttemptState.RUNNING, records=100),),  # committed, and not yet told so
            tasks[1]: (
                attempt(tasks[1], 1, AttemptState.FAILED, records=50),
                attempt(tasks[1], 2, AttemptState.RUNNING, records=20, resident=9),
            ),
            tasks[2]: (attempt(tasks[2], 1, AttemptState.LAUNCHED),),
        },
        {tasks[0]: commit(tasks[0], records=7, seconds=2.5)},
        {},
    )
    found = seen(snapshot)
    assert found.state is JobState.MAPPING
    assert found.map == PhaseProgress(
        tasks=3, done=1, running=1, launched=1, retried=1, failed=1, numbers=Numbers(records_read=27, resident_bytes=9), slowest=2.5
    )
    assert found.reduce == PhaseProgress(tasks=2)


def test_a_task_between_two_legs_shows_what_both_counted_and_was_not_tried_again() -> None:
    task = TaskId(Phase.MAP, 0)
    paused = attempt(task, 1, AttemptState.PAUSED, records=30)
    found = seen(Snapshot({task: (paused, attempt(task, 2, AttemptState.RUNNING, records=4))}, {}, {}))
    assert found.map == PhaseProgress(tasks=3, running=1, numbers=Numbers(records_read=34))
    found = seen(
        Snapshot({task: (paused, attempt(task, 2, AttemptState.DONE, records=4))}, {task: commit(task, records=35, seconds=1.0)}, {})
    )
    assert (found.map.numbers.records_read, found.map.retried) == (35, 0)


def test_the_cost_of_a_job_is_told_with_what_its_coordinator_used_by_now() -> None:
    rates = PRICES["aws/us-east-1/x86_64"]
    task = TaskId(Phase.MAP, 0)
    stale, lease = replace(LEASE, usage=Usage(seconds=1.0)), replace(LEASE, usage=Usage(seconds=3.0), before=Usage(seconds=2.0))
    snapshot = Snapshot({task: (replace(attempt(task, 1, AttemptState.PAUSED), usage=Usage(seconds=10.0)),)}, {}, {}, lease=stale)
    found = progress(replace(PLAN, rates=rates, memory_bytes=1 << 30), snapshot, 40.0, lease=lease)
    assert found.cost is not None
    assert found.cost.compute == pytest.approx(15.0 * rates.gb_second + 5 * rates.invocation), "an attempt, and four coordinators"
    assert seen(snapshot).cost is None


@pytest.mark.parametrize(("reducers", "state"), [(2, JobState.REDUCING), (0, JobState.MAPPING)])
def test_the_map_manifest_begins_the_reduce_phase_if_there_is_one(reducers: int, state: JobState) -> None:
    task = TaskId(Phase.MAP, 0)
    snapshot = Snapshot({task: (attempt(task, 1, AttemptState.DONE),)}, {}, {Phase.MAP: "m"})
    assert seen(snapshot, reducers=reducers).state is state


@pytest.mark.parametrize("state", [JobState.DONE, JobState.FAILED, JobState.CANCELLED])
def test_an_ended_job_is_what_its_outcome_says(state: JobState) -> None:
    found = seen(Snapshot({}, {}, {}, outcome=Outcome(state, 40.0, proof="as it should be")))
    assert (found.state, found.proof) == (state, "as it should be")
