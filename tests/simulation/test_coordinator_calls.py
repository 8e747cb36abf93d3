"""The calls of coordinators: leases, hops, alarms, and who follows whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import pytest

from smr_notebook.backends.memory.alarms import MemoryAlarms
from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.control.coordinator import looks, run_coordinator
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.messages import coordinate
from smr_notebook.errors import ThrottledError
from smr_notebook.model import AttemptId, AttemptState, JobState, Phase, Policy, TaskId
from smr_notebook.ports import LASTING, Buffer, Row, ServiceLimits, Table
from smr_notebook.standing import Outcome
from smr_notebook.testing.fates import Fates, Odds
from smr_notebook.testing.faults import FaultyTable, Mischief
from smr_notebook.testing.job_by_hand import HOUR, ITEMS, Job, Service, functions, remainders
from smr_notebook.testing.waiting import wait_until


def test_a_coordinator_hops_before_its_time_is_up(job: Job) -> None:
    run_coordinator(job.backend, coordinate("3f9a"), job.context("first", seconds=60.0))
    assert job.clock.now() == pytest.approx(1_045.0, abs=1.0)
    assert job.service.calls[-1] == coordinate("3f9a")
    job.service.calls.pop()
    second = job.looking("second")
    next(second)
    lease = job.ledger.lease()
    assert lease is not None
    assert (lease.owner, lease.epoch) == ("second", 2)


def test_a_second_coordinator_finds_the_lease_taken_and_ends(job: Job) -> None:
    first = job.looking("first")
    next(first)
    assert list(job.looking("second")) == []
    assert next(first) > 0


def test_a_coordinator_whose_lease_was_taken_ends(job: Job) -> None:
    first = job.looking("first")
    next(first)
    job.clock.sleep(20)
    assert job.ledger.take_lease("second", now=job.clock.now(), seconds=10).owner == "second"
    assert next(first, None) is None


def test_a_look_that_takes_long_renews_the_lease_on_the_way(job: Job) -> None:
    job.backend = replace(job.backend, functions=SlowService(job.service, job.clock))
    next(job.looking())
    lease = job.ledger.lease()
    assert lease is not None
    assert len(job.service.calls) == 2
    assert job.clock.now() == 1_016.0
    assert lease.expires > job.clock.now()


@dataclass
class SlowService:
    """Takes almost a lease for each call; after which another coordinator has taken over, if its ledger is given."""

    service: Service
    clock: SimulatedClock
    overtaken_by: Ledger | None = None

    @property
    def limits(self) -> ServiceLimits:
        return self.service.limits

    def invoke(self, payload: bytes) -> None:
        self.clock.sleep(8.0)
        self.service.invoke(payload)
        if self.overtaken_by is not None:
            self.clock.sleep(8.0)
            self.overtaken_by.take_lease("another", now=self.clock.now(), seconds=60.0)


def test_an_end_that_another_overwrote_is_told_again(job: Job) -> None:
    coordinator = job.looking()
    next(coordinator)
    job.ledger.put_outcome(Outcome(JobState.FAILED, job.clock.now()))
    job.backend.table.meddle = True  # type: ignore[attr-defined]
    assert list(coordinator)
    progress = job.ledger.progress()
    assert progress is not None
    assert progress.state is JobState.FAILED


class InterruptedTable(MemoryTable):
    """Once, something happens between a look at the tasks of a job and what follows from it."""

    meanwhile: Callable[[], object] | None = None

    def query(self, group: str, prefix: str = "") -> list[Row]:
        found = super().query(group, prefix)
        meanwhile = self.meanwhile
        if meanwhile is not None and prefix.startswith("task/"):
            self.meanwhile = None
            meanwhile()
        return found


def test_who_stood_still_with_an_old_look_takes_no_end_back(job: Job) -> None:
    """Another one coordinated to the end meanwhile, and nobody holds the lease: it is taken, and then everything is looked at anew."""
    table = InterruptedTable()
    for group in ("3f9a", "jobs", LASTING):
        for row in job.backend.table.query(group):
            table.put(group, row.key, row.value, expect=0)
    job.backend, job.ledger = replace(job.backend, table=table), Ledger(table, "3f9a")
    first = job.looking("first")
    next(first)

    def meanwhile() -> None:
        job.clock.sleep(60)
        assert job.run() is JobState.DONE

    table.meanwhile = meanwhile
    next(first, None)
    told = job.ledger.progress()
    assert told is not None
    assert (told.state, next(first, None)) == (JobState.DONE, None)


def test_a_coordinator_that_cannot_open_its_job_before_its_time_is_up_leaves_an_alarm(job: Job) -> None:
    """It may have been called by the last one."""
    alarms = MemoryAlarms(job.clock, lambda _: None)
    silent = FaultyTable(job.backend.table, Mischief(Fates(0, Odds(flaky=1.0)), "coordinator"))
    job.backend = replace(job.backend, alarms=alarms, table=silent)
    for wake_at in looks(job.backend, coordinate("3f9a"), job.context(seconds=60.0)):
        job.clock.sleep(wake_at - job.clock.now())
    assert alarms.next_at is not None
    assert alarms.next_at > job.clock.now()


def test_a_coordinator_of_a_job_that_is_gone_leaves_no_alarm(job: Job) -> None:
    alarms = MemoryAlarms(job.clock, lambda _: None)
    job.backend = replace(job.backend, alarms=alarms, table=MemoryTable())
    assert list(job.looking()) == []
    assert alarms.next_at is None


def test_a_following_coordinator_makes_the_calls_again_that_nobody_answered(job: Job) -> None:
    next(job.looking("first"))
    made, job.service.calls = job.service.calls, []
    job.clock.sleep(11)
    next(job.looking("second"))
    assert job.service.calls == made


def test_a_coordinator_that_loses_its_lease_on_the_way_tells_nothing_more(job: Job) -> None:
    job.backend = replace(job.backend, functions=SlowService(job.service, job.clock, overtaken_by=job.ledger))
    assert list(job.looking("first")) == []
    assert job.ledger.progress() is None
    assert len(job.service.calls) == 1, "the other one makes the calls that are left"


def test_a_coordinator_hops_in_time_however_much_there_is_to_do() -> None:
    """Here each write takes a second, and a job with two hundred attempts is to be cancelled."""
    job = Job(functions(remainders), list(range(400)))
    for task in range(200):
        job.ledger.launch(AttemptId(TaskId(Phase.MAP, task), 1), now=job.clock.now(), expires=job.clock.now() + HOUR)
    job.ledger.request_cancel("enough", job.clock.now())
    job.backend = replace(job.backend, table=SlowTable(job.backend.table, job.clock))
    context = job.context("first", seconds=120.0)
    run_coordinator(job.backend, coordinate("3f9a"), context)
    assert job.clock.now() < context.deadline
    assert job.service.calls == [coordinate("3f9a")]
    stopped = [attempt.state for (attempt,) in job.ledger.snapshot().attempts.values()]
    assert 50 < stopped.count(AttemptState.STOPPED) < 120, "the next one stops the others"


class SlowTable:
    """Takes a second for each write."""

    def __init__(self, table: Table, clock: SimulatedClock) -> None:
        self._table = table
        self._clock = clock
        self.get, self.query, self.delete_group = table.get, table.query, table.delete_group

    def put(self, group: str, key: str, value: bytes, *, expect: int) -> Row:
        self._clock.sleep(1.0)
        return self._table.put(group, key, value, expect=expect)


@pytest.mark.parametrize("follows", [False, True])
def test_a_job_that_is_cancelled_makes_no_call_again(job: Job, follows: bool) -> None:
    job.service.refuses = ThrottledError("later")
    coordinator = job.looking("first")
    next(coordinator)
    job.service.refuses = None
    job.ledger.request_cancel("enough", job.clock.now())
    job.clock.sleep(11)
    for _ in job.looking("second") if follows else coordinator:
        job.clock.sleep(1)
    assert job.service.calls == []
    outcome = job.ledger.outcome()
    assert outcome is not None
    assert outcome.state is JobState.CANCELLED


def test_a_lease_is_kept_while_a_phase_is_gathered() -> None:
    """Else whoever watches would start another coordinator, which gathers it once more."""
    policy = Policy(heartbeat=0.01, coordinator_lease=0.03)
    job = Job(functions(remainders), ITEMS, policy=policy)
    store = SlowToGather(job)
    job.backend = replace(job.backend, objects=store)
    assert job.run() is JobState.DONE
    assert store.kept == [True, True]


class SlowToGather(MemoryStore):
    """Takes manifests only after the lease was renewed meanwhile."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        for info in job.backend.objects.list_prefix("jobs/"):
            super().put(info.key, job.backend.objects.get(info.key))
        self._job = job
        self.kept: list[bool] = []

    def put(self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False) -> bool:
        if "/manifest/" in key:
            before = self._expires()
            self._job.clock.sleep(0.02)
            wait_until(lambda: self._expires() > before)
            self.kept.append(True)
        return super().put(key, data, if_absent=if_absent)

    def _expires(self) -> float:
        lease = self._job.ledger.lease()
        assert lease is not None
        return lease.expires


def test_an_alarm_is_put_off_now_and_then_and_never_rings_while_somebody_works(job: Job) -> None:
    job.service.refuses = ThrottledError("later")
    rang: list[bytes] = []
    alarms = CountedAlarms(job.clock, rang.append)
    job.backend = replace(job.backend, alarms=alarms)
    coordinator, until = job.looking(), job.clock.now() + 3_000.0
    while job.clock.now() < until:
        job.clock.sleep(next(coordinator) - job.clock.now())
        alarms.ring()
    assert rang == []
    assert 28 < alarms.sets < 33, "a third of its time is long enough"


class CountedAlarms(MemoryAlarms):
    """Counts how often an alarm is set."""

    sets = 0

    def set(self, name: str, at: float, payload: bytes) -> None:
        self.sets += 1
        super().set(name, at, payload)
