"""Parquet as records and as columns: any plan, any stopping point, damage, and what statistics rule out."""

from __future__ import annotations

import io
import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.control.naming import Files
from smr_notebook.control.reading import plan_input
from smr_notebook.dataflow.formats.parquet import only_plain_comparisons
from smr_notebook.dataflow.inputs import open_blocks
from smr_notebook.dataflow.splits import PlannedObject, plan_splits
from smr_notebook.dataflow.table_blocks import TableBlock
from smr_notebook.dataflow.tables import column_names, open_tables
from smr_notebook.errors import InputChangedError, InputFormatError
from smr_notebook.model import Format, ObjectInfo, Position, Reading, Span, Split


def parquet(table: pa.Table, *, group_rows: int = 3, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=group_rows, **options)
    return sink.getvalue()


def splits_of(source: MemorySource, keys: list[str], *, split_bytes: int) -> tuple[Split, ...]:
    return plan_splits([PlannedObject("m", source.stat(key), cuttable=True) for key in keys], split_bytes=split_bytes)


def whole(source: MemorySource, key: str = "key") -> Split:
    return splits_of(source, [key], split_bytes=1 << 30)[0]


def rows_of(blocks: list[TableBlock]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for block in blocks:
        columns = {name: column if isinstance(column, list) else column.to_pylist() for name, column in block.columns.items()}
        rows += [{name: column[index] for name, column in columns.items()} for index in range(block.rows)]
    return rows


# Written apart from the reader, as a table of Python values.
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "i": st.one_of(st.none(), st.integers(-(1 << 63), (1 << 63) - 1)),
            "x": st.one_of(st.none(), st.floats(allow_nan=False)),
            "s": st.one_of(st.none(), st.text(max_size=8)),
            "t": st.one_of(st.none(), st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))),  # noqa: DTZ001 - bounds
            "l": st.one_of(st.none(), st.lists(st.integers(0, 9), max_size=3)),
            "d": st.one_of(st.none(), st.decimals(-10, 10, places=2)),
        }
    ),
    max_size=14,
)
TYPES: dict[str, pa.DataType] = {
    "i": pa.int64(),
    "x": pa.float64(),
    "s": pa.string(),
    "t": pa.timestamp("us", "UTC"),
    "l": pa.list_(pa.int64()),
    "d": pa.decimal128(9, 2),
}
SCHEMA = pa.schema(TYPES)


@settings(max_examples=min(60, settings().max_examples))
@given(
    bodies=st.lists(ROWS, min_size=1, max_size=3), group_rows=st.integers(1, 5), split_bytes=st.integers(50, 4000), stop=st.integers(0, 30)
)
def test_any_plan_and_any_stop_give_the_rows_that_were_written(
    bodies: list[list[dict[str, Any]]], group_rows: int, split_bytes: int, stop: int
) -> None:
    inputs = {f"{number}": parquet(pa.Table.from_pylist(rows, SCHEMA), group_rows=group_rows) for number, rows in enumerate(bodies)}
    source = MemorySource(inputs)
    wanted = [row for rows in bodies for row in rows]
    records: list[Any] = []
    tables: list[TableBlock] = []

    for split in splits_of(source, list(inputs), split_bytes=split_bytes):
        blocks = list(open_blocks(split, Format.PARQUET, {"m": source}))
        found = list(open_tables(split, Format.PARQUET, {"m": source}, columns=("s", "i"), batch_bytes=1))
        assert sum(block.size for block in blocks) == sum(block.size for block in found) == split.bytes
        records += [record for block in blocks for record in block.records]
        tables += found
        for given_blocks, again in ((found, _tables_after), (blocks, _records_after)):
            position, taken = _position(given_blocks, stop)
            assert sum(block.count for block in again(split, source, position)) + taken == sum(block.count for block in found)
            counted = sum(block.size for block in given_blocks if block.at.done + block.count <= taken and block.count)
            assert counted <= split.bytes

    assert records == wanted
    assert rows_of(tables) == [{"s": row["s"], "i": row["i"]} for row in wanted]


def _tables_after(split: Split, source: MemorySource, after: Position | None) -> list[Any]:
    return list(open_tables(split, Format.PARQUET, {"m": source}, columns=(), after=after))


def _records_after(split: Split, source: MemorySource, after: Position | None) -> list[Any]:
    return list(open_blocks(split, Format.PARQUET, {"m": source}, after=after))


def _position(blocks: list[Any], stop: int) -> tuple[Position | None, int]:
    """Return the position in front of the first block that ends behind `stop` records, and the records before it."""
    taken = 0
    for block in blocks:
        if taken + block.count > stop:
            return block.at, taken
        taken += block.count
    return None, 0


