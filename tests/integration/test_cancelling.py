"""Cancel that cancels: whatever the functions do, nothing of the job runs on this machine a moment later."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import smr_notebook as smr
from smr_notebook.backends.local.client import LocalFunctions
from smr_notebook.backends.local.wire import Status
from smr_notebook.cli import main
from smr_notebook.control.ledger import Ledger
from smr_notebook.errors import JobCancelled, JobNotFoundError
from smr_notebook.testing.waiting import wait_until

OpenSession = Callable[..., smr.Session]


def service(session: smr.Session) -> Status:
    functions = session.backend.functions
    assert isinstance(functions, LocalFunctions)
    status = functions.status()
    assert status is not None
    return status


def spins(item: int) -> Iterator[tuple[int, int]]:
    """Never asks."""
    while item >= 0:
        pass
    yield item, 1


def backtracks(item: int) -> Iterator[tuple[int, int]]:
    """One call in C, which lets no other thread of its process run: the heart cannot beat, nor hear."""
    yield item, bool(re.match(r"(a+)+$", "a" * 60 + "b"))


def swallows(item: int) -> Iterator[tuple[int, int]]:
    """Takes the wish for an error of its own."""
    while True:
        with contextlib.suppress(BaseException):
            yield item, threading.Event().wait(0.01)


def endless(item: int) -> Iterator[tuple[int, int]]:
    while True:
        yield item, 1


def starts_others(item: int) -> Iterator[tuple[int, int]]:
    """Leaves the work to a process of its own."""
    import subprocess

    subprocess.run(["/bin/sleep", "1000"], check=True)
    yield item, 1


def late(key: int, values: Iterator[int]) -> int:
    """The same in `reduce`."""
    while True:
        pass


@pytest.mark.parametrize("stubborn", [spins, backtracks, swallows, endless, starts_others])
def test_whatever_map_does_it_is_ended(own_session: OpenSession, stubborn: Callable[[int], Any]) -> None:
    """Though a lease is so long that no watchdog would act in the time of this test."""
    session = own_session(lease_seconds=600.0)
    job = session.map_reduce(stubborn, None, range(50), split_size=1)
    wait_until(lambda: job.status().map.running == 2)
    workers = [psutil.Process(pid) for pid in service(session).workers]
    others = [child for worker in workers for child in worker.children(recursive=True)]
    assert job.cancel()
    job.cancel()  # twice is once
    with pytest.raises(JobCancelled, match="cancelled by the user"):
        job.result()
    wait_until(lambda: (status := service(session)).running == status.queued == status.sleeping == 0, 30.0)
    wait_until(lambda: not any(other.is_running() and other.status() != psutil.STATUS_ZOMBIE for other in others))
    attempts = [one for of_task in Ledger(session.backend.table, job.id).snapshot().attempts.values() for one in of_task]
    assert not any(one.live for one in attempts)
    assert not job.cancel()
    assert session.map_reduce(lambda item: [(item, 1)], sum, range(5)).result()["value"].tolist() == [1] * 5


def test_whatever_reduce_does_it_is_ended(own_session: OpenSession) -> None:
    session = own_session(lease_seconds=600.0)
    job = session.map_reduce(lambda item: [(item, 1)], late, range(4), reducers=2)
    wait_until(lambda: job.status().reduce.running)
    assert job.cancel()
    assert isinstance(job.exception(), JobCancelled)
    wait_until(lambda: (status := service(session)).running == status.queued == 0, 30.0)
    snapshot = Ledger(session.backend.table, job.id).snapshot()
    assert len(snapshot.commits) == job.status().map.tasks  # what was done stays for `resume`


def test_what_is_queued_is_dropped_and_other_jobs_go_on(own_session: OpenSession) -> None:
    session = own_session(lease_seconds=600.0)
    stubborn = session.map_reduce(spins, None, range(50), split_size=1)
    wait_until(lambda: stubborn.status().map.running == 2)
    waiting = session.map_reduce(lambda item: [(item % 2, item)], sum, range(20))
    assert stubborn.cancel()
    assert waiting.result()["value"].tolist() == [90, 100]


def test_a_job_is_cancelled_by_any_process_and_told_so_once(
    own_session: OpenSession, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    session = own_session()
    job = session.map_reduce(endless, None, range(3))
    wait_until(lambda: job.status().map.running)
    monkeypatch.setenv("SMR_WORKSPACE", str(tmp_path / "ws"))
    assert main(["cancel", job.id[:6]]) == 0
    assert isinstance(job.exception(), JobCancelled)
    assert main(["cancel", job.id]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{job.id} is being cancelled", f"{job.id} has ended already: cancelled"]


def test_a_job_that_was_removed_is_not_cancelled(session: smr.Session) -> None:
    job = session.map_reduce(lambda item: [(item, 1)], None, [1]).wait()
    assert not job.cancel()
    session.backend.table.delete_group(job.id)
    with pytest.raises(JobNotFoundError, match="gone"):
        job.cancel()
    with pytest.raises(JobNotFoundError, match="gone"):
        job.done()  # who asks again and again would ask for ever
    assert "removed" in repr(job)
    assert session.backend.table.query(job.id) == []
