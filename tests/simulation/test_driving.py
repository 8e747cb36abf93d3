"""A job that is planned where code runs: the driver plans once, and whatever it cannot plan is how the job ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from smr_notebook import formats
from smr_notebook.backends.memory.alarms import MemoryAlarms
from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.platform import open_memory
from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.config import Settings
from smr_notebook.control.coordinator import revive, run_coordinator
from smr_notebook.control.driving import GIVEN_UP, MOST_DRIVERS, run_driver
from smr_notebook.control.keys import keys_of
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.messages import DeathNotice, Message, Role, coordinate, drive
from smr_notebook.control.metering import Spending
from smr_notebook.control.plans import read_plan
from smr_notebook.control.renewing import Renewer
from smr_notebook.control.worker import handle_death, run_attempt
from smr_notebook.environment import environment
from smr_notebook.errors import (
    BudgetExceededError,
    CombinerLawError,
    ConfigError,
    EnvironmentMismatchError,
    InputMissingError,
    JobCancelled,
    JobError,
    JobTimeoutError,
    ObjectNotFoundError,
    PlatformError,
    ServiceError,
    StoreError,
    ThrottledError,
)
from smr_notebook.formats import InputFormat
from smr_notebook.job.handle import Job
from smr_notebook.model import Format, JobState, ObjectInfo, Policy, Reading
from smr_notebook.ports import Backend, Context, ServiceLimits
from smr_notebook.sessions.session import Session
from smr_notebook.testing.fates import Fates, Odds
from smr_notebook.testing.faults import Died, FaultyStore, FaultyTable, Mischief
from smr_notebook.testing.noted_calls import AtOnce, NotedCalls
from smr_notebook.testing.waiting import wait_until


def count_words(line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


class Cloud:
    """A platform on which input is planned where code runs."""

    def __init__(self, tmp_path: Any, *, tariff: str = "") -> None:
        self.service = NotedCalls()
        self.input = {"books/a.txt": b"one two\ntwo\n", "books/b.txt": b"two three\n"}
        self.clock = SimulatedClock(1_000.0)
        self.backend = replace(
            open_memory(),
            functions=self.service,
            clock=self.clock,
            sources={"s3": MemorySource(self.input)},
            poll=(0.1, 1.0),
            plans=True,
            tariff=tariff,
        )
        self.session = Session(settings=Settings(workspace=tmp_path), backend=self.backend)

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
            run: Callable[..., None] = {Role.DRIVER: run_driver, Role.COORDINATOR: self.coordinate_through}.get(message.role, run_attempt)
            run(self.backend, message, self.context(f"{message.role}-{len(self.service.calls)}-{self.clock.now()}"))

    def _work(self, message: Message) -> None:
        run_attempt(self.backend, message, self.context(f"w-{message.attempt_id}"))

    def coordinate_through(self, backend: Backend, message: Message, context: Context) -> None:
        run_coordinator(
            replace(backend, functions=AtOnce(self.service, self._work)), message, replace(context, deadline=self.clock.now() + 1e6)
        )


@pytest.fixture
def cloud(tmp_path: Any) -> Cloud:
    return Cloud(tmp_path)


def test_the_notebook_sends_what_to_plan_and_may_go(cloud: Cloud) -> None:
    job = cloud.submit(name="words")
    assert [(message.role, message.job) for message in cloud.service.calls] == [(Role.DRIVER, job.id)]
    with pytest.raises(ObjectNotFoundError):
        read_plan(cloud.backend.objects, job.id, keys_of(cloud.backend.table))
    assert job.warnings == ()
    cloud.run()
    assert job.result().to_dict("list") == {"key": ["one", "three", "two"], "value": [1, 1, 3]}
    assert job.proof == "1 split · 3 records read = mapped · 3 groups · 5 pairs → 3 combined = reduced"


def test_the_plan_is_that_of_the_request(cloud: Cloud) -> None:
    told = InputFormat(Format.TEXT, Reading(tolerant=True))
    job = cloud.submit(reducers=3, split_size=4, name="words", retries=5, format=told)
    cloud.clock.sleep(5.0)
    cloud.run({Role.DRIVER})
    plan = read_plan(cloud.backend.objects, job.id, keys_of(cloud.backend.table))
    assert (plan.reducers, plan.name, plan.policy.retries, plan.created) == (3, "words", 5, 1_000.0)
    assert plan.maps > 1
    assert (plan.format, plan.reading) == (told.format, told.reading)
    assert plan.splits == f"{Layout(job.id).splits}000001/"


def test_a_parser_of_ones_own_travels_to_whoever_plans_and_reads(cloud: Cloud) -> None:
    """The combiner's law is looked at on records that it makes, and keys are sampled from them, where code runs."""
    made = formats.parse(lambda stream: (line.decode().replace("two", "2") for line in stream))
    job = cloud.submit(format=made, combine=True, sort="keys", reducers=2)
    cloud.run()
    assert job.result().to_dict("list") == {"key": ["2", "one", "three"], "value": [3, 1, 1]}
    assert read_plan(cloud.backend.objects, job.id, keys_of(cloud.backend.table)).format is Format.PARSED


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
        read_plan(cloud.backend.objects, job.id, keys_of(cloud.backend.table))


