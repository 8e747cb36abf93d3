"""Whole jobs in simulated time, under every kind of trouble. A story that fails repeats from its seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from smr_notebook.control.ledger import Ledger
from smr_notebook.control.verdicts import lost_launch
from smr_notebook.environment import environment
from smr_notebook.model import Attempt, AttemptState, Format, JobState, Plan, Policy
from smr_notebook.ports import ServiceLimits
from smr_notebook.testing.fates import CALM, ROUGH, STORM, Fates, Odds
from smr_notebook.testing.simulation import Simulation, Story
from smr_notebook.testing.tinyplane import Pairs, expected, split_bytes

POLICY = Policy(retries=2, lost_launches=8, heartbeat=1.0, lease=15.0, launch=60.0, coordinator_lease=10.0)
FAULTS_OF_STORES = {"StoreError"}


def some_pairs(random: Random) -> list[Pairs]:
    words = [f"word{number}" for number in range(random.randint(1, 12))]
    return [[(random.choice(words), random.randint(0, 9)) for _ in range(random.randint(0, 8))] for _ in range(random.randint(1, 8))]


def plan_for(pairs: Sequence[Pairs], *, reducers: int, combine: bool = False) -> Plan:
    return Plan(
        job="job",
        name="",
        created=1_000_000.0,
        format=Format.TEXT,
        maps=len(pairs),
        reducers=reducers,
        combine=combine,
        grouped_order=False,
        input_bytes=sum(map(split_bytes, pairs)),
        input_records=sum(map(len, pairs)),
        budget=1 << 20,
        policy=POLICY,
        environment=environment(),
    )


def drawn(seed: int, odds: Odds, *, maps: int = 0, branching: int = 0, watched: bool = True) -> Simulation:
    """Return a job of any shape on a service of any kind; with so many map tasks, if that matters."""
    random = Random(f"job {seed}")
    pairs = some_pairs(random)
    pairs = (pairs * maps)[:maps] or pairs
    plan = plan_for(pairs, reducers=random.randint(0, 3), combine=random.random() < 0.3)
    limits = ServiceLimits(
        payload_bytes=1 << 20,
        seconds=random.choice([30.0, 120.0, 900.0]),
        concurrency=random.randint(1, 4),
        queue_seconds=random.choice([0.0, 30.0]),
        memory_bytes=1 << 30,
        environment=plan.environment,
    )
    limits = replace(limits, concurrency=limits.concurrency * 10) if maps else limits
    return Simulation(plan, pairs, Fates(seed, odds), limits, branching=branching, watched=watched)


def check_result(job: Simulation, story: Story) -> None:
    """The result is the plain answer; each task has one commit (the laws saw to it that it never changed)."""
    assert story.result == expected(job.pairs)
    snapshot = Ledger(job.table, "job").snapshot()
    assert Counter(task.phase for task in snapshot.commits) == {phase: job.plan.tasks(phase) for phase in job.plan.phases}
    assert story.outcome.proof


def check_cause(job: Simulation, story: Story) -> None:
    """The job failed of what it says, and that happened more often than is allowed."""
    if not story.outcome.failures:
        assert story.outcome.error == "WorkerLostError"
        assert job.coordinators_died > POLICY.lost_launches
        return
    sample = story.outcome.failures[0]
    attempts = Ledger(job.table, "job").snapshot().attempts[sample.attempt.task]
    assert sample.failure in [attempt.failure for attempt in attempts]
    assert out_of_tries_plainly(attempts)
    assert story.outcome.error in {"WorkerLostError", "TaskError", *FAULTS_OF_STORES}


def out_of_tries_plainly(attempts: Sequence[Attempt]) -> bool:
    failed = [attempt for attempt in attempts if attempt.state is AttemptState.FAILED]
    lost = [attempt for attempt in failed if lost_launch(attempt)]
    return len(lost) >= POLICY.lost_launches or len(failed) - len(lost) > POLICY.retries


@pytest.mark.parametrize("seed", range(10))
def test_a_calm_job_ends_with_the_plain_answer_and_no_attempt_too_many(seed: int) -> None:
    job = drawn(seed, CALM)
    story = job.run()
    assert story.outcome.state is JobState.DONE
    check_result(job, story)
    snapshot = Ledger(job.table, "job").snapshot()
    assert all(len(attempts) == 1 for attempts in snapshot.attempts.values())


@pytest.mark.parametrize("odds", [pytest.param(ROUGH, id="rough"), pytest.param(STORM, id="storm")])
@pytest.mark.parametrize("decade", range(10))
def test_any_job_ends_with_the_plain_answer_or_with_its_true_cause(odds: Odds, decade: int) -> None:
    for seed in range(decade * 10, decade * 10 + 10):
        job = drawn(seed, odds)
        story = job.run()
        assert story.outcome.state in {JobState.DONE, JobState.FAILED}
        (check_result if story.outcome.state is JobState.DONE else check_cause)(job, story)


def test_a_story_repeats_from_its_seed() -> None:
    first, second = drawn(7, STORM), drawn(7, STORM)
    assert first.run() == second.run()
    assert first.table.query("job") == second.table.query("job")


TROUBLES = {
    "lost calls": Odds(lost=0.3),
    "doubled calls": Odds(doubled=0.9),
    "late calls": Odds(late=0.5),
    "deaths": Odds(death=0.2),
    "silence and zombies": Odds(silence=0.3),
    "coordinators that die": Odds(coordinator_death=0.9),
    "stores that fail": Odds(flaky=0.08),
    "refusals": Odds(throttled=0.6),
    "time that is up": Odds(pauses=0.7),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_each_trouble_alone_never_spoils_an_answer(trouble: str) -> None:
    for seed in range(6):
        job = drawn(seed, TROUBLES[trouble])
        story = job.run()
        (check_result if story.outcome.state is JobState.DONE else check_cause)(job, story)


@pytest.mark.parametrize("seed", range(12))
def test_a_job_that_is_launched_as_a_tree_is_the_same_job(seed: int) -> None:
    """The first workers launch the next; whoever dies before that takes a whole branch along."""
    job = drawn(seed, ROUGH, maps=60, branching=2)
    story = job.run()
    (check_result if story.outcome.state is JobState.DONE else check_cause)(job, story)


@pytest.mark.parametrize("odds", [pytest.param(ROUGH, id="rough"), pytest.param(STORM, id="storm")])
@pytest.mark.parametrize("seed", [*range(12), 68, 113, 224, 238, 256, 546])
def test_a_job_that_nobody_watches_ends_too(seed: int, odds: Odds) -> None:
    """Coordinators die, and often nobody tells of it: the alarm brings the next one. In the later stories one dies at its first write."""
    job = drawn(seed, odds, watched=False)
    story = job.run()
    (check_result if story.outcome.state is JobState.DONE else check_cause)(job, story)


def test_a_task_of_many_legs_is_one_task() -> None:
    job = drawn(5, Odds(pauses=0.9))
    story = job.run()
    check_result(job, story)
    attempts = [attempt for of_task in Ledger(job.table, "job").snapshot().attempts.values() for attempt in of_task]
    assert sum(attempt.state is AttemptState.PAUSED for attempt in attempts) > 10
    assert not any(attempt.state is AttemptState.FAILED for attempt in attempts)


@pytest.mark.parametrize("trouble", ["doubled calls", "refusals", "late calls", "time that is up"])
def test_what_costs_only_time_fails_no_job(trouble: str) -> None:
    for seed in range(6):
        assert drawn(seed, TROUBLES[trouble]).run().outcome.state is JobState.DONE


@pytest.mark.parametrize("seed", range(30))
def test_a_cancelled_job_ends_cancelled_unless_it_had_ended(seed: int) -> None:
    job = drawn(seed, ROUGH)
    when = Random(seed).uniform(0, 40)
    asked = []
    job.at(when, lambda: asked.append(Ledger(job.table, "job").request_cancel("enough", job.clock.now()).at))
    story = job.run()
    if story.outcome.state is JobState.CANCELLED:
        assert story.outcome.message == "enough"
        attempts = Ledger(job.table, "job").snapshot().attempts.values()
        assert not any(attempt.live and attempt.started > story.outcome.at for of_task in attempts for attempt in of_task)
    elif story.outcome.state is JobState.DONE:
        check_result(job, story)


@pytest.mark.parametrize(("records", "size"), [(1, 0), (0, 1), (-1, 0)])
def test_sums_that_differ_from_the_plan_are_an_error_and_no_result(records: int, size: int) -> None:
    job = drawn(3, CALM)
    assert job.plan.input_records is not None
    plan = replace(job.plan, input_records=job.plan.input_records + records, input_bytes=job.plan.input_bytes + size)
    story = Simulation(plan, job.pairs, Fates(3, CALM), job.limits).run()
    assert (story.outcome.state, story.outcome.error) == (JobState.FAILED, "ConservationError")
    assert story.result is None
