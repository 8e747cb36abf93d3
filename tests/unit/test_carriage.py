"""What carriers cost: thought before a job runs, counted while it does, and told beside what objects cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from smr_notebook.backends.memory.carrier import MemoryCarrier
from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.backends.memory.functions import MemoryFunctions
from smr_notebook.backends.memory.platform import open_memory
from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.control.carriage import MOST_SHARDS, TARIFFS, carrier_rates, units
from smr_notebook.control.carrying import carrier_of
from smr_notebook.control.costs import PRICES, priced, rates_of, spent
from smr_notebook.control.merges import Shuffle
from smr_notebook.errors import BudgetExceededError
from smr_notebook.model import Plan
from smr_notebook.ports import PIECE_BYTES, Backend, Context, Piece, Wanted
from smr_notebook.sessions.session import Session
from smr_notebook.standing import Lease, Snapshot
from smr_notebook.testing.fates import CALM
from smr_notebook.testing.stories import draw
from smr_notebook.values.usage import Tally, Usage

TARIFF = "aws/us-east-1/arm64"
RATES = PRICES[TARIFF]


def nobody(payload: bytes, context: Context) -> bytes:
    raise AssertionError("planning invokes nothing")


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    functions = MemoryFunctions(nobody, workers=4)
    source = MemorySource({f"/logs/{number}": b"x y z\n" * 200_000 for number in range(4)})
    backend = replace(open_memory(), clock=SimulatedClock(), functions=functions, sources={"file": source}, tariff=TARIFF)
    yield Session(backend=backend, settings={"workspace": tmp_path, "region": "us-east-1"})
    functions.close()


def words(line: str) -> list[tuple[str, int]]:
    return [(word, 1) for word in line.split()]


def plan_of(exchange: str, *, reducers: int = 4) -> Plan:
    job = draw(0, CALM)
    rates = carrier_rates(RATES, exchange, partitions=reducers)
    return replace(job.plan, exchange=exchange, carrier="there", rates=rates, memory_bytes=1 << 30, reducers=reducers)


@pytest.mark.parametrize(("exchange", "more"), [("sqs", 0.0), ("kinesis", 4 * 0.015)])
def test_a_plan_warns_of_what_a_carrier_takes_beside_objects(session: Session, exchange: str, more: float) -> None:
    carried = session.plan(words, sum, "/logs/*", reducers=4, exchange=exchange)
    plain = session.plan(words, sum, "/logs/*", reducers=4)
    assert carried.plan.carriage is not None
    assert carried.plan.carriage.cost > more
    assert carried.plan.carriage.cost > carried.plan.carriage.objects
    assert carried.plan.estimate is not None
    assert plain.plan.estimate is not None
    assert carried.plan.estimate.likely > plain.plan.estimate.likely
    dearer = carried.plan.carriage.cost - carried.plan.carriage.objects
    assert carried.plan.estimate.likely == pytest.approx(plain.plan.estimate.likely + dearer, rel=0.01)
    assert f"exchange='{exchange}' is thought to take $" in str(carried)
    assert "objects would take $" in str(carried)
    assert "is thought to take" not in str(plain)


def test_where_nothing_else_costs_the_carrier_still_does(session: Session) -> None:
    session.backend = replace(session.backend, tariff="")
    planned = session.plan(words, sum, "/logs/*", reducers=4, exchange="kinesis")
    assert planned.plan.rates is None
    assert "objects would take nothing here" in str(planned)
    assert session.plan(words, None, "/logs/*", exchange="kinesis").plan.carriage is None, "nothing travels"


def test_max_cost_holds_the_carrier_too(session: Session) -> None:
    assert session.plan(words, sum, "/logs/*", reducers=4, max_cost=0.05).plan.max_cost == 0.05
    with pytest.raises(BudgetExceededError):
        session.plan(words, sum, "/logs/*", reducers=4, max_cost=0.05, exchange="kinesis")


def test_shards_are_paid_for_each_begun_hour() -> None:
    plan = plan_of("kinesis", reducers=20)
    assert plan.rates is not None
    assert plan.rates.carrier_hour == pytest.approx(0.24)

    def after(seconds: float) -> float:
        lease = Lease("w", 1, plan.created + seconds + plan.policy.coordinator_lease)
        return spent(plan, Snapshot({}, {}, {}, lease=lease)).carrier

    assert [after(seconds) for seconds in (1.0, 3_599.0, 3_601.0)] == pytest.approx([0.24, 0.24, 0.48])
    assert spent(plan, Snapshot({}, {}, {})).carrier == 0, "nobody has made a stream"


@pytest.mark.parametrize(("exchange", "sent", "fetched"), [("sqs", 4 + 1, 5 + 2), ("kinesis", 10 + 1, 0), ("redis", 0, 0)])
def test_what_is_carried_is_counted(exchange: str, sent: int, fetched: int) -> None:
    carrier, tally = MemoryCarrier(), Tally()
    backend: Backend = replace(open_memory(), tally=tally, carriers={exchange: lambda _: carrier})
    metered = carrier_of(backend, plan_of(exchange))
    metered.send("box", "a", [Piece(0, 0, bytes(PIECE_BYTES)), Piece(0, PIECE_BYTES, b"x")])
    assert tally.usage == Usage(carried=sent)
    (get,) = metered.fetch("box", 0, [Wanted("a", PIECE_BYTES + 1)])
    assert get(PIECE_BYTES, PIECE_BYTES + 1) == b"x"
    assert tally.usage == Usage(carried=sent + fetched)
    metered.hold("box", 3)
    metered.remove("box", 3)
    assert tally.usage.carried == sent + fetched + (6 if exchange == "sqs" else 0)
    assert carrier.slices == {}


def test_what_is_thought_is_what_would_be_counted() -> None:
    """One slice of a whole piece and one byte, in one partition."""
    shuffle = Shuffle(1, 1, PIECE_BYTES + 1)
    assert units(shuffle, TARIFFS["sqs"]) == 5 + 7 + 2
    assert units(shuffle, TARIFFS["kinesis"]) == 11


def test_a_unit_costs_what_the_plan_says() -> None:
    rates = carrier_rates(rates_of(TARIFF), "sqs", partitions=3)
    assert rates is not None
    assert priced(Usage(carried=1_000_000), rates, memory_bytes=1).total == pytest.approx(0.40)
    assert carrier_rates(rates_of(TARIFF), "redis", partitions=3) == rates_of(TARIFF)
    assert carrier_rates(None, "sqs", partitions=3) is None


def test_the_shards_that_are_priced_are_those_that_are_made() -> None:
    pytest.importorskip("boto3")
    from smr_notebook.backends.aws import streams

    assert streams.MOST_SHARDS == MOST_SHARDS