def test_a_driver_that_was_replaced_and_works_on_changes_nothing(cloud: Cloud) -> None:
    job = cloud.submit()
    cloud.run({Role.DRIVER})
    first = read_plan(cloud.backend.objects, job.id, keys_of(cloud.backend.table))
    cloud.input["books/c.txt"] = b"four\n"
    cloud.clock.sleep(100)
    run_driver(cloud.backend, drive(job.id), cloud.context("late"))
    assert read_plan(cloud.backend.objects, job.id, keys_of(cloud.backend.table)) == first
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
    class Older(NotedCalls):
        @property
        def limits(self) -> ServiceLimits:
            return replace(super().limits, environment=replace(environment(), python="3.9"))

    session = Session(settings=cloud.session.settings, backend=replace(cloud.backend, functions=Older()))
    with pytest.raises(EnvironmentMismatchError, match=r"3\.9 on the workers"):
        session.map_reduce(count_words, sum, "s3://books")
    assert list(cloud.backend.objects.list_prefix("jobs")) == []


def test_a_driver_that_vanishes_while_nobody_watches_is_noticed_by_its_alarm(cloud: Cloud) -> None:
    alarms = MemoryAlarms(cloud.clock, cloud.service.invoke)
    cloud.backend = replace(cloud.backend, alarms=alarms)
    job = cloud.submit()
    cloud.service.calls.clear()
    with pytest.raises(StoreError):
        run_driver(replace(cloud.backend, objects=_Unreachable()), drive(job.id), cloud.context())
    cloud.clock.sleep(2_000)
    alarms.ring()
    assert [message.role for message in cloud.service.calls] == [Role.COORDINATOR]
    cloud.run()
    assert len(job.result()) == 3
    assert alarms.next_at is None


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


def test_a_driver_that_comes_late_ends_no_job_that_has_a_plan(cloud: Cloud) -> None:
    """Not for want of input that is gone by then, and not because the job had many coordinators."""
    job = cloud.submit()
    cloud.run({Role.DRIVER})
    ledger = Ledger(cloud.backend.table, job.id)
    for number in range(2 * MOST_DRIVERS):
        ledger.take_lease(f"coordinator {number}", now=cloud.clock.now(), seconds=1)
        cloud.clock.sleep(2)
    books = dict(cloud.input)
    cloud.input.clear()
    cloud.service.calls.clear()
    run_driver(cloud.backend, drive(job.id), cloud.context("late"))
    assert ledger.outcome() is None
    assert [message.role for message in cloud.service.calls] == [Role.COORDINATOR]
    cloud.input.update(books)
    cloud.run()
    assert len(job.result()) == 3


def test_a_driver_that_comes_late_leaves_a_wish_to_end_to_the_coordinator(cloud: Cloud) -> None:
    """Which stops what lives before it ends the job."""
    job = cloud.submit()
    cloud.run({Role.DRIVER})
    job.cancel()
    cloud.clock.sleep(100)
    run_driver(cloud.backend, drive(job.id), cloud.context("late"))
    assert job.status().state is JobState.SUBMITTED
    cloud.run()
    assert isinstance(job.exception(), JobCancelled)


