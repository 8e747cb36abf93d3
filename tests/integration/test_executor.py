"""`smr.Executor`: what the standard library expects of an executor, and what jobs give beyond that."""

from __future__ import annotations

import asyncio
import logging
import operator
import os
import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    CancelledError,
    Future,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from itertools import count, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tqdm import tqdm

import smr_notebook as smr
from smr_notebook.errors import ConfigError, InputEmptyError, JobNotFoundError, TaskError, UnpicklableError, WorkerLostError
from smr_notebook.model import JobState
from smr_notebook.testing.waiting import wait_until

SECONDS = 120
"""How long anything may take here on a busy machine."""


@pytest.fixture
def executor(session: smr.Session) -> Iterator[smr.Executor]:
    with smr.Executor(session) as executor:
        yield executor


def square(number: int) -> int:
    return number * number


def held_up(file: str, value: Any = None) -> Any:
    """Return a value once there is a file."""
    while not os.path.exists(file):  # noqa: PTH110 - a worker that waits
        threading.Event().wait(0.005)
    return value


def picky(number: int) -> int:
    if number == 3:
        raise LookupError(f"not {number}")
    return number


class Slow:
    """Holds up whoever pickles it, until it is let go."""

    def __init__(self) -> None:
        self.reached, self.free = threading.Event(), threading.Event()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[()]]:
        self.reached.set()
        self.free.wait(SECONDS)
        return (int, ())


