"""An answer so far: that of plain Python over the records of the tasks that are done, and at the end that of the job."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

import smr_notebook as smr
from smr_notebook.control.early_answers import reduce_early
from smr_notebook.control.expiry import remove_job
from smr_notebook.control.keys import keys_of
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.plans import read_code, read_plan
from smr_notebook.control.work import Errand, input_of
from smr_notebook.dataflow.code import load_program
from smr_notebook.dataflow.memory import Room
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.results import load_frame
from smr_notebook.errors import (
    ConfigError,
    ConservationError,
    CorruptObjectError,
    JobNotFoundError,
    ResultTooLargeError,
    TaskError,
    TooManyBadError,
)
from smr_notebook.job.so_far import SoFar
from smr_notebook.model import AttemptId, Commit, JobState, Phase, Plan, TaskId
from smr_notebook.ports import Backend, ObjectStore
from smr_notebook.testing.waiting import wait_until

BAD = 123  # the record that fails, so that the job keeps what its map tasks wrote


def value_of(number: int) -> float | int:
    return (number * 31) % 17 if number % 3 else ((number * 7919) % 101) / 8


def pairs(number: int) -> Iterator[tuple[int, float | int]]:
    yield number % 5, value_of(number // (number != BAD))


def total(key: int, values: Iterator[float]) -> float:
    return math.fsum(values)


class Mapped:
    """A job that is done and has left something out, so that its splits and runs are all there."""

    def __init__(self, session: smr.Session, job: smr.Job) -> None:
        self.backend, self.job = session.backend, job
        self.result = job.result()
        self.plan: Plan = read_plan(self.backend.objects, job.id, keys_of(self.backend.table))
        standing = Ledger(self.backend.table, job.id).snapshot().commits
        self.commits = [commit for task, commit in sorted(standing.items()) if task.phase is Phase.MAP]

    def early(self, commits: list[Commit], scratch: Path, *, limit_bytes: int = 1 << 30) -> pd.DataFrame:
        found = reduce_early(self.backend, self.plan, commits, scratch=scratch, limit_bytes=limit_bytes)
        return load_frame(found.objects, found.parts, limit_bytes=limit_bytes)

    def records(self, number: int) -> list[Any]:
        """Return the records of a map task."""
        attempt = AttemptId(TaskId(Phase.MAP, number), 1)
        program, _ = load_program(read_code(self.backend.objects, self.job.id, keys_of(self.backend.table)))
        errand = Errand(self.backend, self.plan, program, attempt, Meter(), Path(), Room(1 << 26))
        return [record for block in input_of(errand).blocks() for record in block.records]


def mapped(session: smr.Session, reduce: Any, **options: Any) -> Mapped:
    job = session.map_reduce(pairs, reduce, range(400), split_size=300, reducers=3, on_error="skip", **options)
    with pytest.warns(smr.LeftOutWarning):
        return Mapped(session, job)


REDUCES: dict[str, tuple[Any, Callable[[list[Any]], Any]]] = {
    "smr.sum": (smr.sum, math.fsum),
    "smr.count": (smr.count, len),
    "smr.mean": (smr.mean, lambda values: math.fsum(values) / len(values)),
    "smr.min": (smr.min, min),
    "smr.max": (smr.max, max),
    "smr.first": (smr.first, lambda values: values[0]),
    "smr.collect": (smr.collect, list),
    "smr.top": (smr.top(3), lambda values: sorted(values, reverse=True)[:3]),
    "min": (min, min),
    "len": (len, len),
    "list": (list, list),
    "sorted": (sorted, sorted),
    "set": (set, set),
    "any": (any, any),
    "total": (total, math.fsum),
}


@pytest.fixture(scope="module", params=REDUCES)
def job(request: pytest.FixtureRequest, session: smr.Session) -> tuple[Mapped, Callable[[list[Any]], Any]]:
    reduce, plain = REDUCES[request.param]
    return mapped(session, reduce, combine=True if reduce is total else None), plain


@settings(max_examples=8)
@given(data=st.data())
def test_any_tasks_give_what_plain_python_gives_for_their_records(
    data: st.DataObject, job: tuple[Mapped, Callable[[list[Any]], Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    mapped, plain = job
    tasks = data.draw(st.lists(st.sampled_from(range(len(mapped.commits))), unique=True).map(sorted))
    frame = mapped.early([mapped.commits[task] for task in tasks], tmp_path_factory.mktemp("scratch"))
    groups: dict[int, list[Any]] = {}
    for task in tasks:
        for number in mapped.records(task):
            if number != BAD:
                groups.setdefault(number % 5, []).append(value_of(number))
    assert frame["key"].tolist() == sorted(groups)
    assert dict(zip(frame["key"], frame["value"], strict=True)) == {key: plain(groups[key]) for key in groups}


def test_all_tasks_give_the_answer(job: tuple[Mapped, Callable[[list[Any]], Any]], tmp_path: Path) -> None:
    mapped, _ = job
    assert len(mapped.commits) > 8
    assert_frame_equal(mapped.early(mapped.commits, tmp_path), mapped.result)


def lines(folder: Path) -> str:
    """Write a thousand rows, one of them no JSON."""
    for number in range(4):
        rows = [json.dumps({"user": f"u{row % 7}", "amount": row / 8}) for row in range(number, 1000, 4)]
        (folder / f"{number}.jsonl").write_text("\n".join([*rows, *(["{"] if number == 2 else [])]))
    return str(folder / "*.jsonl")


def test_columns_and_frames_give_the_answer_too(session: smr.Session, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    files = lines(tmp_path / "in")

    def summed(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.groupby("user").agg(amount=("amount", "sum")).reset_index()

    jobs = [
        session.aggregate(files, by="user", total=smr.sum("amount"), n=smr.count(), split_size="2KB", reducers=2, on_error="skip"),
        session.map_frames(summed, summed, files, by="user", combine=True, split_size="2KB", reducers=2, on_error="skip"),
    ]
    for job in jobs:
        with pytest.warns(smr.LeftOutWarning):
            done = Mapped(session, job)
        assert_frame_equal(done.early(done.commits, tmp_path), done.result)
        some = done.early(done.commits[::2], tmp_path)
        assert some.columns.tolist() == done.result.columns.tolist()
        assert 0 < some.iloc[:, 1].sum() < done.result.iloc[:, 1].sum()


def test_what_is_wrong_with_a_run_or_a_sum_is_an_error(session: smr.Session, tmp_path: Path) -> None:
    done = mapped(session, smr.sum)
    lying = replace(done.commits[0], numbers=replace(done.commits[0].numbers, pairs_out=1))
    with pytest.raises(ConservationError, match="pairs in the run of map task 0"):
        done.early([lying, *done.commits[1:]], tmp_path)
    with pytest.raises(ResultTooLargeError, match="result_limit"):
        done.early(done.commits, tmp_path, limit_bytes=100)
    run = done.commits[1].receipts[0].key
    data = bytearray(done.backend.objects.get(run))
    data[len(data) // 4] ^= 1
    done.backend.objects.put(run, bytes(data))
    done.early(done.commits[2:], tmp_path)
    with pytest.raises(CorruptObjectError):
        done.early(done.commits, tmp_path)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- while a job runs


class Gate:
    """Holds a record up until it is opened."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def map(self, held: Callable[[int], bool]) -> Callable[[int], Iterator[tuple[int, int]]]:
        file = str(self.file)

        def pairs(number: int) -> Iterator[tuple[int, int]]:
            import os
            import threading

            while held(number) and not os.path.exists(file):  # noqa: PTH110 - a worker that waits
                threading.Event().wait(0.005)
            yield number % 5, 1

        return pairs


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.file.touch()


