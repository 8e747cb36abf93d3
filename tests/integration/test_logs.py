"""What the functions write comes back: all of it, also what was written right before the end, and while they run."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import smr_notebook as smr
from smr_notebook import errors
from smr_notebook.control.expiry import remove_job
from smr_notebook.control.layout import Layout
from smr_notebook.testing.waiting import wait_until


def test_all_that_map_and_reduce_write_is_in_the_log(session: smr.Session) -> None:
    def map(item: int) -> Iterator[tuple[int, int]]:
        print(f"map of {item}")  # noqa: T201 - what this is about
        os.write(1, b"below Python\n")
        logging.getLogger("mine").warning("logged %d", item)
        yield item % 2, item

    def reduce(key: int, values: Iterator[int]) -> int:
        warnings.warn(f"reduce of {key}", stacklevel=1)
        return sum(values)

    job = session.map_reduce(map, reduce, range(4))
    assert job.result()["value"].tolist() == [2, 4]
    lines = list(job.logs())
    assert {line.text for line in lines if line.text.startswith("map of")} == {f"map of {item}" for item in range(4)}
    assert sum(line.text == "below Python" for line in lines) == 4
    assert {line.text for line in lines if "logged" in line.text} == {f"logged {item}" for item in range(4)}
    assert {line.text.rpartition(": ")[2] for line in job.logs(phase="reduce") if "Warning" in line.text} == {"reduce of 0", "reduce of 1"}
    assert {(line.stream, line.mark) for line in lines} == {("stdout", ""), ("stderr", "")}
    progress = job.status()
    assert progress.map.numbers.lines_written + progress.reduce.numbers.lines_written == len(lines)
    frame = job.logs(phase="map", task=0).to_frame()
    assert set(frame["task"]) == {0}
    assert str(frame["time"].dt.tz) == "UTC"


def test_a_silent_job_stores_no_log(session: smr.Session) -> None:
    job = session.map_reduce(lambda item: [(item, 1)], sum, range(10)).wait()
    assert list(session.backend.objects.list_prefix(Layout(job.id).logs)) == []
    assert "nothing was written" in repr(job.logs())
    assert job.status().map.numbers.lines_written == 0


def test_what_was_written_right_before_the_process_ended_is_there(session: smr.Session) -> None:
    def dies(item: int) -> Iterator[tuple[int, int]]:
        sys.stdout.write(f"at {item}, without an end")
        sys.stdout.flush()
        sys.stderr.write("cannot go on")
        if item:
            os._exit(3)
        yield item, 1

    job = session.map_reduce(dies, None, [7], retries=1)
    assert isinstance(job.exception(), errors.WorkerLostError)
    lines = [(line.attempt, line.stream, line.text, line.mark) for line in job.logs()]
    assert sorted(lines) == [
        (attempt, stream, text, "failed")
        for attempt in (1, 2)
        for stream, text in (("stderr", "cannot go on"), ("stdout", "at 7, without an end"))
    ]
    assert "exited with code 3. Its last words were:\ncannot go on" in job.errors()[0].failure.message


def test_a_crash_in_compiled_code_is_told_with_the_users_line(session: smr.Session) -> None:
    def crashes(item: int) -> Iterator[tuple[int, int]]:
        yield item, ctypes.string_at(0)[0]

    job = session.map_reduce(crashes, None, [1], retries=0)
    assert isinstance(job.exception(), errors.WorkerLostError)
    failure = job.errors()[0].failure
    assert "killed by signal 11 (SIGSEGV)" in failure.message
    assert failure.frames[-1].file == __file__
    assert failure.frames[-1].text.strip() == "yield item, ctypes.string_at(0)[0]"


def test_an_attempt_that_failed_keeps_its_log_and_is_marked(session: smr.Session, tmp_path: Path) -> None:
    def once(item: int) -> Iterator[tuple[int, int]]:
        tried = tmp_path / "tried"
        print("again" if tried.exists() else "once")  # noqa: T201 - what this is about
        if not tried.exists():
            tried.touch()
            raise ValueError("once")
        yield item, 1

    job = session.map_reduce(once, None, [1]).wait()
    assert [(line.attempt, line.text, line.mark) for line in job.logs()] == [(1, "once", "failed"), (2, "again", "")]
    assert "map 0 (attempt 1, failed)" not in repr(job.logs())
    assert "map 0 (failed)  stdout  once" in repr(job.logs())


def test_what_is_too_much_is_cut_and_said(session: smr.Session) -> None:
    def chatty(item: int) -> Iterator[tuple[int, int]]:
        for _ in range(30):
            print("x" * 99_999)  # noqa: T201 - what this is about
        yield item, 1

    job = session.map_reduce(chatty, None, [1]).wait()
    lines = list(job.logs())
    kept = sum(len(line.text) + 1 for line in lines if line.stream == "stdout")
    assert (1 << 20) <= kept <= (1 << 20) + 1
    assert lines[-1].stream == "cut"
    assert lines[-1].text == f"{3_000_000 - (1 << 20):,} more bytes were written and not kept"


def test_what_a_job_writes_is_followed_from_another_process_while_it_runs(own_session: Callable[..., smr.Session], tmp_path: Path) -> None:
    session, go_on = own_session(), tmp_path / "go on"

    def waits(item: int) -> Iterator[tuple[int, int]]:
        print("it runs")  # noqa: T201 - what this is about
        wait_until(go_on.exists, 60.0)
        print("it ends")  # noqa: T201 - as above
        yield item, 1

    job = session.map_reduce(waits, None, [1])
    command = [sys.executable, "-m", "smr_notebook", "logs", job.id, "--follow"]
    environment = os.environ | {"SMR_WORKSPACE": str(tmp_path / "ws")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline().endswith("it runs\n")
        assert not job.done()
        go_on.touch()
        assert follower.stdout.read().endswith("it ends\n")
    assert follower.returncode == 0
    assert job.done()


def test_a_log_goes_with_its_job(session: smr.Session) -> None:
    def prints(item: int) -> Iterator[tuple[int, int]]:
        print(item)  # noqa: T201 - what this is about
        yield item, 1

    job = session.map_reduce(prints, None, [1]).wait()
    assert [line.text for line in job.logs()] == ["1"]
    remove_job(session.backend.objects, session.backend.table, job.id)
    assert list(session.backend.objects.list_prefix(Layout(job.id).root)) == []


@pytest.mark.parametrize("way", ["replaced", "closed"])
def test_functions_that_meddle_with_their_streams_do_no_harm(session: smr.Session, way: str) -> None:
    def meddles(item: int) -> Iterator[tuple[int, int]]:
        with contextlib.suppress(OSError):  # at the next record
            os.write(1, b"before\n")
            if way == "replaced":
                sys.stdout = io.StringIO()
            else:
                os.close(1)
        yield item, 1

    job = session.map_reduce(meddles, sum, range(50))
    assert job.result()["value"].sum() == 50
    assert sum(line.text == "before" for line in job.logs()) >= 1
