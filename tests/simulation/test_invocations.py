"""The invocations themselves - coordinator, worker, death notice - with the real data plane, on a memory backend."""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import pytest

import smr_notebook as smr
from smr_notebook.backends.memory.alarms import MemoryAlarms
from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.control.attempts import Claim, Output, claim
from smr_notebook.control.coordinator import looks, revive, run_coordinator
from smr_notebook.control.keys import keys_of
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.logs import Uncaught
from smr_notebook.control.messages import AttemptRange, DeathNotice, Message, Role, attempt_message, coordinate, decode
from smr_notebook.control.plans import write_code, write_plan
from smr_notebook.control.pulse import pulse_of
from smr_notebook.control.rows import JobEntry
from smr_notebook.control.troubles import idle_seconds
from smr_notebook.control.worker import ABANDONED, GRACE, Ends, Heart, deliver, ends_of, handle_death, run_attempt
from smr_notebook.dataflow.code import capture
from smr_notebook.dataflow.formats.stored import store_items
from smr_notebook.dataflow.functions import Functions
from smr_notebook.dataflow.inputs import RecordBlock
from smr_notebook.dataflow.meter import AttemptStopped, Meter
from smr_notebook.dataflow.pair_programs import PairProgram
from smr_notebook.environment import environment
from smr_notebook.errors import AccessDeniedError, ServiceError, StoreError, ThrottledError
from smr_notebook.model import (
    Attempt,
    AttemptId,
    AttemptState,
    FailureKind,
    Format,
    JobState,
    Leg,
    Numbers,
    Part,
    Phase,
    Plan,
    Policy,
    Position,
    Receipt,
    Span,
    Split,
    TaskId,
)
from smr_notebook.ports import LASTING, Backend, Buffer, Context, Row, ServiceLimits, Table
from smr_notebook.standing import Outcome, PhaseProgress, Progress
from smr_notebook.testing.fates import Fates, Odds
from smr_notebook.testing.faults import FaultyTable, Mischief
from smr_notebook.testing.pair_tasks import run_map_to_part
from smr_notebook.testing.waiting import wait_until

POLICY = Policy(heartbeat=0.01)
HOUR = 3_600.0


@dataclass
class Service:
    """Keeps the calls until somebody runs them."""

    limits: ServiceLimits
    calls: list[Message] = field(default_factory=list)
    refuses: Exception | None = None
    refused: int = 0

    def invoke(self, payload: bytes) -> None:
        if self.refuses is not None:
            self.refused += 1
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
        stored, records = store_items(
            items, self.backend.objects, Layout("3f9a").input, keys=keys_of(self.backend.table), split_bytes=1, slots=2
        )
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
        write_code(self.backend.objects, self.plan.job, capture(PairProgram(functions)).data, keys_of(self.backend.table))
        write_plan(self.backend.objects, self.plan, splits, keys_of(self.backend.table))
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


def test_a_part_that_no_manifest_names_is_never_read() -> None:
    """An attempt that died before its commit left one, say, or one that committed too late."""
    job = Job(functions(remainders), ITEMS, reducers=1)
    assert job.run() is JobState.DONE
    entry = job.ledger.job()
    assert entry is not None
    result = smr.Job(job.backend, entry, result_limit=1 << 30)
    ((file,),) = (part.files for part in result.parts())
    before = result.result()
    other = file.key.replace("/001/", "/002/")
    assert other != file.key
    job.backend.objects.put(other, job.backend.objects.get(file.key))
    assert smr.Job(job.backend, entry, result_limit=1 << 30).result().equals(before)
    assert len(before) == 3


def test_what_only_a_running_job_needs_is_gone_at_its_end(job: Job) -> None:
    job.run()
    left = {info.key.split("/")[2] for info in job.backend.objects.list_prefix("jobs/3f9a/")}
    assert left == {"plan", "code", "manifest", "reduce"}


def test_where_objects_expire_nobody_deletes_any(job: Job) -> None:
    """Neither at the end of a job nor for an output that lost: no role may."""
    kept = DeletesNothing()
    for info in job.backend.objects.list_prefix("jobs/"):
        kept.put(info.key, job.backend.objects.get(info.key))
    job.backend = replace(job.backend, objects=kept, expires=True)
    next(job.looking())
    (message, *_) = job.service.calls
    zombie = claim(job.ledger, message.attempt_id, owner="zombie", clock=job.clock, lease=15)
    assert zombie is not None
    job.clock.sleep(20)
    assert job.run() is JobState.DONE
    deliver(job.backend, "3f9a", zombie, Output(), numbers=Numbers())
    assert kept.asked == 0


