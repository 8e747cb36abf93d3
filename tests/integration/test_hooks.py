"""Hooks and counters through the real service: once an attempt, once a committed task, whatever fails, and wherever functions are run."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import pandas as pd
import pytest

import smr_notebook as smr
from smr_notebook.backends.local.platform import LocalOptions, open_local
from smr_notebook.control.ledger import Ledger
from smr_notebook.errors import CounterError, JobCancelled, TaskError
from smr_notebook.model import AttemptState
from smr_notebook.testing.waiting import wait_until

OpenSession = Callable[..., smr.Session]


@pytest.fixture
def short_invocations(tmp_path: Path) -> Iterator[smr.Session]:
    """A session whose workers may run for two seconds at a time."""
    session = smr.Session(backend=open_local(LocalOptions(str(tmp_path / "ws"), workers=2, lease_seconds=5.0, call_seconds=2.0)))
    yield session
    session.close()


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three thousand lines, every tenth of which is bad."""
    folder = tmp_path_factory.mktemp("words")
    lines = ["bad" if number % 10 == 0 else f"{'xyz'[number % 3]}{number}" for number in range(3_000)]
    (folder / "words.txt").write_text("".join(f"{line}\n" for line in lines))
    return folder


def mark(path: Path) -> None:
    """Write a file that somebody waits for."""
    whole = path.with_name(f"{path.name}.{os.getpid()}")
    whole.write_text("")
    whole.replace(path)


def load() -> dict[str, int]:
    smr.count_up("setups")
    return {"weight": 3}


def close(model: dict[str, int]) -> None:
    model.clear()
    smr.count_up("teardowns")


def weighed(model: dict[str, int], line: str) -> Iterator[tuple[str, int]]:
    smr.count_up("lines")
    if line == "bad":
        smr.count_up("bad lines")
    yield line[0], model["weight"]


def total(key: str, values: Iterator[int]) -> int:
    smr.count_up("groups")
    return sum(values)


class Doubled:
    """A reduce with hooks."""

    def __enter__(self) -> Self:
        self.factor = 2
        smr.count_up("reducers")
        return self

    def __exit__(self, *_: object) -> None:
        del self.factor

    def __call__(self, key: str, values: Iterator[int]) -> int:
        return self.factor * sum(values)


@pytest.mark.parametrize("combine", [False, True])
@pytest.mark.parametrize("split_size", [4_000, 1 << 20], ids=["many splits", "one split"])
def test_each_attempt_is_set_up_once_and_counters_do_not_depend_on_the_plan(
    session: smr.Session, words: Path, split_size: int, combine: bool
) -> None:
    job = session.map_reduce(
        smr.hooked(weighed, setup=load, teardown=close), total, words, combine=combine, split_size=split_size, reducers=2
    )
    assert dict(job.result().itertuples(index=False, name=None)) == {"b": 900, "x": 2_700, "y": 2_700, "z": 2_700}
    tasks = job.status().map.tasks
    assert dict(job.counters) == {"bad lines": 300, "groups": 4, "lines": 3_000, "setups": tasks, "teardowns": tasks}
    assert job.counters.final
    assert tasks == (1 if split_size > 20_000 else 5)


def test_hooks_change_no_byte_of_the_answer(session: smr.Session, words: Path) -> None:
    def plain(line: str) -> Iterator[tuple[str, int]]:
        yield line[0], 3

    jobs = [
        session.map_reduce(map, total, words, split_size=4_000, reducers=2)
        for map in (plain, smr.hooked(weighed, setup=load, teardown=close))
    ]
    first, second = ([(file.crc, file.size, file.rows) for part in job.parts() for file in part.files] for job in jobs)
    assert first == second


def test_an_object_with_hooks_reduces_and_so_does_one_of_frames(session: smr.Session, words: Path) -> None:
    job = session.map_reduce(smr.hooked(weighed, setup=load), Doubled(), words, reducers=2)
    assert sum(job.result()["value"]) == 18_000
    assert job.counters["reducers"] == 2

    def scaled(factor: int, frame: pd.DataFrame) -> pd.DataFrame:
        smr.count_up("rows", len(frame))
        if (frame["a"] == 13).any():
            raise ValueError("unlucky")
        return frame * factor

    frames = session.map_frames(
        smr.hooked(scaled, setup=lambda: 5), None, pd.DataFrame({"a": range(100)}), on_error="skip", max_bad=5, split_size="10MB"
    )
    with pytest.warns(smr.LeftOutWarning):
        assert frames.result()["a"].sum() == 5 * (sum(range(100)) - 13)
    assert dict(frames.counters) == {"rows": 99}  # however often its halves were tried


