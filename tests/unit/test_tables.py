"""Columns of formats without types, and of stored rows: the same records, by columns."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.dataflow.formats.stored import store_frame, store_items
from smr_notebook.dataflow.inputs import JobInput, open_blocks
from smr_notebook.dataflow.splits import PlannedObject, plan_splits
from smr_notebook.dataflow.table_blocks import TableBlock
from smr_notebook.dataflow.tables import column_names, has_columns, open_tables, require_columns
from smr_notebook.errors import InputFormatError, PlanError
from smr_notebook.model import Format, Split
from smr_notebook.testing.keys import KEYS


def splits_of(data: bytes, *, split_bytes: int = 1 << 30) -> tuple[MemorySource, tuple[Split, ...]]:
    source = MemorySource({"key": data})
    return source, plan_splits([PlannedObject("m", source.stat("key"), cuttable=True)], split_bytes=split_bytes)


def columns_of(blocks: list[TableBlock], names: tuple[str, ...]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {name: [] for name in names}
    for block in blocks:
        for name in names:
            column = block.columns[name]
            found[name] += column if isinstance(column, list) else column.to_pylist()
            assert len(column) == block.rows == block.records
    return found


names = st.sampled_from(["a", "b", "é", "class", "a b", 'q"', "back\\slash", "f0", "1", ""])
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 70), 1 << 70),
    st.floats(),
    st.text(max_size=4),
    st.just([1, {"a": 2}]),
    st.just({"b": 1.0}),
)
objects = st.dictionaries(names, leaves, max_size=5)
lines = st.one_of(
    st.builds(lambda value, escaped: json.dumps(value, ensure_ascii=escaped).encode("utf-8", "replace"), objects, st.booleans()),
    st.sampled_from(
        [b"", b"  ", b'{"a":1,"a":2}', b'{"\\u0061":7}', b'{"a":1e400}', b'{"b":NaN,"a":1}', b' {"a": 1} ', b'{"a":"\\ud800"}']
    ),
)


@settings(max_examples=3 * settings().max_examples)
@given(body=st.lists(lines, max_size=8), wanted=st.lists(names, max_size=4, unique=True), split_bytes=st.integers(1, 80))
@example(body=[b'{"a":1}', b'{"a":2}'], wanted=["a"], split_bytes=80)
def test_columns_of_json_lines_are_those_of_the_records(body: list[bytes], wanted: list[str], split_bytes: int) -> None:
    source, splits = splits_of(b"\n".join(body), split_bytes=split_bytes)
    records: list[Any] = []
    blocks: list[TableBlock] = []
    for split in splits:
        records += [record for block in open_blocks(split, Format.JSONL, {"m": source}) for record in block.records]
        blocks += open_tables(split, Format.JSONL, {"m": source}, columns=tuple(wanted))

    expected = {name: [record.get(name) for record in records] for name in wanted}
    assert repr(columns_of(blocks, tuple(wanted))) == repr(expected)
    assert sum(block.records for block in blocks) == len(records)
    assert sum(block.size for block in blocks) == len(b"\n".join(body))


@pytest.mark.parametrize("columns", [None, ("a",), (), ('q"',)])
@pytest.mark.parametrize("line", [b"[1, 2]", b"3", b'"text"', b"null"])
def test_a_line_that_is_no_object_is_named_with_its_place(line: bytes, columns: tuple[str, ...] | None) -> None:
    source, [split] = splits_of(b'{"a": 1}\n{"a": 2}\n' + line + b"\n")

    with pytest.raises(
        InputFormatError, match=r"key, .*offset 18.* is no JSON object.* but of type (list|int|str|NoneType), which has no columns"
    ):
        list(open_tables(split, Format.JSONL, {"m": source}, columns=columns))


def test_a_line_that_is_no_json_is_named_as_by_the_reader_of_records() -> None:
    source, [split] = splits_of(b'{"a": 1}\n{"a": \n')

    with pytest.raises(InputFormatError, match=r"key, line 2 \(offset 9\) is not JSON"):
        list(open_tables(split, Format.JSONL, {"m": source}, columns=("a",)))


def test_all_columns_are_those_that_occur() -> None:
    source, splits = splits_of(b'{"b": 1}\n{"a": 2, "b": 3.0}\n')

    [block] = open_tables(splits[0], Format.JSONL, {"m": source})

    assert dict(block.columns) == {"b": [1, 3.0], "a": [None, 2]}
    assert column_names(splits, Format.JSONL, {"m": source}) == ("b", "a")


def test_a_column_that_no_object_has_is_refused_with_those_there_are() -> None:
    source, splits = splits_of(b'{"b": 1}\n{"a": 2, "b": 3.0}\n')

    require_columns(["a", "b"], splits, Format.JSONL, {"m": source})
    with pytest.raises(PlanError, match="The input has no column 'amuont'; it has the columns 'b', 'a'"):
        require_columns(["a", "amuont"], splits, Format.JSONL, {"m": source})


def test_an_attempt_goes_on_inside_a_block_of_lines() -> None:
    data = b"".join(b'{"n": %d}\n' % number for number in range(100))
    source, [split] = splits_of(data)
    [block] = open_tables(split, Format.JSONL, {"m": source}, columns=("n",))

    later = block.rest(40, size=block.size, at=block.at)

    assert later.columns["n"] == list(range(40, 100))
    assert (later.rows, later.records) == (60, 60)


def stored(value: Any, *, frame: bool = False) -> tuple[JobInput, list[Split]]:
    store = MemoryStore()
    put = store_frame if frame else store_items
    infos, _ = put(value, store, "input", keys=KEYS, split_bytes=1 << 20, slots=1)
    return JobInput(store, KEYS), list(plan_splits([PlannedObject("job", info, cuttable=False) for info in infos], split_bytes=1 << 30))


def test_items_that_are_dicts_have_columns() -> None:
    items = [{"a": 1, "b": (1, 2)}, {"a": 1.0}, {"b": None, "c": 5}]
    source, splits = stored(items)

    blocks = [block for split in splits for block in open_tables(split, Format.ITEMS, {"job": source}, columns=("a", "b"))]

    assert columns_of(blocks, ("a", "b")) == {"a": [1, 1.0, None], "b": [(1, 2), None, None]}


def test_items_that_are_no_dicts_have_none() -> None:
    source, splits = stored([{"a": 1}, 5])

    with pytest.raises(InputFormatError, match="is no JSON object or dict but of type int"):
        [list(open_tables(split, Format.ITEMS, {"job": source})) for split in splits]


def test_rows_of_a_frame_keep_their_types() -> None:
    frame = pd.DataFrame(
        {
            "i": pd.array([1, None, 3], "Int64"),
            "x": [1.0, float("nan"), 3.0],
            "s": pd.array(["a", None, "c"], "str"),
            "t": pd.to_datetime([datetime(2026, 1, 1, tzinfo=UTC)] * 3),
            "c": pd.Categorical(["u", "v", "u"]),
            "o": [1, "mixed", None],
        }
    )
    source, splits = stored(frame, frame=True)

    blocks = [block for split in splits for block in open_tables(split, Format.FRAME, {"job": source})]
    records: list[Any] = [
        record for split in splits for block in open_blocks(split, Format.FRAME, {"job": source}) for record in block.records
    ]

    columns = columns_of(blocks, tuple(frame.columns))
    assert columns["i"] == [1, None, 3]
    assert repr(columns["x"]) == repr([1.0, float("nan"), 3.0])
    assert columns["o"] == [record["o"] for record in records] == [1, "mixed", None]
    assert columns["c"] == ["u", "v", "u"]
    types: dict[str, Any] = {name: column.type for name, column in blocks[0].columns.items() if not isinstance(column, list)}
    assert types["i"] == pa.int64()
    assert pa.types.is_dictionary(types["c"])
    assert types["t"].tz == "UTC"
    with pytest.raises(InputFormatError, match="The DataFrame has no column 'z'"):
        list(open_tables(splits[0], Format.FRAME, {"job": source}, columns=("z",)))


@pytest.mark.parametrize("format", [Format.TEXT, Format.BINARY])
def test_formats_without_columns_say_so(format: Format) -> None:
    source, [split] = splits_of(b"a\n")

    assert not has_columns(format)
    with pytest.raises(PlanError, match="whose records have no columns"):
        open_tables(split, format, {"m": source})
