"""The way out to pandas: in key order, with true types, whatever the number of parts."""

from __future__ import annotations

import sys
import tempfile
import uuid
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.dataflow.keys import encode_key
from smr_notebook.dataflow.outputs import PartWriter
from smr_notebook.dataflow.results import head_frame, in_arrow, iter_frames, load_frame
from smr_notebook.errors import CorruptObjectError, ResultTooLargeError
from smr_notebook.model import Part

Rows = list[tuple[Any, Any]]


class CountingStore(MemoryStore):
    """Counts the bytes that are read."""

    bytes_read = 0

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        data = super().get(key, start, stop)
        self.bytes_read += len(data)
        return data


def write(objects: MemoryStore, number: int, rows: Rows, groups: list[Any] | None = None, *, batch: int = 10_000, attempt: int = 1) -> Part:
    with tempfile.TemporaryDirectory() as scratch:
        writer = PartWriter(objects, f"job/{number}/{attempt}", number, grouped_order=groups is not None, scratch=Path(scratch))
        for at in range(0, len(rows), batch):
            some = rows[at : at + batch]
            writer.add([key for key, _ in some], [value for _, value in some], None if groups is None else groups[at : at + batch])
        return writer.close()


def frame_of(rows: Rows) -> pd.DataFrame:
    objects = MemoryStore()
    return load_frame(objects, [write(objects, 0, rows)], limit_bytes=None)


KEYS = st.one_of(
    *(st.integers(), st.text(), st.booleans(), st.floats(allow_nan=False), st.none(), st.binary()),
    *(st.tuples(st.integers(0, 3), st.text(max_size=1)), st.decimals(allow_nan=False), st.dates()),
)


@st.composite
def groups_with_rows(draw: st.DrawFn) -> list[tuple[Any, Rows]]:
    keys = draw(st.sampled_from([KEYS, st.integers(0, 50), st.text(max_size=2)]))
    groups = draw(st.lists(keys, max_size=10, unique_by=encode_key))
    row_keys = draw(st.sampled_from([keys, st.integers(0, 3), KEYS | st.lists(st.integers(), max_size=2)]))
    rows = st.lists(st.tuples(row_keys, st.integers() | st.none()), max_size=4)
    return [(group, draw(rows)) for group in sorted(groups, key=encode_key)]


def partition(groups: list[tuple[Any, Rows]], reducers: int, objects: MemoryStore) -> list[Part]:
    parts = []
    for number in range(reducers):
        mine = [(group, rows) for place, (group, rows) in enumerate(groups) if place * 7 % reducers == number]
        flat = [(group, row) for group, rows in mine for row in rows]
        parts.append(write(objects, number, [row for _, row in flat], [group for group, _ in flat], batch=3))
    return parts


def plain_rows(frame: pd.DataFrame) -> str:
    """The rows without the types of their columns: a part of a column may have another type than the whole."""

    def plain(value: Any) -> Any:
        missing: object = None if isinstance(value, list | tuple) else pd.isna(value)
        return None if missing is True else value.item() if isinstance(value, np.generic) else value

    return repr([[plain(value) for value in frame[name]] for name in frame])