def test_an_attempt_goes_on_inside_a_row_group_and_the_bytes_sum() -> None:
    table = pa.table({"n": list(range(10_000))})
    source = MemorySource({"key": parquet(table, group_rows=4_000)})
    split = whole(source)
    blocks = list(open_tables(split, Format.PARQUET, {"m": source}, batch_bytes=8_000))
    assert len(blocks) > 6

    for index, block in enumerate(blocks):
        again = list(open_tables(split, Format.PARQUET, {"m": source}, after=block.at, batch_bytes=5_000))
        before = blocks[:index]
        assert rows_of(before) + rows_of(again) == table.to_pylist()
        assert sum(item.size for item in before) + sum(item.size for item in again) == split.bytes
        assert next(iter(again)).at.done == block.at.done or not again[0].rows


def test_what_many_attempts_count_inside_one_row_group_sums_to_it() -> None:
    source = MemorySource({"key": parquet(pa.table({"n": range(7)}), group_rows=7)})
    split = whole(source)
    after, counted, records = None, 0, 0

    while True:
        given_blocks = iter(open_tables(split, Format.PARQUET, {"m": source}, after=after, batch_bytes=1))
        done = next((block for block in given_blocks if block.rows), None)
        counted += 0 if done is None else done.size
        records += 0 if done is None else done.records
        following = next(given_blocks, None)
        if following is None:
            break
        after = following.at

    assert (counted, records) == (split.bytes, 7)


def test_values_have_the_types_that_python_has_for_them() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_901)  # noqa: DTZ001 - naive on purpose
    row = {
        "date": date(2026, 1, 2), "naive": moment, "time": time(1, 2, 3, 4), "decimal": Decimal("1.50"), "bytes": b"\x00", "bool": True,
        "struct": {"a": 1, "b": None}, "category": "x",
    }  # fmt: skip
    table = pa.Table.from_pylist([row])
    table = table.set_column(7, "category", table["category"].dictionary_encode())
    source = MemorySource({"key": parquet(table)})

    [block] = open_blocks(whole(source), Format.PARQUET, {"m": source})
    [found] = block.records

    assert found == row
    assert isinstance(found, dict)
    assert {name: type(value) for name, value in found.items()} == {name: type(value) for name, value in row.items()}


def test_nanoseconds_that_no_time_holds_are_an_error_and_never_cut() -> None:
    source = MemorySource({"key": parquet(pa.table({"t": pa.array([1], pa.time64("ns"))}))})

    with pytest.raises(InputFormatError, match=r"key cannot be read as Parquet: .*lose data"):
        list(open_blocks(whole(source), Format.PARQUET, {"m": source}))


def test_only_named_columns_are_fetched() -> None:
    fetched: list[int] = []

    class Counting(MemorySource):
        def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
            data = super().get(key, start, stop)
            fetched.append(len(data))
            return data

    big = [str(number) * 20 for number in range(60_000)]
    source = Counting({"key": parquet(pa.table({"big": big, "n": range(60_000)}), group_rows=20_000, compression="none")})

    blocks = list(open_tables(whole(source), Format.PARQUET, {"m": source}, columns=("n",)))

    assert [row["n"] for row in rows_of(blocks)] == list(range(60_000))
    assert sum(fetched) < source.stat("key").size // 2


def test_a_missing_column_is_told_with_those_there_are() -> None:
    source = MemorySource({"key": parquet(pa.table({"a": [1], "b": [2]}))})

    with pytest.raises(InputFormatError, match="key has no column 'c'; it has the columns 'a', 'b'"):
        list(open_tables(whole(source), Format.PARQUET, {"m": source}, columns=("a", "c")))
    assert column_names([whole(source)], Format.PARQUET, {"m": source}) == ("a", "b")


def test_a_dotted_name_is_no_path() -> None:
    table = pa.table({"a.b": [1], "a": [{"b": 2, "c": 3}]})
    source = MemorySource({"key": parquet(table)})

    assert rows_of(list(open_tables(whole(source), Format.PARQUET, {"m": source}, columns=("a.b",)))) == [{"a.b": 1}]
    assert rows_of(list(open_tables(whole(source), Format.PARQUET, {"m": source}))) == table.to_pylist()