def test_a_job_that_runs_tells_what_it_has(session: smr.Session, gate: Gate) -> None:
    job = session.map_reduce(gate.map(lambda number: number >= 200), smr.count, range(400), split_size=300, reducers=3)
    wait_until(lambda: job.status().map.done >= 3, 60.0)
    some = job.so_far()
    assert 3 <= some.tasks < some.of
    assert 0 < some.share <= some.tasks / some.of * 2
    assert 0 < some.frame["value"].sum() <= 200
    assert not some.whole
    told = rf"{job.id} so far: {some.tasks} of {some.of} map tasks: [\d.]+ % of the input, and not the answer"
    assert re.fullmatch(told, repr(some).partition("\n")[0])
    assert re.search(told, some._repr_html_())
    assert "<table" in some._repr_html_()
    gate.file.touch()
    frame = job.result()
    every = job.so_far()
    assert_frame_equal(every.frame, frame)
    assert frame["value"].tolist() == [80] * 5
    assert (every.share, every.tasks, every.whole) == (1.0, every.of, True)
    assert repr(every).startswith(f"{job.id} so far: {every.of} of {every.of} map tasks: all of the input\n")


def test_a_job_that_was_cancelled_has_what_it_had(session: smr.Session, gate: Gate) -> None:
    job = session.map_reduce(gate.map(lambda number: number >= 200), smr.count, range(400), split_size=300)
    wait_until(lambda: job.status().map.done >= 3, 60.0)
    job.cancel()
    job.exception()
    found = job.so_far()
    assert 0 < found.frame["value"].sum() <= 200
    assert found.state is JobState.CANCELLED
    assert repr(found).partition("\n")[0].endswith("% of the input, and not the answer; the job was cancelled")