class Unloadable(Exception):  # noqa: N818
    """Pickles, and cannot be made again."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(one + two)


# ---------------------------------------------------------------- submit


def test_a_call_gets_its_arguments_whatever_they_are_called(executor: smr.Executor) -> None:
    def told(*args: object, **kwargs: object) -> tuple[object, ...]:
        return args, kwargs

    assert executor.submit(pow, 2, 8).result(SECONDS) == 256
    assert executor.submit(told, 1, self=2, fn=3).result(SECONDS) == ((1,), {"self": 2, "fn": 3})
    with pytest.raises(TypeError):
        executor.submit(fn=pow, arg=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        executor.submit()  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "value",
    [None, True, -1, 2**80, 0.1, float("inf"), "text", "\ud800", b"\x00", (), (1, "a"), [1, None], {"a": {2}}, 1j, np.float64(2), square],
)
def test_a_value_comes_back_as_what_it_was(executor: smr.Executor, value: object) -> None:
    found = executor.submit(lambda given: given, value).result(SECONDS)
    assert type(found) is type(value)
    assert found == value or callable(value)


def test_many_calls_that_come_together_are_few_jobs(session: smr.Session) -> None:
    with smr.Executor(session) as executor:
        futures = [executor.submit(operator.add, number, 1) for number in range(1000)]
        assert [future.result(SECONDS) for future in futures] == list(range(1, 1001))
    assert len(executor.jobs) < 30


def test_arguments_are_those_of_the_moment_of_the_call(executor: smr.Executor) -> None:
    given: list[int] = []
    futures = []
    for number in range(5):
        given.append(number)
        futures.append(executor.submit(sum, given))
    assert [future.result(SECONDS) for future in futures] == [0, 1, 3, 6, 10]


def test_functions_of_all_kinds_share_a_job(executor: smr.Executor) -> None:
    text = "abc"
    closures = [lambda by=by: by for by in range(3)]
    futures = [executor.submit(function) for function in (text.upper, *closures, text.title)]
    assert [future.result(SECONDS) for future in futures] == ["ABC", 0, 1, 2, "Abc"]


def test_methods_see_their_object(executor: smr.Executor) -> None:
    class Adder:
        def __init__(self, by: int) -> None:
            self.by = by

        def add(self, number: int) -> int:
            return number + self.by

    one, two = Adder(1), Adder(2)
    assert [executor.submit(each.add, 10).result(SECONDS) for each in (one, two)] == [11, 12]


def test_two_threads_submit_at_once(executor: smr.Executor) -> None:
    def submits(by: int) -> list[int]:
        return [future.result(SECONDS) for future in [executor.submit(operator.mul, number, by) for number in range(200)]]

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(submits, (2, 3)))
    assert found == [[number * by for number in range(200)] for by in (2, 3)]


# ---------------------------------------------------------------- futures


def test_futures_complete_as_their_tasks_commit(executor: smr.Executor, tmp_path: Path) -> None:
    late: Future[Any] = executor.submit(held_up, str(tmp_path / "open"), "late")
    early: Future[Any] = executor.submit(square, 3)
    assert wait([late, early], SECONDS, FIRST_COMPLETED).done == {early}
    assert late.running()
    (tmp_path / "open").touch()
    assert set(as_completed([late, early], SECONDS)) == {late, early}
    assert late.result() == "late"


def test_wait_for_the_first_exception(executor: smr.Executor, tmp_path: Path) -> None:
    late: Future[Any] = executor.submit(held_up, str(tmp_path / "open"))
    fails: Future[Any] = executor.submit(picky, 3)
    found = wait([late, fails], SECONDS, FIRST_EXCEPTION)
    assert (found.done, found.not_done) == ({fails}, {late})
    (tmp_path / "open").touch()


def test_a_result_that_is_not_there_in_time(executor: smr.Executor, tmp_path: Path) -> None:
    future = executor.submit(held_up, str(tmp_path / "open"), 1)
    with pytest.raises(TimeoutError):
        future.result(0)
    with pytest.raises(TimeoutError):
        future.exception(0)
    (tmp_path / "open").touch()
    assert future.result(SECONDS) == 1


def test_callbacks_are_called_with_the_future(executor: smr.Executor, caplog: pytest.LogCaptureFixture) -> None:
    called: list[object] = []
    future = executor.submit(square, 2)
    with caplog.at_level(logging.ERROR, "concurrent.futures"):
        future.add_done_callback(lambda _: 1 // 0)
        future.add_done_callback(lambda ended: called.append(ended.result()))
        wait_until(lambda: called, SECONDS)
    assert called == [4]
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]


def test_a_callback_may_submit_and_shut_down(session: smr.Session) -> None:
    executor = smr.Executor(session)
    found: list[Future[int]] = []

    def goes_on(_: Future[int]) -> None:
        found.append(executor.submit(square, 3))
        executor.shutdown()

    executor.submit(square, 2).add_done_callback(goes_on)
    wait_until(lambda: found, SECONDS)
    assert found[0].result(SECONDS) == 9


def test_a_call_is_cancelled_until_its_batch_leaves(session: smr.Session, tmp_path: Path) -> None:
    slow = Slow()
    with smr.Executor(session) as executor:
        leaving = executor.submit(lambda: slow)
        slow.reached.wait(SECONDS)
        waiting = [executor.submit(square, number) for number in range(3)]
        assert waiting[1].cancel()
        assert waiting[1].cancel()
        assert not leaving.cancel()
        slow.free.set()
        assert waiting[1].cancelled()
        assert wait(waiting, SECONDS).not_done == set()
        with pytest.raises(CancelledError):
            waiting[1].result()
        assert [waiting[0].result(), waiting[2].result(), leaving.result(SECONDS)] == [0, 4, 0]
        running = executor.submit(held_up, str(tmp_path / "open"))
        wait_until(running.running, SECONDS)
        assert not running.cancel()
        (tmp_path / "open").touch()
        assert running.result(SECONDS) is None
        assert not running.cancel()


# ---------------------------------------------------------------- map


def test_map_is_the_builtin_map(executor: smr.Executor) -> None:
    assert list(executor.map(pow, range(10), range(10))) == list(map(pow, range(10), range(10)))
    assert list(executor.map(pow, [2, 3, 4], repeat(2))) == [4, 9, 16]
    assert list(executor.map(pow, (number for number in (5, 6)), count(1))) == [5, 36]
    assert list(executor.map(square, [])) == []
    assert list(executor.map(square, iter([]))) == []
    assert list(executor.map(square)) == []  # as in the standard library
    assert list(executor.map(str.upper, "abc")) == ["A", "B", "C"]


@given(st.lists(st.integers() | st.text() | st.lists(st.integers(), max_size=3), max_size=40), st.none() | st.integers(1, 50))
@settings(max_examples=15)
def test_any_list_in_any_chunks_is_mapped_as_by_the_builtin(session: smr.Session, values: list[Any], chunksize: int | None) -> None:
    with smr.Executor(session) as executor:
        assert list(executor.map(repr, values, chunksize=chunksize)) == list(map(repr, values))
        assert executor.map_reduce(repr, list, [0, *values], chunksize=chunksize).result(SECONDS) == ["0", *map(repr, values)]


def test_a_chunk_is_the_calls_of_a_task(executor: smr.Executor) -> None:
    assert list(executor.map(square, range(10), chunksize=4)) == [number * number for number in range(10)]
    assert executor.jobs[-1].status().map.tasks == 3
    assert list(executor.map(square, range(10), chunksize=1)) == [number * number for number in range(10)]
    assert executor.jobs[-1].status().map.tasks == 10


@pytest.mark.parametrize("chunksize", [0, -1, 1.5, True])
def test_a_chunk_has_a_call(executor: smr.Executor, chunksize: Any) -> None:
    with pytest.raises(ValueError, match="chunksize must be a whole number of calls, 1 or more"):
        executor.map(square, [1], chunksize=chunksize)


def test_map_over_many_items_is_one_job(session: smr.Session) -> None:
    with smr.Executor(session) as executor:
        assert sum(executor.map(operator.add, range(30_000), repeat(1))) == sum(range(1, 30_001))
    assert len(executor.jobs) == 1


def test_map_submits_at_once_and_gives_results_as_tasks_commit(executor: smr.Executor, tmp_path: Path) -> None:
    file = str(tmp_path / "open")
    results = executor.map(lambda number: held_up(file, number) if number == 3 else number, range(4), chunksize=1)
    assert len(executor.jobs) == 1
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert not executor.jobs[0].done()
    (tmp_path / "open").touch()
    assert list(results) == [3]


def test_a_map_that_is_waited_for_too_long(executor: smr.Executor, tmp_path: Path) -> None:
    results = executor.map(held_up, [str(tmp_path / "open")], timeout=0)
    with pytest.raises(TimeoutError, match="had not ended in time"):
        next(results)
    (tmp_path / "open").touch()
    executor.jobs[0].wait(SECONDS)
    assert list(executor.map(square, [2], timeout=SECONDS)) == [4]


def test_what_a_call_raises_stands_where_its_result_would_and_the_others_go_on(executor: smr.Executor, session: smr.Session) -> None:
    results = executor.map(picky, range(6), chunksize=6)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(LookupError, match="not 3"):
        next(results)
    assert list(results) == []
    futures = smr.calls(executor.name, session=session).futures()
    wait(futures, SECONDS)
    assert [(future.exception() and type(future.exception())) or future.result() for future in futures] == [0, 1, 2, LookupError, 4, 5]
    assert executor.jobs[0].status().state is JobState.DONE


def test_an_argument_that_cannot_travel_is_told_in_its_place(executor: smr.Executor) -> None:
    results = executor.map(str, [1, threading.Lock(), 2])
    assert next(results) == "1"
    with pytest.raises(UnpicklableError, match=r"arguments of call 1 of str cannot travel.*_thread\.lock"):
        next(results)
    with pytest.raises(UnpicklableError, match="arguments of call 0"):
        next(executor.map(str, [threading.Lock()]))
    with pytest.raises(UnpicklableError, match="arguments of call 0"):
        executor.map_reduce(str, list, [threading.Lock()]).result(SECONDS)


def test_what_the_iterable_raises_is_raised_at_once(executor: smr.Executor) -> None:
    def breaks() -> Iterator[int]:
        yield 1
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        executor.map(square, breaks())
    assert executor.jobs == ()


# ---------------------------------------------------------------- map_reduce


def test_results_are_reduced_together_and_in_order(executor: smr.Executor) -> None:
    assert executor.map_reduce(square, sum, range(100)).result(SECONDS) == sum(map(square, range(100)))
    assert executor.map_reduce(lambda one, two: {one: two}, list, "ab", [1, 2], chunksize=1).result(SECONDS) == [{"a": 1}, {"b": 2}]
    assert executor.map_reduce(square, lambda results: next(results), range(5, 100)).result(SECONDS) == 25  # noqa: PLW0108


@pytest.mark.parametrize("reduce", [list, lambda results: [*tolerates(results)]])
def test_the_first_call_that_raises_is_the_exception_of_the_reduced(executor: smr.Executor, reduce: Callable[..., Any]) -> None:
    error = executor.map_reduce(picky, reduce, range(6)).exception(SECONDS)
    assert isinstance(error, LookupError)
    assert error.args == ("not 3",)


def tolerates(results: Iterator[int]) -> Iterator[int]:
    try:
        yield from results
    except Exception:  # noqa: BLE001 - what the test is about
        yield -1


def test_what_reduce_raises_is_the_exception(executor: smr.Executor) -> None:
    error = executor.map_reduce(square, lambda results: sum(results) // 0, range(6)).exception(SECONDS)
    assert isinstance(error, ZeroDivisionError)
    assert "sum(results) // 0" in str(error.__cause__)
    with pytest.raises(InputEmptyError, match="nothing to reduce"):
        executor.map_reduce(square, sum, iter(()))
    with pytest.raises(ConfigError, match="reduce must be a function"):
        executor.map_reduce(square, 3, [1])  # type: ignore[arg-type]


# ---------------------------------------------------------------- what calls raise


def test_an_exception_comes_with_the_traceback_of_the_worker(executor: smr.Executor) -> None:
    def inner(number: int) -> float:
        return 1 / number

    def outer(number: int) -> float:
        try:
            return inner(number)
        except ZeroDivisionError as error:
            raise ValueError(number, "is nothing") from error

    error = executor.submit(outer, 0).exception(SECONDS)
    assert type(error) is ValueError
    assert error.args == (0, "is nothing")
    told = str(error.__cause__).removeprefix('\n"""\n').removesuffix('\n"""')
    lines = [line.strip() for line in told.splitlines() if line and "File" not in line]
    assert lines == [
        "Traceback (most recent call last):",
        "return inner(number)",
        "return 1 / number",
        "ZeroDivisionError: division by zero",
        "The above exception was the direct cause of the following exception:",
        "Traceback (most recent call last):",
        'raise ValueError(number, "is nothing") from error',
        "ValueError: (0, 'is nothing')",
    ]
    assert "smr_notebook/" not in told.replace(__file__, "")


@pytest.mark.parametrize("error", [KeyboardInterrupt("mine"), SystemExit(3), GeneratorExit(), CancelledError("mine"), StopIteration(4)])
def test_whatever_is_raised_is_the_outcome_of_the_call_alone(executor: smr.Executor, error: BaseException) -> None:
    def raises(given: BaseException | None) -> str:
        if given is not None:
            raise given
        return "fine"

    futures = [executor.submit(raises, given) for given in (None, error, None)]
    found = futures[1].exception(SECONDS)
    assert type(found) is type(error)
    assert found.args == error.args
    assert [futures[0].result(SECONDS), futures[2].result(SECONDS)] == ["fine", "fine"]
    assert all(job.wait(SECONDS).troubles == () for job in executor.jobs)


def test_an_exception_that_cannot_be_made_again_is_told(executor: smr.Executor) -> None:
    def raises() -> None:
        raise Unloadable(1, 2)

    error = executor.submit(raises).exception(SECONDS)
    assert type(error) is TaskError
    assert "raised Unloadable: 3 (the exception itself cannot be pickled and loaded here)" in str(error)
    assert "raise Unloadable(1, 2)" in str(error.__cause__)


def test_what_cannot_travel_fails_its_own_call(executor: smr.Executor) -> None:
    lock = threading.Lock()
    futures: dict[str, Future[Any]] = {
        "fine": executor.submit(square, 2),
        "argument": executor.submit(str, lock),
        "function": executor.submit(lambda: lock),
        "result": executor.submit(threading.Lock),
    }
    assert futures["fine"].result(SECONDS) == 4
    for name, told in {
        "argument": "arguments of a call of str cannot travel",
        "function": "uses `lock`, a _thread.lock",
        "result": "returned cannot travel back",
    }.items():
        error = futures[name].exception(SECONDS)
        assert isinstance(error, UnpicklableError)
        assert isinstance(error, TypeError)
        assert told in str(error)


def test_what_can_be_called_by_nobody_is_the_error_of_its_call(executor: smr.Executor) -> None:
    assert isinstance(executor.submit(3, 4).exception(SECONDS), TypeError)  # type: ignore[arg-type]
    assert isinstance(executor.submit(square, 1, 2).exception(SECONDS), TypeError)  # type: ignore[call-arg]


def test_a_process_that_dies_is_tried_again(session: smr.Session, tmp_path: Path) -> None:
    mark = str(tmp_path / "died")

    def dies_once(number: int) -> int:
        if number == 2 and not os.path.exists(mark):  # noqa: PTH110 - in a worker
            os.mkdir(mark)  # noqa: PTH102
            os._exit(9)
        return number

    with smr.Executor(session) as executor:
        assert list(executor.map(dies_once, range(4), chunksize=2)) == [0, 1, 2, 3]
    assert executor.jobs[0].troubles


def test_a_process_that_dies_always_takes_only_what_has_not_committed(session: smr.Session, tmp_path: Path) -> None:
    file = str(tmp_path / "open")

    def dies(number: int) -> int:
        if number == 2:
            held_up(file)
            os._exit(9)
        return number

    with smr.Executor(session, retries=0) as executor:
        results = executor.map(dies, range(3), chunksize=2)
        assert [next(results), next(results)] == [0, 1]
        (tmp_path / "open").touch()
        with pytest.raises(WorkerLostError, match="exited with code 9"):
            next(results)
        assert isinstance(executor.submit(dies, 2).exception(SECONDS), WorkerLostError)


# ---------------------------------------------------------------- shutdown


def test_nothing_is_taken_after_shutdown(session: smr.Session) -> None:
    executor = smr.Executor(session)
    future = executor.submit(square, 2)
    executor.shutdown()
    assert future.done()
    assert future.result() == 4
    executor.shutdown()
    for verb in (lambda: executor.submit(square, 2), lambda: executor.map(square, [2]), lambda: executor.map_reduce(square, sum, [2])):
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            verb()


def test_with_waits_for_all_calls(session: smr.Session, tmp_path: Path) -> None:
    with smr.Executor(session) as executor:
        future = executor.submit(held_up, str(tmp_path / "open"), 1)
        results = executor.map(held_up, [str(tmp_path / "open")], [2])
        wait_until(future.running, SECONDS)
        opener = threading.Timer(0.05, (tmp_path / "open").touch)
        opener.start()
    opener.join()
    assert future.done()
    assert all(job.done() for job in executor.jobs)
    assert [future.result(), *results] == [1, 2]


def test_what_is_not_waited_for_goes_on(session: smr.Session) -> None:
    executor = smr.Executor(session)
    futures = [executor.submit(square, number) for number in range(3)]
    executor.shutdown(wait=False)
    assert [future.result(SECONDS) for future in futures] == [0, 1, 4]


def test_shutdown_cancels_what_waits_and_what_runs(session: smr.Session, tmp_path: Path) -> None:
    executor, slow = smr.Executor(session), Slow()
    running: Future[Any] = executor.submit(held_up, str(tmp_path / "never"))
    wait_until(lambda: executor.jobs and executor.jobs[0].status().map.running, SECONDS)
    leaving: Future[Any] = executor.submit(lambda: slow)
    slow.reached.wait(SECONDS)
    waiting: Future[Any] = executor.submit(square, 2)
    executor.shutdown(wait=False, cancel_futures=True)
    slow.free.set()
    executor.shutdown()
    assert waiting.cancelled()
    assert wait([running, leaving, waiting], SECONDS).not_done == set()
    assert isinstance(running.exception(), CancelledError)
    assert all(job.status().state.ended for job in executor.jobs)
    assert executor.jobs[0].cancelled()


def test_an_interrupt_of_the_block_cancels_its_jobs(session: smr.Session, tmp_path: Path) -> None:
    executor = smr.Executor(session)
    results = executor.map(held_up, [str(tmp_path / "never")])
    wait_until(lambda: executor.jobs[0].status().map.running, SECONDS)
    with pytest.raises(KeyboardInterrupt), executor:
        raise KeyboardInterrupt
    with pytest.raises(CancelledError):
        next(results)
    assert executor.jobs[0].cancelled()


def test_no_thread_is_left(session: smr.Session) -> None:
    with smr.Executor(session) as executor:
        assert executor.submit(square, 2).result(SECONDS) == 4
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("smr-calls")], SECONDS)


def test_it_shows_how_it_stands(session: smr.Session) -> None:
    with smr.Executor(session, name="sweep of repr") as executor:
        list(executor.map(square, [1, 2]))
        executor.jobs[0].wait(SECONDS)
        wait_until(lambda: "0 running" in repr(executor), SECONDS)
        assert repr(executor) == "<Executor sweep of repr: 1 jobs, 0 running, 0 calls waiting, open>"
    assert "shut down" in repr(executor)


def test_a_warning_is_told_in_the_users_own_thread(session: smr.Session) -> None:
    large = os.urandom(11 << 20)
    with smr.Executor(session) as executor:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert executor.submit(lambda: len(large)).result(SECONDS) == 11 << 20
        wait_until(lambda: executor._warned, SECONDS)
        with pytest.warns(smr.PlanWarning, match="`large` travels with the functions and is large"):
            executor.submit(square, 2)


# ---------------------------------------------------------------- other libraries


def test_asyncio_awaits_its_futures_and_runs_in_it(executor: smr.Executor) -> None:
    async def both() -> list[int]:
        loop = asyncio.get_running_loop()
        wrapped = asyncio.wrap_future(executor.submit(square, 2))
        return list(await asyncio.gather(wrapped, loop.run_in_executor(executor, square, 3)))

    assert asyncio.run(both()) == [4, 9]

    async def fails() -> None:
        with pytest.raises(LookupError, match="not 3"):
            await asyncio.wrap_future(executor.submit(picky, 3))

    asyncio.run(fails())


def test_tqdm_counts_its_calls(executor: smr.Executor) -> None:
    with (Path(os.devnull)).open("w") as nowhere:
        bar = tqdm(executor.map(square, range(20)), total=20, file=nowhere)
        assert list(bar) == [number * number for number in range(20)]
        assert bar.n == 20
        futures = [executor.submit(square, number) for number in range(5)]
        ended = tqdm(as_completed(futures, SECONDS), total=5, file=nowhere)
        assert sorted(future.result() for future in ended) == [0, 1, 4, 9, 16]
        assert ended.n == 5


# ---------------------------------------------------------------- found again

SCRIPT = """
import sys
import smr_notebook as smr

