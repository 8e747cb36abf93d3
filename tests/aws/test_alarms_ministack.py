"""Schedules of EventBridge hold the contract of `Alarms`, as an emulator keeps them, and say to AWS what they should.

The emulator would let them go off by the clock of this machine and call functions of its own, so their times lie in its future, and a
simulated clock stands for the service's: whatever is due by it is read from the emulator, noted as a call, and deleted if it says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from botocore.awsrequest import AWSResponse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smr_notebook.backends.aws.alarms import SchedulerAlarms
from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.names import Names
from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.errors import AccessDeniedError, DeploymentError, ServiceError, ThrottledError
from smr_notebook.testing.alarms import AlarmBench, AlarmsTests
from smr_notebook.testing.races import in_threads

START = 2_000_000_000.25  # 03:33:20 UTC
TICK = 7.0


@pytest.fixture
def clients(aws: str) -> Clients:
    """Clients of the emulator that no other test has hung hooks on."""
    return Clients()


@pytest.fixture
def names(clients: Clients) -> Names:
    """A deployment of the test's own, of which the schedule group is there."""
    names = Names(f"s-{uuid4().hex[:20]}", "000000000000", clients.region)
    clients["scheduler"].create_schedule_group(Name=names.schedules)
    return names


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(START)


@pytest.fixture
def alarms(clients: Clients, names: Names, clock: SimulatedClock) -> SchedulerAlarms:
    return SchedulerAlarms(clients, names, clock=clock)


def schedule(clients: Clients, names: Names, name: str) -> dict[str, Any]:
    """Return what the service knows of an alarm."""
    answer: dict[str, Any] = clients["scheduler"].get_schedule(GroupName=names.schedules, Name=name)
    return answer


def time_of(schedule: dict[str, Any]) -> float:
    """Return when a schedule calls, at the earliest."""
    found = re.fullmatch(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)", schedule["ScheduleExpression"])
    assert found
    assert schedule["ScheduleExpressionTimezone"] == "UTC"
    return datetime.fromisoformat(found[1]).replace(tzinfo=UTC).timestamp()


def standing(clients: Clients, names: Names) -> list[str]:
    """Return the names of all alarms that are set."""
    return sorted(found["Name"] for found in clients["scheduler"].list_schedules(GroupName=names.schedules)["Schedules"])


class TestSchedulerAlarms(AlarmsTests):
    @pytest.fixture
    def bench(self, clients: Clients, names: Names, clock: SimulatedClock, alarms: SchedulerAlarms) -> AlarmBench:
        calls: list[tuple[float, bytes]] = []
        fired: set[str] = set()

        def fire() -> None:
            for name in standing(clients, names):
                found = schedule(clients, names, name)
                if name not in fired and time_of(found) <= clock.now():
                    calls.append((clock.now(), found["Target"]["Input"].encode()))
                    if found["ActionAfterCompletion"] == "DELETE":
                        clients["scheduler"].delete_schedule(GroupName=names.schedules, Name=name)
                    else:
                        fired.add(name)

        def elapse(seconds: float) -> None:
            end = clock.now() + seconds
            while clock.now() < end:
                clock.sleep(min(TICK, end - clock.now()))
                fire()

        return AlarmBench(alarms, clock.now, elapse, lambda: list(calls))


# ---------------------------------------------------------------- what AWS is told


def test_a_schedule_calls_the_coordinator_once_and_is_gone(clients: Clients, names: Names, alarms: SchedulerAlarms) -> None:
    alarms.set("one", START + 3600, '{"é": 1}'.encode())
    found = schedule(clients, names, "one")
    assert found["ScheduleExpression"] == "at(2033-05-18T04:34:00)"
    assert (found["State"], found["FlexibleTimeWindow"], found["ActionAfterCompletion"]) == ("ENABLED", {"Mode": "OFF"}, "DELETE")
    assert found["Target"] == {
        "Arn": f"arn:aws:lambda:us-east-1:000000000000:function:{names.stack}-coordinator",
        "RoleArn": f"arn:aws:iam::000000000000:role/{names.stack}-scheduler-us-east-1",
        "Input": '{"é": 1}',
        "RetryPolicy": {"MaximumRetryAttempts": 5, "MaximumEventAgeInSeconds": 3600},
    }


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    now=st.floats(START, START + 7200) | st.integers(33_333_330, 33_333_340).map(lambda minute: minute * 60.0),
    ahead=st.floats(-100_000.0, 400_000.0) | st.integers(-5, 5).map(lambda minutes: minutes * 60.0),
)
def test_a_schedule_names_the_first_minute_that_is_neither_too_early_nor_too_near(
    clients: Clients, names: Names, now: float, ahead: float
) -> None:
    SchedulerAlarms(clients, names, clock=SimulatedClock(now)).set("one", now + ahead, b"{}")
    time = time_of(schedule(clients, names, "one"))
    earliest = max(now + ahead, now + 15)
    assert time % 60 == 0
    assert earliest <= time < earliest + 60


