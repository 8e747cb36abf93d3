"""Jobs of a size that nobody runs for a test, on a cloud in simulated time: `python benchmarks/fleet.py`.

The control plane is the real one; what calls take and what quotas allow is in `smr_notebook.testing.fleet` (`Latencies`, `Quotas`).
Reported are the launch ramp, what the coordinator reads and writes, the busiest key of the table, the cost and the time. Nothing here
depends on how fast this machine is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from smr_notebook.control.costs import PRICES
from smr_notebook.control.merges import Shuffle, choose_merging
from smr_notebook.environment import environment
from smr_notebook.model import Format, Plan, Policy
from smr_notebook.ports import ServiceLimits
from smr_notebook.testing.fleet import Fleet, Quotas, Report
from smr_notebook.testing.fleet_work import RECORD_BYTES

SPLIT_BYTES = 128 << 20
"""Of which a tenth travels."""

POLICY = Policy(retries=2, lost_launches=20, heartbeat=5.0, lease=30.0, launch=75.0, coordinator_lease=20.0, margin=60.0)


@dataclass(frozen=True)
class Case:
    """One job on a cloud.

    Attributes:
        maps: Its map tasks.
        reducers: Its reduce tasks.
        seconds: How long a task takes, in all its legs.
        concurrency: How many may run at once.
        branching: Calls that a worker makes for others at most; 0 for a job that one caller launches.
        burst: How many functions start at once, before the account's ramp holds the others back.
        longest: Seconds that one invocation may take.
    """

    maps: int
    reducers: int
    seconds: float
    concurrency: int = 1000
    branching: int = 32
    burst: float = 1000.0
    longest: float = 900.0
    merged: bool = False


CASES = (
    Case(1_000, 100, 25.0, branching=0),
    Case(1_000, 100, 25.0),
    Case(10_000, 1_000, 25.0),
    Case(10_000, 1_000, 25.0, merged=True),
    Case(10_000, 1_000, 25.0, concurrency=3000),
    Case(10_000, 1_000, 25.0, concurrency=3000, merged=True),
    Case(100_000, 0, 10.0, concurrency=3000),
    # Beside Lambada: as many workers as its paper starts, where nothing but the launch holds them back, and under today's ramp.
    Case(4_096, 0, 25.0, concurrency=4096, burst=4096.0, branching=0),
    Case(4_096, 0, 25.0, concurrency=4096, burst=4096.0),
    Case(4_096, 0, 25.0, concurrency=4096, burst=4096.0, branching=64),
    Case(4_096, 0, 25.0, concurrency=4096),
    # Beside Flint: tasks that take much longer than an invocation may; under its limit, under today's, and without one.
    Case(500, 50, 3600.0, longest=300.0),
    Case(500, 50, 3600.0),
    Case(500, 50, 3600.0, longest=86_400.0),
)


def run(case: Case) -> Report:
    """Let one job happen."""
    plan = Plan(
        job="job",
        name="",
        created=1_000_000.0,
        format=Format.TEXT,
        maps=case.maps,
        reducers=case.reducers,
        combine=False,
        grouped_order=False,
        input_bytes=case.maps * RECORD_BYTES,
        input_records=case.maps,
        budget=1 << 20,
        policy=POLICY,
        environment=environment(),
        rates=PRICES["aws/us-east-1/x86_64"],
        memory_bytes=1769 << 20,
    )
    if case.merged:
        shuffle = Shuffle(case.maps, case.reducers, case.maps * SPLIT_BYTES // 10)
        plan = replace(plan, merging=choose_merging(shuffle, plan.rates, memory_bytes=plan.memory_bytes))
    burst = min(case.burst, case.concurrency)
    limits = ServiceLimits(
        256 << 10, case.longest, case.concurrency, 0.0, plan.memory_bytes, plan.environment, burst=burst, ramp=100.0, step=10.0
    )

    def drawn(random: Random) -> float:
        return case.seconds * random.lognormvariate(0.0, 0.3)

    return Fleet(plan, limits, seconds=drawn, parallel=32, branching=case.branching).run()


def main() -> None:
    for case in CASES:
        report = run(case)
        launch = (f"tree of {case.branching}" if case.branching else "flat") + (", merged" if case.merged else "")
        print(
            f"{case.maps:,} map × {case.reducers:,} reduce, {case.seconds:g} s each, {case.longest:g} s an invocation at most,"
            f" {case.concurrency:,} at once after {case.burst:g}, {launch}"
        )
        ramp = ", ".join(f"{count:,} after {report.until_running(count):.1f} s" for count in (1, 100, 500, 900, 1900, 2900, 4000))
        print(f"  {report.outcome.state} in {report.seconds:,.0f} s; at work: {ramp}")
        reads, writes, took = report.coordinator_reads, report.coordinator_writes, report.seconds
        print(
            f"  coordinator: {report.looks:,} looks; reads {sum(reads.values()) / took:,.0f} units/s (most {max(reads.values()):,}),"
            f" writes {sum(writes.values()) / took:,.0f} (most {max(writes.values()):,})"
        )
        print(f"  busiest key: {report.most_writes:,} of {Quotas().writes:,} writes/s, {report.most_reads:,} of {Quotas().reads:,} reads/s")
        cost = report.cost
        if cost is not None:
            print(f"  ${cost.total:,.2f} = compute {cost.compute:,.2f} + objects {cost.objects:,.2f} + table {cost.table:,.3f}")
        print(f"  {report.calls:,} calls, {report.waited:,} of them found no room")


if __name__ == "__main__":
    main()
