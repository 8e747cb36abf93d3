"""A session and its jobs on a memory backend whose calls nobody runs: what submitting and watching do by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.config import Settings
from smr_notebook.control.ledger import Ledger, list_jobs
from smr_notebook.environment import environment
from smr_notebook.errors import CombinerLawError, JobError, JobNotFoundError, ServiceError, SmrError, StoreError, ThrottledError
from smr_notebook.job.handle import Job, PlanWarning
from smr_notebook.model import JobState, Policy
from smr_notebook.ports import Backend, Clock, Row, ServiceLimits, Table
from smr_notebook.sessions.session import Session
from smr_notebook.standing import Outcome, PhaseProgress, Progress


@dataclass
class Service:
    """Keeps the calls that it does not refuse."""

    limits: ServiceLimits
    refusals: list[Exception] = field(default_factory=list)
    calls: list[bytes] = field(default_factory=list)

    def invoke(self, payload: bytes) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        self.calls.append(payload)


@pytest.fixture
def service() -> Service:
    return Service(ServiceLimits(1 << 20, 900.0, 2, 0.0, 1 << 30, environment()))


@pytest.fixture
def session(service: Service, tmp_path: Path) -> Session:
    backend = Backend(
        name="memory",
        location="memory:",
        objects=MemoryStore(),
        table=MemoryTable(),
        functions=service,
        clock=SimulatedClock(1_000.0),
        sources={},
        policy=Policy(),
        poll=(0.1, 1.0),
    )
    return Session(settings=Settings(workspace=tmp_path), backend=backend)


def pairs(item: int) -> Iterator[tuple[int, int]]:
    yield item % 2, item


def test_who_watches_a_job_that_was_removed_is_told_so(session: Session) -> None:
    job = session.map_reduce(pairs, sum, [1, 2, 3])
    session.backend.table.delete_group(job.id)
    with pytest.raises(JobNotFoundError, match=f"{job.id} is gone"):
        job.result()


def test_a_job_that_is_refused_at_first_is_started_by_who_watches_it(session: Session, service: Service) -> None:
    service.refusals = [ThrottledError("later"), ThrottledError("later")]
    job = session.map_reduce(pairs, sum, [1, 2, 3])
    assert [entry.job for entry in list_jobs(session.backend.table)] == [job.id]
    assert not job.watch(lambda _: None, timeout=60.0).state.ended
    assert service.calls


class Outage:
    """A table that cannot be reached for a while: a port like any other."""

    def __init__(self, table: Table, clock: Clock, *, begins: float, ends: float) -> None:
        self._table, self._clock, self._begins, self._ends = table, clock, begins, ends

    def _reached(self) -> Table:
        if self._begins <= self._clock.now() < self._ends:
            raise StoreError("nobody answers")
        return self._table

    def get(self, group: str, key: str) -> Row | None:
        return self._reached().get(group, key)

    def put(self, group: str, key: str, value: bytes, *, expect: int) -> Row:
        return self._reached().put(group, key, value, expect=expect)

    def query(self, group: str, prefix: str = "") -> list[Row]:
        return self._reached().query(group, prefix)

    def delete_group(self, group: str) -> None:
        self._reached().delete_group(group)


def watched_through(session: Session, *, seconds: float) -> Progress:
    job = session.map_reduce(pairs, sum, [1, 2, 3])
    backend, now = session.backend, session.backend.clock.now()
    table = Outage(backend.table, backend.clock, begins=now + 5, ends=now + 5 + seconds)
    outside = Session(settings=session.settings, backend=replace(backend, table=table))
    return outside.attach(job.id).watch(lambda _: None, timeout=300.0)


def test_who_watches_outlasts_a_platform_that_is_out_of_reach_for_a_while(session: Session) -> None:
    assert not watched_through(session, seconds=50.0).state.ended
    with pytest.raises(StoreError, match="nobody answers"):
        watched_through(session, seconds=70.0)


def ended_behind_an_outage(session: Session, *, seconds: float) -> Job:
    """Return a job that was cancelled, seen by somebody who reaches the table in so many seconds."""
    job = session.map_reduce(pairs, sum, [1, 2, 3])
    backend, now = session.backend, session.backend.clock.now()
    ledger = Ledger(backend.table, job.id)
    ledger.put_outcome(Outcome(JobState.CANCELLED, now, message="cancelled by the user"))
    ledger.put_progress(replace(job.status(), state=JobState.CANCELLED))
    entry = ledger.job()
    assert entry is not None
    table = Outage(backend.table, backend.clock, begins=now, ends=now + seconds)
    return Job(replace(backend, table=table), entry, result_limit=1 << 20)


def test_a_thread_that_watches_is_as_patient(session: Session) -> None:
    job = ended_behind_an_outage(session, seconds=50.0)
    called: Future[bool] = Future()
    job.add_done_callback(lambda ended: called.set_result(ended.cancelled()))
    assert called.result(timeout=60)
    with pytest.raises(CancelledError):
        job.future().result(timeout=60)


def test_a_thread_that_gave_up_says_so_and_the_next_one_tries_again(session: Session) -> None:
    job = ended_behind_an_outage(session, seconds=70.0)
    called: Future[Job] = Future()
    assert isinstance(job.future().exception(timeout=60), StoreError)
    with pytest.raises(StoreError, match="nobody answers"):
        job.cancelled()
    job.add_done_callback(called.set_result)
    assert called.result(timeout=60) is job
    assert "cancelled by the user" in str(asyncio.run(awaited(job)))
    with pytest.raises(CancelledError):
        job.future().result(timeout=60)


async def awaited(job: Job) -> BaseException:
    with pytest.raises(JobError) as raised:
        await job
    return raised.value


def test_a_job_that_is_not_planned_yet_has_nothing_so_far(session: Session) -> None:
    planned_there = Session(settings=session.settings, backend=replace(session.backend, plans=True))
    job = planned_there.map_reduce(pairs, sum, [1, 2, 3])
    found = job.so_far()
    assert (len(found.frame), found.share, found.of, found.whole) == (0, 0.0, 0, False)
    assert repr(found).startswith(f"{job.id} so far: nothing yet, it is being planned")
    ledger = Ledger(session.backend.table, job.id)
    ledger.put_outcome(Outcome(JobState.FAILED, 1_000.0, error="InputEmptyError", message="There is no input."))
    ledger.put_progress(replace(job.status(), state=JobState.FAILED))
    with pytest.raises(SmrError, match="There is no input"):
        job.so_far()
    session.backend.table.delete_group(job.id)
    with pytest.raises(JobNotFoundError):
        job.so_far()


def test_what_cannot_be_submitted_leaves_nothing_behind(session: Session, service: Service) -> None:
    with pytest.raises(CombinerLawError):
        session.map_reduce(pairs, lambda _, values: sum(values) + 1, list(range(200)), combine=True)
    service.refusals = [ServiceError("no space left")]
    with pytest.raises(ServiceError):
        session.map_reduce(pairs, sum, [1, 2, 3])
    assert session.jobs() == []
    assert list(session.backend.objects.list_prefix("")) == []


def test_the_law_of_a_combiner_is_tried_across_splits(session: Session) -> None:
    with pytest.raises(CombinerLawError):
        session.map_reduce(pairs, lambda _, values: sum(values) + 1, [1, 2, 3], combine=True)


def test_the_law_is_not_tried_where_it_holds_by_nature(session: Session, tmp_path: Path) -> None:
    mapped = tmp_path / "mapped"  # a file, because the law is tried with a copy of the functions

    def noted(item: int) -> Iterator[tuple[int, int]]:
        with mapped.open("a") as file:
            file.write(f"{item} ")
        yield item % 2, item

    session.map_reduce(noted, sum, range(5))
    assert not mapped.exists()
    session.map_reduce(noted, lambda _, values: sum(values), range(5), combine=True)
    assert mapped.read_text() == "0 1 2 3 4 "


def test_who_looks_from_a_thread_leaves_the_warnings_to_who_sees_them(session: Session) -> None:
    session.map_reduce(lambda x: [(x, 1)], None, [1], name="twice")
    with pytest.warns(PlanWarning, match="'twice' was used before"):
        job = session.map_reduce(lambda x: [(x, 1)], None, [1], name="twice")
    job._warned = ()  # as where the plan is made elsewhere
    ended = Progress(JobState.DONE, PhaseProgress(tasks=1, done=1), PhaseProgress(), 1_000.0, 1_001.0, epoch=1, lease_expires=0.0)
    Ledger(session.backend.table, job.id).put_progress(ended)
    job.watch(lambda _: None, warns=False)
    with pytest.warns(PlanWarning, match="'twice' was used before"):
        job.watch(lambda _: None)