def test_setting_an_alarm_again_changes_all_of_it(clients: Clients, names: Names, alarms: SchedulerAlarms) -> None:
    alarms.set("one", START + 3600, b'"old"')
    old = schedule(clients, names, "one")
    alarms.set("one", START + 7200, b'"new"')
    new = schedule(clients, names, "one")
    changed = {field for field in old if field not in {"ResponseMetadata", "LastModificationDate"} and old[field] != new[field]}
    assert changed == {"ScheduleExpression", "Target"}
    assert new["Target"] == {**old["Target"], "Input": '"new"'}
    assert standing(clients, names) == ["one"]
    alarms.clear("one")
    assert standing(clients, names) == []


# ---------------------------------------------------------------- what happens in between


def before(clients: Clients, operation: str, action: Callable[[], object], *, times: int = 1000) -> None:
    """Let something happen just before each of the next calls."""
    left = [action] * times

    def act(**_: object) -> None:
        if left:
            left.pop()()

    clients["scheduler"].meta.events.register(f"before-call.scheduler.{operation}", act)


def test_an_alarm_that_goes_off_while_it_is_replaced_is_set_anew(clients: Clients, names: Names, alarms: SchedulerAlarms) -> None:
    other = SchedulerAlarms(Clients(), names, clock=SimulatedClock(START))
    alarms.set("one", START + 60, b'"old"')
    before(clients, "UpdateSchedule", lambda: other.clear("one"), times=2)
    before(clients, "CreateSchedule", lambda: other.set("one", START + 120, b'"theirs"'), times=2)
    alarms.set("one", START + 3600, b'"mine"')
    assert schedule(clients, names, "one")["Target"]["Input"] == '"mine"'


def test_an_alarm_that_never_stays_as_it_was_is_an_error(clients: Clients, names: Names, alarms: SchedulerAlarms) -> None:
    other = SchedulerAlarms(Clients(), names, clock=SimulatedClock(START))
    before(clients, "UpdateSchedule", lambda: other.clear("one"))
    before(clients, "CreateSchedule", lambda: other.set("one", START + 120, b"{}"))
    with pytest.raises(ServiceError, match="others set and clear it"):
        alarms.set("one", START + 3600, b"{}")


def test_whoever_sets_and_clears_at_once_meets_no_error(clients: Clients, names: Names, alarms: SchedulerAlarms) -> None:
    def work(thread: int) -> None:
        for number in range(5):
            if thread % 4:
                alarms.set("one", START + 3600, str(number).encode())
            else:
                alarms.clear("one")

    in_threads(8, work)
    alarms.clear("one")
    assert standing(clients, names) == []


def test_lost_replies_do_no_harm(clients: Clients, names: Names, alarms: SchedulerAlarms, hooks: Any) -> None:
    scheduler = clients["scheduler"]
    lost = [hooks.lose_replies(scheduler, operation) for operation in ("CreateSchedule", "UpdateSchedule", "DeleteSchedule")]
    alarms.set("one", START + 3600, b'"first"')
    alarms.set("one", START + 7200, b'"second"')
    assert schedule(clients, names, "one")["Target"]["Input"] == '"second"'
    alarms.clear("one")
    assert standing(clients, names) == []
    assert [len(urls) for urls in lost] == [1, 1, 1]


# ---------------------------------------------------------------- what AWS refuses


def test_where_nothing_was_deployed_setting_says_so_and_clearing_is_harmless(clients: Clients) -> None:
    alarms = SchedulerAlarms(clients, Names("nowhere", "000000000000", "us-east-1"), clock=SimulatedClock(START))
    with pytest.raises(DeploymentError, match=r"'one' failed: .*nowhere.*smr deploy"):
        alarms.set("one", START + 3600, b"{}")
    alarms.clear("one")


def refuse(clients: Clients, code: str, status: int) -> None:
    """Let every call be refused from now on."""

    class Body:
        def stream(self, **_: object) -> Iterator[bytes]:
            yield b'{"Message": "Words of AWS."}'

    headers = {"x-amzn-errortype": code, "content-type": "application/json"}
    clients["scheduler"].meta.events.register(
        "before-send.scheduler", lambda request, **_: AWSResponse(request.url, status, headers, Body())
    )


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("ThrottlingException", 429, ThrottledError),
        ("InternalServerException", 500, ServiceError),
        ("ValidationException", 400, ServiceError),
        ("ServiceQuotaExceededException", 402, DeploymentError),
        ("AccessDeniedException", 403, AccessDeniedError),
    ],
)
def test_what_the_service_refuses_says_what_it_is(names: Names, code: str, status: int, error: type[Exception]) -> None:
    clients = Clients(retries=1)
    alarms = SchedulerAlarms(clients, names, clock=SimulatedClock(START))
    refuse(clients, code, status)
    with pytest.raises(error, match=r"^Setting the alarm 'one' failed: "):
        alarms.set("one", START, b"{}")
    with pytest.raises(error, match=r"^Clearing the alarm 'one' failed: "):
        alarms.clear("one")


def test_a_service_that_cannot_be_reached_is_a_service_error(lead_to: Callable[[str], None]) -> None:
    lead_to("http://127.0.0.1:9")
    alarms = SchedulerAlarms(Clients(retries=1), Names("smr", "000000000000", "us-east-1"), clock=SimulatedClock(START))
    with pytest.raises(ServiceError, match="cannot be reached"):
        alarms.set("one", START, b"{}")
