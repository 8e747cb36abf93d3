"""A job that is planned where code runs: the driver plans once, and whatever it cannot plan is how the job ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from smr_notebook.backends.memory.alarms import MemoryAlarms
from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.config import resolve
from smr_notebook.control.coordinator import revive, run_coordinator
from smr_notebook.control.driving import MOST_DRIVERS, run_driver
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.messages import DeathNotice, Message, Role, coordinate, decode, drive
from smr_notebook.control.plans import read_plan
from smr_notebook.control.worker import handle_death, run_attempt
from smr_notebook.environment import environment
from smr_notebook.errors import (
    BudgetExceededError,
    CombinerLawError,
    ConfigError,
    EnvironmentMismatchError,
    InputMissingError,
    ObjectNotFoundError,
    StoreError,
)
from smr_notebook.job import Job
from smr_notebook.model import JobState, Policy
from smr_notebook.ports import Backend, Context, ServiceLimits
from smr_notebook.session import Session


def count_words(line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


@dataclass
class Service:
    """Takes down what it is called with."""

    calls: list[Message] = field(default_factory=list)

    @property
    def limits(self) -> ServiceLimits:
        return ServiceLimits(1 << 20, 900.0, 4, 0.0, 1 << 30, environment())

    def invoke(self, payload: bytes) -> None:
        message = decode(payload)
        assert isinstance(message, Message)
        self.calls.append(message)


class Cloud:
    """A platform on which input is planned where code runs."""

    def __init__(self, tmp_path: Any, *, tariff: str = "") -> None:
        self.service = Service()
        self.input = {"books/a.txt": b"one two\ntwo\n", "books/b.txt": b"two three\n"}
        self.clock = SimulatedClock(1_000.0)
        self.backend = Backend(
            name="memory",
            location="memory:",
            objects=MemoryStore(),
            table=MemoryTable(),
            functions=self.service,
            clock=self.clock,
            sources={"s3": MemorySource(self.input)},
            policy=Policy(),
            poll=(0.1, 1.0),
            plans=True,
            tariff=tariff,
        )
        self.session = Session(settings=resolve({}, {}, {}, default_workspace=tmp_path), backend=self.backend)

    def submit(self, pattern: str = "s3://books", **options: Any) -> Job:
        job: Job = self.session.map_reduce(count_words, sum, pattern, **options)
        return job

    def context(self, name: str = "driver") -> Context:
        return Context("memory:", name, self.clock.now() + 900, 1 << 30, self.clock)

    def run(self, roles: set[Role] | None = None) -> None:
        """Run what was called, and what that calls, as far as it has one of the roles."""
        while calls := [message for message in self.service.calls if roles is None or message.role in roles]:
            message = calls[0]
            self.service.calls.remove(message)
            run: Callable[..., None] = {Role.DRIVER: run_driver, Role.COORDINATOR: self._coordinate}.get(message.role, run_attempt)
            run(self.backend, message, self.context(f"{message.role}-{len(self.service.calls)}-{self.clock.now()}"))

    def _coordinate(self, backend: Backend, message: Message, context: Context) -> None:
        run_coordinator(replace(backend, functions=_Inline(self)), message, replace(context, deadline=self.clock.now() + 1e6))


@dataclass
class _Inline:
    """Runs workers at once, so that a coordinator finds them done."""

    cloud: Cloud

    @property
    def limits(self) -> ServiceLimits:
        return self.cloud.service.limits

    def invoke(self, payload: bytes) -> None:
        message = decode(payload)
        assert isinstance(message, Message)
        if message.works:
            run_attempt(self.cloud.backend, message, self.cloud.context(f"w-{message.attempt_id}"))
        else:
            self.cloud.service.invoke(payload)


@pytest.fixture
def cloud(tmp_path: Any) -> Cloud:
    return Cloud(tmp_path)


def test_the_notebook_sends_what_to_plan_and_may_go(cloud: Cloud) -> None:
    job = cloud.submit(name="words")
    assert [(message.role, message.job) for message in cloud.service.calls] == [(Role.DRIVER, job.id)]
    with pytest.raises(ObjectNotFoundError):
        read_plan(cloud.backend.objects, job.id)
    assert job.warnings == ()
    cloud.run()
    assert job.result().to_dict("list") == {"key": ["one", "three", "two"], "value": [1, 1, 3]}
    assert job.proof == "1 split · 3 records read = mapped · 3 groups · 5 pairs → 3 combined = reduced"


def test_the_plan_is_that_of_the_request(cloud: Cloud) -> None:
    job = cloud.submit(reducers=3, split_size=4, name="words", retries=5)
    cloud.run({Role.DRIVER})
    plan = read_plan(cloud.backend.objects, job.id)
    assert (plan.reducers, plan.name, plan.policy.retries, plan.created) == (3, "words", 5, 1_000.0)
    assert plan.maps > 1
    assert plan.splits == f"{Layout(job.id).splits}000001/"


def test_items_are_stored_where_they_are_and_planned_where_code_runs(cloud: Cloud) -> None:
    """So that no function of the user's runs in the notebook."""

    def here(number: int) -> list[tuple[int, int]]:
        ran.append(number)
        return [(number, 1)]

    ran: list[int] = []
    job = cloud.session.map_reduce(here, sum, range(5))
    assert {message.role for message in cloud.service.calls} == {Role.DRIVER}
    cloud.run()
    assert len(job.result()) == 5
    assert ran == []
    frame = cloud.session.map_reduce(lambda row: [(row["key"], row["value"])], None, job.result())
    cloud.run()
    assert frame.result().equals(job.result())


