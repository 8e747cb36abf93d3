"""A preview of all records gives what the job gives, and one of some records what a job over these gives."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import smr_notebook as smr
from smr_notebook.errors import InputEmptyError, InputMissingError, InputMixedError, InputReadError, JobError, SmrError

EVERYTHING: Final = 10**6


def fields(record: Any) -> list[Any]:
    """Return two values of a record, whatever the format makes of it."""
    if isinstance(record, dict):
        return [record["word"], record["number"]]
    word, _, number = (record.decode() if isinstance(record, bytes) else str(record)).strip().partition(",")
    return [word, int(number or 0)]


def by_word(record: Any) -> Iterator[tuple[Any, Any]]:
    word, number = fields(record)
    yield word, number


def by_length(record: Any) -> Iterator[tuple[Any, Any]]:
    """Keys of three kinds, values that are dicts."""
    word, number = fields(record)
    yield len(word), {"word": word, "number": number}
    yield word[:1], {"word": word}
    if len(word) % 3 == 0:
        yield (word[:1], None), {"number": 1.5}


def numbers(_: Any, values: Iterator[Any]) -> int:
    return sum(values)


def listed(_: Any, values: Iterator[Any]) -> list[Any]:
    return list(values)


def spread(key: Any, values: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
    """Rows of other keys than that of the group."""
    for number, _ in enumerate(values):
        yield number % 3, key


PROGRAMS: Final[dict[str, tuple[Any, Any, dict[str, Any]]]] = {
    "mapped": (by_word, None, {}),
    "sums": (by_word, sum, {}),
    "tops": (by_word, smr.top(2), {}),
    "combined": (by_word, numbers, {"combine": True}),
    "values in input order": (by_length, listed, {}),
    "values in order": (by_word, listed, {"sort": "values"}),
    "keys in order": (by_word, None, {"sort": "keys"}),
    "rows of any key": (by_length, spread, {}),
}

ROWS: Final = st.lists(st.tuples(st.text("abcß", min_size=1, max_size=4), st.integers(-9, 9)), min_size=1, max_size=40)


def write(folder: Path, form: str, rows: list[tuple[str, int]]) -> Any:
    """Return an input of three objects, or one in memory, that holds the rows."""
    parts = [part for part in (rows[0::3], rows[1::3], rows[2::3]) if part]
    if form == "items":
        return smr.items([f"{word},{number}" for word, number in rows])
    if form == "frame":
        return pd.DataFrame(rows, columns=["word", "number"])
    for place, part in enumerate(parts):
        lines = "".join(f"{word},{number}\n" for word, number in part)
        frame = pd.DataFrame(part, columns=["word", "number"])
        if form == "text":
            (folder / f"{place}.txt").write_text(lines)
        elif form == "gzip":
            (folder / f"{place}.txt.gz").write_bytes(gzip.compress(lines.encode()))
        elif form == "csv":
            (folder / f"{place}.csv").write_text(frame.to_csv(index=False))
        elif form == "jsonl":
            (folder / f"{place}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in frame.to_dict("records")))
        else:
            pq.write_table(pa.Table.from_pandas(frame), folder / f"{place}.parquet", row_group_size=3)
    return str(folder)


@settings(max_examples=12)
@given(
    rows=ROWS,
    program=st.sampled_from(sorted(PROGRAMS)),
    form=st.sampled_from(["text", "gzip", "csv", "jsonl", "parquet", "items", "frame"]),
)
def test_a_preview_of_all_records_is_the_result(
    session: smr.Session, tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]], program: str, form: str
) -> None:
    map, reduce, options = PROGRAMS[program]
    given = write(tmp_path_factory.mktemp("input"), form, rows)
    options = options | ({"format": smr.formats.csv(types={"number": int})} if form == "csv" else {})
    shown = session.preview(map, reduce, given, records=EVERYTHING, **options)
    result = session.map_reduce(
        map, reduce, given, reducers=2 if reduce or "sort" in options else None, split_size=64, wait=True, **options
    )
    pd.testing.assert_frame_equal(shown.result, result)
    assert (shown.records, shown.whole.records, shown.share) == (len(rows), len(rows), 1.0)


@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_each_program_gives_what_its_job_gives(session: smr.Session, program: str) -> None:
    map, reduce, options = PROGRAMS[program]
    words = [f"{'abcß'[number % 4] * (1 + number % 3)},{number % 5}" for number in range(300)]
    result = session.map_reduce(map, reduce, smr.items(words), reducers=3 if reduce else None, wait=True, **options)
    pd.testing.assert_frame_equal(session.preview(map, reduce, smr.items(words), records=300, **options).result, result)
    some = session.map_reduce(map, reduce, smr.items(words[:37]), wait=True, **options)
    pd.testing.assert_frame_equal(session.preview(map, reduce, smr.items(words), records=37, **options).result, some)


def test_what_is_left_out_is_what_the_job_leaves_out(session: smr.Session, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(f"w{number % 3},{'x' if number % 7 == 0 else number}\n" for number in range(100)))
    shown = session.preview(by_word, listed, tmp_path, records=EVERYTHING, on_error="collect", max_bad=50)
    job = session.map_reduce(by_word, listed, tmp_path, on_error="collect", max_bad=50)
    with pytest.warns(smr.LeftOutWarning):
        pd.testing.assert_frame_equal(shown.result, job.result())
    pd.testing.assert_frame_equal(shown.bad, job.bad)
    assert shown.mapped.records_bad == 15


def test_a_failure_is_told_in_the_words_of_the_job(session: smr.Session, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("w,1\nw,x\n")
    told = []
    for call in (lambda: session.preview(by_word, sum, tmp_path), lambda: session.map_reduce(by_word, sum, tmp_path, wait=True)):
        with pytest.raises(JobError, match="ValueError in map: invalid literal") as caught:
            call()
        told.append((str(caught.value), caught.value.failures[0].failure, type(caught.value.__cause__)))
    assert told[0] == told[1]


def _empty(folder: Path) -> object:
    return folder


def _all_empty(folder: Path) -> object:
    (folder / "a.txt").touch()
    return folder


def _mixed(folder: Path) -> object:
    (folder / "a.csv").write_text("a\n1\n")
    (folder / "b.jsonl").write_text("{}\n")
    return folder


def _twice(folder: Path) -> object:
    (folder / "a.txt").write_text("x\n")
    return smr.files(folder, folder / "a.txt")


def _linked(folder: Path) -> object:
    (folder / "a.txt").write_text("x\n")
    (folder / "b.txt").symlink_to(folder / "a.txt")
    return folder


def _archive(folder: Path) -> object:
    (folder / "a.zip").write_bytes(b"PK\x03\x04" + bytes(60))
    return folder


def _damaged(folder: Path) -> object:
    (folder / "a.parquet").write_bytes(b"PAR1" + bytes(2_000_000) + b"PAR1")
    return folder


INPUTS: Final[list[tuple[Callable[[Path], object], type[SmrError], str]]] = [
    (_empty, InputMissingError, "no folder with a file in it"),
    (lambda folder: folder / "*.nothing", InputMissingError, "Nothing found under"),
    (_all_empty, InputEmptyError, "all of them are empty"),
    (lambda _: [], InputEmptyError, "The iterable has no items"),
    (lambda _: pd.DataFrame({"a": []}), InputEmptyError, "The DataFrame has no rows"),
    (_mixed, InputMixedError, "The input mixes formats"),
    (_twice, InputMixedError, "is named twice"),
    (_linked, InputMixedError, "are one file, under two names that are links"),
    (lambda _: "nowhere://x", SmrError, "this session has no reader for nowhere://"),
    (lambda _: 7, SmrError, "input is a int, which has no records"),
]


@pytest.mark.parametrize("verb", ["plan", "preview"])
@pytest.mark.parametrize(("make", "error", "message"), INPUTS)
def test_what_is_wrong_with_an_input_is_told_before_anything_is_paid_for(
    session: smr.Session, tmp_path: Path, verb: str, make: Callable[[Path], object], error: type[SmrError], message: str
) -> None:
    before = len(session.jobs())
    with pytest.raises(error, match=message):
        getattr(session, verb)(by_word, sum, make(tmp_path))
    assert len(session.jobs()) == before


@pytest.mark.parametrize("make", [_archive, _damaged])
def test_an_object_that_is_not_what_its_name_says_is_told_by_a_preview_at_the_latest(
    session: smr.Session, tmp_path: Path, make: Callable[[Path], object]
) -> None:
    with pytest.raises(SmrError, match=r"a\.(zip|parquet)") as caught:
        session.preview(by_word, sum, make(tmp_path))
    assert not isinstance(caught.value, InputReadError)