session = smr.Session(settings={{"workspace": {workspace!r}}})

def square(number):
    return number * number

def held_up(file, value):
    import os, threading
    while not os.path.exists(file):
        threading.Event().wait(0.005)
    return value

{body}
"""


def run(session: smr.Session, body: str) -> str:
    """Run a script in another process, and return what it prints."""
    script = SCRIPT.format(workspace=str(session.settings.workspace), body=body)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_calls_of_a_process_that_is_gone_are_found_by_name(session: smr.Session, tmp_path: Path) -> None:
    file = str(tmp_path / "open")
    told = run(
        session,
        f"""
executor = smr.Executor(session, name="sweep")
results = executor.map(held_up, [{file!r}] * 3, range(3), chunksize=3)
futures = [executor.submit(square, number) for number in range(4)]  # that nobody waits for
print(executor.jobs[0].id)
""",
    )
    first = told.strip()
    found = smr.calls("sweep", session=session)
    assert found.jobs[0].id == first
    assert len(found) == 7
    futures = found.futures()
    assert wait(futures[3:], SECONDS).not_done == set()
    assert [future.result() for future in futures[3:]] == [0, 1, 4, 9]
    assert not futures[0].done()
    (tmp_path / "open").touch()
    assert list(found.results(SECONDS)) == [0, 1, 2, 0, 1, 4, 9]
    assert [future.result(SECONDS) for future in futures] == [0, 1, 2, 0, 1, 4, 9]
    assert list(smr.calls(first, session=session).results()) == [0, 1, 2]
    assert repr(found).startswith(f"<CallSet 7 calls in 2 jobs: <Job {first} 'sweep/1' map 1/1 done")


def test_calls_of_this_process_are_found_in_another_one(session: smr.Session) -> None:
    with smr.Executor(session) as executor:
        assert executor.map_reduce(square, sum, range(4)).result(SECONDS) == 14
        error = executor.submit(picky, 3).exception(SECONDS)
    assert isinstance(error, LookupError)
    told = run(
        session,
        f"""
