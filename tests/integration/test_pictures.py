"""The timeline and the skew of real jobs: while they attempt, when they are done, when they failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import smr_notebook as smr
from smr_notebook.control.expiry import remove_job
from smr_notebook.control.layout import Layout
from smr_notebook.control.skews import read_skew
from smr_notebook.errors import CorruptObjectError, JobNotFoundError, TaskError
from smr_notebook.model import Part, Phase
from smr_notebook.pictures.timed_attempts import Fate
from smr_notebook.ports import ObjectStore
from smr_notebook.testing.waiting import wait_until


def mark(path: Path) -> None:
    """Make a file, whole at once."""
    path.with_suffix(".new").touch()
    path.with_suffix(".new").replace(path)


def hot(item: int) -> Iterator[tuple[str, int]]:
    """Give one key to half of all pairs."""
    yield "hot", item
    yield f"key {item % 40}", item


def test_a_job_that_is_done_has_an_attempt_for_each_task(session: smr.Session) -> None:
    job = session.map_reduce(hot, lambda key, values: sum(values), range(400), reducers=4).wait()
    timeline = job.timeline()
    status = job.status()
    done = [attempt for attempt in timeline.attempts if attempt.fate is Fate.DONE]  # on a loaded machine others are lost beside them
    tasks = [("map", number) for number in range(status.map.tasks)] + [("reduce", number) for number in range(status.reduce.tasks)]
    assert sorted((attempt.phase, attempt.task) for attempt in done) == tasks
    assert (timeline.state, timeline.job) == ("done", job.id)
    assert all(attempt.started is not None and attempt.ended is not None for attempt in done)  # of clocks that may be set meanwhile
    again = job.timeline()
    assert [attempt for attempt in again.attempts if attempt.fate is Fate.DONE] == done, "what has ended does not change"
    assert (again.submitted, again.until) == (timeline.submitted, timeline.until)


def test_the_skew_of_a_job_that_is_done_names_the_heavy_partition(session: smr.Session) -> None:
    job = session.map_reduce(hot, lambda key, values: sum(values), range(400), reducers=8).wait()
    wait_until(lambda: not list(session.backend.objects.list_prefix(Layout(job.id).phase(Phase.MAP))), seconds=60)
    skew = job.skew()
    assert sum(share.pairs for share in skew.shares) == 800
    assert sum(share.keys or 0 for share in skew.shares) == sum(share.rows or 0 for share in skew.shares) == 41
    assert len(skew.shares) == 8
    assert skew.heaviest is not None
    assert skew.heaviest.pairs >= 400
    assert skew.ratio > 2
    assert all(share.bytes is not None and share.seconds is not None for share in skew.shares)
    assert skew.keys == ()
    assert "goes when a job is done" in repr(skew)
    assert skew.to_frame()["pairs"].max() == skew.heaviest.pairs


def test_a_job_that_failed_shows_what_failed_and_its_heaviest_key(session: smr.Session) -> None:
    def reduce(key: str, values: Iterator[int]) -> int:
        return 1 // (key != "hot") + sum(values)

    job = session.map_reduce(hot, reduce, range(400), reducers=4, retries=1)
    with pytest.raises(TaskError, match="ZeroDivisionError"):
        job.wait()
    timeline, skew = job.timeline(), job.skew()
    wrong = [attempt for attempt in timeline.attempts if attempt.fate is Fate.FAILED]
    assert [(attempt.phase, attempt.number, attempt.error) for attempt in wrong] == [
        ("reduce", number, "ZeroDivisionError") for number in (1, 2)
    ]
    assert timeline.state == "failed"
    assert skew.heaviest is not None
    assert skew.keys_of == skew.heaviest.number
    assert skew.keys_pairs == skew.heaviest.pairs
    assert [(key.key, key.pairs) for key in skew.keys][:1] == [("hot", 400)]
    assert all(share.bytes for share in skew.shares)
    assert "key 'hot' 400 pairs" in repr(skew)
    again = job.retry_failed(reduce=lambda key, values: sum(values)).wait()
    mended = again.timeline()
    assert mended.taken_over >= again.status().map.tasks
    assert mended.taken_over + len(mended.attempts) == again.status().map.tasks + again.status().reduce.tasks
    assert sum(share.pairs for share in again.skew().shares) == 800


def test_a_job_can_be_looked_at_while_it_runs(session: smr.Session, tmp_path: Path) -> None:
    began, go_on = tmp_path / "began", tmp_path / "go_on"

    def map(item: int) -> Iterator[tuple[str, int]]:
        if item == 5:
            mark(began)
            wait_until(go_on.exists, seconds=120)
        yield "hot", item

    job = session.map_reduce(map, lambda key, values: sum(values), range(6), reducers=2, split_size=1)
    assert job.timeline().state in {"submitted", "map"}
    try:
        wait_until(began.exists, seconds=120)
        wait_until(lambda: job.status().map.done == job.status().map.tasks - 1, seconds=120)
        timeline, skew = job.timeline(), job.skew()
    finally:
        mark(go_on)
    (running,) = [attempt for attempt in timeline.attempts if attempt.fate is Fate.RUNNING]
    assert (running.phase, running.ended) == ("map", None)
    assert running.ran(timeline.until) > 0
    assert timeline.state == "map"
    assert (skew.read, skew.maps) == (job.status().map.tasks - 1, job.status().map.tasks)
    assert sum(share.pairs for share in skew.shares) == 5
    assert [(key.key, key.pairs) for key in skew.keys] == [("hot", 5)]
    assert f"of {skew.read} of {skew.maps} map tasks" in skew.summary()
    assert job.wait().timeline().state == "done"


class Overtaken:
    """An object store that lets something happen before the first run of a map task is read."""

    def __init__(self, objects: ObjectStore, before: Callable[[], object]) -> None:
        self.list_prefix = objects.list_prefix
        self.put = objects.put
        self.delete_prefix = objects.delete_prefix
        self._objects = objects
        self._before: list[Callable[[], object]] = [before]

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        if key.endswith("/run") and self._before:
            self._before.pop()()
        return self._objects.get(key, start, stop)


@pytest.mark.parametrize("phase", [Phase.MAP, Phase.REDUCE])
def test_a_job_may_be_done_before_its_skew_is_told(phase: Phase, session: smr.Session, tmp_path: Path) -> None:
    go_on = tmp_path / "go_on"

    def map(item: int) -> Iterator[tuple[str, int]]:
        if phase is Phase.MAP and item == 5:
            wait_until(go_on.exists, seconds=120)
        yield "hot", item

    def reduce(key: str, values: Iterator[int]) -> int:
        wait_until(go_on.exists, seconds=120)
        return sum(values)

    job = session.map_reduce(map, reduce, range(6), reducers=1, split_size=1)

    def finish() -> None:
        mark(go_on)
        job.wait()
        wait_until(lambda: not list(session.backend.objects.list_prefix(Layout(job.id).phase(Phase.MAP))), seconds=60)

    try:
        wait_until(lambda: job.status().map.done >= job.status().map.tasks - (phase is Phase.MAP) > 0, seconds=120)
        wait_until(lambda: phase is Phase.MAP or job.status().reduce.running, seconds=120)
        skew = read_skew(replace(session.backend, objects=Overtaken(session.backend.objects, finish)), job.id)
    finally:
        mark(go_on)
    assert [share.pairs for share in skew.shares] == [6]
    assert skew.keys == ()
    assert "goes when a job is done" in skew.no_keys


def test_without_a_reduce_the_map_tasks_are_compared(session: smr.Session) -> None:
    job = session.map_reduce(lambda item: [(item, number) for number in range(item)], None, range(8), split_size=1).wait()
    skew = job.skew()
    parts: tuple[Part, ...] = job.parts()
    assert skew.noun == "map task"
    assert [share.rows for share in skew.shares] == [part.rows for part in parts]
    assert sum(share.pairs for share in skew.shares) == 28
    assert skew.keys == ()
    assert "keys" not in repr(skew)


def test_the_splits_of_a_plan_are_a_histogram(session: smr.Session, war_and_peace: Path) -> None:
    plan = session.plan(lambda line: [(line, 1)], None, str(war_and_peace), split_size=500_000)
    sizes = plan.split_sizes()
    assert [split.bytes for split in sizes.splits] == [split.bytes for split in plan.splits]
    assert sum(one.count for one in sizes.bins) == plan.plan.maps
    assert {split.first for split in sizes.splits} == {str(war_and_peace)}


def test_a_job_that_is_removed_before_its_skew_is_told_is_gone(session: smr.Session) -> None:
    """Its rows stand until all that it stored is deleted."""
    job = session.map_reduce(hot, lambda key, values: 1 // 0, range(40), reducers=2, retries=0)
    assert isinstance(job.exception(), TaskError)
    objects = session.backend.objects
    removed = Overtaken(objects, lambda: objects.delete_prefix(Layout(job.id).root))
    with pytest.raises(JobNotFoundError):
        read_skew(replace(session.backend, objects=removed), job.id)


def test_a_run_that_is_gone_of_a_job_that_stands_is_told(session: smr.Session) -> None:
    job = session.map_reduce(hot, lambda key, values: 1 // 0, range(40), reducers=2, retries=0)
    assert isinstance(job.exception(), TaskError)
    objects = session.backend.objects
    damaged = Overtaken(objects, lambda: objects.delete_prefix(Layout(job.id).phase(Phase.MAP)))
    with pytest.raises(CorruptObjectError, match="run is missing"):
        read_skew(replace(session.backend, objects=damaged), job.id)


def test_of_a_job_that_is_gone_nothing_is_told(session: smr.Session) -> None:
    job = session.map_reduce(hot, None, range(4)).wait()
    remove_job(session.backend.objects, session.backend.table, job.id)
    for look in (job.timeline, job.skew):
        with pytest.raises(JobNotFoundError):
            look()
