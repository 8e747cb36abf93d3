"""What is used adds up, and what it costs follows from it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.control.costs import PRICES, Sample, Shape, estimate, price_of_attempt, priced, rates_of
from smr_notebook.control.metering import metered
from smr_notebook.control.snapshots import used
from smr_notebook.model import (
    Attempt,
    AttemptId,
    AttemptState,
    Commit,
    Environment,
    Estimate,
    Format,
    Numbers,
    Phase,
    Plan,
    Policy,
    TaskId,
)
from smr_notebook.ports import Backend
from smr_notebook.standing import Settled, Snapshot
from smr_notebook.testing.nobody import NoFunctions
from smr_notebook.values.usage import Usage, read_units, write_units

X86 = PRICES["aws/us-east-1/x86_64"]
GIB = 1 << 30
usages = st.builds(Usage, st.floats(0, 1e6), *[st.integers(0, 10**6)] * 5)


def test_a_second_of_a_gigabyte_costs_what_the_price_list_says() -> None:
    assert priced(Usage(seconds=1.0), X86, memory_bytes=GIB).total == X86.gb_second == pytest.approx(1.66667e-5)
    assert priced(Usage(invocations=10**6), X86, memory_bytes=GIB).total == pytest.approx(0.20)
    assert priced(Usage(row_writes=10**6, row_reads=10**6), X86, memory_bytes=GIB).table == pytest.approx(0.75)
    assert priced(Usage(puts=1000, gets=1000), X86, memory_bytes=GIB).objects == pytest.approx(0.0054)


@given(usages, usages)
def test_the_cost_of_both_is_both_costs(first: Usage, second: Usage) -> None:
    together = priced(first + second, X86, memory_bytes=GIB).total
    assert together == pytest.approx(priced(first, X86, memory_bytes=GIB).total + priced(second, X86, memory_bytes=GIB).total)
    back = first + second - second
    assert (back.invocations, back.row_reads) == (first.invocations, first.row_reads)


def test_a_region_without_a_list_has_that_of_another_and_says_so() -> None:
    rates = rates_of("aws/eu-north-1/arm64")
    assert rates is not None
    assert (rates.region, rates.gb_second) == ("us-east-1", PRICES["aws/us-east-1/arm64"].gb_second)
    assert rates.date
    assert rates.source
    assert rates_of("") is None


@pytest.mark.parametrize(("size", "units"), [(0, 1), (900, 1), (1000, 2), (10_000, 10)])
def test_a_write_is_billed_by_the_kilobyte(size: int, units: int) -> None:
    assert write_units(size) == units


def test_a_read_is_billed_by_four_kilobytes_of_all_rows() -> None:
    assert [read_units(0, 0), read_units(100), read_units(4000), read_units(600 * 100, 100)] == [1, 1, 2, 18]


def test_an_estimate_grows_with_the_input_and_the_time_of_the_sample() -> None:
    shape = Shape(maps=100, reducers=10, input_bytes=100 << 20, concurrency=100, heartbeat=5.0)
    slow = estimate(shape, Sample(100, 10_000, 100, 1.0), X86, memory_bytes=GIB)
    quick = estimate(shape, Sample(100, 10_000, 100, 0.01), X86, memory_bytes=GIB)
    guess = estimate(shape, Sample(), X86, memory_bytes=GIB)
    assert 0 < quick.low < quick.likely < quick.high < slow.low
    assert (slow.sampled, guess.sampled) == (100, 0)
    assert slow.map_seconds == pytest.approx(100 * (1 << 20) / 100 * 1e-4 + 1.5, rel=0.1)


def attempt(state: AttemptState, *, claimed: float = 10.0, changed: float = 40.0, usage: Usage | None = None) -> Attempt:
    id = AttemptId(TaskId(Phase.MAP, 0), 1)
    return Attempt(id, state, "w", 50.0, 5.0, changed, Numbers(), claimed=claimed, usage=usage or Usage(seconds=3.0, gets=2))


def test_an_attempt_that_fell_silent_was_billed_as_long_as_it_was_heard() -> None:
    assert used([[attempt(AttemptState.FAILED)]], {}) == Usage(seconds=30.0, invocations=1, gets=2)
    assert used([[attempt(AttemptState.LAUNCHED, claimed=0.0, usage=Usage())]], {}) == Usage(invocations=1)


def test_one_more_attempt_is_thought_to_cost_what_those_did_that_committed_settled_or_not() -> None:
    plan = Plan(
        "job",
        "",
        0.0,
        Format.TEXT,
        300,
        0,
        combine=False,
        grouped_order=False,
        input_bytes=1,
        input_records=None,
        budget=1,
        policy=Policy(),
        environment=Environment("3.11", 5, ()),
        rates=X86,
        memory_bytes=GIB,
        estimate=Estimate(50.0, 0.0, 0.1, 0.2),
    )
    task = TaskId(Phase.MAP, 200)
    commits = {task: Commit(AttemptId(task, 1), "w", 1.0, 20.0, Numbers())}
    settled = {Phase.MAP: Settled(frozenset({0, 1}), tasks=3, seconds=30.0)}

    def price(snapshot: Snapshot) -> float:
        requests = priced(Usage(invocations=1, puts=1, gets=6, row_writes=5, row_reads=6), X86, memory_bytes=GIB).total
        return (price_of_attempt(plan, snapshot, Phase.MAP) - requests) / X86.gb_second

    assert price(Snapshot({}, {}, {})) == pytest.approx(50.0), "as was estimated"
    assert price(Snapshot({}, commits, {})) == pytest.approx(20.0)
    assert price(Snapshot({}, {}, {}, settled=settled)) == pytest.approx(10.0)
    assert price(Snapshot({}, commits, {}, settled=settled)) == pytest.approx(12.5)


def test_what_a_commit_tells_counts_instead_of_the_last_heartbeat() -> None:
    chosen = attempt(AttemptState.RUNNING)
    commit = Commit(chosen.id, "w", 41.0, 31.0, Numbers(), usage=Usage(seconds=31.0, gets=9))
    assert used([[chosen]], {commit.id.task: commit}) == Usage(seconds=31.0, invocations=1, gets=9)


def test_ports_that_cost_count_what_they_are_asked_for() -> None:
    backend = metered(
        Backend(
            name="memory",
            location="memory:",
            objects=MemoryStore(),
            table=MemoryTable(),
            functions=NoFunctions(),
            clock=SimulatedClock(),
            sources={"memory": MemorySource({"a/1": b"x", "a/2": b"y"})},
            policy=Policy(),
            poll=(0.1, 1.0),
            tariff="aws/us-east-1/x86_64",
        )
    )
    assert backend.tally is not None
    assert metered(backend) is backend
    backend.objects.put("k", b"x")
    backend.objects.put("large", iter([bytes(5 << 20)] * 4))
    assert backend.objects.get("k") == b"x"
    assert [info.key for info in backend.objects.list_prefix("")] == ["k", "large"]
    assert backend.objects.delete_prefix("large") == 1
    backend.table.put("g", "k", bytes(2000), expect=0)
    backend.table.get("g", "k")
    backend.table.query("g")
    source = backend.sources["memory"]
    assert [info.key for info in source.find("a")] == ["a/1", "a/2"]
    source.get("a/1")
    source.stat("a/1")
    assert backend.tally.usage == Usage(puts=1 + 3 + 1 + 1 + 1, gets=1 + 2, row_writes=3, row_reads=2)


def test_a_platform_that_costs_nothing_is_left_alone() -> None:
    free = Backend(
        name="memory",
        location="memory:",
        objects=MemoryStore(),
        table=MemoryTable(),
        functions=NoFunctions(),
        clock=SimulatedClock(),
        sources={},
        policy=Policy(),
        poll=(0.1, 1.0),
    )
    assert metered(free) is free


def test_an_attempt_with_more_memory_is_billed_for_it() -> None:
    failed = attempt(AttemptState.FAILED)
    larger = replace(failed, id=AttemptId(failed.id.task, 2), size=1)
    commit = Commit(larger.id, "w", 41.0, 31.0, Numbers(), usage=Usage(seconds=31.0, gets=9))
    found = used([[failed, larger]], {commit.id.task: commit}, (GIB, 2 * GIB))
    assert found == Usage(seconds=30.0 + 2 * 31.0, invocations=2, gets=11)
    assert priced(found, X86, memory_bytes=GIB).compute == pytest.approx(
        X86.gb_second * 30.0 + X86.gb_second * 2 * 31.0 + 2 * X86.invocation
    )
