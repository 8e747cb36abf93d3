"""Records and groups that fail in whole jobs in simulated time: each is left out once and told once, whatever happens to the attempts."""

from __future__ import annotations

from random import Random

import pytest

from smr_notebook.control.ledger import Ledger
from smr_notebook.environment import environment
from smr_notebook.model import Format, JobState, Plan, Policy
from smr_notebook.ports import ServiceLimits
from smr_notebook.testing.fates import CALM, ROUGH, STORM, Fates, Odds
from smr_notebook.testing.simulation import Simulation
from smr_notebook.testing.tinyplane import BITTER, POISON, Pairs, bad_of, expected, split_bytes
from smr_notebook.values.tolerance import OnError, Tolerance

POLICY = Policy(retries=2, lost_launches=8, heartbeat=1.0, lease=15.0, launch=60.0, coordinator_lease=10.0)


def drawn(seed: int, odds: Odds, tolerance: Tolerance) -> Simulation:
    random = Random(f"left out {seed}")
    words = ["good", "better", POISON, BITTER]
    pairs: list[Pairs] = [[(random.choice(words), random.randint(0, 9)) for _ in range(random.randint(1, 8))] for _ in range(5)]
    plan = Plan(
        job="job",
        name="",
        created=1_000_000.0,
        format=Format.TEXT,
        maps=len(pairs),
        reducers=random.randint(0, 3),
        combine=False,
        grouped_order=False,
        input_bytes=sum(map(split_bytes, pairs)),
        input_records=None,
        budget=1 << 20,
        policy=POLICY,
        environment=environment(),
        tolerance=tolerance,
    )
    limits = ServiceLimits(1 << 20, 900.0, random.randint(1, 4), random.choice([0.0, 30.0]), 1 << 30, plan.environment)
    return Simulation(plan, pairs, Fates(seed, odds), limits)


@pytest.mark.parametrize("odds", [pytest.param(ROUGH, id="rough"), pytest.param(STORM, id="storm")])
@pytest.mark.parametrize("decade", range(5))
def test_each_is_left_out_once_and_told_once_whatever_happens(odds: Odds, decade: int) -> None:
    done = 0
    for seed in range(decade * 10, decade * 10 + 10):
        job = drawn(seed, odds, Tolerance(OnError.COLLECT, share=1.0))
        story = job.run()
        if story.outcome.state is not JobState.DONE:
            continue
        done += 1
        good = [[pair for pair in split if pair[0] != POISON] for split in job.pairs]
        answer = expected(good)
        poison = sum(word == POISON for split in job.pairs for word, _ in split)
        bitter = int(BITTER in answer and job.plan.reducers > 0)
        if bitter:
            del answer[BITTER]
        assert story.result == answer
        assert bad_of(job.plan, job.objects, Ledger(job.table, "job")) == poison + bitter
        assert (f"+ {poison} left out" in story.outcome.proof) == (poison > 0)
    assert done


@pytest.mark.parametrize("odds", [pytest.param(CALM, id="calm"), pytest.param(ROUGH, id="rough")])
@pytest.mark.parametrize("seed", range(10))
def test_a_job_that_left_out_more_than_it_may_never_has_a_result(odds: Odds, seed: int) -> None:
    job = drawn(seed, odds, Tolerance(OnError.COLLECT, count=2))
    story = job.run()
    poison = sum(word == POISON for split in job.pairs for word, _ in split)
    if poison > 2:
        assert story.outcome.state is JobState.FAILED
        assert story.result is None
        assert odds is not CALM or story.outcome.error == "TooManyBadError"
    elif odds is CALM:
        assert story.outcome.state is JobState.DONE
