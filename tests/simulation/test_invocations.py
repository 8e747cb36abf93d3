"""The invocations themselves - coordinator, worker, death notice - with the real data plane, on a memory backend."""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import msgspec
import pytest

import smr_notebook as smr
from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.control.attempts import claim
from smr_notebook.control.coordinator import looks, revive, run_coordinator
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.messages import DeathNotice, Message, Role, coordinate, decode
from smr_notebook.control.plans import write_code, write_plan
from smr_notebook.control.pulse import pulse_of
from smr_notebook.control.rows import JobEntry
from smr_notebook.control.worker import ABANDONED, Ends, Heart, handle_death, run_attempt
from smr_notebook.dataflow.code import capture
from smr_notebook.dataflow.functions import Functions
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.sealing import seal
from smr_notebook.dataflow.stored import store_items
from smr_notebook.environment import environment
from smr_notebook.errors import ServiceError, StoreError, ThrottledError
from smr_notebook.model import Attempt, AttemptState, Format, JobState, Phase, Plan, Policy, Span, Split
from smr_notebook.ports import Backend, Buffer, Context, Row, ServiceLimits
from smr_notebook.standing import Outcome, PhaseProgress, Progress
from smr_notebook.testing.waiting import wait_until

POLICY = Policy(heartbeat=0.01)
HOUR = 3_600.0


@dataclass
class Service:
    """Keeps the calls until somebody runs them."""

    limits: ServiceLimits
    calls: list[Message] = field(default_factory=list)
    refuses: Exception | None = None

    def invoke(self, payload: bytes) -> None:
        if self.refuses is not None:
            raise self.refuses
        message = decode(payload)
        assert isinstance(message, Message)
        self.calls.append(message)


class Job:
    """A submitted job whose calls are run by hand."""

    def __init__(self, functions: Functions, items: list[object], *, reducers: int = 2, policy: Policy = POLICY) -> None:
        self.service = Service(ServiceLimits(1 << 20, 900.0, 2, 0.0, 1 << 30, environment()))
        self.clock = SimulatedClock(1_000.0)
        self.backend = Backend(
            name="memory",
            location="memory:",
            objects=FullStore(),
            table=MeddledTable(),
            functions=self.service,
            clock=self.clock,
            sources={},
            policy=policy,
            poll=(0.1, 1.0),
        )
        self.ledger = Ledger(self.backend.table, "3f9a")
        self._names = iter(range(1_000_000))
        stored, records = store_items(items, self.backend.objects, Layout("3f9a").input, split_bytes=1, slots=2)
        splits = [Split(n, (Span("job", info.key, 0, info.size, info.size, info.version),)) for n, info in enumerate(stored)]
        self.plan = Plan(
            job="3f9a",
            name="",
            created=1_000.0,
            format=Format.ITEMS,
            maps=len(splits),
            reducers=reducers,
            combine=functions.combine is not None,
            grouped_order=False,
            input_bytes=sum(info.size for info in stored),
            input_records=records,
            budget=1 << 24,
            policy=policy,
            environment=environment(),
        )
        write_code(self.backend.objects, self.plan.job, capture(functions).data)
        write_plan(self.backend.objects, self.plan, splits)
        self.ledger.create_job(JobEntry("3f9a", "", 1_000.0, Layout("3f9a").plan))

    def context(self, name: str = "", *, seconds: float = HOUR) -> Context:
        now = self.clock.now()
        return Context("memory:", name or f"invocation-{next(self._names)}", now + seconds, 1 << 30, self.clock)

    def looking(self, name: str = "") -> Iterator[float]:
        return looks(self.backend, coordinate("3f9a"), self.context(name))

    def work(self) -> None:
        """Run all worker calls that were made."""
        calls, self.service.calls = self.service.calls, []
        for message in calls:
            run_attempt(self.backend, message, self.context(), abandon=survive)

    def run(self) -> JobState:
        """Coordinate and work in turns until the job has ended."""
        for _ in self.looking():
            self.work()
        outcome = self.ledger.outcome()
        assert outcome is not None
        return outcome.state