total, fails = smr.calls({executor.name!r}, session=session).futures()
print(total.result(60), repr(fails.exception(60)), 'raise LookupError(f"not' in str(fails.exception().__cause__))
""",
    )
    assert told == "14 LookupError('not 3') True\n"


def test_a_name_goes_on_where_it_was_left(session: smr.Session) -> None:
    for number in (1, 2):
        with smr.Executor(session, name="again") as executor, warnings.catch_warnings():
            warnings.simplefilter("error")
            assert list(executor.map(square, [number])) == [number * number]
    assert [job.name for job in smr.calls("again", session=session).jobs] == ["again/1", "again/2"]
    assert list(smr.calls("again", session=session).results()) == [1, 4]


def test_what_is_no_call_set_is_refused(session: smr.Session) -> None:
    job = session.map_reduce(lambda item: [(item, 1)], None, [1]).wait()
    for verb in (len, smr.CallSet.futures, smr.CallSet.results):
        with pytest.raises(ConfigError, match=r"was not made by an Executor: smr\.attach"):
            verb(smr.calls(job.id, session=session))
    with pytest.raises(JobNotFoundError, match="There is no job 'nobody'"):
        smr.calls("nobody", session=session)


def test_the_session_in_use_is_that_of_executors(session: smr.Session) -> None:
    smr.use(session)
    with smr.Executor() as executor:
        assert list(executor.map(square, [2])) == [4]
    assert list(smr.calls(executor.name).results()) == [4]


def test_what_a_call_prints_is_in_the_logs_of_its_job(executor: smr.Executor) -> None:
    list(executor.map(print, ["hello"]))
    assert "hello" in repr(executor.jobs[0].logs())


def test_an_error_of_a_call_pickles(executor: smr.Executor) -> None:
    error = executor.submit(picky, 3).exception(SECONDS)
    assert pickle.loads(pickle.dumps(error)).args == ("not 3",)
    assert error is not None
    assert str(pickle.loads(pickle.dumps(error.__cause__))) == str(error.__cause__)
