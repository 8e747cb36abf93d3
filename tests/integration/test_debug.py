"""What failed in a worker is run again here: the same record, the same function, and an exception that is real."""

from __future__ import annotations

import io
import linecache
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from types import FrameType
from typing import Any

import pandas as pd
import pytest

import smr_notebook as smr
from smr_notebook import errors
from smr_notebook.control.layout import Layout
from smr_notebook.testing.waiting import wait_until


def frames_of(error: BaseException) -> list[FrameType]:
    """Return the frames that an exception passed, outermost first."""
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)]


def innermost(error: BaseException) -> FrameType:
    return frames_of(error)[-1]


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """Lines in several splits; one of them has four letters."""
    file = tmp_path / "words.txt"
    file.write_text("".join(f"word number {number}\n" for number in range(500)) + "oops\n" + "more words\n" * 500)
    return file


def broken(line: str) -> Iterator[tuple[int, float]]:
    length = len(line)
    yield length, 1 / (length - 4)


def test_the_failing_record_is_mapped_again_and_the_exception_is_real(session: smr.Session, words: Path) -> None:
    job = session.map_reduce(broken, sum, words, split_size=1_000)
    job.exception()
    assert job.failing_record() == "oops"
    with pytest.raises(ZeroDivisionError) as caught:
        job.debug()
    assert (innermost(caught.value).f_code.co_name, innermost(caught.value).f_locals["length"]) == ("broken", 4)


def test_a_mended_function_is_tried_on_that_record(session: smr.Session, words: Path) -> None:
    job = session.map_reduce(broken, sum, words)
    job.exception()
    replayed = job.debug(map=lambda line: [(len(line), line)])
    assert replayed.given == [(4, "oops")]
    assert repr(replayed).startswith("map of the record 'oops' did not fail here.\nIt gave [(4, 'oops')]")
    with pytest.raises(KeyError, match="still wrong"):
        job.debug(map=lambda line: {"": 1}[f"still wrong: {line}"])
    with pytest.raises(errors.PlanError, match="combine= has nothing to mend"):
        job.debug(combine=lambda key, values: 1)


def test_a_map_that_wants_the_source_gets_it(session: smr.Session, words: Path) -> None:
    def two(source: str, line: str) -> list[tuple[str, int]]:
        if line == "oops":
            raise ValueError(source)
        return [(line, 1)]

    job = session.map_reduce(two, sum, words)
    job.exception()
    with pytest.raises(ValueError, match=r"words\.txt"):
        job.debug()


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda item: [item], errors.PairShapeError),
        (lambda item: [(object(), 1)], TypeError),
        (lambda item: 7, errors.PairShapeError),
    ],
)
def test_what_a_worker_could_not_take_fails_here_as_well(session: smr.Session, wrong: Any, error: type[Exception]) -> None:
    job = session.map_reduce(wrong, sum, [5])
    job.exception()
    with pytest.raises(error):
        job.debug()


