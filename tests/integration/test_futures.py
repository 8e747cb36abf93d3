"""A job among futures: awaited, called back from, waited for with others; and the threads that do so come and go."""

from __future__ import annotations

import asyncio
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, as_completed, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import smr_notebook as smr
from smr_notebook.control.expiry import remove_job
from smr_notebook.control.ledger import Ledger
from smr_notebook.errors import ConfigError, JobCancelled, JobError, JobNotFoundError, TaskError
from smr_notebook.ports import Row, Table
from smr_notebook.testing.waiting import wait_until

SUMS = [(0, 20), (1, 25)]


class Gate:
    """Holds `map` up until it is opened, also in another process."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def pairs(self) -> Callable[[int], Iterator[tuple[int, int]]]:
        file = str(self.file)

        def pairs(item: int) -> Iterator[tuple[int, int]]:
            import os
            import threading

            while not os.path.exists(file):  # noqa: PTH110 - a worker that waits
                threading.Event().wait(0.005)
            yield item % 2, item

        return pairs

    def open(self) -> None:
        self.file.touch()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def rows(frame: pd.DataFrame) -> list[tuple[Any, Any]]:
    return list(frame.itertuples(index=False, name=None))


def fails(item: int) -> Iterator[tuple[int, int]]:
    yield item, 1 // (item != 3)


def threads_of(job: smr.Job) -> list[str]:
    return sorted(thread.name for thread in threading.enumerate() if thread.name.endswith(job.id))


def cancelled(job: smr.Job) -> bool:
    return isinstance(job.exception(), JobCancelled)


# ---------------------------------------------------------------- await


def test_await_gives_the_result_and_does_not_hold_up_the_loop(session: smr.Session, gate: Gate) -> None:
    job = session.map_reduce(gate.pairs(), sum, range(10))

    async def opens() -> None:
        await asyncio.to_thread(wait_until, lambda: job.status().map.running)
        gate.open()

    async def both() -> pd.DataFrame:
        opener = asyncio.create_task(opens())
        frame = await job
        await opener
        return frame

    assert rows(asyncio.run(both())) == SUMS
    assert rows(asyncio.run(_awaited(job))) == SUMS  # one that has ended
    wait_until(lambda: not threads_of(job))


async def _awaited(job: smr.Job) -> pd.DataFrame:
    return await job


def test_many_are_gathered(session: smr.Session) -> None:
    jobs = [session.map_reduce(lambda item, by=by: [(item % by, item)], sum, range(10)) for by in (1, 2)]

    async def gathered() -> list[pd.DataFrame]:
        return list(await asyncio.gather(*jobs))

    assert [rows(frame) for frame in asyncio.run(gathered())] == [[(0, 45)], SUMS]


def test_a_task_that_is_cancelled_leaves_the_job_alone_and_watches_no_more(session: smr.Session, gate: Gate) -> None:
    job = session.map_reduce(gate.pairs(), sum, range(10))

    async def given_up() -> None:
        task = asyncio.create_task(_awaited(job))
        await asyncio.to_thread(wait_until, lambda: threads_of(job))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(given_up())
    wait_until(lambda: not threads_of(job))
    assert job.running()
    gate.open()
    assert rows(job.result()) == SUMS
    assert not job.running()
    assert not job.cancelled()


def test_who_awaits_a_failed_job_gets_its_error(session: smr.Session) -> None:
    job = session.map_reduce(fails, sum, range(10), retries=0)
    with pytest.raises(TaskError) as raised:
        asyncio.run(_awaited(job))
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_who_awaits_a_cancelled_job_keeps_the_event_loop(session: smr.Session, gate: Gate) -> None:
    """`JobCancelled` is a `KeyboardInterrupt`, which a task raises out of its loop."""
    job = session.map_reduce(gate.pairs(), sum, range(10))

    async def interrupted() -> list[object]:
        others = asyncio.gather(job, asyncio.sleep(0, "goes on"), return_exceptions=True)
        await asyncio.to_thread(job.cancel)
        return list(await others)

    error, other = asyncio.run(interrupted())
    assert isinstance(error, JobError)
    assert not isinstance(error, KeyboardInterrupt)
    assert "cancelled by the user" in str(error)
    assert other == "goes on"
    assert job.cancelled()


def test_who_awaits_is_warned_in_the_own_thread(session: smr.Session) -> None:
    job = session.map_reduce(fails, sum, range(10), on_error="skip")
    with pytest.warns(smr.LeftOutWarning, match="leaves out 1 of 10 records") as told:
        frame = asyncio.run(_awaited(job))
    assert len(frame) == 9
    assert [one.filename for one in told] == [__file__]


# ---------------------------------------------------------------- callbacks


def test_callbacks_are_called_once_each_from_one_thread(session: smr.Session, gate: Gate) -> None:
    job = session.map_reduce(gate.pairs(), sum, range(10))
    called: list[tuple[int, smr.Job, str]] = []
    for number in range(20):
        job.add_done_callback(lambda ended, number=number: called.append((number, ended, threading.current_thread().name)))  # type: ignore[misc]
    assert threads_of(job) == [f"smr-watch-{job.id}"]
    assert called == []
    gate.open()
    wait_until(lambda: len(called) == 20)
    assert called == [(number, job, f"smr-watch-{job.id}") for number in range(20)]
    job.add_done_callback(lambda ended: called.append((20, ended, threading.current_thread().name)))
    assert called[20:] == [(20, job, threading.current_thread().name)]
    wait_until(lambda: not threads_of(job))


def test_a_job_that_has_ended_calls_back_without_a_thread(session: smr.Session) -> None:
    job = session.attach(session.map_reduce(fails, sum, range(10), retries=0).id)
    job.watch(lambda _: None)
    found: list[object] = []
    job.add_done_callback(lambda ended: found.append(type(ended.exception())))
    assert found == [TaskError]
    assert threads_of(job) == []


def test_what_a_callback_raises_is_logged_and_goes_no_further(session: smr.Session, gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    job = session.map_reduce(gate.pairs(), sum, range(10))
    called: list[smr.Job] = []
    job.add_done_callback(lambda _: 1 // 0)
    job.add_done_callback(called.append)
    with caplog.at_level(logging.ERROR, "concurrent.futures"):
        gate.open()
        wait_until(lambda: called)
        job.add_done_callback(lambda _: 1 // 0)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError] * 2


def test_no_callback_keeps_the_next_one_or_a_future_from_the_end(
    session: smr.Session, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    job = session.map_reduce(gate.pairs(), sum, range(10))
    futures: list[Future[pd.DataFrame]] = []
    called: list[object] = []

    def leaves(_: smr.Job) -> None:
        raise SystemExit(1)

    job.add_done_callback(leaves)
    job.add_done_callback(lambda _: called.append(rows(futures[0].result(timeout=60))))  # of a future that comes later
    job.add_done_callback(lambda _: called.append("last"))
    futures.append(job.future())
    with caplog.at_level(logging.ERROR, "concurrent.futures"):
        gate.open()
        wait_until(lambda: len(called) == 2, 120.0)
    assert called == [SUMS, "last"]
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [SystemExit]


def test_what_is_no_function_is_refused_at_once(session: smr.Session, gate: Gate) -> None:
    job = session.map_reduce(gate.pairs(), sum, range(10))
    with pytest.raises(ConfigError, match="got None"):
        job.add_done_callback(None)  # type: ignore[arg-type]
    gate.open()


def test_a_job_that_is_removed_while_it_is_watched_is_not_waited_for(session: smr.Session, gate: Gate) -> None:
    job = session.map_reduce(gate.pairs(), sum, range(10))
    called: list[smr.Job] = []
    job.add_done_callback(called.append)
    remove_job(session.backend.objects, session.backend.table, job.id)
    wait_until(lambda: called, 120.0)
    for ask in (job.future, lambda: job.add_done_callback(called.append), job.done, job.running, job.cancelled):
        with pytest.raises(JobNotFoundError, match="gone"):
            ask()
    assert called == [job]
    gate.open()


def test_a_job_that_was_removed_is_not_waited_for(session: smr.Session) -> None:
    job = session.map_reduce(lambda item: [(item, 1)], None, [1]).wait()
    session.backend.table.delete_group(job.id)
    for ask in (job.future, lambda: job.add_done_callback(print), job.running, job.cancelled):
        with pytest.raises(JobNotFoundError, match="gone"):
            ask()
    with pytest.raises(JobNotFoundError, match="gone"):
        asyncio.run(_awaited(job))


# ---------------------------------------------------------------- futures


def test_futures_of_jobs_are_waited_for_with_others(session: smr.Session, gate: Gate) -> None:
    late = session.map_reduce(gate.pairs(), sum, [1]).future()  # leaves a worker free
    early = session.map_reduce(lambda item: [(item % 2, item)], sum, range(10)).future()
    mine: Future[pd.DataFrame] = Future()
    done, waiting = wait([late, early, mine], timeout=60, return_when=FIRST_COMPLETED)
    assert (done, waiting) == ({early}, {late, mine})
    assert rows(early.result()) == SUMS
    gate.open()
    mine.set_result(pd.DataFrame())
    assert set(as_completed([late, mine], timeout=60)) == {late, mine}
    assert rows(late.result()) == [(1, 1)]


def test_the_future_of_a_failed_job_has_its_error(session: smr.Session) -> None:
    future = session.map_reduce(fails, sum, range(10), retries=0).future()
    assert isinstance(future.exception(timeout=60), TaskError)
    with pytest.raises(TaskError):
        future.result()
    assert not future.cancel()


def test_to_cancel_the_future_is_to_cancel_the_job(session: smr.Session, gate: Gate) -> None:
    job = session.map_reduce(gate.pairs(), sum, range(10))
    future = job.future()
    assert future.cancel()
    assert future.cancel()
    assert future.cancelled()
    assert cancelled(job)
    assert job.cancelled()
    assert wait([future], timeout=60).done == {future}
    with pytest.raises(CancelledError):
        future.result()


def test_a_job_that_somebody_cancels_is_a_cancelled_future(session: smr.Session, gate: Gate) -> None:
    job = session.map_reduce(gate.pairs(), sum, range(10))
    future = job.future()
    session.attach(job.id).cancel()
    with pytest.raises(CancelledError):
        future.result(timeout=60)
    assert future.cancelled()


def test_the_future_of_a_job_that_is_done_is_not_cancelled(session: smr.Session) -> None:
    future = session.map_reduce(lambda item: [(item % 2, item)], sum, range(10)).wait().future()
    assert rows(future.result(timeout=60)) == SUMS
    assert not future.cancel()
    assert not future.cancelled()


def test_a_future_is_wrapped_for_asyncio(session: smr.Session, gate: Gate) -> None:
    done = session.map_reduce(lambda item: [(item % 2, item)], sum, range(10)).wait()
    open = session.map_reduce(gate.pairs(), sum, range(10))

    async def wrapped() -> pd.DataFrame:
        frame = await asyncio.wrap_future(done.future())
        task = asyncio.wrap_future(open.future())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return frame

    assert rows(asyncio.run(wrapped())) == SUMS
    assert cancelled(open)  # unlike with `await open`


class Slow:
    """A table whose rows that ask for the end of a job take until they are let through: a port like any other."""

    def __init__(self, table: Table) -> None:
        self._table, self.let_through, self.waited_in_vain = table, threading.Event(), False
        self.get, self.query, self.delete_group = table.get, table.query, table.delete_group

    def put(self, group: str, key: str, value: bytes, *, expect: int) -> Row:
        if "cancel" in key:
            self.waited_in_vain = not self.let_through.wait(60.0)
        return self._table.put(group, key, value, expect=expect)


def test_to_cancel_in_an_event_loop_does_not_hold_it_up(session: smr.Session, gate: Gate) -> None:
    standing = session.map_reduce(gate.pairs(), sum, range(10))
    entry = Ledger(session.backend.table, standing.id).job()
    assert entry is not None
    slow = Slow(session.backend.table)
    job = smr.Job(replace(session.backend, table=slow), entry, result_limit=1 << 30)

    async def given_up() -> None:
        task = asyncio.wrap_future(job.future())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(wait_until, lambda: f"smr-cancel-{job.id}" in threads_of(job))
        slow.let_through.set()

    asyncio.run(given_up())
    assert cancelled(standing)
    assert not slow.waited_in_vain


def test_who_takes_the_result_of_a_future_is_warned_once(session: smr.Session) -> None:
    job = session.map_reduce(fails, sum, range(10), on_error="skip")
    future = job.future()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wait([future], timeout=60)
    with pytest.warns(smr.LeftOutWarning, match="leaves out 1 of 10 records") as told:
        assert len(future.result()) == 9
    assert [one.filename for one in told] == [__file__]
    assert len(future.result()) == 9

    async def wrapped() -> pd.DataFrame:
        return await asyncio.wrap_future(job.future())

    assert len(asyncio.run(wrapped())) == 9  # though warnings are errors here, it is not lost
    with pytest.warns(smr.LeftOutWarning) as told:
        assert len(asyncio.run(wrapped())) == 9
    assert [one.filename for one in told] == [__file__], "the line that asked for the future, and none of asyncio's"


def test_who_takes_the_result_of_a_future_is_told_until_it_was_heard(session: smr.Session) -> None:
    future = session.map_reduce(fails, sum, range(10), on_error="skip").future()
    wait([future], timeout=60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            with pytest.raises(smr.LeftOutWarning):
                future.result()
    with pytest.warns(smr.LeftOutWarning):
        future.result()
    assert len(future.result()) == 9