def test_what_a_record_counted_that_is_left_out_does_not_count(session: smr.Session, words: Path) -> None:
    def map(line: str) -> Iterator[tuple[str, int]]:
        smr.count_up("lines")
        yield "first", 1
        yield "second", 1
        if line == "bad":
            smr.count_up("bad lines")
            raise ValueError(line)

    def reduce(key: str, values: Iterator[int]) -> int:
        smr.count_up("values", sum(1 for _ in values))
        if key == "second":
            raise KeyError(key)
        return 0

    job = session.map_reduce(map, reduce, words, on_error="skip", max_bad=0.5, split_size=4_000)
    with pytest.warns(smr.LeftOutWarning, match="leaves out 300 of 3,000 records"):
        job.result()
    assert dict(job.counters) == {"lines": 2_700, "values": 2_700}


def test_attempts_that_do_not_commit_do_not_count(own_session: OpenSession, tmp_path: Path) -> None:
    """The first attempt of each task counts all of its records, and then raises, or dies."""

    def map(item: int) -> Iterator[tuple[int, int]]:
        smr.count_up("items")
        yield item % 3, item
        if item % 20 == 19 and not (tmp_path / str(item)).exists():
            mark(tmp_path / str(item))
            if item % 40 == 19:
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("once")

    job = own_session().map_reduce(smr.hooked(map, teardown=lambda: smr.count_up("teardowns")), sum, list(range(80)), reducers=1)
    assert sum(job.result()["value"]) == sum(range(80))
    assert dict(job.counters) == {"items": 80, "teardowns": job.status().map.tasks}
    assert job.status().map.failed


def test_each_leg_is_set_up_and_counts(short_invocations: smr.Session, tmp_path: Path) -> None:
    def map(line: str) -> Iterator[tuple[str, int]]:
        smr.count_up("lines")
        with pytest.raises(TimeoutError):
            wait_until(lambda: False, seconds=0.1)
        yield line, 1

    (tmp_path / "lines.txt").write_text("".join(f"{number}\n" for number in range(30)))
    hooked = smr.hooked(map, setup=lambda: smr.count_up("setups"), teardown=lambda: smr.count_up("teardowns"))
    job = short_invocations.map_reduce(hooked, sum, str(tmp_path / "lines.txt"), split_size="1MB", reducers=1)
    assert len(job.result()) == 30
    attempts = [attempt for of_task in Ledger(short_invocations.backend.table, job.id).snapshot().attempts.values() for attempt in of_task]
    legs = sum(attempt.state is AttemptState.PAUSED for attempt in attempts)
    assert legs
    assert dict(job.counters) == {"lines": 30, "setups": legs + 1, "teardowns": legs + 1}


def test_what_was_set_up_is_torn_down_after_a_failure_and_after_a_stop(own_session: OpenSession, tmp_path: Path) -> None:
    session = own_session()

    def map(item: int) -> Iterator[tuple[int, int]]:
        smr.count_up("items")
        if item < 0:
            raise ValueError("negative")
        with pytest.raises(TimeoutError):
            wait_until(lambda: False, seconds=0.01)
        yield item, item

    def submit(items: list[int], name: str) -> smr.Job:
        hooked = smr.hooked(map, setup=lambda: name, teardown=lambda torn: mark(tmp_path / torn))
        return session.map_reduce(hooked, None, items, retries=0, split_size="1MB")

    with pytest.raises(TaskError, match="ValueError in map: negative"):
        submit([-1], "after a failure").result()
    wait_until((tmp_path / "after a failure").exists)

    job = submit(list(range(10_000)), "after a stop")
    wait_until(lambda: job.counters.get("items", 0) > 0)
    assert not job.counters.final
    assert "(so far)" in repr(job.counters)
    job.cancel()
    with pytest.raises(JobCancelled):
        job.result()
    wait_until((tmp_path / "after a stop").exists)


def test_a_hook_that_fails_ends_the_job_with_its_own_line(session: smr.Session, words: Path) -> None:
    def broken() -> None:
        raise ConnectionError("no model server")

    job = session.map_reduce(smr.hooked(weighed, setup=broken), sum, words, on_error="skip", name="broken")
    with pytest.raises(TaskError, match=r"(?s)ConnectionError in the setup of map: no model server\n.*raise ConnectionError") as caught:
        job.result()
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert job.status().map.failed <= 2 * job.status().map.tasks  # twice the same, and no third time
    with pytest.raises(ConnectionError, match="no model server"):
        job.debug()
    again = job.retry_failed(map=smr.hooked(weighed, setup=load, teardown=close))
    assert sum(again.result()["value"]) == 9_000
    assert again.counters["lines"] == 3_000