@settings(max_examples=min(60, settings().max_examples))
@given(groups_with_rows(), st.integers(2, 4))
def test_the_frame_is_the_same_for_any_number_of_reducers(groups: list[tuple[Any, Rows]], reducers: int) -> None:
    one, many = MemoryStore(), MemoryStore()
    single, several = partition(groups, 1, one), partition(groups, reducers, many)
    expected = load_frame(one, single, limit_bytes=None)
    assert_frame_equal(load_frame(many, several[::-1], limit_bytes=None), expected)
    head = head_frame(many, several, 5)
    assert plain_rows(head) == plain_rows(expected.head(5))
    assert len(expected) == sum(len(rows) for _, rows in groups) == sum(map(len, iter_frames(many, several)))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, 2], "int64"),
        ([1, None], "Int64"),
        ([1.5, None], "float64"),
        ([True, False], "bool"),
        ([True, None], "boolean"),
        (["a", "b"], pd.Series(["a"]).dtype),
        (["a", None], pd.Series(["a"]).dtype),
        ([datetime(9999, 1, 1, 1, 2, 3, 4), None], "datetime64[us]"),  # noqa: DTZ001
        ([date(1, 1, 1), None], "object"),
        ([Decimal("1.50"), 1], "object"),
        ([2**80, 1], "object"),
        ([(1, "a"), (2, "b")], "object"),
        ([[1], [2]], "object"),
        ([b"a", b"b"], "object"),
        ([None, None], "object"),
        ([1, "a"], "object"),
    ],
)
def test_columns_have_their_true_types(values: list[Any], dtype: Any) -> None:
    frame = frame_of(list(enumerate(values)))
    assert frame["key"].tolist() == [0, 1]
    assert frame["key"].dtype == "int64"
    assert frame["value"].dtype == dtype
    if dtype == "object":
        assert [(type(value), str(value)) for value in frame["value"]] == [(type(value), str(value)) for value in values]
    else:
        present = [value for value in values if value is not None]
        assert frame["value"].dropna().tolist() == present
        assert frame["value"].isna().sum() == len(values) - len(present)


def test_keys_stand_in_the_order_of_their_types_and_values() -> None:
    keys: list[Any] = [True, -(2**70), -1, 5, 2**70, -1.5, float("inf"), "", "a", "ä", b"", None, Decimal(1), (1, "a"), (1, "b")]
    frame = frame_of([(key, 0) for key in keys[::-1]])
    assert [(type(key), key) for key in frame["key"]] == [(type(key), key) for key in keys]


def test_rows_of_equal_keys_stand_by_group_then_as_they_came() -> None:
    objects = MemoryStore()
    first = write(objects, 0, [("x", 1), ("x", 2), ("w", 3)], ["b", "b", "d"])
    second = write(objects, 1, [("x", 4), ("x", 5)], ["a", "c"])
    frame = load_frame(objects, [first, second], limit_bytes=None)
    assert frame["value"].tolist() == [3, 4, 1, 2, 5]


def test_dicts_become_columns() -> None:
    frame = frame_of([(2, {"n": 1, "s": "a"}), (1, {"n": None, "s": "b"})])
    assert_frame_equal(frame, pd.DataFrame({"key": [1, 2], "n": pd.array([None, 1], "Int64"), "s": ["b", "a"]}))
    frame = frame_of([(1, {"n": 1}), (2, {"s": "a", "n": 2.5}), (3, {"key": (1,)})])
    assert frame.columns.tolist() == ["key", "n", "s", "value.key"]
    assert frame["n"].tolist()[:2] == [1, 2.5]
    assert frame["s"].isna().tolist() == [True, False, True]
    assert frame["value.key"].tolist() == [None, None, (1,)]


@pytest.mark.parametrize(
    "values",
    [
        [{"a": 1}, None],
        [{1: 1}],
        [{}],
        [{"key": 1, "value.key": 2}],
        [{str(number): 1 for number in range(1001)}],
        [{"a": 1}, [("a", 1)]],
    ],
    ids=lambda values: repr(values)[:20],
)
def test_what_are_not_rows_of_columns_stays_one_column(values: list[Any]) -> None:
    frame = frame_of(list(enumerate(values)))
    assert frame.columns.tolist() == ["key", "value"]
    assert frame["value"].tolist() == values


def test_nothing_is_an_empty_frame() -> None:
    for frame in (load_frame(MemoryStore(), [Part(0, ())], limit_bytes=0), head_frame(MemoryStore(), [], 5)):
        assert frame.columns.tolist() == ["key", "value"]
        assert frame.empty


def test_a_result_beyond_the_limit_is_not_loaded() -> None:
    objects = CountingStore()
    part = write(objects, 0, [(n, n) for n in range(1000)])
    with pytest.raises(
        ResultTooLargeError, match=r"1,000 rows and takes 15.6 KiB .* limit of 10 KiB.*job.head\(\).*job.scan\(\).*job.to_parquet\(path\)"
    ):
        load_frame(objects, [part], limit_bytes=10_240)
    assert objects.bytes_read == 0
    assert len(load_frame(objects, [part], limit_bytes=20_000)) == 1000