def test_what_a_driver_cannot_plan_is_no_end_once_another_one_has_planned(cloud: Cloud) -> None:
    job = cloud.submit()
    cloud.service.calls.clear()
    backend = replace(cloud.backend, sources={"s3": _Overtaken(cloud, job.id)})
    run_driver(backend, drive(job.id), cloud.context("slow"))
    assert Ledger(cloud.backend.table, job.id).outcome() is None
    cloud.run()
    assert len(job.result()) == 3


def test_of_two_plans_the_first_one_stands_with_its_splits(cloud: Cloud) -> None:
    job = cloud.submit(split_size=4)
    cloud.service.calls.clear()
    more = cloud.input | {"books/c.txt": b"four\n" * 1000}
    backend = replace(cloud.backend, sources={"s3": _Overtaken(cloud, job.id, more)})
    run_driver(backend, drive(job.id), cloud.context("slow"))
    plan = read_plan(cloud.backend.objects, job.id, keys_of(cloud.backend.table))
    assert (plan.splits, plan.input_bytes) == (f"{Layout(job.id).splits}000002/", 22)
    cloud.run()
    assert job.result().to_dict("list") == {"key": ["one", "three", "two"], "value": [1, 1, 3]}


class _Overtaken(MemorySource):
    """Takes so long that another driver plans meanwhile, and then finds something else, or nothing."""

    def __init__(self, cloud: Cloud, job: str, objects: dict[str, bytes] | None = None) -> None:
        super().__init__(objects or {})
        self._cloud = cloud
        self._job = job

    def find(self, pattern: str) -> Iterator[ObjectInfo]:
        self._cloud.clock.sleep(100)
        run_driver(self._cloud.backend, drive(self._job), self._cloud.context("quick"))
        return super().find(pattern)


@pytest.mark.parametrize("trouble", [ServiceError("Lambda cannot be reached."), ThrottledError("Lambda wants fewer calls.")])
def test_a_service_that_cannot_be_asked_is_no_end_of_the_job(cloud: Cloud, trouble: Exception) -> None:
    job = cloud.submit()
    with pytest.raises(type(trouble)):
        run_driver(replace(cloud.backend, functions=_Silent(trouble)), drive(job.id), cloud.context())
    assert job.status().state is JobState.SUBMITTED
    cloud.clock.sleep(20)
    cloud.run()
    assert len(job.result()) == 3


@dataclass
class _Silent(NotedCalls):
    """Does not tell its limits."""

    trouble: Exception = field(default_factory=lambda: ServiceError("Nobody answers."))

    def __init__(self, trouble: Exception) -> None:
        super().__init__()
        self.trouble = trouble

    @property
    def limits(self) -> ServiceLimits:
        raise self.trouble


def test_a_request_that_is_gone_is_how_the_job_ends(cloud: Cloud) -> None:
    job = cloud.submit()
    cloud.backend.objects.delete_prefix(Layout(job.id).request)
    cloud.run()
    assert isinstance(job.exception(), ObjectNotFoundError)


@pytest.mark.parametrize("role", [Role.DRIVER, Role.COORDINATOR])
def test_a_job_that_was_cancelled_before_it_was_planned_ends_cancelled(cloud: Cloud, role: Role) -> None:
    job = cloud.submit()
    job.cancel()
    cloud.service.calls[:] = [Message(role, job.id)]
    cloud.run()
    with pytest.raises(JobCancelled, match="cancelled by the user"):
        job.result()
    with pytest.raises(ObjectNotFoundError):
        read_plan(cloud.backend.objects, job.id, keys_of(cloud.backend.table))


def test_a_job_that_no_driver_plans_ends_all_the_same(cloud: Cloud) -> None:
    job = cloud.submit()
    for _ in range(40):
        cloud.service.calls.clear()  # whoever is called never comes
        cloud.clock.sleep(cloud.backend.policy.longest / 30)
        revive(cloud.backend, job.id)
        cloud.run({Role.COORDINATOR})
    assert cloud.service.calls == []
    assert isinstance(job.exception(), JobTimeoutError)


