"""Each way to fail has its own error, which says what, where, and what to do; what can be refused is refused before anything runs."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import smr_notebook as smr
from smr_notebook import errors


def test_the_users_exception_is_the_cause_with_line_and_record(session: smr.Session, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("fine\nthe end\n")

    def broken(line: str) -> Iterator[tuple[str, float]]:
        yield line, 1 / (len(line) - 7)

    with pytest.raises(errors.TaskError) as caught:
        session.map_reduce(broken, None, tmp_path / "a.txt", wait=True)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    text = str(caught.value)
    for part in ("ZeroDivisionError in map", "yield line, 1 / (len(line) - 7)", "record: 'the end'", "a.txt", "byte 5"):
        assert part in text
    functions = []
    trace = caught.value.__cause__.__traceback__
    while trace is not None:
        functions.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert functions == ["broken"]


def test_an_error_in_reduce_names_the_key(session: smr.Session) -> None:
    def reduce(key: str, values: Iterator[int]) -> int:
        return {"a": 1}[key]

    with pytest.raises(errors.TaskError, match="KeyError in reduce") as caught:
        session.map_reduce(lambda item: [(item, 1)], reduce, ["a", "b"], wait=True)
    assert "key: 'b'" in str(caught.value)


def test_failures_of_many_tasks_are_grouped_by_their_line(session: smr.Session) -> None:
    def broken(item: int) -> Iterator[tuple[int, int]]:
        if item >= 0:
            raise ValueError("no")
        yield item, 1

    job = session.map_reduce(broken, None, range(16))
    with pytest.raises(errors.TaskError):
        job.result()
    groups = job.errors()
    assert len(groups) == 1
    assert groups[0].failure.type == "ValueError"


@pytest.mark.parametrize(("wrong", "came"), [(lambda line: 7, "7"), (lambda line: ["ab"], "'ab'"), (lambda line: [(1, 2, 3)], "3")])
def test_a_wrong_shape_from_map_says_what_came_and_what_is_expected(session: smr.Session, wrong: Any, came: str) -> None:
    with pytest.raises(errors.PairShapeError, match=r"\(key, value\)") as caught:
        session.map_reduce(wrong, None, [1], wait=True)
    assert came in str(caught.value)


def test_a_wrong_shape_is_told_with_the_line_that_yielded_it(session: smr.Session) -> None:
    def wrong(item: int) -> Iterator[Any]:
        yield item, 1
        yield "oops"

    with pytest.raises(errors.PairShapeError) as caught:
        session.map_reduce(wrong, None, [1], wait=True)
    assert 'yield "oops"' in str(caught.value)
    assert "in wrong" in str(caught.value)


def test_a_reduce_that_yields_a_value_is_told_to_return_it(session: smr.Session) -> None:
    def wrong(key: int, values: Iterator[int]) -> Iterator[Any]:
        yield sum(values)

    with pytest.raises(errors.PairShapeError, match="Write `yield key, value`, or return the one value of the group"):
        session.map_reduce(lambda item: [(item, 1)], wrong, [1], wait=True)


def test_missing_input_and_empty_globs_are_refused(session: smr.Session, tmp_path: Path) -> None:
    for missing in (tmp_path / "no.txt", tmp_path / "*.gz"):
        with pytest.raises(errors.InputMissingError, match="Nothing found"):
            session.map_reduce(lambda line: None, None, missing)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(errors.InputEmptyError, match="empty"):
        session.map_reduce(lambda line: None, None, tmp_path / "empty.txt")
    with pytest.raises(errors.InputEmptyError):
        session.map_reduce(lambda item: None, None, [])


def test_bytes_that_are_not_text_are_told_with_their_place(session: smr.Session, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"good\n\xff\xfe\n")
    with pytest.raises(errors.InputFormatError, match=r"a\.txt"):
        session.map_reduce(lambda line: [(line, 1)], sum, tmp_path, wait=True)


def test_what_cannot_be_read_is_told_before_anything_runs(session: smr.Session, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(errors.InputReadError, match=r"a\.txt"):
        session.map_reduce(lambda line: [(line, 1)], sum, tmp_path, wait=True)


def test_a_function_that_cannot_travel_is_named_with_what_it_captured(session: smr.Session) -> None:
    lock = threading.Lock()

    def locked(item: int) -> Iterator[tuple[int, int]]:
        with lock:
            yield item, 1

    with pytest.raises(errors.UnpicklableError, match=r"map uses `lock`, a _thread\.lock"):
        session.map_reduce(locked, None, [1])


def test_a_list_of_paths_as_strings_is_not_guessed_at(session: smr.Session, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x\n")
    with pytest.raises(errors.PlanError, match=r"smr\.files"):
        session.map_reduce(lambda line: [(line, 1)], sum, [str(tmp_path / "a.txt")])
    frame = session.map_reduce(lambda line: [(line, 1)], sum, smr.files(tmp_path / "a.txt"), wait=True)
    assert frame["key"].tolist() == ["x"]


def test_a_combiner_that_breaks_its_law_is_refused(session: smr.Session) -> None:
    def mean(key: int, values: Iterator[float]) -> float:
        numbers = list(values)
        return sum(numbers) / len(numbers)

    with pytest.raises(errors.CombinerLawError, match=r"mean|reduce"):
        session.map_reduce(lambda item: [(item % 2, float(item**2))], mean, range(100), combine=True)


def test_a_job_that_is_cancelled_raises_an_interrupt(session: smr.Session) -> None:
    def slow(item: int) -> Iterator[tuple[int, int]]:
        threading.Event().wait(0.2)
        yield item, 1

    job = session.map_reduce(slow, None, range(200))
    job.cancel()
    with pytest.raises(errors.JobCancelled):
        job.result()
    assert isinstance(job.exception(), KeyboardInterrupt)


def test_an_unknown_job_is_told_with_what_there_is(session: smr.Session) -> None:
    session.map_reduce(lambda item: [(item, 1)], None, [1], wait=True)
    with pytest.raises(errors.JobNotFoundError, match="The latest are"):
        session.attach("no such job")


def test_a_large_captured_global_is_named_with_its_size(session: smr.Session) -> None:
    table = os.urandom(11 * 2**20)

    def look(item: int) -> Iterator[tuple[int, int]]:
        yield item, table[item]

    with pytest.warns(smr.PlanWarning, match="`table` travels with the functions and is large: 12 MB"):
        session.map_reduce(look, None, [1], wait=True)
    planned = session.plan(look, None, [1])
    assert any("`table`" in warning and "12 MB" in warning for warning in planned.plan.warnings)


def test_a_result_above_the_limit_is_not_loaded_by_surprise(session: smr.Session, tmp_path: Path) -> None:
    job = session.map_reduce(lambda item: [(item, "x" * 1000)], None, range(100))
    job._result_limit = 10_000
    with pytest.raises(errors.ResultTooLargeError, match=r"head\(\)"):
        job.result()
    assert len(job.head(3)) == 3
    with pytest.raises(errors.ResultTooLargeError, match=r"The first 50 of 100 rows"):
        job.head(50)
    assert sum(len(frame) for frame in job.scan()) == 100
    assert job.to_parquet(tmp_path / "all.parquet").rows == 100


@pytest.mark.parametrize("reduce", [True, False, 0, "", []])
def test_a_reduce_that_is_no_function_is_refused_and_not_taken_for_none(session: smr.Session, reduce: Any) -> None:
    with pytest.raises(errors.PlanError, match="reduce must be a function"):
        session.map_reduce(lambda item: [(item, 1)], reduce, [1])


def test_a_combine_that_is_no_function_is_refused(session: smr.Session) -> None:
    wrong: Any = 1
    with pytest.raises(errors.PlanError, match="combine must be a function"):
        session.map_reduce(lambda item: [(item, 1)], sum, [1], combine=wrong)


def test_functions_that_end_the_process_do_not_end_the_notebook_when_the_combiner_is_tried(session: smr.Session) -> None:
    def ends(item: int) -> Iterator[tuple[int, int]]:
        if item == 3:
            sys.exit("no more")
        yield item % 2, item

    def total(key: int, values: Iterator[int]) -> int:
        return sum(values)

    def broken(key: int, values: Iterator[int]) -> int:
        sys.exit("no more")

    with pytest.raises(errors.TaskError, match="SystemExit in map"):
        session.map_reduce(ends, total, range(10), combine=True, wait=True)
    with pytest.raises(errors.CombinerLawError, match="SystemExit"):
        session.map_reduce(lambda item: [(item % 2, item)], total, range(10), combine=broken)


class Unusual(BaseException):
    """What some libraries raise so that nobody catches it."""


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), Unusual("gone")])
def test_exceptions_that_are_no_errors_are_told_with_line_and_record_too(session: smr.Session, raised: BaseException) -> None:
    def broken(item: int) -> list[tuple[int, int]]:
        raise raised

    def failing(key: int, values: Iterator[int]) -> int:
        raise raised

    for map, reduce in ((broken, None), (lambda item: [(item, 1)], failing)):
        with pytest.raises(errors.TaskError, match=f"{type(raised).__name__} in (map|reduce)") as caught:
            session.map_reduce(map, reduce, [7], wait=True)
        assert "raise raised" in str(caught.value)
        assert "7" in str(caught.value)


def test_an_iterator_that_ends_inside_a_generator_is_told_with_its_line(session: smr.Session) -> None:
    def broken(item: int) -> Iterator[tuple[int, int]]:
        yield item, next(iter([]))

    with pytest.raises(errors.TaskError, match="generator raised StopIteration") as caught:
        session.map_reduce(broken, None, [1], wait=True)
    assert "yield item, next(iter([]))" in str(caught.value)
