"""`smr.Executor` where calls, callbacks, iterables and other people do what nobody expects: no answer lacks a call, and no call takes
another one along.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, wait
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import smr_notebook as smr
from smr_notebook.errors import ConfigError, InputEmptyError, TaskError, UnpicklableError, WorkerLostError
from smr_notebook.testing.waiting import wait_until

SECONDS = 120
"""How long anything may take here on a busy machine."""


@pytest.fixture
def executor(session: smr.Session) -> Iterator[smr.Executor]:
    with smr.Executor(session) as executor:
        yield executor


def same(value: Any) -> Any:
    return value


def picky(number: int) -> int:
    if number == 3:
        raise LookupError(f"not {number}")
    return number


def held_up(file: str, value: Any = None) -> Any:
    """Return a value once there is a file."""
    while not os.path.exists(file):  # noqa: PTH110 - a worker that waits
        threading.Event().wait(0.005)
    return value


# ---------------------------------------------------------------- all calls, or no answer


@pytest.mark.parametrize("place", [0, 1, 4])
def test_nothing_is_reduced_where_a_call_could_not_travel(executor: smr.Executor, place: int) -> None:
    given: list[Any] = [1, 2, 3, 4]
    given.insert(place, threading.Lock())
    error = executor.map_reduce(str, list, given, chunksize=2).exception(SECONDS)
    assert isinstance(error, UnpicklableError)
    assert f"arguments of call {place} of str cannot travel" in str(error)
    assert executor.jobs == ()


@pytest.mark.parametrize("reduce", [next, lambda _: "no look at all", lambda _: 1 // 0], ids=["the first", "none", "raises"])
def test_a_call_that_raised_is_told_where_reduce_takes_no_look_at_it(executor: smr.Executor, reduce: Callable[..., Any]) -> None:
    error = executor.map_reduce(picky, reduce, range(6), chunksize=2).exception(SECONDS)
    assert isinstance(error, LookupError)
    assert error.args == ("not 3",)


def test_a_length_that_counts_other_things_is_not_believed(executor: smr.Executor) -> None:
    frame = pd.DataFrame({"a": [], "b": []})  # no rows: its length is 0, and it is gone through by columns
    assert list(executor.map(str, frame)) == list(map(str, frame)) == ["a", "b"]
    assert list(executor.map(str, pd.DataFrame({"a": [1, 2, 3]}))) == ["a"]
    assert executor.map_reduce(str, list, frame).result(SECONDS) == ["a", "b"]


def test_an_error_of_the_iterable_is_no_empty_input(executor: smr.Executor) -> None:
    def breaks(after: int) -> Iterator[int]:
        yield from range(after)
        raise InputEmptyError("mine")

    for after in (0, 2):
        with pytest.raises(InputEmptyError, match="mine"):
            executor.map(same, breaks(after))


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.tuples(st.integers(-3, 3))


@given(st.lists(plain, min_size=1, max_size=12), st.none() | st.integers(1, 13))
@settings(max_examples=15, deadline=None)
def test_values_of_any_kinds_side_by_side_are_what_they_were(session: smr.Session, values: list[Any], chunksize: int | None) -> None:
    with smr.Executor(session) as executor:
        found = list(executor.map(same, values, chunksize=chunksize))
        together = executor.map_reduce(same, list, values, chunksize=chunksize).result(SECONDS)
    assert [(type(value), repr(value)) for value in found] == [(type(value), repr(value)) for value in values]
    assert repr(together) == repr(values)


def test_a_job_that_was_gone_on_from_stands_once_among_the_calls(own_session: Callable[..., smr.Session], tmp_path: Path) -> None:
    mended = str(tmp_path / "mended")

    def dies(number: int) -> int:
        if number == 2 and not os.path.exists(mended):  # noqa: PTH110 - in a worker
            os._exit(9)
        return number

    session = own_session()
    with smr.Executor(session, name="gone on", retries=0) as executor:
        with pytest.raises(WorkerLostError):
            list(executor.map(dies, range(4), chunksize=1))
        list(executor.map(same, "later"))
    (tmp_path / "mended").touch()
    resumed = executor.jobs[0].resume()
    found = smr.calls("gone on", session=session)
    assert [job.id for job in found.jobs] == [resumed.id, executor.jobs[1].id]
    assert len(found) == 9
    assert list(found.results(SECONDS)) == [0, 1, 2, 3, *"later"]
    with smr.Executor(session, name="gone on") as again:
        list(again.map(same, [1]))
    assert again.jobs[0].name == "gone on/3"


# ---------------------------------------------------------------- each call by itself


class RaisesWhenPickled(Exception):  # noqa: N818
    def __reduce__(self) -> NoReturn:
        raise SystemExit(3)


class RaisesWhenShown(Exception):  # noqa: N818
    def __str__(self) -> NoReturn:
        raise KeyboardInterrupt


class RaisesWhenLoadedHere(Exception):  # noqa: N818
    """Ends the process with this identifier when it is loaded there."""

    def __init__(self, process: int) -> None:
        super().__init__(process)

    def __reduce__(self) -> Any:
        return loaded, (self.args[0],)


def loaded(process: int) -> RaisesWhenLoadedHere:
    if os.getpid() == process:
        sys.exit("loaded")
    return RaisesWhenLoadedHere(process)


def gives(what: object, *, raises: bool) -> object:
    if raises:
        assert isinstance(what, BaseException)
        raise what
    return what


def made(which: str) -> object:
    return {"pickled": RaisesWhenPickled, "shown": RaisesWhenShown}[which]()


@pytest.mark.parametrize(
    ("which", "raises", "kind", "told"),
    [
        ("pickled", False, UnpicklableError, "returned cannot travel back: SystemExit: 3"),
        ("pickled", True, TaskError, "raised RaisesWhenPickled"),
        ("shown", True, RaisesWhenShown, None),
    ],
)
def test_what_pickling_and_showing_raise_is_the_outcome_of_the_call_alone(
    executor: smr.Executor, which: str, raises: bool, kind: type, told: str | None
) -> None:
    results = executor.map(lambda odd: gives(made(which), raises=raises) if odd else "fine", [0, 1, 0], chunksize=3)
    assert next(results) == "fine"
    with pytest.raises(kind) as found:
        next(results)
    assert told is None or told in str(found.value)
    futures = smr.calls(executor.name, session=executor._session).futures()
    wait(futures, SECONDS)
    assert [futures[0].result(), futures[2].result()] == ["fine", "fine"]
    assert executor.jobs[0].status().troubles == ()


@pytest.mark.parametrize("raises", [False, True])
def test_what_loading_raises_here_is_the_outcome_of_the_call_alone(executor: smr.Executor, raises: bool) -> None:
    here = os.getpid()
    futures = [executor.submit(lambda odd: gives(RaisesWhenLoadedHere(here), raises=raises) if odd else "fine", odd) for odd in (0, 1, 0)]
    error = futures[1].exception(SECONDS)
    assert isinstance(error, TaskError if raises else UnpicklableError)
    assert [futures[0].result(SECONDS), futures[2].result(SECONDS)] == ["fine", "fine"]


@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit], ids=lambda error: error.__name__)
def test_what_a_callback_raises_is_nobody_elses_affair(executor: smr.Executor, error: type[BaseException]) -> None:
    called: list[Future[Any]] = []
    attached: list[Future[Any]] = []

    def raises(future: Future[Any]) -> NoReturn:
        called.append(future)
        raise error

    lock = threading.Lock()
    refused: Future[Any] = executor.submit(lambda: lock)  # whose callback is called where batches are sent
    futures = [executor.submit(same, number) for number in range(4)]
    for future in (refused, futures[1]):
        if not future.done():
            attached.append(future)
            future.add_done_callback(raises)
    assert [future.result(SECONDS) for future in futures] == [0, 1, 2, 3]
    assert isinstance(refused.exception(SECONDS), UnpicklableError)
    wait_until(lambda: {*called} == {*attached}, SECONDS)  # whoever waits for a result may be ahead of the callbacks
    assert executor.submit(same, "later").result(SECONDS) == "later"


# ---------------------------------------------------------------- many at once, and others


def test_many_threads_submit_and_cancel_at_once(executor: smr.Executor) -> None:
    found: dict[int, list[bool]] = {}

    def submits(by: int) -> None:
        chance = random.Random(by)
        futures = [(number, executor.submit(pow, number, by)) for number in range(100)]
        cancelled = {number for number, future in futures if chance.random() < 0.3 and future.cancel()}
        wait([future for _, future in futures], SECONDS)
        found[by] = [future.cancelled() if number in cancelled else future.result(0) == number**by for number, future in futures]

    threads = [threading.Thread(target=submits, args=(by,)) for by in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert found == {by: [True] * 100 for by in range(12)}


def test_a_job_that_is_cancelled_elsewhere_ends_its_futures_and_no_others(session: smr.Session, tmp_path: Path) -> None:
    with smr.Executor(session) as executor:
        held: Future[Any] = executor.submit(held_up, str(tmp_path / "never"))
        wait_until(lambda: executor.jobs and executor.jobs[0].status().map.running, SECONDS)
        assert session.attach(executor.jobs[0].id).cancel()
        assert isinstance(held.exception(SECONDS), CancelledError)
        assert executor.submit(same, 1).result(SECONDS) == 1


WAITS = """
import sys, threading
import smr_notebook as smr