def test_functions_are_set_up_wherever_they_run(session: smr.Session, words: Path) -> None:
    def map(model: dict[str, int], line: str) -> Iterator[tuple[str, int]]:
        if line == "bad":
            raise ValueError("a bad line")
        yield line[0], model["weight"]

    hooked, reduce = smr.hooked(map, setup=load, teardown=close), smr.hooked(total, setup=lambda: None)
    seen = session.preview(hooked, reduce, words, records=20, on_error="skip", max_bad=0.5, combine=True)
    assert dict(seen.result.itertuples(index=False, name=None)) == {"x": 18, "y": 18, "z": 18}
    assert "Counted groups 3 · setups 1 · teardowns 1" in repr(seen)
    plan = session.plan(hooked, reduce, words, combine=True, sort=True)
    assert plan.plan.sorting.keys
    job = session.map_reduce(hooked, reduce, words, combine=True, sort=True, split_size=4_000)
    with pytest.raises(TaskError, match="a bad line"):
        job.result()
    with pytest.raises(ValueError, match="a bad line"):
        job.debug()
    given = job.debug(map=smr.hooked(lambda model, line: [(line, model["weight"])], setup=load)).given
    assert given == [("bad", 3)]


@pytest.mark.parametrize("sort", [None, "keys"])
def test_what_fails_where_a_job_is_planned_is_left_to_the_job_but_for_an_interrupt(
    session: smr.Session, words: Path, sort: str | None
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    def broken() -> None:
        raise ConnectionError

    for hooked in (smr.hooked(weighed, setup=broken), smr.hooked(weighed, setup=load)):
        plan = session.plan(hooked, smr.hooked(total, setup=broken), words, combine=True, sort=sort, reducers=2)
        assert plan.plan.maps
    with pytest.raises(KeyboardInterrupt):
        session.plan(smr.hooked(weighed, setup=interrupted), total, words, combine=sort is None, sort=sort, reducers=2)
    if sort is None:
        with pytest.raises(KeyboardInterrupt):
            session.plan(smr.hooked(weighed, setup=load), smr.hooked(total, setup=interrupted), words, combine=True)


def test_an_answer_so_far_is_set_up_in_this_process(own_session: OpenSession, tmp_path: Path) -> None:
    here = os.getpid()

    def map(item: int) -> Iterator[tuple[int, int]]:
        if item == 39 and os.getpid() != here:  # not where the combiner's law is tried
            wait_until((tmp_path / "go on").exists)
        smr.count_up("items")
        yield item % 2, 1

    session = own_session(speculate=False)
    reduce = smr.hooked(lambda one, key, values: one * sum(values), setup=lambda: 1)
    job = session.map_reduce(map, reduce, list(range(40)), combine=True, split_size=1, reducers=1)
    wait_until(lambda: job.status().map.done == job.status().map.tasks - 1 > 0)
    assert 0 < job.so_far().frame["value"].sum() < 40
    assert 0 < job.counters["items"] < 40
    mark(tmp_path / "go on")
    assert job.result()["value"].tolist() == [20, 20]
    assert dict(job.counters) == {"items": 40}


def test_a_thousand_names_are_refused(session: smr.Session, words: Path) -> None:
    def map(line: str) -> Iterator[tuple[str, int]]:
        smr.count_up(line)
        yield line, 1

    job = session.map_reduce(map, sum, words, name="names")
    with pytest.raises(TaskError, match=r"CounterError in map: There are more than 50 counters"):
        job.result()
    assert job.status().map.failed == job.status().map.tasks  # and not tried again

    def few_each(source: str, item: int) -> Iterator[tuple[int, int]]:
        smr.count_up(f"item {item}")
        yield item, 1

    with pytest.raises(CounterError, match="There are more than 50 counters: 'item 0'"):
        session.map_reduce(few_each, sum, list(range(80)), split_size=1).result()


def test_calls_of_an_executor_count(session: smr.Session) -> None:
    def call(number: int) -> int:
        smr.count_up("calls")
        return number**2

    with smr.Executor(session) as executor:
        assert list(executor.map(call, range(5))) == [0, 1, 4, 9, 16]
    counted: Counter[str] = Counter()
    for info in session.jobs():
        counted.update(session.attach(info.id).counters)
    assert counted["calls"] == 5


def test_the_example_of_the_paper(session: smr.Session, tmp_path: Path) -> None:
    """The first block of `docs/hooks.md`, over files of this test."""
    with closing(sqlite3.connect(tmp_path / "prices.db")) as prices, prices:
        prices.execute("create table prices (product text, price int)")
        prices.executemany("insert into prices values (?, ?)", [("tea", 3), ("cake", 5)])
    (tmp_path / "day.txt").write_text("tea 2\ncake 1\nair 7\ntea 1\n")
    block = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    for there, here in (
        ("file:prices.db", f"file:{tmp_path}/prices.db"),
        ("sales/*.txt", f"{tmp_path}/*.txt"),
        ("smr.map_reduce", "session.map_reduce"),
    ):
        assert there in block
        block = block.replace(there, here)
    space: dict[str, Any] = {"__name__": "__main__", "smr": smr, "sqlite3": sqlite3, "session": session}
    exec(block, space)  # noqa: S102 - our own
    assert dict(space["job"].result().itertuples(index=False, name=None)) == {"cake": 5, "tea": 9}
    assert dict(space["job"].counters) == {"unknown products": 1}
