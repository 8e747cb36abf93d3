"""CSV, Arrow and Parquet through the local service: records, columns and frames, cut and whole, and what the user is told of them."""

from __future__ import annotations

import csv
import gzip
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pytest

import smr_notebook as smr
from smr_notebook.errors import ConfigError, InputFormatError, InputMixedError, PlanError, TaskError

CHANCE = random.Random(7)
TEXTS = ["plain", "with, comma", 'with "quotes"', "with\nline end", "", "é€"]
ROWS: list[dict[str, Any]] = [
    {"user": f"u{CHANCE.randrange(30):02d}", "text": CHANCE.choice(TEXTS), "amount": CHANCE.random(), "n": CHANCE.randrange(100)}
    for _ in range(4_000)
]
FRAME = pd.DataFrame(ROWS)
TYPES = {"amount": float, "n": int}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The same rows in every format, in two objects of each."""
    for number in range(2):
        part = FRAME.iloc[number * 2000 : number * 2000 + 2000]
        part.to_csv(tmp_path / f"{number}.csv", index=False)
        part.to_csv(tmp_path / f"{number}.tsv", index=False, sep="\t", quoting=csv.QUOTE_ALL)
        part.to_csv(tmp_path / f"{number}.csv.gz", index=False)
        part.to_parquet(tmp_path / f"{number}.parquet", row_group_size=300)
        pyarrow.feather.write_feather(pa.Table.from_pandas(part, preserve_index=False), tmp_path / f"{number}.feather", chunksize=300)
    return tmp_path


def by_user(row: dict[str, Any]) -> Iterator[tuple[str, tuple[float, int, str]]]:
    yield row["user"], (float(row["amount"]), int(row["n"]), row["text"])


def sorted_list(_: str, values: Iterator[Any]) -> list[Any]:
    return list(values)


WANTED = {user: [(row.amount, row.n, row.text) for row in group.itertuples()] for user, group in FRAME.groupby("user")}


@pytest.mark.parametrize("split_size", [None, 10_000])
@pytest.mark.parametrize("pattern", ["*.csv", "*.tsv", "*.csv.gz", "*.parquet", "*.feather"])
def test_records_are_the_rows_whatever_the_format_and_the_splits(
    session: smr.Session, folder: Path, pattern: str, split_size: int | None
) -> None:
    job = session.map_reduce(by_user, sorted_list, folder / pattern, split_size=split_size, reducers=2)
    frame = job.result()
    assert dict(zip(frame.key, frame.value, strict=True)) == WANTED
    if split_size and not pattern.endswith("gz"):
        assert job.status().map.tasks > 4


@pytest.mark.parametrize("format", [smr.formats.csv(types=TYPES), smr.formats.csv(infer=True), smr.formats.csv(types=TYPES, delimiter=",")])
def test_columns_of_csv_are_aggregated_by_their_types(session: smr.Session, folder: Path, format: Any) -> None:
    frame = session.aggregate(
        folder / "*.csv",
        by="user",
        total=smr.sum("n"),
        best=smr.max("amount"),
        texts=smr.count("text"),
        format=format,
        split_size=20_000,
    ).result()
    wanted = FRAME.groupby("user").agg(total=("n", "sum"), best=("amount", "max"), texts=("text", "size")).reset_index()
    pd.testing.assert_frame_equal(frame, wanted, check_dtype=False)


@pytest.mark.parametrize("library", ["pandas", "polars", "arrow"])
@pytest.mark.parametrize("pattern", ["*.csv", "*.feather"])
def test_frames_hold_the_columns(session: smr.Session, folder: Path, pattern: str, library: str) -> None:
    format = smr.formats.csv(types=TYPES) if pattern == "*.csv" else smr.formats.arrow()
    found = session.map_frames(
        lambda frame: frame, None, folder / pattern, frame=library, columns=["n", "text"], format=format, split_size=15_000
    ).result()
    assert [(row.n, row.text) for row in found.itertuples()] == [(row["n"], row["text"]) for row in ROWS]


def test_only_the_columns_that_are_named_are_in_a_record(session: smr.Session, folder: Path) -> None:
    for format, pattern in ((smr.formats.parquet(columns=["n"]), "*.parquet"), (smr.formats.csv(columns=["n"], types={"n": int}), "*.csv")):
        found = session.map_reduce(lambda row: [(tuple(row), row["n"])], None, folder / pattern, format=format).result()
        assert set(found.key) == {("n",)}
        assert found.value.tolist() == FRAME.n.tolist()
        with pytest.raises((InputFormatError, TaskError), match="has no column 'z'"):
            session.map_reduce(
                lambda row: [(1, row)], None, folder / pattern, format=type(format)(format.format, type(format.reading)(columns=("z",)))
            ).result()


def test_the_plan_shows_how_csv_is_read(session: smr.Session, folder: Path) -> None:
    shown = session.plan(by_user, sorted_list, folder / "*.csv", format=smr.formats.csv(infer=True)).describe()
    assert "Read    delimiter ',' · quote '\"' · fields may hold line ends · columns user, text, amount (float), n (int)" in shown


def test_objects_with_other_headers_are_told(session: smr.Session, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    (tmp_path / "b.csv").write_text("b,a\n1,2\n")
    with pytest.raises(InputMixedError, match=r"b.csv has another header than was planned: b, a instead of a, b"):
        session.map_reduce(lambda row: [(1, row)], None, tmp_path / "*.csv").result()
    found = session.map_reduce(lambda row: [(1, row)], None, tmp_path / "*.csv", format=smr.formats.csv(columns=["a"])).result()
    assert found.a.tolist() == ["1", "2"]


def test_a_gzip_of_csv_with_a_bad_row_tells_its_line(session: smr.Session, tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 10_000 + b"3\n"))
    with pytest.raises(InputFormatError, match=r"a.csv.gz, line 10,002 \(offset 40,004\) has 1 fields where the header has 2"):
        session.map_reduce(lambda row: [(1, row)], None, tmp_path / "a.csv.gz").result()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: smr.formats.csv(delimiter=",,"), "delimiter is ',,': it must be one sign"),
        (lambda: smr.formats.csv(delimiter='"'), "must differ"),
        (lambda: smr.formats.csv(header=False, columns=["a"]), "columns have names only where names"),
        (lambda: smr.formats.csv(types={"a": list}), "types says <class 'list'> of 'a'"),
        (lambda: smr.formats.csv(names=["a", "a"]), "give a list of distinct names"),
        (lambda: smr.formats.csv(skip=-1), "skip is -1"),
        (lambda: smr.formats.parquet(columns="a"), "columns is 'a': give a list of distinct names"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(make: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make()


@pytest.mark.parametrize("split_size", [None, 3_000])
@pytest.mark.parametrize("newlines", [True, False])
def test_rows_that_are_none_may_be_left_out_and_are_counted(
    session: smr.Session, tmp_path: Path, newlines: bool, split_size: int | None
) -> None:
    wrong = {50: "1", 150: "1,2,3", 250: "x,y", 350: ",b\xff" if newlines else '"1,2'}
    rows = [wrong.get(number, f"{number},n{number}") for number in range(2_000)]
    (tmp_path / "a.csv").write_text("id,name\n" + "\n".join(rows) + "\n", encoding="latin-1")
    format = smr.formats.csv(types={"id": int}, newlines=newlines)
    with pytest.raises((InputFormatError, TaskError), match=r"a\.csv"):
        session.map_reduce(lambda row: [("sum", row["id"])], sum, tmp_path / "a.csv", format=format, split_size=split_size).result()
    job = session.map_reduce(
        lambda row: [("sum", row["id"])], sum, tmp_path / "a.csv", format=format, split_size=split_size, on_error="skip", max_bad=10
    )
    with pytest.warns(UserWarning, match="leaves out 4 of 2,000 records"):
        found = job.result()
    assert found.value.tolist() == [sum(number for number in range(2_000) if number not in wrong)]
    assert job.status().map.numbers.records_bad == len(wrong)


def test_rows_that_are_none_may_be_left_out_of_columns_as_well(session: smr.Session, tmp_path: Path) -> None:
    wrong = {50: "1", 150: "1,2,3", 250: "x,y"}
    rows = [wrong.get(number, f"{number},n{number % 3}") for number in range(1_000)]
    (tmp_path / "a.csv").write_text("id,name\n" + "\n".join(rows) + "\n")
    format = smr.formats.csv(types={"id": int})
    kept = [number for number in range(1_000) if number not in wrong]

    with pytest.raises(InputFormatError, match=r"a\.csv, line 52 .*has 1 fields where the header has 2"):
        session.aggregate(tmp_path / "a.csv", by="name", total=smr.sum("id"), format=format).result()
    job = session.aggregate(tmp_path / "a.csv", by="name", total=smr.sum("id"), format=format, split_size=2_000, on_error="skip", max_bad=3)
    with pytest.warns(UserWarning, match="leaves out 3 of 1,000 records"):
        found = job.result()
    assert found.total.tolist() == [sum(number for number in kept if number % 3 == rest) for rest in range(3)]

    job = session.map_frames(
        lambda frame: frame, None, tmp_path / "a.csv", columns=["id"], format=format, split_size=2_000, on_error="skip", max_bad=3
    )
    with pytest.warns(UserWarning, match="leaves out 3 of 1,000 records"):
        assert job.result().id.tolist() == kept
    with pytest.raises((PlanError, InputFormatError), match="no column 'z'"):
        session.map_frames(
            lambda frame: frame, None, tmp_path / "a.csv", columns=["z"], format=format, on_error="skip", max_bad=9_999
        ).result()
