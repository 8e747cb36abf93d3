"""Frames through the real service: the answer of plain pandas, in each library, and errors that are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import smr_notebook as smr
from smr_notebook.errors import InputFormatError, PairShapeError, PlanError, TaskError


@pytest.fixture(scope="module")
def sales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files of sales, a hundred thousand rows, in several row groups."""
    chance = np.random.default_rng(3)
    folder = tmp_path_factory.mktemp("sales")
    for number in range(3):
        table = pa.table(
            {
                "user": pa.array([f"u{user:04d}" for user in chance.integers(0, 2_000, 33_334)]),
                "amount": pa.array(chance.integers(1, 100, 33_334) / 4),
                "day": pa.array(chance.integers(0, 30, 33_334).astype(np.int32), pa.date32()),
                "kind": pa.array(chance.choice(["new", "old"], 33_334)).dictionary_encode(),
            }
        )
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=5_000)
    return folder


def totals(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.groupby("user").agg(total=("amount", "sum"), n=("amount", "size"))


def added(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.groupby("user").sum()


@pytest.mark.parametrize(("split_size", "reducers"), [(None, None), (30_000, 3), ("10MB", 1)])
def test_totals_of_users(session: smr.Session, sales: Path, split_size: Any, reducers: int | None) -> None:
    job = session.map_frames(totals, added, sales, by="user", columns=["user", "amount"], split_size=split_size, reducers=reducers)

    pd.testing.assert_frame_equal(job.result(), totals(pd.read_parquet(sales)).reset_index())
    pd.testing.assert_frame_equal(job.head(7), totals(pd.read_parquet(sales)).reset_index().head(7))
    assert "100,002 records read = mapped · 2,000 groups" in job.proof


def test_dtypes_survive_the_shuffle_and_several_columns_make_a_group(session: smr.Session, sales: Path) -> None:
    found = session.map_frames(None, lambda frame: frame, sales, by=["kind", "day", "user"], reducers=4, wait=True)

    whole = pd.concat([pq.read_table(path).to_pandas() for path in sorted(sales.iterdir())], ignore_index=True).astype({"kind": "str"})
    ordered: pd.DataFrame = whole.sort_values(by=["kind", "day", "user"], kind="stable", ignore_index=True)
    pd.testing.assert_frame_equal(found.astype({"kind": "str"}), ordered)
    assert found["kind"].dtype == "category"


def test_frames_of_polars_and_tables_of_arrow(session: smr.Session, sales: Path) -> None:
    def polars_totals(frame: pl.DataFrame) -> pl.DataFrame:
        import polars as pl

        return frame.group_by("user").agg(pl.col("amount").sum())

    def arrow_totals(table: pa.Table) -> pa.Table:
        return table.group_by("user").aggregate([("amount", "sum")]).rename_columns({"amount_sum": "amount"})

    expected = pd.read_parquet(sales).groupby("user").agg({"amount": "sum"}).reset_index()
    for frame, function in (("polars", polars_totals), ("arrow", arrow_totals)):
        found = session.map_frames(function, function, sales, by="user", frame=frame, wait=True)
        pd.testing.assert_frame_equal(found, expected)


def test_a_dataframe_and_dicts_are_frames(session: smr.Session) -> None:
    frame = pd.DataFrame({"k": pd.array([1, 2, 1], "Int64"), "v": pd.Categorical(["a", "b", "a"], categories=["b", "a"])})

    found = session.map_frames(None, lambda frame: frame, frame, by="k", wait=True)
    pd.testing.assert_frame_equal(found, frame.sort_values("k", kind="stable", ignore_index=True))
    items = [{"k": "b", "n": 1}, {"k": "a", "n": 2}, {"k": "b", "n": 3}]
    assert session.map_frames(None, lambda frame: frame.groupby("k").sum(), items, by="k", wait=True).to_dict("list") == {
        "k": ["a", "b"],
        "n": [2, 4],
    }


def test_rows_of_parquet_are_dicts_for_map_reduce(session: smr.Session, sales: Path) -> None:
    found = session.map_reduce(lambda row: [(row["kind"], row["amount"])], sum, sales, wait=True)

    expected = pd.read_parquet(sales).groupby("kind", observed=True)["amount"].sum()
    assert dict(found.itertuples(index=False, name=None)) == expected.to_dict()


def test_an_error_in_map_is_told_with_its_line_rows_and_object(session: smr.Session, sales: Path) -> None:
    def broken(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(x=frame["nothing"])

    with pytest.raises(TaskError) as caught:
        session.map_frames(broken, None, sales, retries=0, wait=True)

    assert isinstance(caught.value.__cause__, KeyError)
    told = str(caught.value)
    assert 'return frame.assign(x=frame["nothing"])' in told
    assert "record: rows 1 to " in told
    assert ".parquet" in told


def test_what_is_no_frame_is_told(session: smr.Session, sales: Path) -> None:
    with pytest.raises(
        PairShapeError, match=r"reduce must return a pandas DataFrame, or None for no rows; got a Series\. Add \.reset_index"
    ):
        session.map_frames(None, lambda frame: frame["amount"], sales, by="user", retries=0, wait=True)
    with pytest.raises(PairShapeError, match="map returned a frame without the column 'client'"):
        session.map_frames(totals, added, sales, by="client", retries=0, wait=True)


def test_what_cannot_work_is_refused_before_it_runs(session: smr.Session, sales: Path, access_log: Path) -> None:
    with pytest.raises(PlanError, match="The input is text, whose records have no columns"):
        session.map_frames(None, None, access_log)
    with pytest.raises(PlanError, match="The input has no column 'amuont'; it has the columns 'user', 'amount', 'day', 'kind'"):
        session.map_frames(None, None, sales, columns=["amuont"])
    with pytest.raises(PlanError, match="reduce needs by"):
        session.map_frames(None, added, sales)


def test_parquet_that_is_damaged_is_told(session: smr.Session, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1" + b"x" * 100 + b"PAR1")

    with pytest.raises(InputFormatError, match=r"a\.parquet cannot be read as Parquet"):
        session.map_frames(None, None, tmp_path / "a.parquet", retries=0, wait=True)