def test_a_record_that_a_parser_made_is_made_again_and_mapped_alone(session: smr.Session, tmp_path: Path) -> None:
    (tmp_path / "numbers.dat").write_bytes(bytes(range(1, 50)) + b"\0")
    calls: list[int] = []

    def parse(stream: io.BufferedReader) -> Iterator[int]:
        yield from stream.read()

    def map(item: int) -> list[tuple[int, int]]:
        calls.append(item)
        return [(item, 100 // item)]

    job = session.map_reduce(map, sum, tmp_path, format=smr.formats.parse(parse))
    job.exception()
    assert job.failing_record() == 0
    with pytest.raises(ZeroDivisionError) as caught:
        job.debug()
    assert innermost(caught.value).f_locals["calls"] == [0]  # and no other record
    assert job.debug(map=lambda item: [(item, 1)]).given == [(0, 1)]


def test_the_failing_group_is_read_from_the_runs_value_by_value(session: smr.Session) -> None:
    def reduce(key: int, values: Iterator[int]) -> int:
        first = next(values)
        if key == 3:
            raise ValueError("three") from KeyError(first)
        return first + sum(values)

    job = session.map_reduce(lambda item: [(item % 5, item)], reduce, range(100_000), reducers=1)
    job.exception()
    failure = job.errors()[0].failure
    assert (failure.record, failure.record_number, failure.value_count) == ("3", 4, 20_000)
    assert "key: 3   (group 4 of partition 0, 20,000 values)" in repr(job.errors())
    with pytest.raises(ValueError, match="three") as caught:
        job.debug()
    assert isinstance(caught.value.__cause__, KeyError)
    assert innermost(caught.value).f_locals["first"] == 3
    assert sum(1 for _ in innermost(caught.value).f_locals["values"]) == 19_999
    key, values = job.failing_record()
    assert (key, next(values), sum(1 for _ in values)) == (3, 3, 19_999)
    assert job.debug(reduce=lambda key, values: (key, sum(values))).given == (3, sum(range(3, 100_000, 5)))


def test_a_generator_reduce_gives_its_rows(session: smr.Session) -> None:
    def rows(key: int, values: Iterator[int]) -> Iterator[Any]:
        for value in values:
            yield key, value
            if value == 7:
                yield "no pair"

    job = session.map_reduce(lambda item: [(item % 3, item)], rows, range(9))
    job.exception()
    with pytest.raises(errors.PairShapeError, match="no pair"):
        job.debug()

    def mended(key: int, values: Iterator[int]) -> Iterator[Any]:
        yield from ((key, value) for value in values)

    assert job.debug(reduce=mended).given == [(1, 1), (1, 4), (1, 7)]


def test_a_combiner_fails_again_on_the_task_it_failed_in(session: smr.Session) -> None:
    def total(key: int, values: Iterator[int]) -> int:
        return sum(values)

    def combine(key: int, values: Iterator[int]) -> int:
        found = list(values)
        if 999 in found:
            raise ValueError("too large")
        return sum(found)

    job = session.map_reduce(lambda item: [(item % 3, item)], total, range(1_000), combine=combine)
    job.exception()
    assert job.errors()[0].failure.value_count > 1
    with pytest.raises(ValueError, match="too large") as caught:
        job.debug()
    assert 999 in innermost(caught.value).f_locals["found"]
    before = sorted(info.key for info in session.backend.objects.list_prefix(f"jobs/{job.id}/"))
    assert repr(job.debug(combine=total)).startswith("The whole of map task")
    assert sorted(info.key for info in session.backend.objects.list_prefix(f"jobs/{job.id}/")) == before, "nothing is written"
    with pytest.raises(errors.ConfigError, match="there is none to return"):
        job.failing_record()


def test_functions_of_frames_fail_again_with_their_frame(session: smr.Session) -> None:
    def map(frame: pd.DataFrame) -> pd.DataFrame:
        if (frame["x"] == 700).any():
            raise ValueError("seven hundred")
        return frame

    job = session.map_frames(map, None, pd.DataFrame({"x": range(1_000)}))
    job.exception()
    with pytest.raises(ValueError, match="seven hundred") as caught:
        job.debug()
    assert 700 in innermost(caught.value).f_locals["frame"]["x"].tolist()
    assert "did not fail here" in repr(job.debug(map=lambda frame: frame))


def test_input_that_has_changed_or_is_gone_is_said(session: smr.Session, words: Path) -> None:
    job = session.map_reduce(broken, sum, words)
    job.exception()
    words.write_text(words.read_text() + "one more\n")
    with pytest.raises(errors.InputChangedError, match=r"words\.txt has changed"):
        job.debug()
    words.unlink()
    with pytest.raises(errors.InputMissingError, match=r"words\.txt"):
        job.failing_record()


def test_a_job_that_is_done_in_spite_of_a_failure_says_that_its_records_are_gone(session: smr.Session, tmp_path: Path) -> None:
    def once(item: int) -> list[tuple[int, int]]:
        if not (tmp_path / "tried").exists():
            (tmp_path / "tried").touch()
            raise ValueError("once")
        return [(item, 1)]

    job = session.map_reduce(once, sum, [1]).wait()
    assert len(job.errors()) == 1
    wait_until(lambda: not list(session.backend.objects.list_prefix(Layout(job.id).splits)))
    with pytest.raises(errors.InputMissingError, match="Submit it again"):
        job.debug()


def test_input_that_cannot_be_read_is_read_again_as_far_as_it_goes(session: smr.Session, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"good\n\xff\n")
    job = session.map_reduce(lambda line: [(line, 1)], sum, tmp_path / "a.txt")
    assert isinstance(job.exception(), errors.InputFormatError)
    with pytest.raises(errors.InputFormatError, match=r"a\.txt"):
        job.debug()


def test_an_aggregation_that_refuses_a_value_refuses_it_here(session: smr.Session) -> None:
    job = session.map_reduce(lambda item: [(item % 2, "text" if item == 7 else item)], smr.sum, range(10))
    job.exception()
    with pytest.raises(TypeError):
        job.debug()


def test_what_cannot_be_run_here_is_said(session: smr.Session) -> None:
    def dies(item: int) -> list[tuple[int, int]]:
        os._exit(1)

    fine = session.map_reduce(lambda item: [(item, 1)], sum, [1]).wait()
    with pytest.raises(errors.ConfigError, match="no task has failed"):
        fine.debug()
    job = session.map_reduce(dies, None, [1], retries=0)
    job.exception()
    with pytest.raises(errors.ConfigError, match=r"raised by no function.*job\.logs\(phase='map', task=0\)"):
        job.debug()
    with pytest.raises(errors.ConfigError, match=r"has no error 1: job\.errors\(\) shows 1"):
        job.debug(1)


def test_what_a_job_left_out_is_run_again_though_the_job_is_done(session: smr.Session, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1\nno number\n0\n5\n" * 3)

    def inverse(line: str) -> Iterator[tuple[int, float]]:
        number = int(line)
        yield number, 1 / number

    def total(key: int, values: Iterator[float]) -> float:
        if key == 5:
            raise ArithmeticError("five")
        return sum(values)

    job = session.map_reduce(inverse, total, tmp_path / "a.txt", on_error="collect", max_bad=10)
    with pytest.warns(smr.LeftOutWarning):
        assert job.result()["key"].tolist() == [1]
    assert job.bad["function"].tolist() == ["map"] * 6 + ["reduce"]
    assert [job.failing_record(bad=row) for row in range(3)] == ["no number", "0", "no number"]
    with pytest.raises(ZeroDivisionError) as caught:
        job.debug(bad=3)
    assert innermost(caught.value).f_locals["number"] == 0
    assert job.debug(bad=2, map=lambda line: [(line, 1)]).given == [("no number", 1)]
    with pytest.raises(ArithmeticError, match="five"):
        job.debug(bad=6)
    with pytest.raises(errors.ConfigError, match="no row 7"):
        job.debug(bad=7)
    with pytest.raises(errors.ConfigError, match=r"nothing to debug; job\.debug\(bad=0\) runs the first"):
        job.debug()
    assert repr(job.errors()) == f"{job.id}: no task has failed; 7 left out: job.bad shows them, job.debug(bad=0) runs the first"


MODULE = """
import smr_notebook as smr
from smr_notebook.config import Settings


def helper(item):
    # two lines
    # before it
    return 10 // (item - 3)


def map(item):
    yield item, helper(item)


def submit(workspace):
    session = smr.Session(settings=Settings(workspace=workspace, workers=1))
    job = session.map_reduce(map, None, range(5))
    job.exception()
    return job.id
"""


def test_another_process_shows_the_lines_of_the_job_and_not_those_of_today(own_session: Callable[..., smr.Session], tmp_path: Path) -> None:
    module = tmp_path / "mine.py"
    module.write_text(MODULE)
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import mine; print(mine.submit({str(tmp_path / 'ws')!r}))"
    id = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout.strip()
    job = own_session().attach(id)
    job.exception()
    with pytest.raises(ZeroDivisionError):
        job.debug()  # while the lines are still those of the job
    module.write_text("# all is different now\n" * 100)
    shown = repr(job.errors())
    assert dedent(
        """\
                7     # two lines
                8     # before it
        ---->   9     return 10 // (item - 3)
        """
    ) in dedent(shown)
    assert "different" not in shown
    with pytest.raises(ZeroDivisionError) as caught:
        job.debug()
    told = traceback.format_exception(caught.value)
    assert "return 10 // (item - 3)" in told[-2]
    assert f"mine.py (of job {id})" in told[-2]
    assert linecache.getline(str(module), 1) == "# all is different now\n", "the file itself is shown as it is"
