"""Real processes killed with a real SIGKILL at any moment: whoever attaches gets the same answer."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import smr_notebook as smr
from smr_notebook.backends.local.client import LocalFunctions
from smr_notebook.backends.local.wire import Status
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.messages import attempt_message, encode
from smr_notebook.model import AttemptId
from smr_notebook.testing.waiting import wait_until

ITEMS = list(range(48))


def slow(item: int) -> Iterator[tuple[int, int]]:
    threading.Event().wait(0.02)
    yield item % 5, item


def collected(key: int, values: Iterator[int]) -> list[int]:
    return list(values)


EXPECTED = [(key, [item for item in ITEMS if item % 5 == key]) for key in range(5)]
OpenSession = Callable[..., smr.Session]


def rows(job: smr.Job) -> list[Any]:
    return list(job.result().itertuples(index=False, name=None))


def service(session: smr.Session) -> Status:
    functions = session.backend.functions
    assert isinstance(functions, LocalFunctions)
    status = functions.status()
    assert status is not None
    return status


def submit(session: smr.Session) -> smr.Job:
    return session.map_reduce(slow, collected, ITEMS, reducers=2)


def kill(*pids: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


@pytest.mark.parametrize("seed", range(6))
def test_any_one_worker_or_the_coordinator_is_killed(own_session: OpenSession, seed: int) -> None:
    chance = random.Random(seed)
    session = own_session()
    job = submit(session)
    done = chance.randrange(0, 10)
    wait_until(lambda: service(session).workers and job.status().map.done >= done)
    kill(chance.choice(service(session).workers))
    assert rows(job) == EXPECTED


@pytest.mark.parametrize("seed", range(2))
def test_all_workers_and_the_coordinator_are_killed_at_once(own_session: OpenSession, seed: int) -> None:
    session = own_session()
    job = submit(session)
    wait_until(lambda: service(session).workers and job.status().map.done >= seed * 5)
    kill(*service(session).workers)
    assert rows(job) == EXPECTED


@pytest.mark.parametrize("seed", range(3))
def test_the_service_is_killed_and_whoever_watches_starts_another(own_session: OpenSession, seed: int) -> None:
    session = own_session()
    job = submit(session)
    wait_until(lambda: job.status().map.done >= seed * 5)
    first = service(session).pid
    kill(first)
    assert rows(job) == EXPECTED
    assert service(session).pid != first


def test_the_kernel_is_killed_and_another_one_attaches(own_session: OpenSession, tmp_path: Path) -> None:
    kernel = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent("""
                import sys, threading
                import smr_notebook as smr
                from smr_notebook.config import Settings
                from pathlib import Path

                def slow(item):
                    threading.Event().wait(0.02)
                    yield item % 5, item

                session = smr.Session(settings=Settings(workspace=Path(sys.argv[1]), workers=2, lease_seconds=2.0))
                job = session.map_reduce(slow, lambda key, values: list(values), list(range(48)), reducers=2, name="left alone")
                print(job.id, flush=True)
                job.wait()
            """),
            str(tmp_path / "ws"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert kernel.stdout is not None
    identifier = kernel.stdout.readline().strip()
    kernel.kill()
    kernel.wait()
    kernel.stdout.close()
    session = own_session()
    assert [info.name for info in session.jobs()] == ["left alone"]
    assert rows(session.attach(identifier)) == EXPECTED


def test_two_sessions_share_a_workspace_and_its_service(own_session: OpenSession) -> None:
    first, second = own_session(), own_session()
    jobs = [submit(first), submit(second)]
    assert service(first).pid == service(second).pid
    assert [rows(job) for job in jobs] == [EXPECTED, EXPECTED]
    assert Counter(info.id for info in first.jobs()) == Counter(job.id for job in jobs)


def test_a_worker_that_user_code_ends_for_good_is_told_as_lost(own_session: OpenSession) -> None:
    session = own_session()
    with pytest.raises(smr.errors.WorkerLostError, match="exit"):
        session.map_reduce(lambda item: os._exit(3), None, [1], retries=1, wait=True)


def test_a_call_that_lets_no_thread_run_gives_its_worker_back(own_session: OpenSession) -> None:
    def backtracks(item: int) -> Iterator[tuple[int, int]]:
        yield item, bool(re.match(r"(a+)+$", "a" * 60 + "b"))

    session = own_session(lease_seconds=1.0)
    job = session.map_reduce(backtracks, None, range(4))
    wait_until(lambda: job.status().map.running == 2)
    job.cancel()
    with pytest.raises(smr.errors.JobCancelled):
        job.result()
    assert rows(submit(session)) == EXPECTED


def test_a_worker_that_stood_still_past_its_lease_is_replaced_and_spoils_nothing_when_it_goes_on(own_session: OpenSession) -> None:
    """A zombie: it works on an attempt that was given up, and offers its output when another one's may stand."""
    session = own_session(lease_seconds=1.0)
    job = submit(session)
    wait_until(lambda: job.status().map.running == 2)
    (busy, *_) = busy_workers(session)
    os.kill(busy, signal.SIGSTOP)
    try:
        wait_until(lambda: any("nothing was heard" in sentence for sentence in job.troubles), 30.0)
    finally:
        os.kill(busy, signal.SIGCONT)
    assert rows(job) == EXPECTED


def busy_workers(session: smr.Session) -> list[int]:
    """Return the workers, those first that are at an attempt: there, a heart beats in a thread of its own."""
    pids = service(session).workers
    return sorted(pids, key=lambda pid: -psutil.Process(pid).num_threads())


def test_calls_that_come_twice_are_worked_on_once(own_session: OpenSession) -> None:
    session = own_session()
    job = submit(session)
    ledger, again = Ledger(session.backend.table, job.id), set[AttemptId]()
    while not job.done():
        for attempt in (attempt.id for of_task in ledger.snapshot().attempts.values() for attempt in of_task):
            if attempt not in again:
                again.add(attempt)
                session.backend.functions.invoke(encode(attempt_message(job.id, attempt)))
        session.backend.clock.sleep(0.01)
    assert rows(job) == EXPECTED
    assert len(again) > 10
    assert job.troubles == ()
    assert job.status().map.retried == job.status().reduce.retried == 0