def forever(begun):
    open(begun, "w").close()
    threading.Event().wait()

session = smr.Session(settings={"workspace": sys.argv[1]})
with smr.Executor(session, name="waits") as executor:
    executor.submit(forever, sys.argv[2])
    executor.map(forever, sys.argv[2:])
"""


def test_an_interrupt_where_the_block_waits_for_its_calls_cancels_its_jobs(session: smr.Session, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    command = [sys.executable, "-c", WAITS, str(session.settings.workspace), str(begun)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_until(begun.exists, SECONDS)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=SECONDS)
    assert "KeyboardInterrupt" in told
    jobs = smr.calls("waits", session=session).jobs
    assert jobs
    assert all(isinstance(job.exception(), smr.errors.JobCancelled) for job in jobs)


def test_a_call_may_have_an_executor_of_its_own(executor: smr.Executor, tmp_path: Path) -> None:
    place = str(tmp_path / "inner")

    def inner(number: int) -> list[int]:
        session = smr.Session(settings={"workspace": place, "workers": 1})
        try:
            with smr.Executor(session) as own:
                return list(own.map(same, range(number)))
        finally:
            session.close()

    assert executor.submit(inner, 3).result(SECONDS) == [0, 1, 2]


# ---------------------------------------------------------------- what makes no sense


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: smr.Executor(4), "the first argument is a session.*How many workers there are is its affair"),  # type: ignore[arg-type]
        (lambda: smr.Executor(name=5), "name must be text; got 5"),  # type: ignore[arg-type]
        (lambda: smr.Executor(retries=-1), "retries must be a whole number, 0 or more; got -1"),
    ],
    ids=["session", "name", "retries"],
)
def test_an_executor_that_could_call_nothing_is_refused(session: smr.Session, make: Callable[[], smr.Executor], told: str) -> None:
    smr.use(session)
    with pytest.raises(ConfigError, match=told):
        make()