def test_row_groups_that_statistics_rule_out_count_as_records_and_give_no_rows() -> None:
    source = MemorySource({"key": parquet(pa.table({"n": range(12)}), group_rows=4)})

    blocks = list(open_tables(whole(source), Format.PARQUET, {"m": source}, filter=pc.field("n") >= 8))

    assert [(block.records, block.rows) for block in blocks if block.records] == [(4, 0), (4, 0), (4, 4)]
    assert sum(block.size for block in blocks) == source.stat("key").size


FLOATS = st.one_of(st.sampled_from([-1.0, -0.0, 0.0, 1.0, 5.0, math.nan]), st.none())
COMPARED: list[Any] = [
    pc.field("x") > 0,
    pc.field("x") <= 1,
    pc.field("x") == 5,
    pc.field("x") != 5,
    pc.field("n") < 2,
    pc.field("x").is_null(),
]


@settings(max_examples=3 * settings().max_examples // 2)
@given(
    rows=st.lists(st.tuples(FLOATS, st.integers(0, 3)), min_size=1, max_size=8),
    picked=st.lists(st.sampled_from(range(len(COMPARED))), min_size=1, max_size=3),
    negated=st.booleans(),
    joined=st.booleans(),
    special=st.sampled_from([None, "nan", "null", "compared"]),
)
def test_no_row_that_a_filter_keeps_is_ruled_out(
    rows: list[tuple[float | None, int]], picked: list[int], negated: bool, joined: bool, special: str | None
) -> None:
    table = pa.table({"x": pa.array([x for x, _ in rows], pa.float64()), "n": [n for _, n in rows]})
    filter = COMPARED[picked[0]]
    for index in picked[1:]:
        filter = filter & COMPARED[index] if joined else filter | COMPARED[index]
    filter = {
        None: filter, "nan": filter & pc.is_nan(pc.field("x")), "null": filter & pc.field("x").is_null(nan_is_null=True),
        "compared": filter == pc.scalar(False),  # noqa: FBT003 - a value
    }[special]  # fmt: skip
    if negated:
        filter = ~filter
    source = MemorySource({"key": parquet(table, group_rows=2)})

    blocks = list(open_tables(whole(source), Format.PARQUET, {"m": source}, filter=filter))

    kept = pa.concat_tables([pa.table(dict(block.columns)) for block in blocks if block.columns]).filter(filter)
    assert repr(kept.to_pylist()) == repr(table.filter(filter).to_pylist())
    assert sum(block.records for block in blocks) == len(rows)


def test_plain_comparisons_are_told_from_others() -> None:
    x, y = pc.field("x"), pc.field("y")

    assert only_plain_comparisons(str((x > 5) & ((y == "a") | (x <= 1.5))))
    assert only_plain_comparisons(str(x.isin([1.0, 2.0])))
    for other in (~(x > 5), x != 5, (x > 5) == pc.scalar(False), x.isin([math.nan]), x.is_null(), (x > 5) & ~(y == "a")):  # noqa: FBT003 - a value
        assert not only_plain_comparisons(str(other))


def test_a_large_row_group_is_read_as_a_stream() -> None:
    numbers = np.random.default_rng(0).random(9_000_000)
    source = MemorySource(
        {"key": parquet(pa.table({"x": pa.array(numbers)}), group_rows=len(numbers), compression="none", use_dictionary=False)}
    )
    longest = 0

    class Watched(MemorySource):
        def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
            nonlocal longest
            data = source.get(key, start, stop)
            longest = max(longest, len(data))
            return data

        def stat(self, key: str) -> ObjectInfo:
            return source.stat(key)

    blocks = list(open_tables(whole(source), Format.PARQUET, {"m": Watched({})}))

    assert len(blocks) > 5
    assert np.array_equal(np.concatenate([np.asarray(block.columns["x"]) for block in blocks]), numbers)
    assert longest < 8 << 20


def test_a_changed_object_is_no_input() -> None:
    source = MemorySource({"key": parquet(pa.table({"n": [1]}))})
    split = whole(source)
    changed = MemorySource({"key": parquet(pa.table({"n": [2, 3, 4, 5]}))})

    with pytest.raises(InputChangedError, match="key has changed"):
        list(open_blocks(split, Format.PARQUET, {"m": changed}))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"PAR1" + b"x" * 20 + b"PAR1", "key cannot be read as Parquet"),
        (b"PAR1", "key is not Parquet, or is cut"),
        (b"a,b\n1,2\n", "key is not Parquet, or is cut"),
        (b"PAR1" + b"x" * 20 + b"PARE", "key is encrypted Parquet"),
        (parquet(pa.table({"n": [1, 2]}))[:-9], "key is not Parquet, or is cut"),
    ],
)
def test_what_is_not_parquet_is_told_with_its_name(data: bytes, told: str) -> None:
    source = MemorySource({"key": data})

    for read in (open_blocks, open_tables):
        with pytest.raises(InputFormatError, match=told):
            list(read(whole(source), Format.PARQUET, {"m": source}))