class DeletesNothing(MemoryStore):
    """Counts what it was asked to delete."""

    asked = 0

    def delete_prefix(self, prefix: str) -> int:
        self.asked += 1
        return 0


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
    assert list(job.backend.objects.list_prefix(Layout("3f9a").input)), "what a job read that failed is still there"
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


@pytest.mark.parametrize("claimed", [False, True])
def test_a_worker_launches_others_before_its_own_work_if_that_is_its_own(job: Job, claimed: bool) -> None:
    """Of a doubled call, the one that claims the attempt launches."""
    next(job.looking())
    (message, *_), job.service.calls = job.service.calls, []
    if claimed:
        assert claim(job.ledger, message.attempt_id, owner="another", clock=job.clock, lease=15) is not None
    job.backend = replace(job.backend, branching=2)
    run_attempt(job.backend, replace(message, then=(AttemptRange(4, 7, 1),)), job.context(), abandon=survive)
    called = [call for call in job.service.calls if call.works]
    both = [(4, (AttemptRange(5, 5, 1),)), (6, (AttemptRange(7, 7, 1),))]
    assert [(call.task, call.then) for call in called] == ([] if claimed else both)


def test_a_worker_launches_no_others_for_a_job_that_is_to_end(job: Job) -> None:
    """Nobody would stop them: their rows would come after the last look of the coordinator."""
    next(job.looking())
    (message, *_), job.service.calls = job.service.calls, []
    job.backend = replace(job.backend, branching=2)
    job.ledger.request_cancel("enough", job.clock.now())
    run_attempt(job.backend, replace(message, then=(AttemptRange(4, 7, 1),)), job.context(), abandon=survive)
    assert [call for call in job.service.calls if call.works] == []


def test_a_loser_that_dies_leaves_nothing_but_a_leg_that_the_commit_goes_on_from(job: Job) -> None:
    """Whoever publishes a leg may be stopped as a loser before it can say so, and die after the continuation has committed."""
    next(job.looking())
    task = job.service.calls[0].attempt_id.task
    held: list[Claim] = []
    for number in (1, 2, 3):
        attempt = AttemptId(task, number)
        job.ledger.launch(attempt, now=job.clock.now(), expires=job.clock.now() + 60, speculative=number > 1)
        job.backend.objects.put(f"{Layout('3f9a').attempt(attempt)}/run", b"")
        if number == 3:
            leg = Output(receipt=Receipt(held[0].id, f"{Layout('3f9a').attempt(held[0].id)}/run", 0, 0, 0, 0))
            assert held[0].publish(leg, Position(3), Numbers())
        claimed = claim(job.ledger, attempt, owner=f"w{number}", clock=job.clock, lease=15)
        assert claimed is not None
        held.append(claimed)
    assert held[2].commit(Output(), Numbers())
    for number in (1, 2):
        job.ledger.stop(AttemptId(task, number), job.clock.now())
        message = attempt_message("3f9a", AttemptId(task, number))
        handle_death(job.backend, DeathNotice(message, f"w{number}", "killed by signal 9"))
    left = [info.key for info in job.backend.objects.list_prefix(f"jobs/3f9a/{task}/")]
    assert left == [f"jobs/3f9a/{task}/001/run", f"jobs/3f9a/{task}/003/run"]


def test_what_loses_is_stopped_and_leaves_nothing(job: Job) -> None:
    """Be it an output or a leg: another attempt's stands."""
    next(job.looking())
    task = job.service.calls[0].attempt_id.task
    mine = []
    for number in range(1, 6):
        attempt = AttemptId(task, number)
        job.ledger.launch(attempt, now=job.clock.now(), expires=job.clock.now() + 60)
        held = claim(job.ledger, attempt, owner=f"w{number}", clock=job.clock, lease=15)
        assert held is not None
        mine.append(held)
        job.backend.objects.put(f"{Layout('3f9a').attempt(attempt)}/run", b"")
    for held, position in zip(mine, (Position(3), Position(5), None, None), strict=False):
        deliver(job.backend, "3f9a", held, Output(position=position), numbers=Numbers())
    states = [attempt.state for attempt in job.ledger.snapshot().attempts[task]]
    assert states == [AttemptState.PAUSED, AttemptState.STOPPED, AttemptState.DONE, AttemptState.STOPPED, AttemptState.RUNNING]
    left = [info.key.split("/")[4] for info in job.backend.objects.list_prefix("jobs/3f9a/map/")]
    assert left == ["001", "003", "005"]


