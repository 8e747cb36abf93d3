"""Real processes that crash, hang and run out of memory or disk: each has its name, and what can be survived is."""

from __future__ import annotations

import ctypes
import os
import random
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import smr_notebook as smr
from smr_notebook import errors
from smr_notebook.backends.local.client import LocalFunctions
from smr_notebook.testing.waiting import wait_until

MB = 1 << 20
OpenSession = Callable[..., smr.Session]


def once(flag: Path) -> bool:
    """Whether this is the first time that anybody asks."""
    try:
        flag.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def values(job: smr.Job) -> list[int]:
    return sorted(job.result()["value"].tolist())


# ---------------------------------------------------------------- crashes


def reads_null(item: int) -> None:
    ctypes.string_at(0)


def aborts(item: int) -> None:
    os.abort()


def is_killed(item: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def exits(item: int) -> None:
    os._exit(3)


def recurses_in_c(item: int) -> None:
    nested: list[object] = []
    for _ in range(1_000_000):
        nested = [nested]
    ctypes.pythonapi.PyObject_Repr(ctypes.py_object(Deep(nested)))


class Deep:
    """Runs the stack of C over."""

    def __init__(self, nested: object) -> None:
        self.nested = nested

    def __repr__(self) -> str:
        ctypes.memset(1, 0, 1)
        return ""


@pytest.mark.parametrize(
    ("crash", "named", "line"),
    [
        (reads_null, r"signal 11 \(SIGSEGV\)", "ctypes.string_at(0)"),
        (recurses_in_c, r"signal 11 \(SIGSEGV\)", "ctypes.memset(1, 0, 1)"),
        (aborts, r"signal 6 \(SIGABRT\)", "os.abort()"),
        (is_killed, r"signal 9 \(SIGKILL\)", ""),
        (exits, "exited with code 3", ""),
    ],
)
def test_a_crash_is_named_with_its_line_and_survived_if_it_comes_once(
    own_session: OpenSession, tmp_path: Path, crash: Callable[[int], None], named: str, line: str
) -> None:
    flag = tmp_path / "crashed"

    def crashes_once(item: int) -> Iterator[tuple[int, int]]:
        if item == 2 and once(flag):
            crash(item)
        yield item, item

    def crashes(item: int) -> Iterator[tuple[int, int]]:
        crash(item)
        yield item, item

    session = own_session()
    job = session.map_reduce(crashes_once, None, range(5))
    assert values(job) == list(range(5))
    (sentence,) = job.troubles
    assert sentence.startswith("1 worker of the map phase died (")
    assert sentence.endswith("), and its task was run again.")
    with pytest.raises(errors.WorkerLostError, match=named) as caught:
        session.map_reduce(crashes, None, [1], retries=1, wait=True)
    assert f"----> {caught.value.failures[0].failure.frames[-1].line} {line}" in str(caught.value) if line else True
    assert ("as attempt 1 did at the same place" in str(caught.value)) == bool(line)


def test_a_crash_says_how_far_its_attempt_was(own_session: OpenSession) -> None:
    def crashes(item: int) -> Iterator[tuple[int, int]]:
        if item == 40:
            threading.Event().wait(1.0)  # for a heartbeat
            os._exit(3)
        yield item, item

    session = own_session(lease_seconds=1.0, split_size=1e9)
    with pytest.raises(errors.WorkerLostError, match=r"exited with code 3, after \d+ groups of reduce task 0"):
        session.map_reduce(lambda item: [(item, 1)], reduces_then(crashes), range(50), reducers=1, retries=0, wait=True)


def reduces_then(crashes: Callable[[int], Iterator[tuple[int, int]]]) -> Callable[[int, Iterator[int]], Iterator[tuple[int, int]]]:
    def reduce(key: int, values: Iterator[int]) -> Iterator[tuple[int, int]]:
        yield from crashes(key)

    return reduce


# ---------------------------------------------------------------- memory


def test_a_runaway_list_ends_its_worker_and_no_other(own_session: OpenSession) -> None:
    def runs_away(item: int) -> Iterator[tuple[int, int]]:
        held = []
        while item == 1:
            held.append(bytearray(4 * MB))
        threading.Event().wait(0.3)
        yield item, len(held)

    session = own_session(worker_limit=250 * MB)
    with pytest.raises(errors.OutOfMemoryError, match=r"took \d+ MiB of memory and may take 500 MiB") as caught:
        session.map_reduce(runs_away, None, range(4), wait=True)
    assert isinstance(caught.value, MemoryError)
    assert "held.append(bytearray(4 * MB))" in str(caught.value), "the line where it was, as it said when it was asked"
    assert "split_size" in str(caught.value)
    (failed,) = caught.value.failures
    assert failed.attempt.number == 2, "one retry"
    assert failed.failure.limit_bytes == 500 * MB < failed.failure.resident_bytes


def test_what_needs_more_memory_is_run_again_with_twice_as_much_while_fewer_run(own_session: OpenSession, tmp_path: Path) -> None:
    def hungry(item: int) -> Iterator[tuple[int, int]]:
        first = once(tmp_path / str(item))
        held = bytearray(300 * MB if item % 2 else 0)
        if held and first:
            threading.Event().wait(60)  # until it is seen, and ended
        yield item, len(held)

    session = own_session(worker_limit=250 * MB, retries=0)
    job = session.map_reduce(hungry, None, range(4))
    assert values(job) == [0, 0, 300 * MB, 300 * MB]
    assert len(job.troubles) == 1
    assert job.troubles[0].startswith("2 attempts of the map phase ran out of memory (")
    assert job.troubles[0].endswith(" of 250 MiB), and their tasks were run again with 500 MiB.")


def test_want_of_memory_that_python_tells_is_named_with_the_record(session: smr.Session) -> None:
    def asks_for_too_much(item: int) -> Iterator[tuple[int, int]]:
        yield item, len(bytearray(1 << 60))

    with pytest.raises(errors.OutOfMemoryError) as caught:
        session.map_reduce(asks_for_too_much, None, [7], wait=True)
    assert "OutOfMemoryError in map: more memory was asked for than there is (MemoryError)" in str(caught.value)
    assert "record: 7" in str(caught.value)


# ---------------------------------------------------------------- hangs


def test_what_hangs_is_ended_with_its_record_and_line_and_another_worker_goes_on(own_session: OpenSession) -> None:
    def hangs(word: str) -> Iterator[tuple[str, int]]:
        if word == "stuck":
            threading.Event().wait(300.0)
        yield word, 1

    session = own_session(record_timeout=1.0, lease_seconds=2.5)
    with pytest.raises(errors.TaskTimeoutError, match="no record was finished for") as caught:
        session.map_reduce(hangs, None, ["a", "b", "stuck", "d"], wait=True)
    assert isinstance(caught.value, TimeoutError)
    for part in ("record: 'stuck'", "threading.Event().wait(300.0)", "record_timeout"):
        assert part in str(caught.value)
    assert caught.value.failures[0].attempt.number == 2, "the same record twice is enough"


def test_a_group_that_hangs_once_is_survived(own_session: OpenSession, tmp_path: Path) -> None:
    flag = tmp_path / "hung"

    def hangs_once(key: int, values: Iterator[int]) -> int:
        if key == 3 and once(flag):
            threading.Event().wait(300.0)
        return sum(values)

    session = own_session(record_timeout=1.0, lease_seconds=2.5)
    job = session.map_reduce(lambda item: [(item % 5, 1)], hangs_once, range(50), reducers=1)
    assert values(job) == [10] * 5
    assert job.troubles == ("1 attempt of the reduce phase took too long over one record or group, and its task was run again.",)
    (failed,) = job.errors()
    assert (failed.failure.function, failed.failure.record) == ("reduce", "3")


# ---------------------------------------------------------------- disk


def many_pairs(block: int) -> Iterator[tuple[str, str]]:
    chance = random.Random(block)
    for number in range(40_000):
        yield f"{block:04d}-{number:06d}", chance.randbytes(100).hex()


def test_a_disk_that_is_full_while_spilling_is_named_and_another_attempt_has_room(own_session: OpenSession, tmp_path: Path) -> None:
    flag = tmp_path / "full"

    def fills_up(block: int) -> Iterator[tuple[str, str]]:
        most = MB if once(flag) else resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
        yield from many_pairs(block)

    session = own_session(worker_memory=64 * MB, split_size=1e9)
    job = session.map_reduce(fills_up, lambda key, values: len(list(values)), [0, 1, 2], reducers=2)
    assert sum(values(job)) == 3 * 40_000
    assert job.troubles == ("1 attempt of the map phase found the disk full, and its task was run again.",)
    assert "TMPDIR" in job.errors()[0].failure.message


def test_a_disk_that_stays_full_ends_the_job_with_that_name_and_leaves_nothing(own_session: OpenSession, tmp_path: Path) -> None:
    def fills_up(block: int) -> Iterator[tuple[str, str]]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (MB, resource.RLIM_INFINITY))
        yield from many_pairs(block)

    session = own_session(worker_memory=64 * MB, split_size=1e9)
    with pytest.raises(errors.DiskFullError, match="TMPDIR") as caught:
        session.map_reduce(fills_up, lambda key, values: len(list(values)), [0, 1, 2], reducers=2, retries=1, wait=True)
    assert isinstance(caught.value, OSError)
    assert not [file for file in (tmp_path / "ws" / "objects").rglob("*") if file.is_file() and file.name == "run"]


# ---------------------------------------------------------------- the service


def test_a_worker_that_was_replaced_leaves_nothing_open_in_the_process_that_forked_it(own_session: OpenSession) -> None:
    session = own_session()
    session.map_reduce(lambda item: [(item, 1)], None, [1], wait=True)
    functions = session.backend.functions
    assert isinstance(functions, LocalFunctions)
    status = functions.status()
    assert status is not None

    def besides_one_for_each_worker() -> int:
        here = functions.status()
        return len(list(Path(f"/proc/{status.zygote}/fd").iterdir())) - len(here.workers if here else ())

    for _ in range(6):
        with pytest.raises(errors.WorkerLostError):
            session.map_reduce(lambda item: os._exit(1), None, [1], retries=0, wait=True)
    wait_until(lambda: besides_one_for_each_worker() <= 7)