def test_no_flipped_byte_is_anything_but_an_input_error_or_another_value() -> None:
    data = parquet(pa.table({"n": [1, 2, 3], "s": ["a", "b", "é"]}), write_page_checksum=True)
    refused = 0
    for index in range(len(data)):
        flipped = data[:index] + bytes([data[index] ^ 0xFF]) + data[index + 1 :]
        source = MemorySource({"key": flipped})
        try:
            list(open_blocks(whole(source), Format.PARQUET, {"m": source}))
        except InputFormatError as error:
            refused += "key" in str(error)
    assert refused > len(data) // 3


def test_an_empty_object_holds_no_rows() -> None:
    source = MemorySource({"key": b""})

    assert list(open_blocks(whole(source), Format.PARQUET, {"m": source})) == []
    assert list(open_tables(whole(source), Format.PARQUET, {"m": source})) == []


def test_an_object_of_one_row_group_is_not_cut_and_one_of_many_is() -> None:
    table = pa.table({"n": range(4000)})
    inputs = {"one.parquet": parquet(table, group_rows=4000), "many.pq": parquet(table, group_rows=500), "bad.parquet": b"x" * 9000}
    source = MemorySource(inputs)

    planned = plan_input(
        Files(("m://one.parquet", "m://many.pq", "m://bad.parquet")),
        {"m": source},
        store=None,  # type: ignore[arg-type] # nothing was stored
        job="j",
        format="auto",
        split_size=1000,
        slots=2,
    )

    assert planned.format is Format.PARQUET
    assert {item.info.key: item.cuttable for item in planned.objects} == {"one.parquet": False, "many.pq": True, "bad.parquet": False}


def test_parquet_without_a_suffix_is_known_by_its_first_bytes() -> None:
    source = MemorySource({"part-0": parquet(pa.table({"n": [1]})), "a.txt": parquet(pa.table({"n": [1]}))})

    def planned(name: str) -> Format:
        named = Files((f"m://{name}",))
        return plan_input(named, {"m": source}, store=None, job="j", format="auto", split_size=0, slots=1).format  # type: ignore[arg-type]

    assert planned("part-0") is Format.PARQUET
    assert planned("a.txt") is Format.TEXT
    with pytest.raises(InputFormatError, match=r"a\.txt is Parquet"):
        list(open_blocks(whole(source, "a.txt"), Format.TEXT, {"m": source}))


def test_a_span_without_row_groups_accounts_for_its_bytes() -> None:
    source = MemorySource({"key": parquet(pa.table({"n": [1]}))})
    info = source.stat("key")
    split = Split(0, (Span("m", "key", info.size - 5, info.size, info.size, info.version),))

    [block] = open_tables(split, Format.PARQUET, {"m": source})

    assert (block.rows, block.records, block.size) == (0, 0, 5)


def test_records_have_the_columns_that_are_named_in_that_order() -> None:
    table = pa.table({"a": [1, 2], "b": [[{"x": 1}], None], "c": ["x", "y"]})
    source = MemorySource({"key": parquet(table)})
    blocks = open_blocks(whole(source), Format.PARQUET, {"m": source}, reading=Reading(columns=("c", "b")))
    assert [record for block in blocks for record in block.records] == [{"c": "x", "b": [{"x": 1}]}, {"c": "y", "b": None}]
    with pytest.raises(InputFormatError, match="key has no column 'z'; it has the columns 'a', 'b', 'c'"):
        list(open_blocks(whole(source), Format.PARQUET, {"m": source}, reading=Reading(columns=("a", "z"))))


def test_objects_with_other_columns_give_their_own_unless_columns_are_named() -> None:
    source = MemorySource({"1": parquet(pa.table({"a": [1], "b": [2]})), "2": parquet(pa.table({"b": [0.5], "c": ["x"]}))})
    (split,) = splits_of(source, ["1", "2"], split_bytes=1 << 30)

    def records(*columns: str) -> list[object]:
        return [
            row for block in open_blocks(split, Format.PARQUET, {"m": source}, reading=Reading(columns=columns)) for row in block.records
        ]

    assert records() == [{"a": 1, "b": 2}, {"b": 0.5, "c": "x"}]
    assert records("b") == [{"b": 2}, {"b": 0.5}]
    with pytest.raises(InputFormatError, match="2 has no column 'a'; it has the columns 'b', 'c'"):
        records("a")
