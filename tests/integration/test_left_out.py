"""Records and groups that fail, through the real service: the result lacks them, the user is told, and too many of them end the job."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import smr_notebook as smr
from smr_notebook.errors import ConfigError, TaskError, TooManyBadError


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files of numbers, ten of three thousand of which are none."""
    folder = tmp_path_factory.mktemp("numbers")
    for file in range(3):
        lines = [str(number) for number in range(1_000 * file, 1_000 * (file + 1))]
        for place in range(file, 1_000, 300):
            lines[place] = f"no number {place}"
        (folder / f"{file}.txt").write_text("".join(f"{line}\n" for line in lines))
    return folder


def parse(line: str) -> Iterator[tuple[int, int]]:
    yield -1, 1  # which does not count where the next line fails
    number = int(line)
    yield number % 4, number


def total(key: int, values: Iterator[int]) -> int:
    found = sum(values)
    if key == 2:
        raise KeyError("two")
    return found


def good_lines(folder: Path) -> list[int]:
    lines = [line for path in sorted(folder.iterdir()) for line in path.read_text().splitlines()]
    return [int(line) for line in lines if line.isdecimal()]


@pytest.mark.parametrize("combine", [False, True])
def test_the_result_is_that_of_what_did_not_fail_and_the_rest_is_told(session: smr.Session, numbers: Path, combine: bool) -> None:
    job = session.map_reduce(parse, total, numbers, combine=combine, on_error="collect", max_bad=0.5, split_size=2_000, reducers=2)
    with pytest.warns(smr.LeftOutWarning, match=r"leaves out 12 of 3,000 records and 1 of 5 groups; job.bad shows them. The first: .*"):
        frame = job.result()

    good = good_lines(numbers)
    answer = Counter({-1: len(good)})
    for number in good:
        answer[number % 4] += number
    del answer[2]
    assert dict(zip(frame["key"], frame["value"], strict=True)) == answer
    assert "3,000 records read = 2,988 mapped + 12 left out · 5 groups = 4 reduced + 1 left out · 5,976 pairs" in job.proof

    bad = job.bad
    assert list(bad.columns) == ["object", "offset", "record", "error", "number", "function", "task", "line"]
    lines = bad[bad["function"] == "map"]
    assert list(lines["record"]) == [f"no number {place}" for file in range(3) for place in range(file, 1_000, 300)]
    for row in lines.itertuples():
        assert Path(str(row.object)).read_bytes()[int(str(row.offset)) :].startswith(f"{row.record}\n".encode())
        assert str(row.error).startswith("ValueError: invalid literal for int()")
        assert str(row.line).endswith("number = int(line)")
    (group,) = bad[bad["function"] == "reduce"].itertuples()
    assert (group.record, group.error, str(group.task)[:7]) == ("2", "KeyError: 'two'", "reduce/")
    assert group.object == ""


def test_only_some_are_told_where_the_others_are_only_counted(session: smr.Session) -> None:
    def odd(number: int) -> Iterator[tuple[int, int]]:
        yield number, 1 // (number % 2)

    job = session.map_reduce(odd, None, range(1_000), on_error="skip", max_bad=500, split_size="1GB")
    with pytest.warns(smr.LeftOutWarning, match="shows some of them"):
        assert len(job.head(1_000)) == 500
    with pytest.warns(smr.LeftOutWarning):
        assert sum(len(frame) for frame in job.scan()) == 500
    assert "500 mapped + 500 left out" in job.proof
    tasks = session.plan(odd, None, list(range(1_000)), split_size="1GB").plan.maps
    assert len(job.bad) == min(500, 100 * tasks)


def test_too_many_end_the_job_by_name_with_a_sample(session: smr.Session, numbers: Path) -> None:
    job = session.map_reduce(parse, None, numbers, on_error="skip", max_bad=0.001)
    error = job.exception()
    assert isinstance(error, TooManyBadError)
    assert "max_bad allows 0.1%" in str(error)
    assert "'no number 0'" in str(error)
    assert ".txt, byte 0)" in str(error)
    with pytest.raises(TooManyBadError):
        job.result()
    assert set(job.bad["record"]) <= {f"no number {place}" for file in range(3) for place in range(file, 1_000, 300)}


def test_a_job_without_bad_records_has_neither_a_warning_nor_a_line_of_its_own(session: smr.Session) -> None:
    job = session.map_reduce(lambda number: [(number % 2, number)], total, range(10), on_error="skip")
    assert job.result()["value"].tolist() == [20, 25]
    assert job.proof.endswith("10 records read = mapped · 2 groups · 10 pairs = reduced")
    assert job.bad.empty
    assert job.bad.dtypes["offset"] == pd.Int64Dtype()


