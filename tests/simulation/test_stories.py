"""Whole jobs in simulated time, under every kind of trouble. A story that fails repeats from its seed."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from smr_notebook.environment import environment
from smr_notebook.model import Format, JobState, Plan, Policy
from smr_notebook.ports import ServiceLimits
from smr_notebook.testing.fates import CALM, ROUGH, STORM, Fates, Odds
from smr_notebook.testing.simulation import Simulation
from smr_notebook.testing.tinyplane import Pairs, expected, split_bytes

POLICY = Policy(retries=2, lost_launches=8, heartbeat=1.0, lease=15.0, launch=60.0, coordinator_lease=10.0)


def limits(*, concurrency: int = 3, queue_seconds: float = 0.0, seconds: float = 900.0) -> ServiceLimits:
    return ServiceLimits(1 << 20, seconds, concurrency, queue_seconds, 1 << 30, environment())


def some_pairs(random: Random) -> list[Pairs]:
    words = [f"word{number}" for number in range(random.randint(1, 12))]
    return [[(random.choice(words), random.randint(0, 9)) for _ in range(random.randint(0, 8))] for _ in range(random.randint(1, 8))]


def plan_for(pairs: list[Pairs], *, reducers: int, combine: bool = False, policy: Policy = POLICY) -> Plan:
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


def simulation(seed: int, odds: Odds) -> tuple[Simulation, list[Pairs]]:
    random = Random(f"job {seed}")
    pairs = some_pairs(random)
    plan = plan_for(pairs, reducers=random.randint(0, 3), combine=random.random() < 0.3)
    service = limits(
        concurrency=random.randint(1, 4), queue_seconds=random.choice([0.0, 30.0]), seconds=random.choice([30.0, 120.0, 900.0])
    )
    return Simulation(plan, pairs, Fates(seed, odds), service), pairs


def plain_answer(plan: Plan, pairs: list[Pairs]) -> dict[str, int]:
    return expected(pairs)


@pytest.mark.parametrize("seed", range(20))
def test_a_calm_job_ends_with_the_plain_answer(seed: int) -> None:
    job, pairs = simulation(seed, CALM)
    story = job.run()
    assert story.outcome.state is JobState.DONE
    assert story.result == expected(pairs)
