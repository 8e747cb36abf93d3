"""Keys of rows: two rows have one key exactly when their values are equal, as Python compares them, in any frame."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smr_notebook.dataflow.frames import arrow_rows
from smr_notebook.dataflow.frames.keys import keys_of
from smr_notebook.dataflow.hashing import hash_keys
from smr_notebook.errors import PairShapeError


def tokens(table: pa.Table, by: list[str]) -> list[Any]:
    """The key of each row, with its kind and its hash."""
    found: list[Any] = [None] * table.num_rows
    kinds = []
    for keys, numbers in keys_of(arrow_rows.rows_of(table, "map"), by, "map"):
        kinds.append(keys.kind)
        hashes = hash_keys(keys).tolist()
        for place, (key, hash) in enumerate(zip(keys.array.to_pylist(), hashes, strict=True)):
            row = place if numbers is None else int(numbers[place])
            assert found[row] is None
            found[row] = (keys.kind, "nan" if key != key else key, hash)  # noqa: PLR0124 - NaN
    assert len(set(kinds)) == len(kinds)
    assert None not in found
    return found


def canonical(value: Any) -> Any:
    return "nan" if isinstance(value, float) and math.isnan(value) else value


VALUES: dict[str, tuple[list[pa.DataType], list[Any]]] = {
    "numbers": ([pa.int64(), pa.float64(), pa.int16()], [None, 0, 1, -7, 300]),
    "floats": ([pa.float64(), pa.float32()], [None, 0.0, -0.0, 1.0, 1.5, math.nan, math.inf, -math.inf, 2.0**70]),
    "large": ([pa.uint64(), pa.float64()], [None, 0, 2**63, 2**63 + 2048]),
    "texts": ([pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())], [None, "", "a", "a\0", "é", "ab"]),
    "bytes": ([pa.binary(), pa.large_binary()], [None, b"", b"a", b"a\0"]),
    "bools": ([pa.bool_()], [None, True, False]),
    "times": ([pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("ms")], [None, datetime(2026, 1, 1), datetime(1960, 5, 5, 5)]),  # noqa: DTZ001 - naive on purpose
    "far": ([pa.timestamp("us", "UTC"), pa.timestamp("s", "UTC")], [None, datetime(9999, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)]),
    "dates": ([pa.date32(), pa.date64()], [None, date(2026, 1, 1), date(1, 1, 1)]),
    "decimals": ([pa.decimal128(9, 2), pa.decimal128(20, 4)], [None, Decimal("1.5"), Decimal(-3), Decimal(0)]),
    "nothing": ([pa.null()], [None]),
}


@st.composite
def frames(draw: Callable[..., Any]) -> tuple[list[pa.Table], list[str]]:
    """Some frames with the same columns, whose types differ in width."""
    sorts = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=3))
    tables = []
    for _ in range(draw(st.integers(1, 3))):
        count = draw(st.integers(0, 6))
        columns = {}
        for place, sort in enumerate(sorts):
            types, values = VALUES[sort]
            picked = draw(st.lists(st.sampled_from(values), min_size=count, max_size=count))
            type = draw(st.sampled_from(types))
            if pa.types.is_floating(type):
                picked = [None if value is None else float(value) for value in picked]
            columns[f"c{place}"] = pa.array(picked, type)
        tables.append(pa.table(columns))
    return tables, [f"c{place}" for place in range(len(sorts))]


@settings(max_examples=4 * settings().max_examples)
@given(given_frames=frames())
@example(given_frames=([pa.table({"c0": [1, 2]}), pa.table({"c0": [1.0, None, 1.5]})], ["c0"]))
def test_rows_have_one_key_exactly_when_their_values_are_equal(given_frames: tuple[list[pa.Table], list[str]]) -> None:
    tables, by = given_frames
    found: list[Any] = []
    values: list[Any] = []
    for table in tables:
        found += tokens(table, by)
        values += [tuple(canonical(row[name]) for name in by) for row in table.to_pylist()]

    for token, value in zip(found, values, strict=True):
        for other_token, other in zip(found, values, strict=True):
            assert (token == other_token) == (value == other), (value, other)


def test_keys_of_a_column_ascend_with_its_values() -> None:
    for sort in ("numbers", "texts", "times", "dates", "bools", "bytes"):
        types, values = VALUES[sort]
        ordered = sorted(value for value in values if value is not None)
        found = tokens(pa.table({"x": pa.array(ordered, types[0])}), ["x"])
        assert found == sorted(found, key=lambda token: token[:2])
        several = tokens(pa.table({"x": pa.array(ordered, types[0]), "y": [1] * len(ordered)}), ["x", "y"])
        assert several == sorted(several, key=lambda token: token[:2])


def test_many_columns_of_many_values_have_keys() -> None:
    table = pa.table({f"c{place}": range(3000) for place in range(8)})

    assert len(set(tokens(table, table.schema.names))) == 3000


def test_a_column_that_is_not_there_is_told_with_those_that_are() -> None:
    rows = arrow_rows.rows_of(pa.table({"a": [1], "b": [1]}), "map")

    with pytest.raises(
        PairShapeError, match="map returned a frame without the column 'user', which its rows are grouped by; it has 'a', 'b'"
    ):
        keys_of(rows, ["a", "user"], "map")


@pytest.mark.parametrize("value", [[1], {"a": 1}])
def test_a_column_of_lists_cannot_be_grouped_by(value: Any) -> None:
    rows = arrow_rows.rows_of(pa.table({"a": [value], "b": [1]}), "map")

    for by in (["a"], ["b", "a"]):
        with pytest.raises(PairShapeError, match=r"Rows cannot be grouped by .*'a'"):
            keys_of(rows, by, "map")
