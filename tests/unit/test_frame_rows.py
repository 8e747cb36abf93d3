"""Frames of each library as rows and back, and how rows of different frames come together."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook.dataflow.arrow_kinds import (
    Rows,
    bring,
    concat_rows,
    is_arrow_kind,
    kind_of_schema,
    rows_of_struct,
    schema_of_kind,
    struct_array,
    unify,
)
from smr_notebook.dataflow.frames import arrow_rows, pandas_rows, polars_rows
from smr_notebook.dataflow.frames.rows import library
from smr_notebook.dataflow.kinds import arrow_type
from smr_notebook.errors import PairShapeError, PlanError

FRAME = pd.DataFrame(
    {
        "int": [1, 2],
        "int8": np.array([1, 2], np.int8),
        "uint64": np.array([1, 2**64 - 1], np.uint64),
        "float": [1.5, np.nan],
        "float32": np.array([1.5, np.nan], np.float32),
        "bool": [True, False],
        "str": ["a", None],
        "Int64": pd.array([2**62 + 1, None], "Int64"),
        "Float64": pd.array([0.5, None], "Float64"),
        "boolean": pd.array([True, None], "boolean"),
        "string": pd.array(["a", None], "string"),
        "category": pd.Categorical(["b", None], categories=["c", "b", "a"]),
        "ordered": pd.Categorical(["b", "a"], categories=["c", "b", "a"], ordered=True),
        "numbers": pd.Categorical([3, 1], categories=[1, 2, 3]),
        "ns": pd.to_datetime(pd.Series(["2026-01-01 00:00:00.123456789", None])),
        "zone": pd.to_datetime(["2026-01-01", "2026-06-01"]).tz_localize("Europe/Berlin"),
        "delta": pd.to_timedelta([1, None], unit="s"),
        "period": pd.period_range("2026-01", periods=2, freq="M"),
        "interval": pd.interval_range(0, 2),
        "arrow": pd.array([1, None], "int64[pyarrow]"),
        "date": [dt.date(2026, 1, 1), None],
        "decimal": [Decimal("1.50"), None],
        "bytes": [b"\0", None],
    }
)


def through(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame after a journey: as rows, as a column of structs, with the kind as text."""
    rows = pandas_rows.rows_of(frame, "map")
    kind = kind_of_schema(rows.schema)
    array = struct_array(rows)
    assert is_arrow_kind(kind)
    assert array.type.equals(arrow_type(kind))
    return pandas_rows.frame_of(rows_of_struct(kind, array))


@pytest.mark.parametrize("name", FRAME.columns)
def test_a_column_keeps_its_dtype_and_its_values(name: str) -> None:
    pd.testing.assert_frame_equal(through(FRAME[[name]]), FRAME[[name]])


def test_a_whole_frame_keeps_its_columns_in_order() -> None:
    pd.testing.assert_frame_equal(through(FRAME), FRAME)
    pd.testing.assert_frame_equal(through(FRAME.iloc[:0]), FRAME.iloc[:0])


def test_what_map_gets_can_be_changed_in_place() -> None:
    frame = through(FRAME)
    frame.loc[0, "int"] = 7
    frame["float"] += 1
    frame.iloc[1, 0] = 8

    assert frame["int"].tolist() == [7, 8]


def test_a_named_index_becomes_columns_and_any_other_is_dropped() -> None:
    frame = pd.DataFrame({"a": [1, 1, 2], "b": ["x", "y", "y"], "c": [1.0, 2.0, 3.0]})

    assert through(frame.groupby(["a", "b"]).sum()).to_dict("list") == frame.to_dict("list")
    assert list(through(frame.groupby("a").sum(numeric_only=True)).columns) == ["a", "c"]
    assert list(through(frame[frame.a == 1].sort_values("c", ascending=False)).columns) == ["a", "b", "c"]
    assert through(frame.set_index(pd.CategoricalIndex(["u", "v", "u"], name="k")))["k"].dtype == "category"


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (pd.Series([1], name="a"), "map must return a pandas DataFrame, or None for no rows; got a Series. Add .reset_index()"),
        (5, r"must return a pandas DataFrame, or None for no rows; got 5 \(int\)"),
        (pd.DataFrame({0: [1]}), "with a column named 0: each column needs a name of its own, a str"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "with a column named 'a'"),
        (pd.DataFrame({"a": [1]}, index=pd.Index([1], name="a")), "with a column named 'a'"),
        (pd.DataFrame(index=[1, 2]), "with no columns"),
        (pd.DataFrame({"a": [1, "x"]}), "whose column 'a' .* Arrow cannot hold"),
        (pd.DataFrame({"a": [1 + 2j]}), "whose column 'a' .* Arrow cannot hold"),
    ],
)
def test_what_is_no_frame_of_columns_is_told(frame: object, told: str) -> None:
    with pytest.raises(PairShapeError, match=told):
        pandas_rows.rows_of(frame, "map")


