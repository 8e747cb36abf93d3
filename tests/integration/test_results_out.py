"""The ways out of a job, on real parts: pieces of every library, and files of one's own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from pandas.testing import assert_frame_equal

import smr_notebook as smr
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.sql.sink import WrittenTable
from smr_notebook.control.ledger import Ledger
from smr_notebook.errors import ConfigError, CorruptObjectError


def pairs(item: int) -> Iterator[tuple[str, int]]:
    yield f"k{item % 7}", item


@pytest.fixture(scope="module")
def job(session: smr.Session) -> smr.Job:
    return session.map_reduce(pairs, sum, range(100), reducers=3).wait()


def in_order(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values("key", ignore_index=True)


def test_pieces_are_of_the_library_that_is_asked_for(job: smr.Job) -> None:
    result = job.result()
    assert_frame_equal(in_order(pd.concat(job.scan())), result)
    tables: list[pa.Table] = list(job.scan("arrow"))
    assert_frame_equal(in_order(pa.concat_tables(tables).to_pandas()), result)
    frames: list[pl.DataFrame] = list(job.scan("polars"))
    assert pl.concat(frames).sort("key").rows() == list(result.itertuples(index=False, name=None))
    with pytest.raises(ConfigError, match="pandas, polars, arrow"):
        job.scan("dask")  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match="pandas, polars, arrow"):
        job.scan(["arrow"])  # type: ignore[call-overload]


def maybe(_: int, values: Iterator[int]) -> dict[str, int] | None:
    total = sum(values)
    return {"n": total} if total % 2 else None


def test_files_hold_one_table_whatever_the_number_of_reducers(session: smr.Session, tmp_path: Path) -> None:
    tables = []
    for reducers in (1, 4, 8):
        job = session.map_reduce(lambda item: [(item % 8, item)], maybe, range(12), reducers=reducers)
        table = ds.dataset(job.to_parquet(tmp_path / f"out-{reducers}").path).to_table().sort_by("key")
        tables.append((table.schema, table.to_pylist()))
        result = job.result()
        assert [row["value"] for row in table.to_pylist()] == result["value"].tolist()
    assert tables[0] == tables[1] == tables[2]


def test_files_of_ones_own_hold_the_result(job: smr.Job, tmp_path: Path) -> None:
    written = job.to_parquet(tmp_path / "out")
    assert (written.rows, len(written.files)) == (7, len(list(job.scan())))
    assert_frame_equal(in_order(ds.dataset(tmp_path / "out").to_table().to_pandas()), job.result())
    with pytest.raises(ConfigError, match="is there already"):
        job.to_parquet(str(tmp_path / "out"))


def test_columns_of_aggregations_are_written_as_they_are(session: smr.Session, tmp_path: Path) -> None:
    frame = pd.DataFrame({"user": ["a", "b", "a"], "amount": [1.5, 2.0, 3.0]})
    job = session.aggregate(frame, by="user", total=smr.sum("amount"), n=smr.count(), reducers=2)
    job.to_parquet(tmp_path / "all.parquet")
    read = pd.read_parquet(tmp_path / "all.parquet").sort_values("user", ignore_index=True)
    assert_frame_equal(read, job.result())


def test_who_is_refused_need_not_wait(session: smr.Session, tmp_path: Path) -> None:
    """Before the job has ended, and while it could not."""
    gate = str(tmp_path / "gate")

    def waits(item: int) -> Iterator[tuple[int, int]]:
        import os
        import threading

        while not os.path.exists(gate):  # noqa: PTH110 - a worker that waits
            threading.Event().wait(0.005)
        yield item, item

    job = session.map_reduce(waits, sum, [1])
    (tmp_path / "there.parquet").touch()
    for path in (tmp_path / "there.parquet", "s3://bucket/out"):
        with pytest.raises(ConfigError):
            job.to_parquet(path)
    with pytest.raises(ConfigError):
        job.scan("dask")  # type: ignore[call-overload]
    assert job.running()
    Path(gate).touch()
    job.wait()


def test_a_bucket_that_the_platform_can_write_to(session: smr.Session, job: smr.Job) -> None:
    bucket = MemoryStore()
    entry = Ledger(session.backend.table, job.id).job()
    assert entry is not None
    there = smr.Job(replace(session.backend, targets={"s3": {"mine": bucket}.__getitem__}), entry, result_limit=1)
    assert there.to_parquet("s3://mine/a.parquet").files == ("s3://mine/a.parquet",)
    assert len(pd.read_parquet(pa.BufferReader(bucket.get("a.parquet")))) == 7


def test_a_result_is_a_table_of_a_database(session: smr.Session, job: smr.Job, tmp_path: Path) -> None:
    """Of the result as of aggregations; a frame that is read from it is the frame of the job."""
    url = f"sqlite:///{tmp_path}/some.db"
    assert job.to_sql(url, "totals") == WrittenTable(url, "totals", 7)
    with sqlite3.connect(tmp_path / "some.db") as connection:
        assert_frame_equal(pd.read_sql_query("SELECT * FROM totals ORDER BY key", connection), job.result())
    with pytest.raises(ConfigError, match="has a table 'totals' already"):
        job.to_sql(url, "totals")
    with pytest.raises(ConfigError, match="on the platform 'local' cannot"):
        job.to_dynamodb("totals")
    with pytest.raises(ConfigError, match="does not hold exactly"):
        session.map_reduce(lambda item: [(item, [item])], None, [1]).to_sql(url, "lists")
    with sqlite3.connect(tmp_path / "some.db") as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("totals",)]


def test_each_partition_is_a_file_that_a_job_reads_again(session: smr.Session, job: smr.Job, tmp_path: Path) -> None:
    written = job.export(tmp_path / "out", format="jsonl", files="partitions")
    assert written.rows == 7
    again = session.map_reduce(lambda row: [(row["key"], row["value"])], sum, tmp_path / "out")  # and not its mark
    assert_frame_equal(again.result(), job.result())


def test_a_damaged_part_is_not_handed_out(session: smr.Session, tmp_path: Path) -> None:
    job = session.map_reduce(pairs, sum, range(100)).wait()
    file = job.parts()[0].files[0]
    data = bytearray(session.backend.objects.get(file.key))
    data[len(data) // 2] ^= 1
    session.backend.objects.put(file.key, bytes(data))
    for out in (lambda: list(job.scan("arrow")), lambda: list(job.scan("polars")), lambda: job.to_parquet(tmp_path / "out")):
        with pytest.raises(CorruptObjectError):
            out()
    assert list(tmp_path.iterdir()) == []
