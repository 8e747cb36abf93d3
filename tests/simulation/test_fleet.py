"""Jobs of any size under the quotas and latencies of AWS: how fast they start, what they cost, and which quota they meet."""

from __future__ import annotations

from random import Random

import pytest

from smr_notebook.control.costs import PRICES
from smr_notebook.environment import environment
from smr_notebook.model import Format, JobState, Plan, Policy
from smr_notebook.ports import ServiceLimits
from smr_notebook.testing.fleet import Fleet, Quotas, Report
from smr_notebook.testing.fleet_work import RECORD_BYTES

POLICY = Policy(retries=2, lost_launches=20, heartbeat=5.0, lease=30.0, launch=60.0, coordinator_lease=20.0)


def plan(maps: int, reducers: int = 0, *, max_cost: float = 0.0) -> Plan:
    return Plan(
        job="job",
        name="",
        created=1_000_000.0,
        format=Format.TEXT,
        maps=maps,
        reducers=reducers,
        combine=False,
        grouped_order=False,
        input_bytes=maps * RECORD_BYTES,
        input_records=maps,
        budget=1 << 20,
        policy=POLICY,
        environment=environment(),
        rates=PRICES["aws/us-east-1/x86_64"],
        memory_bytes=1769 << 20,
        max_cost=max_cost,
    )


def run(of: Plan, *, concurrency: int = 1000, branching: int = 32, seconds: float = 10.0, longest: float = 900.0) -> Report:
    limits = ServiceLimits(
        256 << 10, longest, concurrency, 0.0, 1769 << 20, of.environment, burst=min(1000.0, concurrency), ramp=100.0, step=10.0
    )

    def drawn(random: Random) -> float:
        return seconds * random.lognormvariate(0.0, 0.3)

    return Fleet(of, limits, seconds=drawn, parallel=32, branching=branching).run()


@pytest.mark.timeout(1200)
def test_a_hundred_thousand_tasks_meet_no_limit_of_the_table() -> None:
    report = run(plan(100_000), concurrency=3000, seconds=4.0)
    assert report.outcome.state is JobState.DONE
    assert report.most_writes < Quotas().writes
    assert report.most_reads < Quotas().reads


def test_no_more_run_than_the_account_allows_and_its_ramp_is_followed() -> None:
    report = run(plan(3000, 100), concurrency=2000)
    assert report.outcome.state is JobState.DONE
    assert max(count for _, count in report.running) <= 2000
    assert report.until_running(1000) < report.until_running(1900)
    assert report.until_running(1900) > 9.0, "a thousand at once, and a hundred more each second"


def test_a_small_account_is_never_asked_for_more_than_it_has() -> None:
    report = run(plan(60, 5), concurrency=6)
    assert report.outcome.state is JobState.DONE
    assert (report.waited, max(count for _, count in report.running)) == (0, 6)


def test_a_tree_has_all_at_work_before_one_caller_has() -> None:
    flat, tree = run(plan(1000), branching=0), run(plan(1000), branching=32)
    assert tree.until_running(1000) < flat.until_running(1000)
    assert tree.outcome.state is flat.outcome.state is JobState.DONE


def test_the_cost_of_a_job_is_about_what_its_seconds_cost() -> None:
    report = run(plan(500, 50), seconds=20.0)
    assert report.cost is not None
    seconds = 550 * 20 * 1.05
    assert report.cost.compute == pytest.approx(seconds * 1769 / 1024 * 0.0000166667, rel=0.15)
    assert report.cost.objects == pytest.approx((500 * 20 + 50 * 504) * 0.4e-6, rel=0.3)


def test_tasks_that_outlive_their_invocations_go_on_in_others_at_hardly_any_cost() -> None:
    """Flint's continuations: 1,000 s of work each, where an invocation may take 300."""
    short, long = (run(plan(20, 3), seconds=1000.0, longest=longest) for longest in (300.0, 86_400.0))
    assert short.outcome.state is long.outcome.state is JobState.DONE
    assert short.cost is not None
    assert long.cost is not None
    assert short.calls >= 23 * 3
    assert short.cost.compute == pytest.approx(long.cost.compute, rel=0.15)


def test_a_job_stops_launching_before_it_costs_more_than_it_may() -> None:
    free = run(plan(400), concurrency=50)
    assert free.cost is not None
    report = run(plan(400, max_cost=free.cost.total / 2), concurrency=50)
    assert (report.outcome.state, report.outcome.error) == (JobState.FAILED, "BudgetExceededError")
    assert report.cost is not None
    assert report.cost.total == pytest.approx(free.cost.total / 2, rel=0.15)
    assert "max_cost" in report.outcome.message