def test_frames_of_polars_and_arrow_keep_their_types() -> None:
    table = pa.table(
        {
            "i": pa.array([1, None], pa.int32()),
            "s": pa.array(["a", None], pa.large_string()),
            "c": pa.array(["u", "v"], pa.large_string()).dictionary_encode(),
            "t": pa.array([1, 2], pa.timestamp("us", "UTC")),
            "l": pa.array([[1], None], pa.large_list(pa.int64())),
            "n": pa.nulls(2),
        }
    )
    assert arrow_rows.frame_of(arrow_rows.rows_of(table, "map")).equals(table)
    frame = pl.DataFrame(
        {"i": [1, None], "s": ["a", None], "e": pl.Series(["u", "v"], dtype=pl.Enum(["v", "u"])), "d": [dt.date(2026, 1, 1), None]}
    )
    again = polars_rows.frame_of(polars_rows.rows_of(frame, "map"))
    assert again.with_columns(pl.col("e").cast(pl.String)).equals(frame.with_columns(pl.col("e").cast(pl.String)))
    with pytest.raises(PairShapeError, match=r"got a LazyFrame\. Add \.collect\(\)"):
        polars_rows.rows_of(frame.lazy(), "map")
    with pytest.raises(PairShapeError, match="must return a pyarrow Table"):
        arrow_rows.rows_of(frame, "map")


def test_a_library_that_is_not_known_is_refused() -> None:
    with pytest.raises(PlanError, match=r"frame='spark' is not known\. Use pandas, polars, arrow"):
        library("spark")


# ---------------------------------------------------------------- bringing together


def rows(**columns: Any) -> Rows:
    return arrow_rows.rows_of(pa.table(columns), "map")


def together(*pieces: Rows) -> pa.Table:
    return arrow_rows.frame_of(concat_rows(pieces))


@pytest.mark.parametrize(
    ("one", "other", "type", "values"),
    [
        (pa.nulls(1), pa.array(["a"]), pa.string(), [None, "a"]),
        (pa.array([1]), pa.array([1.5]), pa.float64(), [1.0, 1.5]),
        (pa.array([1], pa.int8()), pa.array([300], pa.int64()), pa.int64(), [1, 300]),
        (pa.array([1], pa.uint64()), pa.array([-1], pa.int64()), pa.int64(), [1, -1]),
        (pa.array([1], pa.int32()), pa.array([0.5], pa.float32()), pa.float64(), [1.0, 0.5]),
        (pa.array(["a"]), pa.array(["b"], pa.large_string()), pa.large_string(), ["a", "b"]),
        (pa.array([None, float("nan")], pa.float32()), pa.array([0.5]), pa.float64(), None),
        (pa.array([1], pa.timestamp("s")), pa.array([1], pa.timestamp("ns")), pa.timestamp("ns"), None),
        (pa.array([Decimal("1.5")]), pa.array([Decimal("100.25")]), pa.decimal128(5, 2), [Decimal("1.50"), Decimal("100.25")]),
        (pa.array([[1]], pa.list_(pa.int8())), pa.array([[300]]), pa.list_(pa.int64()), [[1], [300]]),
    ],
)
def test_types_that_hold_each_other_come_together(one: Any, other: Any, type: pa.DataType, values: list[Any] | None) -> None:
    for pieces in ((rows(x=one), rows(x=other)), (rows(x=other), rows(x=one))):
        table = together(*pieces)
        assert table.schema.field("x").type == type
        assert values is None or sorted(map(repr, table["x"].to_pylist())) == sorted(map(repr, values))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array(["a"]), pa.array([1])),
        (pa.array([True]), pa.array([1])),
        (pa.array(["a"]), pa.array([b"a"])),
        (pa.array([2**53 + 1]), pa.array([0.5])),
        (pa.array([2**63], pa.uint64()), pa.array([-1])),
        (pa.array([Decimal("1.5")]), pa.array([1.5])),
        (pa.array([1], pa.date32()), pa.array([1], pa.timestamp("us"))),
        (pa.array([1], pa.timestamp("us", "UTC")), pa.array([1], pa.timestamp("us"))),
        (pa.array([2**62], pa.timestamp("s")), pa.array([1], pa.timestamp("ns"))),
    ],
)
def test_what_would_lose_something_is_refused_with_the_column_and_both_types(one: Any, other: Any) -> None:
    for first, second in ((one, other), (other, one)):
        with pytest.raises(PairShapeError) as told:
            together(rows(x=first), rows(x=second))
        assert "The column 'x' is of type" in str(told.value)
        assert str(one.type) in str(told.value)
        assert str(other.type) in str(told.value) or "some value would be changed" in str(told.value)


def test_a_column_that_a_frame_lacks_is_missing_there() -> None:
    table = together(rows(a=pa.array([1])), rows(b=pa.array(["x"]), a=pa.array([2])))

    assert table.to_pydict() == {"a": [1, 2], "b": [None, "x"]}