@pytest.mark.parametrize(("invocation", "kind", "type"), [("", FailureKind.LOST, "LaunchDropped"), ("w", FailureKind.CRASH, "WorkerDied")])
def test_a_call_that_was_dropped_says_nothing_of_its_task(job: Job, invocation: str, kind: FailureKind, type: str) -> None:
    next(job.looking())
    (message, *_) = job.service.calls
    handle_death(job.backend, DeathNotice(message, invocation, "the service says why"))
    failure = attempt_of(job, message).failure
    assert failure is not None
    assert (failure.kind, failure.type, failure.message) == (kind, type, "the service says why")


def test_a_worker_of_another_environment_refuses(job: Job) -> None:
    next(job.looking())
    other = replace(environment(), python="2.7")
    job.backend.objects.delete_prefix(Layout("3f9a").plan)
    write_plan(job.backend.objects, replace(job.plan, environment=other), [], keys_of(job.backend.table))
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
    with Heart(mine, meter, POLICY, ends=Ends(math.inf, math.inf, abandoned.append, None), clock=job.clock, grace=0.0):
        wait_until(lambda: attempt_of(job, message).numbers.records_read == 7)
        job.ledger.stop(message.attempt_id, job.clock.now())
        wait_until(lambda: abandoned)
    assert meter.stopped == f"attempt {message.attempt_id} is stopped"
    assert abandoned == [ABANDONED]


def test_an_attempt_is_asked_to_end_before_its_log_is_put_which_may_take_long(job: Job) -> None:
    next(job.looking())
    (message, *_) = job.service.calls
    mine = claim(job.ledger, message.attempt_id, owner="w", clock=job.clock, lease=15)
    assert mine is not None
    meter, asked = Meter(), list[bool]()

    class Slow(Uncaught):
        def beat(self) -> None:
            asked.append(meter.stopped is not None)

    heart = Heart(mine, meter, POLICY, ends=Ends(math.inf, math.inf, survive, None), clock=job.clock, output=Slow())
    heart.beat()
    job.ledger.stop(message.attempt_id, job.clock.now())
    assert heart.beat() == GRACE
    assert asked == [False, True]


def test_a_heart_stops_with_its_block(job: Job) -> None:
    next(job.looking())
    (message, *_) = job.service.calls
    mine = claim(job.ledger, message.attempt_id, owner="w", clock=job.clock, lease=15)
    assert mine is not None
    meter = Meter()
    with Heart(mine, meter, POLICY, ends=Ends(math.inf, math.inf, survive, None), clock=job.clock):
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


def test_a_worker_that_died_behind_its_commit_has_done_its_work(job: Job) -> None:
    next(job.looking())
    (message, *_) = job.service.calls
    mine = claim(job.ledger, message.attempt_id, owner="w1", clock=job.clock, lease=15)
    assert mine is not None
    deliver(job.backend, "3f9a", mine, Output(), numbers=Numbers())
    handle_death(job.backend, DeathNotice(message, "w1", "killed by signal 9"))
    (attempt,) = job.ledger.snapshot().attempts[message.attempt_id.task]
    assert (attempt.state, attempt.failure) == (AttemptState.DONE, None)


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
    assert "failed 9 times one after the other; the last time: killed by signal 9" in outcome.message


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


def test_a_call_that_is_refused_again_and_again_is_made_later_and_later(job: Job) -> None:
    job.service.refuses = ThrottledError("later")
    coordinator, until = job.looking(), job.clock.now() + 300.0
    while job.clock.now() < until:
        job.clock.sleep(next(coordinator) - job.clock.now())
    assert 60 <= job.service.refused < 70, "each five seconds at last"


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


@dataclass
class Silent:
    """Does not tell its limits as long as there is trouble."""

    service: Service
    trouble: Exception | None = None

    @property
    def limits(self) -> ServiceLimits:
        if self.trouble is not None:
            raise self.trouble
        return self.service.limits

    def invoke(self, payload: bytes) -> None:
        self.service.invoke(payload)


