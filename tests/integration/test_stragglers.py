"""Tasks that take long, on real processes: one that hangs gets a backup, one that outlives its invocation goes on in the next."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import smr_notebook as smr
from smr_notebook.backends.local.platform import LocalOptions, open_local
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger
from smr_notebook.model import Attempt, AttemptState, Phase
from smr_notebook.testing.waiting import wait_until

OpenSession = Callable[..., smr.Session]


@pytest.fixture
def short_invocations(tmp_path: Path) -> Iterator[smr.Session]:
    """A session whose workers may run for two seconds at a time."""
    session = smr.Session(backend=open_local(LocalOptions(str(tmp_path / "ws"), workers=2, lease_seconds=5.0, call_seconds=2.0)))
    yield session
    session.close()


def attempts_of(job: smr.Job, session: smr.Session) -> list[Attempt]:
    snapshot = Ledger(session.backend.table, job.id).snapshot()
    return [attempt for task in sorted(snapshot.attempts) for attempt in snapshot.attempts[task]]


def hangs_once(folder: Path, item: int) -> None:
    """Wait until somebody says so, which nobody does; but only who comes first."""
    try:
        os.close(os.open(folder / f"hangs-{item}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    wait_until((folder / "go on").exists, seconds=120)


def test_a_task_that_hangs_gets_a_backup_and_the_job_ends(own_session: OpenSession, tmp_path: Path) -> None:
    def map(item: int) -> Iterator[tuple[int, int]]:
        if item == 5:
            hangs_once(tmp_path, item)
        yield item % 5, item

    session = own_session()
    items = list(range(24))
    job = session.map_reduce(map, list, items, split_size=1, reducers=2)
    rows = list(job.result().itertuples(index=False, name=None))
    assert rows == [(key, [item for item in items if item % 5 == key]) for key in range(5)]
    counts = job.status().map
    assert (counts.speculative, counts.retried, counts.failed) == (1, 0, 0)
    (first, backup) = [attempt for attempt in attempts_of(job, session) if attempt.id.task == slow_task(job, session)]
    assert (first.state, backup.state, backup.speculative) == (AttemptState.STOPPED, AttemptState.DONE, True)
    assert first.owner != backup.owner


def slow_task(job: smr.Job, session: smr.Session) -> object:
    return next(attempt.id.task for attempt in attempts_of(job, session) if attempt.speculative)


def test_a_loser_leaves_nothing_behind(own_session: OpenSession, tmp_path: Path) -> None:
    """Its process, which does not hear, is ended; what it wrote is deleted. Without reducers, parts are what stays."""

    def map(item: int) -> Iterator[tuple[int, int]]:
        yield item, item
        if item == 5:
            hangs_once(tmp_path, item)

    session = own_session()
    job = session.map_reduce(map, None, list(range(24)), split_size=1)
    assert sorted(job.result()["value"]) == list(range(24))
    (loser,) = [attempt for attempt in attempts_of(job, session) if attempt.state is AttemptState.STOPPED]
    wait_until(lambda: not list(session.backend.objects.list_prefix(Layout(job.id).attempt(loser.id) + "/")))


def test_who_turned_backups_off_waits(own_session: OpenSession, tmp_path: Path) -> None:
    def map(item: int) -> Iterator[tuple[int, int]]:
        if item == 5:
            hangs_once(tmp_path, item)
        yield item % 5, item

    session = own_session(speculate=False)
    job = session.map_reduce(map, sum, list(range(24)), split_size=1, reducers=2)
    wait_until(lambda: job.status().map.done == job.status().map.tasks - 1 > 0)
    (tmp_path / "go on").touch()
    assert sorted(job.result()["value"]) == sorted(sum(range(key, 24, 5)) for key in range(5))
    assert job.status().map.speculative == 0


def test_a_task_that_outlives_its_invocation_goes_on_in_the_next(short_invocations: smr.Session, tmp_path: Path) -> None:
    """Thirty records of a tenth of a second in one split, and groups that take as long."""

    def takes_long() -> None:
        with pytest.raises(TimeoutError):
            wait_until(lambda: False, seconds=0.1)

    def map(item: str) -> Iterator[tuple[int, int]]:
        takes_long()
        yield int(item) % 25, int(item)

    def reduce(key: int, values: Iterator[int]) -> int:
        takes_long()
        return sum(values)

    text = tmp_path / "numbers.txt"
    text.write_text("".join(f"{number}\n" for number in range(30)))
    job = short_invocations.map_reduce(map, reduce, str(text), split_size="1MB", reducers=1)
    assert dict(job.result().itertuples(index=False, name=None)) == {key: sum(range(key, 30, 25)) for key in range(25)}
    legs = Counter(attempt.id.task.phase for attempt in attempts_of(job, short_invocations) if attempt.state is AttemptState.PAUSED)
    assert legs[Phase.MAP] > 0 < legs[Phase.REDUCE]
    assert (job.status().map.retried, job.status().map.failed) == (0, 0)
