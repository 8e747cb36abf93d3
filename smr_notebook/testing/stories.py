"""Simulated jobs of any shape, drawn from a seed, and what must hold at their end: the plain answer, or the true cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from smr_notebook.control.ledger import Ledger
from smr_notebook.control.verdicts import lost_launch
from smr_notebook.environment import environment
from smr_notebook.model import OBJECTS, Attempt, Format, JobState, Plan, Policy
from smr_notebook.ports import ServiceLimits
from smr_notebook.testing.fates import Fates, Odds
from smr_notebook.testing.simulation import Simulation, Story
from smr_notebook.testing.tinyplane import Pairs, expected, split_bytes
from smr_notebook.values.shuffles import Merging

POLICY = Policy(retries=2, lost_launches=8, heartbeat=1.0, lease=15.0, launch=60.0, coordinator_lease=10.0)
"""How hard simulated jobs try."""


def draw(
    seed: int,
    odds: Odds,
    *,
    maps: int = 0,
    branching: int = 0,
    watched: bool = True,
    policy: Policy = POLICY,
    exchange: str = OBJECTS,
    merges: bool = False,
) -> Simulation:
    """Return a job of any shape on a service of any kind.

    Args:
        seed: Tells one story from another.
        odds: How likely each kind of trouble is.
        maps: Number of map tasks, if that matters; then more of them run at once.
        branching: As of `Simulation`.
        watched: As of `Simulation`.
        policy: How hard it tries.
        exchange: What its pairs travel by: `objects`, or `simulation.CARRIED`.
        merges: Whether its runs are merged, in a grid of any shape.
    """
    random = Random(f"job {seed}")
    pairs = _some_pairs(random)
    pairs = (pairs * maps)[:maps] or pairs
    plan = _plan_for(pairs, reducers=random.randint(0, 3), combine=random.random() < 0.3, policy=policy)
    plan = replace(plan, exchange=exchange)
    if merges and plan.reducers:
        plan = replace(plan, merging=Merging(random.randint(1, plan.maps), random.randint(1, plan.reducers)))
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


def check(job: Simulation, story: Story) -> None:
    """Check the end of a job that nobody cancelled.

    Raises:
        AssertionError: The answer is wrong, or the job did not fail of what it says.
    """
    assert story.outcome.state in {JobState.DONE, JobState.FAILED}
    (check_result if story.outcome.state is JobState.DONE else check_cause)(job, story)


def check_result(job: Simulation, story: Story) -> None:
    """The result is the plain answer; each task has one commit (the laws saw to it that it never changed); nobody works any more."""
    assert story.result == expected(job.pairs)
    snapshot = Ledger(job.table, job.plan.job).snapshot()
    assert Counter(task.phase for task in snapshot.commits) == {phase: job.plan.tasks(phase) for phase in job.plan.phases}
    assert story.outcome.proof


def check_cause(job: Simulation, story: Story) -> None:
    """The job failed of what it says, and that happened more often than is allowed."""
    if not story.outcome.failures:
        assert story.outcome.error == "WorkerLostError"
        assert job.coordinators_died > job.plan.policy.lost_launches
        return
    sample = story.outcome.failures[0]
    attempts = Ledger(job.table, job.plan.job).snapshot().attempts[sample.attempt.task]
    assert sample.failure in [attempt.failure for attempt in attempts]
    assert _out_of_tries_plainly(attempts, job.plan.policy)
    assert story.outcome.error in {"WorkerLostError", "TaskError", "StoreError"}


def _out_of_tries_plainly(attempts: Sequence[Attempt], policy: Policy) -> bool:
    failed = [attempt for attempt in attempts if attempt.failure is not None and not attempt.speculative]
    lost = [attempt for attempt in failed if lost_launch(attempt)]
    return len(lost) >= policy.lost_launches or len(failed) - len(lost) > policy.retries


def _some_pairs(random: Random) -> list[Pairs]:
    words = [f"word{number}" for number in range(random.randint(1, 12))]
    return [[(random.choice(words), random.randint(0, 9)) for _ in range(random.randint(0, 8))] for _ in range(random.randint(1, 8))]


def _plan_for(pairs: Sequence[Pairs], *, reducers: int, combine: bool, policy: Policy) -> Plan:
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
        policy=policy,
        environment=environment(),
    )