def test_categories_are_joined_unless_they_have_another_order() -> None:
    def frame(categories: list[str], *, ordered: bool) -> Rows:
        return pandas_rows.rows_of(pd.DataFrame({"c": pd.Categorical([categories[0]], categories=categories, ordered=ordered)}), "map")

    joined = pandas_rows.frame_of(concat_rows([frame(["a", "b"], ordered=False), frame(["c", "b"], ordered=False)]))
    assert list(joined["c"].cat.categories) == ["a", "b", "c"]
    assert joined["c"].tolist() == ["a", "c"]
    same = pandas_rows.frame_of(concat_rows([frame(["a", "b"], ordered=True)] * 2))
    assert same["c"].dtype == pd.CategoricalDtype(["a", "b"], ordered=True)
    with pytest.raises(PairShapeError, match="categorical with an order, and its categories differ"):
        concat_rows([frame(["a", "b"], ordered=True), frame(["b", "a"], ordered=True)])
    plain = pandas_rows.rows_of(pd.DataFrame({"c": ["z"]}), "map")
    assert pandas_rows.frame_of(concat_rows([frame(["a"], ordered=False), plain]))["c"].tolist() == ["a", "z"]


def test_a_dtype_of_pandas_is_kept_where_one_frame_tells_it() -> None:
    pieces = [pandas_rows.rows_of(pd.DataFrame({"x": values}), "map") for values in (pd.array([1, None], "Int64"), [3])]

    assert pandas_rows.frame_of(concat_rows(pieces))["x"].dtype == "Int64"
    wider = [*pieces, pandas_rows.rows_of(pd.DataFrame({"x": [0.5]}), "map")]
    assert pandas_rows.frame_of(concat_rows(wider))["x"].dtype == "float64"


def test_integers_with_missing_values_stay_integers() -> None:
    frame = pandas_rows.frame_of(rows(i=pa.array([2**62 + 1, None]), b=pa.array([True, None])))

    assert frame["i"].tolist()[0] == 2**62 + 1
    assert [str(dtype) for dtype in frame.dtypes] == ["Int64", "boolean"]


TYPES = [pa.null(), pa.int8(), pa.int64(), pa.uint64(), pa.float32(), pa.float64(), pa.string(), pa.large_string(), pa.bool_(), pa.binary()]


@settings(max_examples=2 * settings().max_examples)
@given(types=st.lists(st.sampled_from(TYPES), min_size=1, max_size=4))
def test_a_common_type_does_not_depend_on_the_order_of_frames(types: list[pa.DataType]) -> None:
    def common(of: list[pa.DataType]) -> str:
        try:
            return str(unify([pa.schema([pa.field("x", type)]) for type in of]).field("x").type)
        except PairShapeError:
            return "none"

    assert common(types) == common(types[::-1])
    if common(types) != "none":
        schema = unify([pa.schema([pa.field("x", type)]) for type in types])
        empty = [bring(Rows(pa.schema([pa.field("x", type)]), [pa.array([None], type)], 1), schema) for type in types]
        assert all(rows.columns[0].to_pylist() == [None] for rows in empty)


def test_what_is_no_kind_of_rows_is_refused() -> None:
    for kind in ("arrow(", "arrow(AAAA)", "arrow(€)", "int"):
        with pytest.raises(ValueError, match="no kind of rows"):
            schema_of_kind(kind)


@pytest.mark.parametrize(
    "values",
    [
        ["a", b"a"],
        [dt.date(2020, 1, 1), dt.datetime(2020, 1, 1, 5)],  # noqa: DTZ001 - a time without a zone
        [dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, tzinfo=dt.UTC)],  # noqa: DTZ001 - one without a zone
    ],
)
def test_objects_that_one_type_would_change_are_refused(values: list[Any]) -> None:
    with pytest.raises(PairShapeError, match="would change some of them"):
        pandas_rows.rows_of(pd.DataFrame({"x": pd.Series(values, dtype=object)}), "map")


@pytest.mark.parametrize(
    ("values", "want"),
    [
        ([pd.Timestamp(1_577_836_800_000_000_001), pd.NaT, None], [pd.Timestamp(1_577_836_800_000_000_001), None, None]),
        ([np.array([1, 2]), None], [[1, 2], None]),
        ([{1, 2}, (3,)], [[1, 2], [3]]),
        ([{"a": 1}, {"b": 2}], [{"a": 1, "b": None}, {"a": None, "b": 2}]),
        (["a", np.nan], ["a", None]),
        ([Decimal("1.5"), Decimal(2)], [Decimal("1.5"), Decimal(2)]),
    ],
)
def test_objects_of_one_type_are_what_they_were(values: list[Any], want: list[Any]) -> None:
    rows = pandas_rows.rows_of(pd.DataFrame({"x": pd.Series(values, dtype=object)}), "map")
    assert rows.columns[0].to_pylist() == want
