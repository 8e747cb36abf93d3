"""The reference alarms hold the contract of `Alarms`, and ring as they are driven."""

from __future__ import annotations

import pytest

from smr_notebook.backends.memory.alarms import MemoryAlarms
from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.testing.alarms import AlarmBench, AlarmsTests

START = 1_000_000_000.5


class TestMemoryAlarms(AlarmsTests):
    latest = 0.001

    @pytest.fixture
    def bench(self) -> AlarmBench:
        clock = SimulatedClock(START)
        calls: list[tuple[float, bytes]] = []
        alarms = MemoryAlarms(clock, lambda payload: calls.append((clock.now(), payload)))

        def elapse(seconds: float) -> None:
            end = clock.now() + seconds
            while (at := alarms.next_at) is not None and at <= end:
                clock.sleep(at - clock.now())
                alarms.ring()
            clock.sleep(end - clock.now())

        return AlarmBench(alarms, clock.now, elapse, lambda: list(calls))


def test_nothing_rings_by_itself_or_before_its_time() -> None:
    clock, rung = SimulatedClock(START), list[bytes]()
    alarms = MemoryAlarms(clock, rung.append)
    alarms.set("late", START + 20, b"late")
    alarms.set("soon", START + 10, b"soon")
    assert alarms.next_at == START + 10
    clock.sleep(9.75)
    alarms.ring()
    assert rung == []
    clock.sleep(100)
    assert rung == []
    alarms.ring()
    assert rung == [b"soon", b"late"]
    assert alarms.next_at is None


def test_a_call_may_set_and_clear_alarms() -> None:
    """What is due at once waits for the next ring, so that a ring ends."""
    clock, rung = SimulatedClock(START), list[bytes]()

    def call(payload: bytes) -> None:
        rung.append(payload)
        alarms.clear("b")
        alarms.set("c", START, b"replaced")
        alarms.set("a", START, b"again")

    alarms = MemoryAlarms(clock, call)
    for name in ("a", "b", "c"):
        alarms.set(name, START, name.encode())
    alarms.ring()
    assert rung == [b"a"]
    alarms.ring()
    assert rung == [b"a", b"again"]
