"""What every `Alarms` holds.

An adapter subclasses `AlarmsTests`, says how late its alarms may be, and provides the fixture `bench`: an `AlarmBench`, with no alarm
set and no call noted. The times are those of the service, which may be simulated, or run faster than those of this machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import pytest

from smr_notebook.ports import Alarms
from smr_notebook.testing.races import in_threads


@dataclass(frozen=True, slots=True)
class AlarmBench:
    """The alarms under test, and what the tests need to see of their service.

    Attributes:
        alarms: The adapter.
        now: Tells the service's time, in seconds since 1970.
        elapse: Lets so many seconds of it pass, or a few more, and returns when all that was due in them has been called.
        calls: Tells when the handler was called and with what payload, oldest first.
    """

    alarms: Alarms
    now: Callable[[], float]
    elapse: Callable[[float], None]
    calls: Callable[[], list[tuple[float, bytes]]]

    def rang(self) -> list[object]:
        """Return the payloads, as JSON, that the handler was called with: each once, because an alarm may go off twice."""
        payloads: list[object] = []
        for _, payload in self.calls():
            if json.loads(payload) not in payloads:
                payloads.append(json.loads(payload))
        return payloads


def payload(content: object) -> bytes:
    """Return what an alarm is set with: JSON, which is all that some services take."""
    return json.dumps(content).encode()


class AlarmsTests:
    """The contract of `ports.Alarms`, where the service itself does not fail."""

    latest: ClassVar[float] = 150.0
    """So many seconds after its time an alarm has gone off."""
    far: ClassVar[float] = 300.0
    """A time ahead, in seconds, that is well beyond `latest`."""

    def test_an_alarm_goes_off_at_its_time_and_not_before(self, bench: AlarmBench) -> None:
        """It calls the handler with what it was set with."""
        at = bench.now() + self.far
        bench.alarms.set("one", at, payload({"job": "a"}))
        bench.elapse(self.far + self.latest)
        assert bench.rang() == [{"job": "a"}]
        assert all(when >= at for when, _ in bench.calls())

    def test_an_alarm_goes_off_once(self, bench: AlarmBench) -> None:
        """It is gone then: what called twice for one time does not go on calling."""
        bench.alarms.set("one", bench.now(), payload(1))
        bench.elapse(self.latest)
        calls = bench.calls()
        bench.elapse(3 * self.far)
        assert bench.calls() == calls != []

    @pytest.mark.parametrize("ago", [0.0, 1.0, 86_400.0])
    def test_an_alarm_for_a_time_that_has_passed_goes_off_at_once(self, bench: AlarmBench, ago: float) -> None:
        """As soon as the service can."""
        bench.alarms.set("late", bench.now() - ago, payload("late"))
        bench.elapse(self.latest)
        assert bench.rang() == ["late"]

    @pytest.mark.parametrize("factor", [0.0, 0.5, 2.0], ids=["to the past", "to earlier", "to later"])
    def test_an_alarm_that_is_set_again_is_replaced(self, bench: AlarmBench, factor: float) -> None:
        """Its time and its payload are the new ones, and the old ones are forgotten."""
        at = bench.now() + factor * self.far
        bench.alarms.set("one", bench.now() + self.far, payload("old"))
        bench.alarms.set("one", at, payload("new"))
        bench.elapse(3 * self.far)
        assert bench.rang() == ["new"]
        assert all(at <= when <= at + self.latest for when, _ in bench.calls())

    def test_a_cleared_alarm_does_not_go_off(self, bench: AlarmBench) -> None:
        """The others do."""
        for name in ("one", "two", "three"):
            bench.alarms.set(name, bench.now() + self.far, payload(name))
        bench.alarms.clear("two")
        bench.elapse(self.far + self.latest)
        assert sorted(map(str, bench.rang())) == ["one", "three"]

    def test_clearing_what_is_not_there_is_harmless(self, bench: AlarmBench) -> None:
        """It never was, is cleared already, or has gone off."""
        bench.alarms.clear("never")
        bench.alarms.set("one", bench.now() + self.far, payload("one"))
        bench.alarms.clear("one")
        bench.alarms.clear("one")
        bench.alarms.set("two", bench.now(), payload("two"))
        bench.elapse(self.far + self.latest)
        bench.alarms.clear("two")
        assert bench.rang() == ["two"]

    def test_a_name_can_be_used_again(self, bench: AlarmBench) -> None:
        """After its alarm was cleared, and after it has gone off."""
        bench.alarms.set("one", bench.now() + self.far, payload("cleared"))
        bench.alarms.clear("one")
        for number in range(2):
            bench.alarms.set("one", bench.now(), payload(number))
            bench.elapse(self.latest)
        assert bench.rang() == [0, 1]

    def test_alarms_go_off_one_by_one_as_their_times_come(self, bench: AlarmBench) -> None:
        """In whatever order they were set."""
        start = bench.now()
        for number in (2, 0, 1):
            bench.alarms.set(f"alarm-{number}", start + number * self.far, payload(number))
        bench.elapse(2 * self.far + self.latest)
        assert bench.rang() == [0, 1, 2]
        assert all(when >= start + json.loads(content) * self.far for when, content in bench.calls())

    def test_any_name_that_the_port_allows_is_a_name_of_its_own(self, bench: AlarmBench) -> None:
        """Names that differ by a letter's case, or by their last character, are different."""
        names = ["a", "A", "0", ".", "-", "_", "a.b-c_D9", "x" * 64, "x" * 63, f"{'x' * 63}y"]
        for name in names:
            bench.alarms.set(name, bench.now() + self.far, payload(name))
        for name in names[::2]:
            bench.alarms.clear(name)
        bench.elapse(self.far + self.latest)
        assert sorted(map(str, bench.rang())) == sorted(names[1::2])

    def test_a_payload_is_any_text_in_json(self, bench: AlarmBench) -> None:
        """Quotes, line ends, and characters of all languages, also where they are not escaped."""
        content = {"text": '"quoted" \\ \n \t é 漢 𝄞 <tag> {0} %s $x', "list": [1, 2.5, None, True], "none": {}}
        bench.alarms.set("escaped", bench.now(), payload(content))
        bench.elapse(self.latest)
        bench.alarms.set("plain", bench.now(), json.dumps([content], ensure_ascii=False).encode())
        bench.elapse(self.latest)
        assert bench.rang() == [content, [content]]

    def test_of_many_who_set_one_alarm_at_once_one_is_heard(self, bench: AlarmBench) -> None:
        """None of them fails."""
        at = bench.now() + self.far
        in_threads(8, lambda thread: bench.alarms.set("one", at, payload(thread)))
        bench.elapse(self.far + self.latest)
        assert bench.rang() in [[thread] for thread in range(8)]
