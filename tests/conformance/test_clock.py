"""The clocks hold the contract of `Clock`."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from smr_notebook.backends.local.news import NewsClock
from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.backends.system_clock import SystemClock
from smr_notebook.testing.clock import ClockTests
from smr_notebook.testing.races import in_threads


class TestSystemClock(ClockTests):
    @pytest.fixture
    def clock(self) -> SystemClock:
        return SystemClock()

    def test_it_tells_the_time_of_this_machine(self, clock: SystemClock) -> None:
        before = time.time()
        assert before <= clock.now() <= time.time()


class TestNewsClock(ClockTests):
    """Where no service runs; one that does is in `integration/test_local_service.py`."""

    @pytest.fixture
    def clock(self, tmp_path: Path) -> NewsClock:
        return NewsClock(lambda: tmp_path / "nobody.sock")


class TestSimulatedClock(ClockTests):
    @pytest.fixture
    def clock(self) -> SimulatedClock:
        return SimulatedClock(1_000.0)

    def test_time_goes_on_by_sleeping_alone(self, clock: SimulatedClock) -> None:
        assert clock.now() == clock.now() == 1_000.0
        clock.sleep(3600.5)
        assert clock.now() == 4_600.5

    def test_no_sleep_of_a_thread_is_lost(self, clock: SimulatedClock) -> None:
        def work(_: int) -> None:
            for _ in range(500):
                clock.sleep(1.0)

        in_threads(8, work)
        assert clock.now() == 5_000.0