def test_a_changed_byte_anywhere_in_a_file_is_found() -> None:
    objects = MemoryStore()
    part = write(objects, 0, [(1, "a"), (2, "b")])
    key = part.files[0].key
    data = objects.get(key)
    for at in range(len(data)):
        objects.put(key, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(CorruptObjectError, match=key):
            load_frame(objects, [part], limit_bytes=None)
    objects.put(key, data[:-1])
    with pytest.raises(CorruptObjectError, match=key):
        next(iter_frames(objects, [part]))


def test_a_changed_byte_is_never_seen_in_a_head() -> None:
    objects = MemoryStore()
    part = write(objects, 0, [(1, "a"), (2, "b")])
    key = part.files[0].key
    data = objects.get(key)
    expected = head_frame(objects, [part], 2)
    for at in range(len(data)):
        objects.put(key, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        try:
            assert_frame_equal(head_frame(objects, [part], 2), expected)
        except CorruptObjectError:
            continue


def test_a_head_reads_the_beginnings_only() -> None:
    objects = CountingStore()
    parts = [write(objects, number, [(f"{n:07d}", n * 2654435761 % 2**63) for n in range(number, 400_000, 2)]) for number in (0, 1)]
    size = sum(file.size for part in parts for file in part.files)
    frame = head_frame(objects, parts, 5)
    assert frame["key"].tolist() == [f"{n:07d}" for n in range(5)]
    assert objects.bytes_read < size / 2


def test_the_head_of_parts_that_are_not_in_key_order_is_the_head_of_all_rows() -> None:
    objects = MemoryStore()
    parts = [write(objects, number, [(n * 7919 % 20_011, n) for n in range(number, 20_000, 2)]) for number in (0, 1)]
    expected = load_frame(objects, parts, limit_bytes=None).head(50)
    assert_frame_equal(head_frame(objects, parts, 50), expected)


def test_the_head_of_a_part_that_several_attempts_wrote_is_the_head_of_all_rows() -> None:
    objects = MemoryStore()
    legs = [write(objects, 0, [(n, n) for n in range(start, 20, 3)], attempt=start + 1) for start in range(3)]
    part = Part(0, tuple(file for leg in legs for file in leg.files))
    assert load_frame(objects, [part], limit_bytes=None)["key"].tolist() == list(range(20))
    assert head_frame(objects, [part], 5)["key"].tolist() == list(range(5))


def test_frames_come_one_for_each_file() -> None:
    objects = MemoryStore()
    parts = [
        write(objects, 1, [(2, "b"), (1, "a")]),
        write(objects, 0, [(n, n) for n in range(5000)] + [(n, "x") for n in range(10_000)], batch=5000),
    ]
    frames = list(iter_frames(objects, parts))
    assert [len(frame) for frame in frames] == [5000, 10_000, 2]
    assert frames[2]["key"].tolist() == [2, 1]


@pytest.mark.parametrize(
    "value", [[1, None], (1, "a"), [[()]], {"a": [1], "b": None}, None, 1.5, b"", uuid.UUID(int=1), date(1, 1, 1), {1}], ids=repr
)
def test_heads_hold_values_of_every_kind(value: Any) -> None:
    objects = MemoryStore()
    parts = [write(objects, number, [((number, "a"), value), ((number, "b"), value)], [1, 2]) for number in range(2)]
    frame = head_frame(objects, parts, 3)
    assert frame["key"].tolist() == [(0, "a"), (0, "b"), (1, "a")]
    assert_frame_equal(frame, load_frame(objects, parts, limit_bytes=None).head(3))


def test_what_is_read_is_memory_of_arrows_own() -> None:
    """Else threads of Arrow's need Python to let go of it, and a process that ends just then is aborted."""
    data = bytes(range(256)) * 4
    before = sys.getrefcount(data)
    reader = in_arrow(data)
    assert sys.getrefcount(data) == before
    assert reader.read() == data
