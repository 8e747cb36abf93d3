"""Frames in which something fails: only the rows and groups that are at fault are left out, however frames are cut."""

from __future__ import annotations

import tempfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import smr_notebook as smr
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.dataflow import mapping
from smr_notebook.dataflow.arrow_kinds import Rows, concat_rows
from smr_notebook.dataflow.bad_records import BadRecord, BadRecords, Told, read_bad
from smr_notebook.dataflow.exchange import ObjectExchange, gather_index
from smr_notebook.dataflow.formats.stored import store_items
from smr_notebook.dataflow.frames.programs import program_of_frames
from smr_notebook.dataflow.functions import UserCodeError
from smr_notebook.dataflow.inputs import JobInput, SplitInput
from smr_notebook.dataflow.memory import Room
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.partitioning import HashPartitioner
from smr_notebook.dataflow.reducing import run_reduce
from smr_notebook.dataflow.table_programs import program_of_aggregations
from smr_notebook.dataflow.tables import open_tables
from smr_notebook.model import AttemptId, Format, Part, Phase, Reading, Receipt, Span, Split, TaskId
from smr_notebook.testing.keys import KEYS

TOLERANT = Reading(tolerant=True)


class RowSink:
    """Keeps rows."""

    def __init__(self) -> None:
        self.found: list[Rows] = []

    def add_rows(self, rows: Rows, *, by: Any) -> None:
        assert by == ("k",)
        if rows.count:
            self.found.append(rows)

    def close(self) -> Part:
        return Part(0, ())

    def abort(self) -> None:
        self.found.clear()

    @property
    def rows(self) -> list[dict[str, Any]]:
        if not self.found:
            return []
        whole = concat_rows(self.found)
        return pa.table(dict(zip(whole.schema.names, whole.columns, strict=True))).to_pylist()


def told(error: BaseException) -> Told:
    return Told(f"{type(error).__name__}: {error}")


def a_meter() -> Meter:
    meter = Meter()
    meter.bad = BadRecords(told, everything=True, scratch=Path(tempfile.gettempdir()))
    return meter


def bad_of(meter: Meter) -> list[BadRecord]:
    assert meter.bad is not None
    assert meter.records_read == meter.done
    store = MemoryStore()
    file = meter.bad.store(store, "bad")
    return sorted(read_bad(store, file), key=lambda bad: bad.number) if file else []


def stored(items: list[Any], store: MemoryStore, number: int, *, chunk: int) -> SplitInput:
    """Store items in objects of so many each, as one split."""
    spans = []
    for start in range(0, len(items), chunk):
        infos, _ = store_items(items[start : start + chunk], store, f"input/{number}/{start}", keys=KEYS, split_bytes=1 << 20, slots=1)
        spans += [Span("job", info.key, 0, info.size, info.size, info.version) for info in infos]
    split = Split(number, tuple(spans) or (Span("job", "", 0, 0, 0, ""),))
    return SplitInput(split, Format.ITEMS, {"job": JobInput(store, KEYS)}, reading=TOLERANT)


records = st.lists(st.one_of(st.tuples(st.integers(0, 6), st.integers(0, 30)), st.just(None)), min_size=1, max_size=40)


def items_of(records: list[Any]) -> list[Any]:
    """A dict for each pair; what is none is a text."""
    return [{"k": record[0], "v": record[1]} if record else "no row" for record in records]


@settings(max_examples=min(80, settings().max_examples))
@given(records=records, wrong=st.sets(st.integers(0, 30)), chunk=st.integers(1, 15))
def test_the_rows_that_map_gives_are_those_of_the_good_ones(records: list[Any], wrong: set[int], chunk: int) -> None:
    def map(table: pa.Table) -> pa.Table:
        if wrong & set(table["v"].to_pylist()):
            raise ValueError("wrong")
        return table

    program = program_of_frames(map, None, by="k", frame="arrow", columns=["k", "v"])
    meter, sink = a_meter(), RowSink()
    assert program.map_to_rows(stored(items_of(records), MemoryStore(), 0, chunk=chunk), sink, meter=meter) is None
    assert sink.rows == [{"k": record[0], "v": record[1]} for record in records if record and record[1] not in wrong]
    bad = bad_of(meter)
    assert [one.number for one in bad] == [number for number, record in enumerate(records, 1) if not record or record[1] in wrong]
    for one in bad:
        record = records[one.number - 1]
        shown = (str({"k": record[0], "v": record[1]}), "ValueError: wrong", "map") if record else ("no row", one.error, "read")
        assert (one.record, one.error, one.function) == shown
        assert one.source == "items"