def test_a_mistyped_name_is_told_at_once_and_nothing_is_submitted(cloud: Cloud) -> None:
    with pytest.raises(InputMissingError, match="Nothing found under 's3://boks'"):
        cloud.submit("s3://boks")
    assert (cloud.service.calls, cloud.session.jobs()) == ([], [])


def test_files_of_this_machine_are_refused_with_what_to_do(cloud: Cloud) -> None:
    with pytest.raises(ConfigError, match=r"'data/\*\.txt' is a file of this machine, .* they read s3://.*aws s3 cp"):
        cloud.submit("data/*.txt")


def test_input_that_is_gone_when_the_driver_looks_is_how_the_job_ends(cloud: Cloud) -> None:
    job = cloud.submit()
    cloud.input.clear()
    cloud.run()
    assert job.status().state is JobState.FAILED
    with pytest.raises(InputMissingError, match="Nothing found under 's3://books'"):
        job.result()


def test_a_combiner_that_breaks_its_law_is_how_the_job_ends(cloud: Cloud) -> None:
    def mean(key: str, values: Iterator[int]) -> float:
        found = list(values)
        return sum(found) / len(found) + len(found)

    job = cloud.session.map_reduce(count_words, mean, "s3://books", combine=True)
    cloud.run()
    with pytest.raises(CombinerLawError):
        job.result()


def test_a_job_that_would_cost_more_than_it_may_does_not_start(tmp_path: Any) -> None:
    cloud = Cloud(tmp_path, tariff="aws/us-east-1/x86_64")
    job = cloud.submit(max_cost=1e-9)
    cloud.run()
    with pytest.raises(BudgetExceededError, match=r"thought to cost \$.* and max_cost is"):
        job.result()


def test_a_doubled_driver_finds_the_lease_taken(cloud: Cloud) -> None:
    job = cloud.submit()
    Ledger(cloud.backend.table, job.id).take_lease("another driver", now=cloud.clock.now(), seconds=10)
    cloud.run({Role.DRIVER})
    assert cloud.service.calls == []
    with pytest.raises(ObjectNotFoundError):
        read_plan(cloud.backend.objects, job.id)


