"""Built-in aggregations through the local service: of columns in every format, and in the place of `reduce`."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import smr_notebook as smr
from smr_notebook.errors import InputFormatError, PlanError, TaskError

CHANCE = random.Random(3)
ROWS: list[dict[str, Any]] = [
    {"user": f"u{CHANCE.randrange(40):02d}", "amount": CHANCE.choice([CHANCE.random(), CHANCE.randrange(9)]), "n": CHANCE.randrange(4)}
    for _ in range(3_000)
]
FRAME = pd.DataFrame(ROWS)


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Any]:
    """The same rows in every format that has columns."""
    for number in range(3):
        lines = "".join(json.dumps(row) + "\n" for row in ROWS[number * 1000 : number * 1000 + 1000])
        (tmp_path / f"{number}.jsonl").write_text(lines)
        FRAME.iloc[number * 1000 : number * 1000 + 1000].to_parquet(tmp_path / f"{number}.parquet", row_group_size=300)
    return {"jsonl": tmp_path / "*.jsonl", "parquet": tmp_path / "*.parquet", "frame": FRAME, "items": ROWS}


@pytest.mark.parametrize("split_size", [None, 7_000])
@pytest.mark.parametrize("format", ["jsonl", "parquet", "frame", "items"])
def test_columns_are_aggregated_whatever_the_format(
    session: smr.Session, inputs: dict[str, Any], format: str, split_size: int | None
) -> None:
    job = session.aggregate(
        inputs[format], by="user", total=smr.sum("amount"), n=smr.count(), best=smr.top("amount", 2), reducers=3, split_size=split_size
    )
    frame = job.result()
    groups: dict[Any, list[Any]] = {user: group.amount.tolist() for user, group in FRAME.groupby("user")}
    assert frame.columns.tolist() == ["user", "total", "n", "best"]
    assert frame.user.tolist() == sorted(groups)
    assert frame.total.tolist() == [math.fsum(groups[user]) for user in sorted(groups)]
    assert frame.n.tolist() == [len(groups[user]) for user in sorted(groups)]
    assert [list(best) for best in frame.best] == [sorted(groups[user], reverse=True)[:2] for user in sorted(groups)]
    assert "3,000 records read = mapped · 40 groups" in job.proof


def test_conditions_and_computed_columns(session: smr.Session, inputs: dict[str, Any]) -> None:
    frame = session.aggregate(
        inputs["parquet"],
        by={"n": "n", "small": smr.col("amount") < 3},
        where=smr.col("user") < "u20",
        cost=smr.sum(smr.col("amount") * smr.col("n")),
        wait=True,
    )
    kept = FRAME[FRAME.user < "u20"]
    groups: dict[Any, Any] = dict(iter(kept.groupby(["n", kept.amount < 3])))
    assert list(zip(frame.n, frame.small, strict=True)) == sorted(groups)
    assert frame.cost.tolist() == [math.fsum((groups[key].amount * groups[key].n).tolist()) for key in sorted(groups)]


def test_missing_values_are_left_out_whatever_library_the_frame_is_of(session: smr.Session) -> None:
    table = pa.table({"k": ["a", "a", "a", "b"], "x": [1.5, None, 2.0, math.nan], "s": ["v", None, None, "w"]})
    for input in (table, pl.from_arrow(table), table.to_pylist()):
        frame = session.aggregate(input, by="k", total=smr.sum("x"), n=smr.count("x"), texts=smr.count("s"), wait=True)
        assert frame.total.iloc[0] == 3.5
        assert math.isnan(frame.total.iloc[1])
        assert (frame.n.tolist(), frame.texts.tolist()) == ([2, 1], [1, 1])


def test_one_group_of_all_is_by_a_constant(session: smr.Session, inputs: dict[str, Any]) -> None:
    for data in inputs.values():
        frame = session.aggregate(data, by={"all": pc.scalar("all")}, n=smr.count(), wait=True)
        assert frame.to_dict("records") == [{"all": "all", "n": 3000}]


def test_a_result_without_rows_has_its_columns(session: smr.Session, inputs: dict[str, Any]) -> None:
    frame = session.aggregate(inputs["jsonl"], by="user", where=smr.col("n") > 99, total=smr.sum("amount"), n=smr.count(), wait=True)
    assert (frame.columns.tolist(), len(frame)) == (["user", "total", "n"], 0)
    few = session.aggregate(inputs["jsonl"], by="user", where=smr.col("user") == "u00", n=smr.count(), reducers=7, wait=True)
    assert (few.columns.tolist(), few.n.tolist()) == (["user", "n"], [int((FRAME.user == "u00").sum())])


REDUCES: list[tuple[Any, Callable[[list[Any]], Any]]] = [
    (smr.sum, lambda values: math.fsum(values) if any(isinstance(value, float) for value in values) else sum(values)),
    (smr.count, len),
    (smr.min, min),
    (smr.max, max),
    (smr.first, lambda values: values[0]),
    (smr.top(3), lambda values: sorted(values, reverse=True)[:3]),
    (smr.collect, list),
    (smr.quantiles([0.5]), lambda values: [float(pd.Series(values, dtype=float).quantile(0.5))]),
    (len, len),
    (list, list),
]


@pytest.mark.parametrize(("reduce", "expected"), REDUCES)
def test_aggregations_take_the_place_of_reduce(
    session: smr.Session, inputs: dict[str, Any], reduce: Any, expected: Callable[[list[Any]], Any]
) -> None:
    def map(row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        yield row["user"], row["amount"]

    frame = session.map_reduce(map, reduce, inputs["jsonl"], reducers=2, wait=True)
    groups = {user: [row["amount"] for row in ROWS if row["user"] == user] for user in sorted({row["user"] for row in ROWS})}
    assert frame.key.tolist() == list(groups)
    assert [list(value) if isinstance(value, list) else value for value in frame.value] == [expected(values) for values in groups.values()]


def test_aggregations_of_sorted_jobs(session: smr.Session) -> None:
    pairs = [(number % 7, -number) for number in range(100)]
    for sort, first in (("keys", lambda values: values[0]), ("values", min), ("keys,values", min)):
        frame = session.map_reduce(lambda pair: [pair], smr.first, pairs, sort=sort, reducers=3, split_size=200, wait=True)
        groups = {key: [value for other, value in pairs if other == key] for key in range(7)}
        assert list(zip(frame.key, frame.value, strict=True)) == [(key, first(values)) for key, values in groups.items()]


def test_what_is_wrong_is_told(session: smr.Session, inputs: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="no column 'usr'; it has the columns 'user', 'amount', 'n'"):
        session.aggregate(inputs["jsonl"], by="usr", n=smr.count())
    with pytest.raises(PlanError, match="no column 'amont'"):
        session.aggregate(inputs["frame"], by="user", where=smr.col("amont") > 3, n=smr.count())
    with pytest.raises(PlanError, match="name= is an option of aggregate"):
        session.aggregate(inputs["jsonl"], by="user", name=smr.count())  # type: ignore[call-overload]
    (tmp_path / "lines.txt").write_text("a\n")
    with pytest.raises(PlanError, match="no columns to aggregate"):
        session.aggregate(tmp_path / "lines.txt", by="user", n=smr.count())
    with pytest.raises(TaskError, match=r"t: sum and mean add numbers; got .* smr\.formats\.csv\(types=") as caught:
        session.aggregate(inputs["jsonl"], by="n", t=smr.sum("user"), wait=True)
    assert "key: 0" in str(caught.value)
    with pytest.raises(InputFormatError, match="cannot be computed"):
        session.aggregate(inputs["jsonl"], by="n", where=smr.col("user") > 3, wait=True)
