"""Arrow IPC as records and as columns: files and streams, any plan, any stopping point, and what is cut or damaged."""

from __future__ import annotations

import io
from contextlib import suppress
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, cast

import pyarrow as pa
import pyarrow.feather
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.control.naming import Files
from smr_notebook.control.reading import plan_input
from smr_notebook.dataflow.inputs import open_blocks
from smr_notebook.dataflow.splits import PlannedObject, plan_splits
from smr_notebook.dataflow.tables import column_names, open_tables
from smr_notebook.errors import InputChangedError, InputFormatError
from smr_notebook.model import Format, ObjectInfo, Position, Reading, Span, Split

SCHEMA = pa.schema(
    {
        "i": pa.int64(),
        "s": pa.dictionary(pa.int32(), pa.string()),
        "t": pa.timestamp("us", "UTC"),
        "l": pa.list_(pa.struct([("x", pa.float64())])),
        "d": pa.decimal128(9, 2),
    }
)
ROW = st.fixed_dictionaries(
    {
        "i": st.none() | st.integers(-(1 << 63), (1 << 63) - 1),
        "s": st.none() | st.text(max_size=6),
        "t": st.none() | st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds
        "l": st.none() | st.lists(st.fixed_dictionaries({"x": st.floats(allow_nan=False)}), max_size=3),
        "d": st.none() | st.decimals(-10, 10, places=2),
    }
)
BATCHES = st.lists(st.lists(ROW, max_size=4), max_size=5)


def written(batches: list[list[dict[str, Any]]], *, stream: bool = False, compression: str | None = None) -> bytes:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=cast("Any", compression), emit_dictionary_deltas=True, unify_dictionaries=not stream)
    opened = pa.ipc.new_stream(sink, SCHEMA, options=options) if stream else pa.ipc.new_file(sink, SCHEMA, options=options)
    words = sorted({row["s"] for batch in batches for row in batch if row["s"] is not None})
    with opened as writer:
        for batch in batches:
            arrays = [
                pa.DictionaryArray.from_arrays(
                    pa.array([None if row["s"] is None else words.index(row["s"]) for row in batch], pa.int32()),
                    pa.array(words, pa.string()),
                )
                if field.name == "s"
                else pa.array([row[field.name] for row in batch], field.type)
                for field in SCHEMA
            ]
            writer.write_batch(pa.record_batch(arrays, schema=SCHEMA))
    return sink.getvalue()


def splits_of(source: MemorySource, *, split_bytes: int, cuttable: bool = True) -> tuple[Split, ...]:
    return plan_splits([PlannedObject("m", source.stat("key"), cuttable=cuttable)], split_bytes=split_bytes)


def records_of(data: bytes, reading: Reading | None = None) -> list[Any]:
    source = MemorySource({"key": data})
    (split,) = splits_of(source, split_bytes=1 << 30)
    return [record for block in open_blocks(split, Format.ARROW, {"m": source}, reading=reading or Reading()) for record in block.records]


@settings(max_examples=min(80, settings().max_examples))
@given(batches=BATCHES, split_bytes=st.integers(50, 4000), stop=st.integers(0, 20), compression=st.sampled_from([None, "lz4", "zstd"]))
def test_any_plan_and_any_stop_give_the_rows_that_were_written(
    batches: list[list[dict[str, Any]]], split_bytes: int, stop: int, compression: str | None
) -> None:
    source = MemorySource({"key": written(batches, compression=compression)})
    wanted = [row for batch in batches for row in batch]
    records: list[Any] = []
    rows: list[Any] = []
    sizes = 0
    for split in splits_of(source, split_bytes=split_bytes):
        after = Position(0, 0, split.spans[0].start)
        taken = 0
        for block in open_blocks(split, Format.ARROW, {"m": source}):
            for record in block.records:
                if taken < stop:
                    records.append(record)
                    taken += 1
                    after = Position(taken, block.at.span, block.at.offset, taken - (block.at.done - block.at.skip), block.at.counted)
        for block in open_blocks(split, Format.ARROW, {"m": source}, after=after if stop else None):
            records += block.records
        for table in open_tables(split, Format.ARROW, {"m": source}, columns=("d", "i")):
            sizes += table.size
            columns: dict[str, Any] = dict(table.columns) or {"d": [], "i": []}
            rows += [{"d": d.as_py(), "i": i.as_py()} for d, i in zip(columns["d"], columns["i"], strict=True)]
    assert records == wanted
    assert rows == [{"d": row["d"], "i": row["i"]} for row in wanted]
    assert sizes == source.stat("key").size


@settings(max_examples=min(40, settings().max_examples))
@given(batches=BATCHES)
def test_a_stream_gives_the_same_rows(batches: list[list[dict[str, Any]]]) -> None:
    assert records_of(written(batches, stream=True)) == [row for batch in batches for row in batch]


