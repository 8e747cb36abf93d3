"""What every `Clock` holds. An adapter subclasses `ClockTests` and provides the fixture `clock`."""

from __future__ import annotations

from smr_notebook.ports import Clock


class ClockTests:
    """The contract of `ports.Clock`."""

    def test_time_does_not_go_back(self, clock: Clock) -> None:
        """Not by looking, and not by sleeping."""
        times = []
        for _ in range(100):
            times.append(clock.now())
            clock.sleep(0.0)
        assert times == sorted(times)

    def test_who_looks_and_sleeps_again_gets_to_any_time(self, clock: Clock) -> None:
        """One sleep may end early."""
        end = clock.now() + 0.02
        while (left := end - clock.now()) > 0:
            clock.sleep(left)
        assert clock.now() >= end

    def test_who_wants_no_news_for_a_while_sleeps_no_longer_than_it_says(self, clock: Clock) -> None:
        """It is a wish for less than the time that it sleeps, and harmless where nothing would wake it."""
        end = clock.now() + 0.02
        while (left := end - clock.now()) > 0:
            clock.sleep(left, least=min(left, 0.01))
        assert end <= clock.now() < end + 500

    def test_a_time_that_has_passed_is_not_waited_for(self, clock: Clock) -> None:
        """Callers subtract times."""
        before = clock.now()
        clock.sleep(-1000.0)
        assert before <= clock.now() < before + 500