@settings(max_examples=min(60, settings().max_examples))
@given(
    tasks=st.lists(records, min_size=1, max_size=3),
    wrong=st.sets(st.integers(0, 6)),
    late=st.booleans(),
    combined=st.booleans(),
    budget=st.sampled_from([1 << 12, 1 << 20]),
)
def test_whole_groups_are_left_out_and_no_others(
    tasks: list[list[Any]], wrong: set[int], *, late: bool, combined: bool, budget: int
) -> None:
    def reduce(table: pa.Table) -> pa.Table:
        found = table.group_by("k").aggregate([("v", "sum")]).rename_columns(["k", "v"])
        if wrong & set(found["k"].to_pylist()):
            raise KeyError("late" if late else "early")
        return found

    def combine(table: pa.Table) -> pa.Table:
        raise ZeroDivisionError(table.num_rows)

    program = program_of_frames(None, reduce, by="k", frame="arrow", columns=["k", "v"], combine=combine if combined else None)
    store, receipts = MemoryStore(), list[Receipt]()
    with tempfile.TemporaryDirectory() as scratch:
        exchange = ObjectExchange(store, "jobs/j", scratch=Path(scratch))
        for number, records in enumerate(tasks):
            meter = a_meter()
            mapped = mapping.run_map(
                program.emitter(stored(items_of(records), store, number, chunk=7), meter=meter, batch_bytes=budget // 16),
                program.combiner(tolerant=True),
                exchange.writer(AttemptId(TaskId(Phase.MAP, number), 1), 1),
                partitioner=HashPartitioner(1),
                meter=meter,
                room=Room(budget),
                scratch=Path(scratch),
            )
            receipts.append(mapped.receipt)
            assert len(bad_of(meter)) == records.count(None)
        index = gather_index(store, receipts, 1)
        store.put("jobs/j/index", index.data)
        exchange = ObjectExchange(store, "jobs/j", scratch=Path(scratch), index="jobs/j/index", index_crcs=index.crcs)
        meter, sink = a_meter(), RowSink()
        reduced = run_reduce(program, exchange.read(0, receipts), sink, meter=meter, room=Room(budget), scratch=Path(scratch))
    sums: dict[int, int] = {}
    for record in (record for records in tasks for record in records if record):
        sums[record[0]] = sums.get(record[0], 0) + record[1]
    assert {row["k"]: row["v"] for row in sink.rows} == {key: value for key, value in sums.items() if key not in wrong}
    bad = bad_of(meter)
    assert [(one.record, one.number) for one in bad] == [(str(key), n) for n, key in enumerate(sorted(sums), 1) if key in wrong]
    assert (reduced.checksum, meter.pairs_in, reduced.groups) == (index.checksums[0], index.pairs[0], len(sums))
    assert meter.pairs_bad == sum(bool(record) and record[0] in wrong for records in tasks for record in records)


def test_what_is_no_fault_of_a_row_ends_the_attempt() -> None:
    def map(_: pa.Table) -> pa.Table:
        raise MemoryError

    program = program_of_frames(map, None, by="k", frame="arrow", columns=["k", "v"])
    with pytest.raises(UserCodeError) as caught:
        program.map_to_rows(stored(items_of([(1, 2)]), MemoryStore(), 0, chunk=5), RowSink(), meter=a_meter())
    assert isinstance(caught.value.__cause__, MemoryError)


@given(records=records, dropped=st.integers(0, 40))
def test_a_block_without_its_first_records_has_the_rest_of_its_rows(records: list[Any], dropped: int) -> None:
    input = stored(items_of(records), MemoryStore(), 0, chunk=100)
    block = next(open_tables(input.split, input.format, input.sources, reading=TOLERANT, columns=("k", "v")))
    records = records[: block.records]
    dropped = min(dropped, len(records))
    rest = block.rest(dropped, size=1, at=block.at)
    left = records[dropped:]
    assert list(zip(rest.columns["k"], rest.columns["v"], strict=True)) == [record for record in left if record]
    assert [other.index for other in rest.others] == [index for index, record in enumerate(left) if not record]
    assert (rest.rows, rest.records) == (len([record for record in left if record]), len(left))


def test_a_row_may_be_of_any_kind_of_dict_as_where_nothing_is_left_out() -> None:
    program = program_of_aggregations("k", None, {"total": smr.sum("v")})
    meter = a_meter()
    items: list[Any] = [OrderedDict(k="a", v=1), defaultdict(int, k="a", v=2), {"k": "b", "v": 3}]
    emitter = program.emitter(stored(items, MemoryStore(), 0, chunk=9), meter=meter, batch_bytes=1 << 20)
    assert sum(len(keys) for batch in emitter.batches() for keys, _ in batch) == 3
    assert bad_of(meter) == []


@given(records=records)
def test_an_aggregation_leaves_out_what_has_no_columns(records: list[Any]) -> None:
    program = program_of_aggregations("k", None, {"total": smr.sum("v")})
    meter = a_meter()
    emitter = program.emitter(stored(items_of(records), MemoryStore(), 0, chunk=9), meter=meter, batch_bytes=1 << 20)
    pairs = sum(len(keys) for batch in emitter.batches() for keys, _ in batch)
    assert pairs == len([record for record in records if record])
    assert [one.number for one in bad_of(meter)] == [number for number, record in enumerate(records, 1) if not record]