def survive(status: int) -> None:
    raise AssertionError(f"nobody should be abandoned with {status}")


def functions(map: object, *, reduce: bool = True) -> Functions:
    def total(key: object, values: Iterator[int]) -> int:
        return sum(values)

    return Functions(map, False, total if reduce else None, False, None, False)  # type: ignore[arg-type]  # noqa: FBT003 - as stored


def remainders(item: int) -> Iterator[tuple[int, int]]:
    yield item % 3, item


ITEMS: list[object] = list(range(100))


@pytest.fixture
def job() -> Job:
    return Job(functions(remainders), ITEMS)


def test_a_job_runs_to_its_proof(job: Job) -> None:
    assert job.run() is JobState.DONE
    outcome, progress = job.ledger.outcome(), job.ledger.progress()
    assert outcome is not None
    assert progress is not None
    assert outcome.proof == f"{job.plan.maps} splits · 100 records read = mapped · 3 groups · 100 pairs = reduced"
    assert (progress.state, progress.proof) == (JobState.DONE, outcome.proof)
    assert (progress.map.done, progress.reduce.done) == (job.plan.maps, 2)


def test_a_job_without_reduce_keeps_the_parts_of_its_map_tasks() -> None:
    job = Job(functions(remainders, reduce=False), ITEMS, reducers=0)
    assert job.run() is JobState.DONE
    parts = [commit.part for commit in job.ledger.snapshot().commits.values()]
    assert sum(part.rows for part in parts if part) == 100
    assert all(job.backend.objects.get(file.key) for part in parts if part for file in part.files)


def test_what_only_a_running_job_needs_is_gone_at_its_end(job: Job) -> None:
    job.run()
    left = {info.key.split("/")[2] for info in job.backend.objects.list_prefix("jobs/3f9a/")}
    assert left == {"plan", "code", "manifest", "reduce"}


def test_a_user_error_is_told_with_its_line_and_ends_the_job_the_second_time() -> None:
    def poisoned(item: int) -> Iterator[tuple[int, int]]:
        yield item, 1 // (item - 50)

    job = Job(functions(poisoned), ITEMS)
    assert job.run() is JobState.FAILED
    outcome = job.ledger.outcome()
    assert outcome is not None
    assert outcome.error == "TaskError"
    (sample,) = outcome.failures
    assert (sample.attempt.number, sample.failure.type, sample.failure.record) == (2, "ZeroDivisionError", "50")
    assert sample.failure.frames[-1].text == "yield item, 1 // (item - 50)"


def test_a_doubled_call_goes_away_quietly(job: Job) -> None:
    coordinator = job.looking()
    next(coordinator)
    (message, *_) = job.service.calls
    job.work()
    before = job.backend.table.query("3f9a")
    run_attempt(job.backend, message, job.context(), abandon=survive)
    assert job.backend.table.query("3f9a") == before


def test_an_attempt_whose_task_is_committed_stops_before_it_works(job: Job) -> None:
    next(job.looking())
    (message, *_) = job.service.calls
    job.work()
    late = replace(message.attempt_id, number=2)
    job.ledger.launch(late, now=job.clock.now(), expires=job.clock.now() + 60)
    run_attempt(job.backend, replace(message, attempt=2), job.context(), abandon=survive)
    assert job.ledger.snapshot().attempts[late.task][1].state is AttemptState.STOPPED
    assert list(job.backend.objects.list_prefix(Layout("3f9a").attempt(late) + "/")) == []


def test_a_worker_of_another_environment_refuses(job: Job) -> None:
    next(job.looking())
    other = replace(environment(), python="2.7")
    planned = msgspec.json.encode(replace(job.plan, environment=other))
    job.backend.objects.put(Layout("3f9a").plan, seal("plan", planned))
    job.work()
    failures = [attempt.failure for attempts in job.ledger.snapshot().attempts.values() for attempt in attempts]
    assert {failure.type for failure in failures if failure} == {"EnvironmentMismatchError"}