@pytest.mark.parametrize("trouble", [ThrottledError("fewer calls"), ServiceError("nobody answers")])
def test_a_service_that_does_not_answer_for_a_while_ends_no_job(job: Job, trouble: Exception) -> None:
    silent = Silent(job.service, trouble)
    job.backend = replace(job.backend, functions=silent)
    coordinator = job.looking()
    for _ in range(5):
        job.clock.sleep(next(coordinator) - job.clock.now())
    assert job.ledger.outcome() is None
    silent.trouble = None
    for _ in coordinator:
        job.work()
    outcome = job.ledger.outcome()
    assert outcome is not None
    assert outcome.state is JobState.DONE


def test_a_service_that_does_not_answer_for_long_ends_the_job_with_its_words(job: Job) -> None:
    job.backend = replace(job.backend, functions=Silent(job.service, ThrottledError("fewer calls")))
    for wake_at in job.looking():
        job.clock.sleep(wake_at - job.clock.now())
    outcome = job.ledger.outcome()
    assert outcome is not None
    assert (outcome.error, outcome.message) == ("ThrottledError", "fewer calls")


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


def test_a_coordinator_that_fails_stops_what_lives(job: Job) -> None:
    coordinator = job.looking()
    next(coordinator)
    (message, *_) = job.service.calls
    job.work()
    job.service.refuses = AccessDeniedError("lambda:InvokeFunction is not allowed")
    claimed = AttemptId(replace(message.attempt_id.task, number=5), 1)
    job.ledger.launch(claimed, now=job.clock.now(), expires=job.clock.now() + 60)
    job.ledger.claim(claimed, owner="w", now=job.clock.now(), lease=60)
    for _ in itertools.islice(coordinator, 5):
        job.clock.sleep(1)
    outcome = job.ledger.outcome()
    assert outcome is not None
    assert (outcome.state, outcome.error) == (JobState.FAILED, "AccessDeniedError")
    assert not any(attempt.live for of_task in job.ledger.snapshot().attempts.values() for attempt in of_task)


def test_a_lease_is_kept_while_a_phase_is_gathered(job: Job) -> None:
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


# ---------------------------------------------------------------- the time of an invocation


class Attempted:
    """One attempt of 15 minutes, whose heart beats whenever its records take time."""

    def __init__(self, job: Job, *, in_vain: int = 0, policy: Policy | None = None) -> None:
        next(job.looking())
        (message, *_) = job.service.calls
        mine = claim(job.ledger, message.attempt_id, owner="w", clock=job.clock, lease=15)
        assert mine is not None
        self.job = job
        self.meter = Meter()
        self.context = job.context(seconds=900.0)
        self.abandoned: list[int] = []
        policy = policy or Policy(heartbeat=5.0, margin=60.0)
        self.idles: list[float] = []
        self.attempt = message.attempt_id
        ends = ends_of(self.context, policy, now=job.clock.now(), in_vain=in_vain, abandon=self.abandoned.append)
        self.heart = Heart(mine, self.meter, policy, ends=ends, clock=job.clock)
        self._next = job.clock.now() + 5.0

    def map(self, seconds: float) -> Iterator[tuple[int, int]]:
        """Map a record that takes so long."""
        until = self.job.clock.now() + seconds
        while self.job.clock.now() < until:
            self.job.clock.sleep(min(until, max(self._next, self.job.clock.now())) - self.job.clock.now())
            if self.job.clock.now() >= self._next and not self.abandoned:
                self._next = self.job.clock.now() + self.heart.beat()
                self.idles.append(idle_seconds(self.job.ledger.attempts(self.attempt.task)[0]))
        yield 1, 1

    def trickle(self, seconds: float) -> Iterator[tuple[int, int]]:
        """Map a record that takes so long, and yields all the time."""
        for _ in range(int(seconds)):
            yield from self.map(1.0)

    def run(self, records: Iterable[float], *, map: Callable[[float], Iterator[tuple[int, int]]] | None = None) -> Position | None:
        """Map records; return where the attempt ended before them."""
        blocks = [RecordBlock("items", list(records), 1, lambda _: -1, begin=0)]
        return run_map_to_part(functions(map or self.map, reduce=False), blocks, Nowhere(), meter=self.meter).position


class Nowhere:
    """Takes rows."""

    def add(self, keys: list[object], values: list[object], groups: list[object] | None = None) -> None:
        assert len(keys) == len(values)

    def close(self) -> Part:
        return Part(0, ())

    def abort(self) -> None:
        return