def test_a_function_that_does_not_load_where_code_runs_is_no_failure_of_the_platform(cloud: Cloud) -> None:
    job = cloud.session.map_reduce(_Unloadable(), sum, "s3://books")
    cloud.run()
    error = job.exception()
    assert type(error) is JobError
    assert "The driver failed with ZeroDivisionError" in str(error)


class _Unloadable:
    """A function whose arrival fails."""

    def __call__(self, record: str) -> None:
        raise AssertionError(record)

    def __reduce__(self) -> tuple[Any, ...]:
        return (divmod, (1, 0))


def test_a_driver_that_follows_another_maps_nothing_for_an_estimate(tmp_path: Any) -> None:
    """The one before may have died of it: the job names its failures itself."""
    cloud = Cloud(tmp_path, tariff="aws/us-east-1/x86_64")
    first, second = cloud.submit(), cloud.submit()
    Ledger(cloud.backend.table, second.id).take_lease("dead", now=cloud.clock.now() - 100, seconds=10)
    cloud.run({Role.DRIVER})
    plans = [read_plan(cloud.backend.objects, job.id, keys_of(cloud.backend.table)) for job in (first, second)]
    assert [plan.estimate.sampled for plan in plans if plan.estimate] == [3, 0]


def test_the_lease_is_kept_while_a_driver_lists(cloud: Cloud) -> None:
    class Slow(MemorySource):
        def find(self, pattern: str) -> Iterator[ObjectInfo]:
            before = expires()
            cloud.clock.sleep(0.02)
            wait_until(lambda: expires() > before)
            return super().find(pattern)

    def expires() -> float:
        lease = ledger.lease()
        assert lease is not None
        return lease.expires

    job = cloud.submit()
    ledger = Ledger(cloud.backend.table, job.id)
    backend = replace(cloud.backend, policy=Policy(coordinator_lease=0.03), sources={"s3": Slow(cloud.input)})
    run_driver(backend, drive(job.id), cloud.context())
    assert read_plan(cloud.backend.objects, job.id, keys_of(cloud.backend.table)).maps == 1


def test_who_keeps_a_lease_lets_go_of_one_that_another_took(cloud: Cloud) -> None:
    """Also where that one has let go of it already: the coordinator that it called is about to take it."""
    job = cloud.submit()
    ledger, clock = Ledger(cloud.backend.table, job.id), cloud.clock
    renewer = Renewer(ledger, "slow", clock, seconds=10.0, spending=Spending(None, clock.now()))
    assert renewer.take()
    assert renewer.beat() == pytest.approx(10 / 3)
    clock.sleep(20)
    ledger.take_lease("quick", now=clock.now(), seconds=10)
    ledger.expire_lease("quick", clock.now())
    assert renewer.beat() == float("inf")
    lease = ledger.lease()
    assert lease is not None
    assert lease.owner == "quick"


def test_who_keeps_the_lease_of_a_job_that_was_removed_stops(cloud: Cloud) -> None:
    job = cloud.submit()
    renewer = Renewer(Ledger(cloud.backend.table, job.id), "driver", cloud.clock, seconds=10.0, spending=Spending(None, 0.0))
    renewer.take()
    cloud.backend.table.delete_group(job.id)
    assert renewer.beat() == float("inf")
    cloud.backend.table.put(job.id, "job/lease", b"of another version", expect=0)
    assert renewer.beat() == float("inf")


def test_a_submission_that_breaks_off_where_nobody_deletes_leaves_no_job_that_runs(cloud: Cloud) -> None:
    class Broken(NotedCalls):
        def invoke(self, payload: bytes) -> None:
            raise ServiceError("Lambda cannot be reached.")

    cloud.backend = replace(cloud.backend, expires=True)
    session = Session(settings=cloud.session.settings, backend=replace(cloud.backend, functions=Broken()))
    with pytest.raises(ServiceError):
        session.map_reduce(count_words, sum, "s3://books")
    (left,) = cloud.session.jobs()
    assert left.state is JobState.CANCELLED
    cloud.clock.sleep(100)
    assert not revive(cloud.backend, left.id)