def endless(item: int) -> Iterator[tuple[int, int]]:
    while True:
        yield item, 1


def test_an_attempt_that_is_stopped_while_it_works_ends_and_commits_nothing() -> None:
    job = Job(functions(endless), ITEMS)
    next(job.looking())
    (message, *_) = job.service.calls
    worker = threading.Thread(target=run_attempt, args=(job.backend, message, job.context()), kwargs={"abandon": survive})
    worker.start()
    wait_until(lambda: attempt_of(job, message).state is AttemptState.RUNNING)
    job.ledger.stop(message.attempt_id, job.clock.now())
    worker.join()
    assert attempt_of(job, message).state is AttemptState.STOPPED
    assert job.ledger.committed(message.attempt_id.task) is None
    assert list(job.backend.objects.list_prefix(Layout("3f9a").attempt(message.attempt_id) + "/")) == []


def attempt_of(job: Job, message: Message) -> Attempt:
    return Ledger(job.backend.table, "3f9a").snapshot().attempts[message.attempt_id.task][message.attempt - 1]


def test_a_heart_reports_and_asks_the_stream_to_end_and_abandons_what_does_not(job: Job) -> None:
    next(job.looking())
    (message, *_) = job.service.calls
    mine = claim(job.ledger, message.attempt_id, owner="w", clock=job.clock, lease=15)
    assert mine is not None
    meter, abandoned = Meter(), list[int]()
    meter.records_read = 7
    with Heart(mine, meter, POLICY, ends=Ends(math.inf, abandoned.append, None), clock=job.clock, grace=0.0):
        wait_until(lambda: attempt_of(job, message).numbers.records_read == 7)
        job.ledger.stop(message.attempt_id, job.clock.now())
        wait_until(lambda: abandoned)
    assert meter.stopped == f"attempt {message.attempt_id} is stopped"
    assert abandoned == [ABANDONED]


def test_a_heart_stops_with_its_block(job: Job) -> None:
    next(job.looking())
    (message, *_) = job.service.calls
    mine = claim(job.ledger, message.attempt_id, owner="w", clock=job.clock, lease=15)
    assert mine is not None
    meter = Meter()
    with Heart(mine, meter, POLICY, ends=Ends(math.inf, survive, None), clock=job.clock):
        wait_until(lambda: attempt_of(job, message).numbers.resident_bytes > 0)
    assert meter.stopped is None
    told = attempt_of(job, message)
    meter.records_read = 99
    bystander = Bystander()
    pulse_of(os.getpid()).join(bystander, first=0.0)
    wait_until(lambda: bystander.beats > 3)
    pulse_of(os.getpid()).leave(bystander)
    assert attempt_of(job, message) == told


class Bystander:
    """Something else in this process that the pulse beats for, as often as a heart of these tests would want."""

    watch = None
    patience = 0.0

    def __init__(self) -> None:
        self.beats = 0

    def beat(self) -> float:
        self.beats += 1
        return POLICY.heartbeat


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


def test_a_look_that_takes_long_renews_the_lease_on_the_way() -> None:
    job = Job(functions(remainders), ITEMS)
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


class MeddledTable(MemoryTable):
    """Once, somebody else writes the progress just before the caller does."""

    meddle = False

    def put(self, group: str, key: str, value: bytes, *, expect: int) -> Row:
        if self.meddle and key == "job/progress":
            self.meddle = False
            standing = self.get(group, key)
            assert standing is not None
            super().put(group, key, standing.value, expect=standing.version)
        return super().put(group, key, value, expect=expect)


def test_a_following_coordinator_makes_the_calls_again_that_nobody_answered(job: Job) -> None:
    next(job.looking("first"))
    made, job.service.calls = job.service.calls, []
    job.clock.sleep(11)
    next(job.looking("second"))
    assert job.service.calls == made