@pytest.mark.parametrize("seconds", [0.1, 1.0, 7.0, 61.0, 70.0, 100.0, 180.0, 299.0, 400.0, 500.0, 850.0])
def test_an_attempt_winds_up_while_there_is_time_for_another_record_like_its_longest(job: Job, seconds: float) -> None:
    attempted = Attempted(job)
    position = attempted.run(seconds for _ in range(10_000))
    assert position is not None
    assert job.clock.now() <= attempted.context.deadline - 45.0, "there is time to publish"
    assert position.done == pytest.approx(min(840.0, max(900.0 - 60.0 - seconds, seconds)) / seconds, rel=0.2, abs=1)
    assert attempted.abandoned == []


def test_an_attempt_has_half_as_much_time_where_one_before_it_came_to_nothing(job: Job) -> None:
    """So that a long record which comes late, and ended the one before, is another leg's first."""
    attempted = Attempted(job, in_vain=1)
    position = attempted.run([*(1.0 for _ in range(800)), 600.0])
    assert position is not None
    assert position.done == pytest.approx(450, abs=10)


def test_the_attempts_in_vain_are_those_since_the_last_leg(job: Job) -> None:
    next(job.looking())
    task = job.service.calls[0].attempt_id.task
    found = []
    for number in range(1, 6):
        attempt = AttemptId(task, number)
        job.ledger.launch(attempt, now=job.clock.now(), expires=job.clock.now() + 60)
        mine = claim(job.ledger, attempt, owner=f"w{number}", clock=job.clock, lease=15)
        assert mine is not None
        found.append(mine.in_vain)
        if number == 3:
            job.ledger.put_leg(Leg(attempt, "w3", 0.0, 1, Position(1), 1.0, Numbers()))
    assert found == [0, 1, 2, 0, 1]


def test_a_record_that_takes_longer_than_an_invocation_is_told_as_that(job: Job) -> None:
    attempted = Attempted(job)
    with pytest.raises(AttemptStopped):
        attempted.run([10.0, 1_000.0])
    assert attempted.abandoned == [ABANDONED]
    (told,) = [attempt for (attempt,) in job.ledger.snapshot().attempts.values() if attempt.state is AttemptState.FAILED]
    assert told.failure is not None
    assert told.failure.type == "TaskTimeoutError"
    assert told.changed < attempted.context.deadline


def test_a_record_that_began_late_is_not_told_so(job: Job) -> None:
    attempted = Attempted(job)
    attempted.run([*(1.0 for _ in range(700)), 400.0])
    assert job.clock.now() > attempted.context.deadline
    assert not any(attempt.failure for of_task in job.ledger.snapshot().attempts.values() for attempt in of_task)


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


# ---------------------------------------------------------------- records that never end


def test_a_record_that_takes_longer_than_its_policy_allows_is_ended_with_its_name_and_line(job: Job) -> None:
    attempted = Attempted(job, policy=Policy(heartbeat=5.0, margin=60.0, stall=120.0))
    with pytest.raises(AttemptStopped):
        attempted.run([10.0, 10.0, 500.0])
    (told,) = [attempt for (attempt,) in job.ledger.snapshot().attempts.values() if attempt.state is AttemptState.FAILED]
    assert told.failure is not None
    assert (told.failure.type, told.failure.record, told.failure.record_number) == ("TaskTimeoutError", "500.0", 3)
    assert told.failure.message.startswith("no record was finished for 1")
    assert "record_timeout" in told.failure.message
    assert "map" in [frame.function for frame in told.failure.frames]


def test_a_heartbeat_tells_when_something_was_last_finished(job: Job) -> None:
    attempted = Attempted(job)
    began = job.clock.now()
    attempted.run([1.0, 1.0, 100.0, 1.0])
    idle = attempted.idles
    assert max(idle) == pytest.approx(98.0, abs=6.0)
    assert idle[0] <= 5.0
    assert job.clock.now() - began == 103.0


def test_a_record_that_yields_for_long_is_not_taken_for_one_that_hangs(job: Job) -> None:
    attempted = Attempted(job, policy=Policy(heartbeat=5.0, margin=60.0, stall=120.0))
    attempted.run([700.0], map=attempted.trickle)
    assert attempted.abandoned == []


@pytest.mark.parametrize("stall", [0.0, 600.0])
def test_a_long_record_is_left_alone_where_it_may_take_long(job: Job, stall: float) -> None:
    attempted = Attempted(job, policy=Policy(heartbeat=5.0, margin=60.0, stall=stall))
    position = attempted.run([10.0, 500.0, 10.0])
    assert position is not None
    assert position.done == 2, "its time is up, and that is all"
    assert attempted.abandoned == []
    assert job.ledger.attempts(attempted.attempt.task)[0].failure is None