def test_a_strict_job_fails_as_ever_and_left_nothing_out(session: smr.Session) -> None:
    job = session.map_reduce(lambda number: [(number, 1 // number)], None, range(10))
    with pytest.raises(TaskError):
        job.result()
    assert job.bad.empty


@pytest.mark.parametrize("reduce", [sum, smr.sum])
def test_a_value_that_cannot_be_summed_costs_its_record(session: smr.Session, reduce: Any) -> None:
    def map(number: int) -> Iterator[tuple[str, object]]:
        yield "all", number
        yield "all", "seven" if number == 7 else 1

    job = session.map_reduce(map, reduce, range(20), on_error="collect")
    with pytest.warns(smr.LeftOutWarning):
        frame = job.result()
    assert frame["value"].tolist() == [sum(range(20)) - 7 + 19]
    assert job.bad["record"].tolist() == ["7"]


@pytest.mark.filterwarnings("ignore:.*large objects of CSV are not cut")
@pytest.mark.parametrize("split_size", [None, 3_000])
def test_what_is_no_record_is_left_out_and_told_as_it_stands(session: smr.Session, tmp_path: Path, split_size: int | None) -> None:
    jsonl = [json.dumps({"n": number}).encode() if number % 97 else b'{"n": ' for number in range(1_000)]
    text = [f"caf\u00e9 {number}".encode("utf-8" if number % 97 else "cp1252") for number in range(1_000)]
    rows = [b"%d,x" % number if number % 97 else b"%d,x,more" % number for number in range(1_000)]
    for name, lines, head in (("a.jsonl", jsonl, b""), ("b.txt", text, b""), ("c.csv", rows, b"n,x\n")):
        path = tmp_path / name
        path.write_bytes(head + b"".join(line + b"\n" for line in lines))
        job = session.map_reduce(lambda record: [(len(record), 1)], sum, path, on_error="collect", max_bad=0.1, split_size=split_size)
        with pytest.warns(smr.LeftOutWarning, match="leaves out 11 of 1,000 records"):
            assert sum(job.result()["value"]) == 989
        bad = job.bad
        assert set(bad["function"]) == {"read"}
        stands = [record if isinstance(record, bytes) else record.encode() for record in bad["record"]]
        assert stands == lines[::97]
        assert [path.read_bytes()[offset:].split(b"\n")[0] for offset in bad["offset"]] == lines[::97]


def test_a_plan_says_what_will_be_left_out(session: smr.Session) -> None:
    planned = session.plan(parse, total, ["1"], on_error="skip", max_bad=0.001)
    assert "Errors  what fails is left out and told (skip); more than 0.1% ends the job" in planned.describe()
    assert planned.plan.reading.tolerant
    assert "Errors" not in session.plan(parse, total, ["1"]).describe()


def test_what_makes_no_sense_is_refused_before_anything_runs(session: smr.Session) -> None:
    with pytest.raises(ConfigError, match="on_error must be one of"):
        session.map_reduce(parse, None, [1], on_error="ignore")
    with pytest.raises(ConfigError, match="max_bad=3 needs on_error"):
        session.map_reduce(parse, None, [1], max_bad=3)


@pytest.fixture(scope="module")
def sales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JSON lines of sales; some are no objects."""
    path = tmp_path_factory.mktemp("sales") / "sales.jsonl"
    rows = [json.dumps({"user": f"u{number % 7}", "amount": number}) for number in range(3_000)]
    for place in (5, 77, 2_999):
        rows[place] = f"[{place}]"
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


def test_an_aggregation_leaves_out_lines_without_columns(session: smr.Session, sales: Path) -> None:
    job = session.aggregate(sales, by="user", total=smr.sum("amount"), on_error="collect", split_size=20_000)
    with pytest.warns(smr.LeftOutWarning, match="leaves out 3 of 3,000 records"):
        frame = job.result()
    answer: Counter[str] = Counter()
    for number in set(range(3_000)) - {5, 77, 2_999}:
        answer[f"u{number % 7}"] += number
    assert dict(zip(frame["user"], frame["total"], strict=True)) == answer
    bad = job.bad
    assert list(bad["record"]) == ["[5]", "[77]", "[2999]"]
    assert set(bad["function"]) == {"read"}
    assert [sales.read_bytes()[offset:].split(b"\n")[0] for offset in bad["offset"]] == [b"[5]", b"[77]", b"[2999]"]


def amount_of(record: Any) -> int:
    """Return the number in a record, or in one that is no dict."""
    return int(record["amount"]) if isinstance(record, dict) else int(record[0])


@pytest.mark.parametrize("frame", ["pandas", "polars", "arrow"])
def test_of_frames_that_fail_only_the_rows_and_the_groups_at_fault_are_left_out(session: smr.Session, sales: Path, frame: str) -> None:
    def listed(rows: Any, name: str) -> list[Any]:
        column = rows[name]
        return list(column.to_pylist() if hasattr(column, "to_pylist") else column.to_list())

    def map(rows: Any) -> Any:
        if {1_000, 2_000} & set(listed(rows, "amount")):
            raise ValueError("round")
        return rows

    def reduce(rows: Any) -> Any:
        if "u3" in listed(rows, "user"):
            raise KeyError("u3")
        return rows

    job = session.map_frames(map, reduce, sales, by="user", frame=frame, on_error="collect", max_bad=0.2, reducers=2)
    with pytest.warns(smr.LeftOutWarning, match="leaves out 5 of 3,000 records and 1 of 7 groups"):
        found = job.result()
    left_out = {5, 77, 2_999, 1_000, 2_000}
    wanted = [number for number in range(3_000) if number not in left_out and number % 7 != 3]
    assert sorted(found["amount"]) == wanted
    bad = job.bad
    lines = bad[bad["function"] != "reduce"]
    splits = session.plan(lambda _: None, None, str(sales)).plan.maps
    assert splits > 1 or list(lines["number"]) == [6, 78, 1_001, 2_001, 3_000]
    assert [row for row in bad["record"] if "u3" in row] == ["'u3'"]
    rows = range(len(lines))
    assert [amount_of(job.failing_record(bad=row)) for row in rows] == [5, 77, 1_000, 2_000, 2_999]
    with pytest.raises(ConfigError, match="Nobody knows of one record or group that KeyError was raised for"):
        job.failing_record(bad=len(lines))