def test_a_refused_call_is_made_again_under_the_same_attempt(job: Job) -> None:
    job.service.refuses = ThrottledError("later")
    coordinator = job.looking()
    for _ in range(5):
        job.clock.sleep(next(coordinator) - job.clock.now())
    assert all(len(attempts) == 1 for attempts in job.ledger.snapshot().attempts.values())
    job.service.refuses = None
    while not job.service.calls:
        job.clock.sleep(next(coordinator) - job.clock.now())
    assert {message.attempt for message in job.service.calls} == {1}
    assert len(job.service.calls) == 2


def test_a_service_that_cannot_be_reached_ends_the_job_with_its_words(job: Job) -> None:
    job.service.refuses = ServiceError("the service does not start: no space left")
    for wake_at in job.looking():
        job.clock.sleep(wake_at - job.clock.now())
    outcome = job.ledger.outcome()
    assert outcome is not None
    assert (outcome.state, outcome.error) == (JobState.FAILED, "WorkerLostError")
    assert outcome.failures[0].failure.message == "the service does not start: no space left"


@pytest.mark.parametrize("damage", [None, b"damaged"])
def test_a_job_whose_plan_cannot_be_read_fails_for_its_watchers(job: Job, damage: bytes | None) -> None:
    key = Layout("3f9a").plan
    job.backend.objects.delete_prefix(key)
    if damage:
        job.backend.objects.put(key, damage)
    assert list(job.looking()) == []
    outcome, progress = job.ledger.outcome(), job.ledger.progress()
    assert outcome is not None
    assert progress is not None
    assert outcome.error == ("CorruptObjectError" if damage else "ObjectNotFoundError")
    assert progress.state is JobState.FAILED


def test_a_run_that_is_gone_ends_the_job_with_its_name(job: Job) -> None:
    for _ in job.looking():
        job.work()
        job.backend.objects.delete_prefix(Layout("3f9a").phase(Phase.MAP))
    outcome = job.ledger.outcome()
    assert outcome is not None
    assert (outcome.state, outcome.error) == (JobState.FAILED, "CorruptObjectError")


def test_a_deleted_job_is_left_alone(job: Job) -> None:
    coordinator = job.looking()
    next(coordinator)
    job.backend.table.delete_group("3f9a")
    assert next(coordinator, None) is None
    assert list(job.looking()) == []
    assert not revive(job.backend, "3f9a")


def test_a_dead_worker_is_told_at_once(job: Job) -> None:
    next(job.looking())
    (message, *_) = job.service.calls
    job.ledger.claim(message.attempt_id, owner="w1", now=job.clock.now(), lease=15)
    handle_death(job.backend, DeathNotice(message, "a double", "killed by signal 9"))
    assert job.ledger.snapshot().attempts[message.attempt_id.task][0].live
    handle_death(job.backend, DeathNotice(message, "w1", "killed by signal 9"))
    failure = job.ledger.snapshot().attempts[message.attempt_id.task][0].failure
    assert failure is not None
    assert (failure.kind, failure.message) == ("crash", "killed by signal 9")


def test_a_dead_coordinator_is_followed_by_another_but_not_for_ever(job: Job) -> None:
    notice = DeathNotice(coordinate("3f9a"), "first", "killed by signal 9")
    next(job.looking("first"))
    job.service.calls.clear()
    handle_death(job.backend, replace(notice, invocation="another"))
    assert job.service.calls == []
    handle_death(job.backend, notice)
    while job.service.calls:
        message = job.service.calls.pop()
        assert message.role is Role.COORDINATOR
        handle_death(job.backend, replace(notice, message=message))
    outcome = job.ledger.outcome()
    assert outcome is not None
    assert outcome.error == "WorkerLostError"
    assert "died 9 times one after the other; the last time: killed by signal 9" in outcome.message


def test_whoever_watches_revives_a_job_without_a_coordinator(job: Job) -> None:
    assert not revive(job.backend, "3f9a")  # the first one may still be on its way
    job.clock.sleep(11)
    assert revive(job.backend, "3f9a")
    job.service.calls.clear()
    next(job.looking())
    assert not revive(job.backend, "3f9a")
    job.clock.sleep(11)
    assert revive(job.backend, "3f9a")