@settings(max_examples=min(60, settings().max_examples))
@given(batches=st.lists(st.lists(ROW, min_size=1, max_size=3), min_size=1, max_size=4), place=st.floats(0, 1), stream=st.booleans())
def test_an_object_that_is_cut_is_an_error(batches: list[list[dict[str, Any]]], place: float, stream: bool) -> None:
    data = written(batches, stream=stream)
    with pytest.raises(InputFormatError, match="key"):
        records_of(data[: int(place * (len(data) - 1))] or b"A")


def test_what_stands_behind_a_stream_is_an_error() -> None:
    one = written([[{"i": 1, "s": None, "t": None, "l": None, "d": None}]], stream=True)
    with pytest.raises(InputFormatError, match=f"key holds {len(one):,} bytes behind the end of its Arrow stream"):
        records_of(one + one)


def test_a_stream_that_nobody_closed_is_an_error() -> None:
    one = written([[{"i": 1, "s": None, "t": None, "l": None, "d": None}]], stream=True)
    with pytest.raises(InputFormatError, match="key is an Arrow stream without its end mark"):
        records_of(one[:-8])


def test_what_is_no_arrow_is_told() -> None:
    with pytest.raises(InputFormatError, match="key is Feather of version 1"):
        records_of(b"FEA1" + bytes(40) + b"FEA1")
    with pytest.raises(InputFormatError, match="key is not Arrow IPC: it begins as neither"):
        records_of(b"a,b\n1,2\n")
    twice = io.BytesIO()
    table = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pa.ipc.new_file(twice, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(InputFormatError, match="more than one column named 'a'"):
        records_of(twice.getvalue())


def test_values_are_those_of_the_parquet_reader() -> None:
    table = pa.table(
        {"t": pa.array([time(1, 2, 3, 4)], pa.time64("ns")), "n": pa.array([Decimal("1.10")]), "d": pa.array([date(2024, 2, 29)])}
    )
    for compression in ("lz4", "uncompressed"):
        sink = io.BytesIO()
        pyarrow.feather.write_feather(table, sink, compression=compression)
        assert records_of(sink.getvalue()) == [{"t": time(1, 2, 3, 4), "n": Decimal("1.10"), "d": date(2024, 2, 29)}]


def test_columns_are_picked_by_name_and_those_that_are_missing_named() -> None:
    data = written([[{"i": 1, "s": "x", "t": None, "l": None, "d": None}]])
    assert records_of(data, Reading(columns=("s", "i"))) == [{"s": "x", "i": 1}]
    with pytest.raises(InputFormatError, match="key has no column 'z'; it has the columns 'i', 's', 't', 'l', 'd'"):
        records_of(data, Reading(columns=("z",)))
    source = MemorySource({"key": data})
    assert column_names(splits_of(source, split_bytes=1 << 20), Format.ARROW, {"m": source}) == ("i", "s", "t", "l", "d")


def test_only_what_has_batches_is_cut() -> None:
    rows = [[{"i": number, "s": "x" * 10, "t": None, "l": None, "d": None}] for number in range(30)]
    source = MemorySource(
        {"/a.arrow": written(rows), "/b.arrow": written(rows, stream=True), "/c.arrow": written([[row for batch in rows for row in batch]])}
    )
    planned = plan_input(Files(("/*.arrow",)), {"file": source}, store=None, job="j", format="auto", split_size=1000, slots=1)  # type: ignore[arg-type]
    assert planned.format is Format.ARROW
    assert [item.cuttable for item in planned.objects] == [True, False, False]


def test_an_object_without_bytes_has_no_rows_and_a_changed_one_is_an_error() -> None:
    source = MemorySource({"key": b""})
    (split,) = splits_of(source, split_bytes=1 << 30)
    assert [block for block in open_blocks(split, Format.ARROW, {"m": source}) if block.records] == []
    data = written([])
    info = ObjectInfo("key", len(data), "old")
    changed = Split(0, (Span("m", info.key, 0, info.size, info.size, info.version),))
    with pytest.raises(InputChangedError):
        list(open_blocks(changed, Format.ARROW, {"m": MemorySource({"key": data})}))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("compression", [None, "zstd"])
def test_a_flipped_bit_is_an_error_or_another_value_and_nothing_else(stream: bool, compression: str | None) -> None:
    """Arrow has no checksums; what pyarrow does not notice is a value. Never is it a crash, memory without end, or another error."""
    row = {"i": 1, "s": "x", "t": None, "l": [{"x": 0.5}], "d": Decimal("1.10")}
    data = written([[row], [row, row]], stream=stream, compression=compression)
    for place in range(0, len(data), 3):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        with suppress(InputFormatError):
            assert all(isinstance(record, dict) for record in records_of(bytes(damaged)))