def test_a_driver_that_was_replaced_and_works_on_changes_nothing(cloud: Cloud) -> None:
    job = cloud.submit()
    cloud.run({Role.DRIVER})
    first = read_plan(cloud.backend.objects, job.id)
    cloud.input["books/c.txt"] = b"four\n"
    cloud.clock.sleep(100)
    run_driver(cloud.backend, drive(job.id), cloud.context("late"))
    assert read_plan(cloud.backend.objects, job.id) == first
    cloud.run()
    assert len(job.result()) == 3


def test_whoever_watches_calls_another_driver_when_the_first_one_fell_silent(cloud: Cloud) -> None:
    job = cloud.submit()
    cloud.service.calls.clear()  # the call was lost
    assert not revive(cloud.backend, job.id), "it may still come"
    cloud.clock.sleep(20)
    assert revive(cloud.backend, job.id)
    assert [message.role for message in cloud.service.calls] == [Role.COORDINATOR]
    cloud.run()
    assert len(job.result()) == 3


def test_a_driver_that_dies_is_called_again_some_times(cloud: Cloud) -> None:
    job = cloud.submit()
    message = cloud.service.calls.pop()
    for death in range(cloud.backend.policy.lost_launches):
        handle_death(cloud.backend, DeathNotice(message, "driver", "killed by signal 9"))
        message = cloud.service.calls.pop()
        assert (message.role, message.restarts) == (Role.DRIVER, death + 1)
    handle_death(cloud.backend, DeathNotice(message, "driver", "killed by signal 9"))
    assert job.status().state is JobState.FAILED
    assert "The driver of job" in str(job.exception())


def test_planning_that_never_ends_is_given_up(cloud: Cloud) -> None:
    job = cloud.submit()
    ledger = Ledger(cloud.backend.table, job.id)
    for number in range(MOST_DRIVERS):
        ledger.take_lease(f"driver {number}", now=cloud.clock.now(), seconds=1)
        cloud.clock.sleep(2)
    cloud.run()
    assert f"begun {MOST_DRIVERS} times" in str(job.exception())


def test_a_store_that_cannot_be_reached_is_no_end_of_the_job(cloud: Cloud) -> None:
    job = cloud.submit()
    backend = replace(cloud.backend, objects=_Unreachable())
    with pytest.raises(StoreError):
        run_driver(backend, drive(job.id), cloud.context())
    assert job.status().state is JobState.SUBMITTED
    cloud.clock.sleep(20)
    cloud.run()
    assert len(job.result()) == 3


class _Unreachable(MemoryStore):
    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        raise StoreError(f"{key} cannot be reached.")


def test_workers_of_another_environment_are_told_before_anything_is_stored(cloud: Cloud) -> None:
    @dataclass
    class Older(Service):
        @property
        def limits(self) -> ServiceLimits:
            return replace(super().limits, environment=replace(environment(), python="3.9"))

    session = Session(settings=cloud.session.settings, backend=replace(cloud.backend, functions=Older()))
    with pytest.raises(EnvironmentMismatchError, match=r"3\.9 on the workers"):
        session.map_reduce(count_words, sum, "s3://books")
    assert list(cloud.backend.objects.list_prefix("jobs")) == []


def test_the_watchdog_is_armed_while_a_coordinator_works_and_called_off_at_the_end(cloud: Cloud) -> None:
    alarms = MemoryAlarms(cloud.clock, cloud.service.invoke)
    cloud.backend = replace(cloud.backend, alarms=alarms)
    job = cloud.submit()
    cloud.run({Role.DRIVER})
    cloud.service.calls.clear()
    run_coordinator(cloud.backend, coordinate(job.id), replace(cloud.context(), deadline=cloud.clock.now() + 8))
    cloud.service.calls.clear()  # the coordinator that should follow is lost, and nobody watches
    cloud.clock.sleep(cloud.backend.policy.watchdog + 60)
    alarms.ring()
    assert [message.role for message in cloud.service.calls] == [Role.COORDINATOR]
    cloud.run()
    assert len(job.result()) == 3
    cloud.clock.sleep(10_000)
    alarms.ring()
    assert cloud.service.calls == []