@pytest.mark.parametrize("noticed", [False, True])
def test_an_end_that_its_coordinator_died_before_telling_is_told_by_the_next_one(job: Job, noticed: bool) -> None:
    next(job.looking("first"))
    job.service.calls.clear()
    job.ledger.put_outcome(Outcome(JobState.FAILED, job.clock.now()))
    if noticed:
        handle_death(job.backend, DeathNotice(coordinate("3f9a"), "first", "killed by signal 9"))
    else:
        job.clock.sleep(11)
        assert revive(job.backend, "3f9a")
    assert [message.role for message in job.service.calls] == [Role.COORDINATOR]
    assert list(job.looking()) == []
    progress = job.ledger.progress()
    assert progress is not None
    assert progress.state is JobState.FAILED
    job.clock.sleep(11)
    assert not revive(job.backend, "3f9a")


def test_a_worker_that_finishes_revives_a_job_without_a_coordinator(job: Job) -> None:
    next(job.looking())
    job.clock.sleep(11)
    job.work()
    assert {message.role for message in job.service.calls} == {Role.COORDINATOR}


def test_a_row_that_cannot_be_read_ends_the_job_with_its_name(job: Job) -> None:
    coordinator = job.looking()
    next(coordinator)
    row = job.backend.table.query("3f9a", "task/")[0]
    job.backend.table.put("3f9a", row.key, row.value.replace(b'"v":2', b'"v":3'), expect=row.version)
    assert len(list(itertools.islice(coordinator, 10))) < 10
    outcome, progress = job.ledger.outcome(), job.ledger.progress()
    assert outcome is not None
    assert progress is not None
    assert (outcome.state, outcome.error, progress.state) == (JobState.FAILED, "FormatVersionError", JobState.FAILED)


def test_a_coordinator_that_loses_its_lease_on_the_way_tells_nothing_more() -> None:
    job = Job(functions(remainders), ITEMS)
    job.backend = replace(job.backend, functions=SlowService(job.service, job.clock, overtaken_by=job.ledger))
    assert list(job.looking("first")) == []
    assert job.ledger.progress() is None


def test_the_result_is_that_of_the_last_phase_whatever_the_progress_says(job: Job) -> None:
    job.run()
    nothing = PhaseProgress()
    job.ledger.put_progress(Progress(JobState.DONE, nothing, nothing, 1_000.0, 1_000.0, epoch=9, lease_expires=0.0))
    entry = job.ledger.job()
    assert entry is not None
    assert [part.number for part in smr.Job(job.backend, entry, result_limit=1 << 30).parts()] == [0, 1]


class FullStore(MemoryStore):
    """Takes nothing more under the keys that end so, and deletes nothing if told so."""

    full = "nothing"
    keeps = False

    def put(self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False) -> bool:
        if key.endswith(self.full):
            raise StoreError("no space left on device")
        return super().put(key, data, if_absent=if_absent)

    def delete_prefix(self, prefix: str) -> int:
        if self.keeps:
            raise StoreError("permission denied")
        return super().delete_prefix(prefix)


def test_a_store_that_takes_nothing_for_long_ends_the_job_with_its_words(job: Job) -> None:
    job.backend.objects.full = "manifest/map"  # type: ignore[attr-defined]
    for wake_at in job.looking():
        job.work()
        job.clock.sleep(wake_at - job.clock.now())
    outcome, progress = job.ledger.outcome(), job.ledger.progress()
    assert outcome is not None
    assert progress is not None
    assert (outcome.error, outcome.message, progress.state) == ("StoreError", "no space left on device", JobState.FAILED)
    assert 600.0 < job.clock.now() - 1_000.0 < 700.0


def test_a_store_that_deletes_nothing_keeps_no_coordinator_busy(job: Job) -> None:
    job.backend.objects.keeps = True  # type: ignore[attr-defined]
    assert job.run() is JobState.DONE
    lease = job.ledger.lease()
    assert lease is not None
    assert lease.expired(job.clock.now())