def test_a_job_that_left_out_too_much_has_no_answer_however_much_it_has(session: smr.Session) -> None:
    job = session.map_reduce(lambda item: [(item % 5, 1 // (item % 2))], sum, range(20), on_error="skip", max_bad=9, split_size=10_000)
    assert isinstance(job.exception(), TooManyBadError)
    found = job.so_far()
    assert found.state is JobState.FAILED
    assert repr(found).partition("\n")[0].endswith("of the input, and not the answer; the job failed with TooManyBadError")


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (JobState.REDUCING, ", and not the answer"),
        (JobState.FAILED, ", and not the answer; the job failed with TaskError"),
        (JobState.CANCELLED, ", and not the answer; the job was cancelled"),
        (JobState.DONE, ""),
    ],
)
def test_all_of_the_input_is_the_answer_when_the_job_is_done(state: JobState, told: str) -> None:
    found = SoFar("job-1", pd.DataFrame(), 1.0, 3, 3, state=state, error="TaskError" if state is JobState.FAILED else "")
    assert found.whole
    assert repr(found).partition("\n")[0] == f"job-1 so far: 3 of 3 map tasks: all of the input{told}"


def test_parts_of_groups_that_fail_are_told_and_no_reason_to_refuse(session: smr.Session, gate: Gate) -> None:
    """What fails on a part of a group need not fail on the group, so that `max_bad` says nothing yet."""

    def enough(key: int, values: Iterator[int]) -> int:
        found = sum(values)
        if 5 <= found < 80:
            raise ValueError("too few")
        return found

    job = session.map_reduce(
        gate.map(lambda number: number >= 200),
        enough,
        range(400),
        combine=lambda key, values: sum(values),
        on_error="skip",
        max_bad=1,
        split_size=300,
    )
    wait_until(lambda: job.status().map.done >= 3 and Ledger(session.backend.table, job.id).snapshot().commits, 60.0)
    wait_until(lambda: job.so_far().left_out > 1, 60.0)
    assert job.running()
    gate.file.touch()
    assert job.result()["value"].tolist() == [80] * 5


def test_nothing_is_done_at_first(session: smr.Session, gate: Gate) -> None:
    job = session.map_reduce(gate.map(lambda _: True), smr.count, range(400), split_size=300)
    assert (len(job.so_far().frame), job.so_far().share, job.so_far().tasks) == (0, 0.0, 0)
    assert job.so_far().frame.columns.tolist() == ["key", "value"]


def test_nothing_has_the_columns_of_the_answer_as_far_as_they_are_known(session: smr.Session, gate: Gate) -> None:
    held = session.map_reduce(gate.map(lambda _: True), smr.count, range(8), split_size=1)
    wait_until(lambda: held.status().map.running >= 2, 120.0)  # all workers
    rows = pd.DataFrame({"user": ["a", "b"], "x": [1, 2]})
    by_user = session.aggregate(rows, by="user", total=smr.sum("x"))
    frames = session.map_frames(lambda frame: frame, lambda frame: frame, rows, by="user", combine=True)
    assert [job.so_far().tasks for job in (by_user, frames)] == [0, 0]
    assert all(job.so_far().of for job in (by_user, frames)), "they are planned, or nobody could know"
    assert by_user.so_far().frame.columns.tolist() == ["user", "total"]
    assert frames.so_far().frame.columns.tolist() == []
    gate.file.touch()
    assert by_user.result()["total"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("reduce", "told"), [(total, "without combine.*combine=True"), (None, "is none"), (lambda values: 1, "without combine")]
)
def test_what_cannot_be_told_early_is_refused(session: smr.Session, gate: Gate, reduce: Any, told: str) -> None:
    job = session.map_reduce(gate.map(lambda _: True), reduce, range(400))
    wait_until(lambda: job.status().map.tasks, 60.0)
    with pytest.raises(ConfigError, match=told):
        job.so_far()


def test_a_reduce_that_fails_is_told(session: smr.Session, gate: Gate) -> None:
    def picky(key: int, values: Iterator[int]) -> int:
        import os

        return sum(values) // (not os.path.exists(f"{file}.picky"))  # noqa: PTH110

    file = str(gate.file)
    job = session.map_reduce(gate.map(lambda number: number >= 200), picky, range(400), split_size=300, combine=True)
    wait_until(lambda: job.status().map.done >= 3, 60.0)
    Path(f"{file}.picky").touch()
    with pytest.raises(TaskError, match="reduce fails on what there is so far: ZeroDivisionError") as raised:
        job.so_far()
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    job.cancel()


class Late:
    """An object store whose runs are read when something has happened, and they are gone: a port like any other."""

    def __init__(self, objects: ObjectStore, done: Callable[[], object]) -> None:
        self._objects, self._done = objects, done
        self.put, self.list_prefix, self.delete_prefix = objects.put, objects.list_prefix, objects.delete_prefix

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        if key.endswith("/run"):
            self._done()
        return self._objects.get(key, start, stop)


def test_a_job_that_is_done_meanwhile_gives_its_result(session: smr.Session, gate: Gate) -> None:
    job = session.map_reduce(gate.map(lambda number: number >= 200), smr.count, range(400), split_size=300)
    wait_until(lambda: job.status().map.done >= 3, 60.0)

    def finish() -> None:
        gate.file.touch()
        job.wait()
        prefix = f"jobs/{job.id}/map/"
        wait_until(lambda: not list(session.backend.objects.list_prefix(prefix)))

    late: Backend = replace(session.backend, objects=Late(session.backend.objects, finish))
    entry = Ledger(session.backend.table, job.id).job()
    assert entry is not None
    found = smr.Job(late, entry, result_limit=1 << 30).so_far()
    assert found.whole
    assert found.frame["value"].tolist() == [80] * 5


def test_a_job_that_is_removed_meanwhile_is_told_to_be_gone(session: smr.Session, gate: Gate) -> None:
    """Also as long as its rows still stand: a removal deletes what was stored first."""
    job = session.map_reduce(gate.map(lambda number: number >= 200), smr.count, range(400), split_size=300)
    wait_until(lambda: job.status().map.done >= 3, 60.0)
    job.cancel()
    job.exception()
    objects, table = session.backend.objects, session.backend.table
    entry = Ledger(table, job.id).job()
    assert entry is not None
    late: Backend = replace(session.backend, objects=Late(objects, lambda: objects.delete_prefix(Layout(job.id).root)))
    for _ in range(2):
        with pytest.raises(JobNotFoundError):
            smr.Job(late, entry, result_limit=1 << 30).so_far()
    remove_job(objects, table, job.id)
    with pytest.raises(JobNotFoundError):
        job.so_far()