@pytest.mark.parametrize("decade", range(5))
def test_whatever_befalls_drivers_and_coordinators_the_answer_is_that_of_one_plan(tmp_path: Any, decade: int) -> None:
    """They die between two writes, are called twice and late, and cannot reach the store; and often nobody tells of it."""
    odds = Odds(flaky=0.05, coordinator_death=0.5)
    for seed in range(decade * 10, decade * 10 + 10):
        cloud = Cloud(tmp_path)
        job = cloud.submit()
        befall(cloud, job, Fates(seed, odds))
        assert job.result().to_dict("list") == {"key": ["one", "three", "two"], "value": [1, 1, 3]}, f"seed {seed}"


def befall(cloud: Cloud, job: Job, fates: Fates) -> None:
    """Run what is called, and have whoever watches call again, until the end is told."""
    calm, turn = cloud.backend, 0
    while not job.done():
        turn += 1
        if not cloud.service.calls:
            cloud.clock.sleep(20)
            revive(calm, job.id)
            continue
        message = cloud.service.calls.pop(0)
        name = f"{message.role}-{turn}"
        if fates.happens(f"{name} is called again", 0.3):
            cloud.service.calls.append(message)
        fate = fates.of(name)
        mischief = Mischief(fates, name, operations=fate.operations)
        backend = replace(calm, table=FaultyTable(calm.table, mischief), objects=FaultyStore(calm.objects, mischief))
        run = run_driver if message.role is Role.DRIVER else cloud.coordinate_through
        try:
            run(backend, message, cloud.context(name))
        except (Died, PlatformError):
            if fate.noticed:
                handle_death(calm, DeathNotice(message, name, "killed by signal 9"))


def test_a_job_that_is_cancelled_while_it_is_planned_ends_then_and_its_driver_with_it(cloud: Cloud) -> None:
    """A driver may list for minutes. What it would have planned, and whoever it would have called, is not wanted."""
    alarms = MemoryAlarms(cloud.clock, cloud.service.invoke)
    cloud.backend = replace(cloud.backend, alarms=alarms, policy=replace(cloud.backend.policy, coordinator_lease=0.3))
    job = cloud.submit()
    cloud.service.calls.clear()
    ended = threading.Event()
    lists = _Listing(cloud.input, ended, job)

    def abandon(status: int) -> None:
        assert status == GIVEN_UP
        ended.set()

    backend = replace(cloud.backend, sources={"s3": lists})
    driver = threading.Thread(target=run_driver, args=(backend, drive(job.id), cloud.context()), kwargs={"abandon": abandon})
    driver.start()
    assert ended.wait(20)  # the process of the driver would be gone here
    assert job.status().state is JobState.CANCELLED
    assert alarms.next_at is None
    driver.join()
    assert isinstance(job.exception(), JobCancelled)


class _Listing(MemorySource):
    """Takes until an event, and the job is cancelled meanwhile."""

    def __init__(self, objects: dict[str, bytes], until: threading.Event, job: Job) -> None:
        super().__init__(objects)
        self._until = until
        self._job = job

    def find(self, pattern: str) -> Iterator[ObjectInfo]:
        self._job.cancel()
        self._until.wait(20)
        return super().find(pattern)


def test_the_alarm_of_a_job_that_is_cancelled_before_it_has_a_plan_is_called_off(cloud: Cloud) -> None:
    """Its driver had set it, and vanished."""
    alarms = MemoryAlarms(cloud.clock, cloud.service.invoke)
    cloud.backend = replace(cloud.backend, alarms=alarms)
    job = cloud.submit()
    cloud.service.calls.clear()
    alarms.set(f"job-{job.id}", cloud.clock.now() + 1_000, b"")
    job.cancel()
    run_coordinator(cloud.backend, coordinate(job.id), cloud.context("coordinator"))
    assert job.status().state is JobState.CANCELLED
    assert alarms.next_at is None
