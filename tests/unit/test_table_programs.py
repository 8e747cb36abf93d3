"""Aggregations over columns, against a few lines of plain Python, whatever the input, the plan and the budget."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import cloudpickle
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook.dataflow import aggregates as smr
from smr_notebook.dataflow.arrow_kinds import Rows, concat_rows
from smr_notebook.dataflow.expressions import evaluate, names_in
from smr_notebook.dataflow.functions import UserCodeError
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.table_blocks import TableBlock
from smr_notebook.dataflow.table_programs import TableEmitter, TableProgram, program_of_aggregations
from smr_notebook.errors import InputFormatError, PlanError
from smr_notebook.model import Part, Position
from smr_notebook.testing.program_tasks import run_job

Records = list[dict[str, Any]]


@dataclass
class RowList:
    """A sink that keeps rows."""

    pieces: list[Rows] = field(default_factory=list)

    def add_rows(self, rows: Rows, *, by: Sequence[str]) -> None:
        assert list(rows.schema.names)[: len(by)] == list(by)
        self.pieces.append(rows)

    def close(self) -> Part:
        return Part(0, ())

    def abort(self) -> None:
        self.pieces.clear()


def blocks_of(records: Records, size: int, *, typed: bool) -> list[TableBlock]:
    """Blocks of a few records each, with Arrow arrays where the input has types, else with lists."""
    names = list(dict.fromkeys(name for record in records for name in record))
    blocks = []
    for start, stop in pairwise([*range(0, len(records), size), len(records)]):
        columns: dict[str, Any] = {name: [record.get(name) for record in records[start:stop]] for name in names}
        if typed:
            columns = {name: pa.array([record.get(name) for record in records]).slice(start, stop - start) for name in names}
        blocks.append(TableBlock("input", columns, stop - start, 10, start, stop - start, Position(start)))
    return blocks


def run(
    program: TableProgram, tasks: list[Records], *, size: int = 3, typed: bool = True, partitions: int = 1, budget: int = 1 << 26
) -> Records:
    """Run a whole job over records, some for each map task, and return its rows."""
    emitters: list[Callable[[Meter], TableEmitter]] = []
    for records in tasks:
        blocks = blocks_of(records, size, typed=typed)
        emitters.append(lambda meter, blocks=blocks: TableEmitter(program.asked, blocks, meter=meter))  # type: ignore[misc]
    sinks: list[RowList] = run_job(program, emitters, RowList, partitions=partitions, budget=budget)
    pieces = [rows for sink in sinks for rows in sink.pieces if rows.count]
    if not pieces:
        return []
    rows = concat_rows(pieces)
    found: Records = pa.table(list(rows.columns), names=rows.schema.names).to_pylist()
    return found


def grouped(records: Records, by: list[str]) -> dict[tuple[Any, ...], Records]:
    groups: dict[tuple[Any, ...], Records] = {}
    for record in records:
        groups.setdefault(tuple(record.get(name) for name in by), []).append(record)
    return groups


AGGREGATIONS = {
    "total": smr.sum("amount"),
    "n": smr.count(),
    "there": smr.count("amount"),
    "middle": smr.mean("amount"),
    "least": smr.min("amount"),
    "most": smr.max("word"),
    "earliest": smr.first("word"),
    "best": smr.top("amount", 2),
    "words": smr.distinct("word"),
    "all": smr.collect("amount"),
    "half": smr.quantiles("amount", [0.5]),
}


def expected(records: Records, by: list[str]) -> list[tuple[Any, ...]]:
    rows = []
    for key, group in grouped(records, by).items():
        values = []
        for aggregation in AGGREGATIONS.values():
            column = aggregation.column if isinstance(aggregation.column, str) else ""
            values.append(repr(aggregation.fold.reference([record.get(column) for record in group])))
        rows.append((repr(key), *values))
    return sorted(rows)


def found(rows: Records, by: list[str]) -> list[tuple[Any, ...]]:
    return sorted((repr(tuple(row[name] for name in by)), *(repr(row[name]) for name in AGGREGATIONS)) for row in rows)


amounts = st.floats(-1e9, 1e9)
records = st.fixed_dictionaries(
    {
        "user": st.sampled_from(["a", "b", "c", None]),
        "kind": st.sampled_from([1, 2, None]),
        "day": st.sampled_from([datetime(2026, 1, 1), datetime(2026, 1, 2)]),  # noqa: DTZ001 - naive on purpose
        "amount": amounts | st.none(),
        "word": st.text("xyz", max_size=2) | st.none(),
    }
)


@settings(max_examples=min(80, settings().max_examples))
@given(
    st.lists(st.lists(records, max_size=12), min_size=1, max_size=3),
    st.sampled_from([["user"], ["kind"], ["day"], ["user", "kind"], ["day", "user", "kind"]]),
    st.integers(1, 5),
    st.booleans(),
    st.integers(1, 3),
    st.sampled_from([1 << 26, 1 << 14]),
)
def test_columns_are_aggregated_as_plain_python_does(
    tasks: list[Records], by: list[str], size: int, typed: bool, partitions: int, budget: int
) -> None:
    program = program_of_aggregations(by, None, AGGREGATIONS)
    rows = run(program, tasks, size=size, typed=typed, partitions=partitions, budget=budget)
    assert found(rows, by) == expected([record for records in tasks for record in records], by)


@settings(max_examples=min(40, settings().max_examples))
@given(st.lists(records, max_size=20), st.integers(1, 5), st.booleans())
def test_a_filter_and_computed_columns_are_those_of_python(rows: Records, size: int, typed: bool) -> None:
    program = program_of_aggregations(
        {"double": smr.col("kind") * 2}, smr.col("amount") > 0, {"cost": smr.sum(smr.col("amount") * smr.col("kind")), "n": smr.count()}
    )
    groups = grouped([record for record in rows if record["amount"] is not None and record["amount"] > 0], ["kind"])
    want = {
        None if kind is None else kind * 2: (
            None if kind is None else math.fsum(record["amount"] * kind for record in group),
            len(group),
        )
        for (kind,), group in groups.items()
    }
    if any(record["amount"] is not None for record in rows) and any(record["kind"] is not None for record in rows):
        found = run(program, [rows], size=len(rows) if not typed else size, typed=typed)
        assert {row["double"]: (row["cost"], row["n"]) for row in found} == want


def test_values_of_lists_keep_their_types_and_mixed_numbers_are_added_exactly() -> None:
    rows = [{"user": "a", "amount": 1}, {"user": "a", "amount": 2**53}, {"user": "b", "amount": 0.1}, {"user": "b", "amount": 2}]
    for size in (1, 2, 4):
        assert run(program_of_aggregations("user", None, {"t": smr.sum("amount")}), [rows[:2]], size=size, typed=False) == [
            {"user": "a", "t": 2**53 + 1}
        ]
        assert run(program_of_aggregations("user", None, {"t": smr.sum("amount")}), [rows[2:]], size=size, typed=False) == [
            {"user": "b", "t": 2.1}
        ]


@settings(max_examples=min(60, settings().max_examples))
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.one_of(st.integers(-(2**40), 2**40), st.floats(-9, 9), st.booleans(), st.none())), max_size=20
    ),
    st.integers(1, 6),
)
def test_mixed_numbers_of_json_are_added_and_averaged_exactly(pairs: list[tuple[str, Any]], size: int) -> None:
    program = program_of_aggregations("user", None, {"total": smr.sum("x"), "middle": smr.mean("x")})
    rows = run(program, [[{"user": user, "x": value} for user, value in pairs]], size=size, typed=False)
    groups = {user: [value for other, value in pairs if other == user] for user, _ in pairs}
    assert {row["user"]: (row["total"], row["middle"]) for row in rows} == {
        user: (smr.sum("x").fold.reference(values), smr.mean("x").fold.reference(values)) for user, values in groups.items()
    }


@pytest.mark.parametrize(
    "array",
    [
        pa.array([3, 1, 2], pa.int8()),
        pa.array([3, 1, 2], pa.uint64()),
        pa.array([3.5, 1.0, 2.0], pa.float32()),
        pa.array([Decimal("3.10"), Decimal("1.00"), Decimal("2.00")]),
        pa.array([datetime(2026, 1, day) for day in (3, 1, 2)], pa.timestamp("ms")),  # noqa: DTZ001 - naive on purpose
        pa.array([datetime(2026, 1, day) for day in (3, 1, 2)], pa.timestamp("us", "UTC")),  # noqa: DTZ001 - as above
        pa.array([timedelta(day) for day in (3, 1, 2)], pa.duration("us")),
        pa.array(["c", "a", "b"], pa.large_string()),
        pa.array(["c", "a", "b"]).dictionary_encode(),
        pa.array([b"c", b"a", b"b"], pa.large_binary()),
        pa.array([True, False, False]),
    ],
    ids=lambda array: str(array.type),
)
def test_columns_of_any_type_are_compared(array: Any) -> None:
    program = program_of_aggregations(
        "user", None, {"least": smr.min("x"), "first": smr.first("x"), "top": smr.top("x", 1), "n": smr.count("x")}
    )
    block = TableBlock("input", {"user": pa.array(["a"] * 3), "x": array}, 3, 10, 0, 3, Position(0))
    emitters: list[Callable[[Meter], TableEmitter]] = [lambda meter: TableEmitter(program.asked, [block], meter=meter)]
    sinks: list[RowList] = run_job(program, emitters, RowList)
    (sink,) = sinks
    (rows,) = sink.pieces
    values = array.to_pylist()
    assert [column.to_pylist()[0] for column in rows.columns] == ["a", min(values), values[0], [max(values)], 3]


def test_groups_with_equal_values_of_several_types_are_one_as_in_frames() -> None:
    program = program_of_aggregations("k", None, {"n": smr.count()})
    rows = run(program, [[{"k": 1}, {"k": 2}], [{"k": 1.0}, {"k": 2.5}]], size=9)
    assert sorted((row["k"], row["n"]) for row in rows) == [(1, 2), (2, 1), (2.5, 1)]


def test_an_attempt_that_is_due_ends_in_front_of_a_block_and_counts_what_it_did() -> None:
    program = program_of_aggregations("user", None, {"n": smr.count()})
    meter, blocks = Meter(), blocks_of([{"user": str(number)} for number in range(10)], 4, typed=True)
    emitter = TableEmitter(program.asked, blocks, meter=meter)

    def due() -> Iterator[Any]:
        for batch in emitter.batches():
            meter.wind_up()
            yield batch

    assert [len(keys) for batch in due() for keys, _ in batch] == [4]
    assert emitter.position == Position(4)
    assert (meter.bytes_read, meter.records_read, meter.records_mapped, meter.pairs_in) == (10, 4, 4, 4)


@pytest.mark.parametrize(
    ("aggregation", "values"),
    [
        (smr.sum("x"), [2**62, 2**62]),
        (smr.sum("x"), ["a", "b"]),
        (smr.max("x"), [1, "b"]),
        (smr.collect("x"), [1, "b"]),
        (smr.quantiles("x", [0.5]), ["a", 2]),
    ],
)
def test_what_cannot_be_aggregated_is_told_with_the_group(aggregation: smr.Aggregation, values: list[Any]) -> None:
    program = program_of_aggregations("user", None, {"wrong": aggregation})
    with pytest.raises(UserCodeError) as caught:
        run(program, [[{"user": "u", "x": value} for value in values]], typed=False)
    assert caught.value.record == "'u'"
    assert isinstance(caught.value.__cause__, TypeError)


def test_what_cannot_be_grouped_or_computed_is_told() -> None:
    rows = [{"user": "u", "x": 1}, {"user": 3, "x": "b"}]
    with pytest.raises(InputFormatError, match=r"'user'.*one type"):
        run(program_of_aggregations("user", None, {"n": smr.count()}), [rows], typed=False)
    with pytest.raises(InputFormatError, match=r"input: \(user > 3\) cannot be computed"):
        run(program_of_aggregations("user", smr.col("user") > 3, {"n": smr.count()}), [rows[:1]])


@pytest.mark.parametrize(
    ("by", "where", "aggregations", "told"),
    [
        ([], None, {}, "by must name a column"),
        (["a", "a"], None, {}, "each once"),
        (3, None, {}, "by must be the name of a column"),
        ([smr.col("a") + 1], None, {}, r"needs a name, .*; got add_checked\(a, 1\)"),
        ({"a": 3}, None, {}, "by must be the name"),
        ("a", "b > 3", {}, "where must be an expression"),
        ("a", None, {"n": sum}, "n= must be a built-in aggregation"),
        ("a", None, {"n": smr.top(3)}, "n= must be a built-in aggregation of a column"),
        ("a", None, {"n": smr.sum}, r"n= .*, or smr\.count\(\); got smr\.sum\. \(n is no option of aggregate"),
        ("a", None, {"reducer": 3}, r"reducer= .*; got 3\. \(reducer is no option of aggregate"),
        ("a", None, {"a": smr.count()}, "two columns 'a'"),
    ],
)
def test_what_makes_no_sense_is_refused(by: Any, where: Any, aggregations: Any, told: str) -> None:
    with pytest.raises(PlanError, match=told):
        program_of_aggregations(by, where, aggregations)


def test_a_program_travels_and_names_the_columns_it_needs() -> None:
    program = program_of_aggregations(
        {"day": smr.col("time").cast(pa.date32()), "user": "user"},
        (smr.col("status") == 200) & pc.is_in(smr.col("s"), pa.array(["field_ref: 'x'"])),
        {"total": smr.sum(smr.col("price") * smr.col("n")), "n": smr.count(), "most": smr.max("amount")},
    )
    travelled = cloudpickle.loads(cloudpickle.dumps(program))
    assert set(travelled.asked.columns) == {"time", "user", "status", "s", "price", "n", "amount"}
    assert pickle.loads(pickle.dumps(program)).asked.columns == travelled.asked.columns


def test_names_in_an_expression_are_those_of_columns() -> None:
    assert names_in(pc.field("a b") * pc.field("n.x") > pc.field("nest", "inner")) == ["a b", "n.x", "nest"]
    assert names_in(pc.field("nest", "a", "b").is_null() | pc.field("z").is_valid() | pc.field("z").isin([1])) == ["nest", "z"]
    assert names_in(pc.scalar(1) == 1) == []


def test_rows_are_evaluated_in_order() -> None:
    numbers = pa.array(range(100_000))
    found = evaluate({"x": numbers}, 100_000, where=pc.field("x") > 10, computed={"y": pc.field("x") * 2}, source="")
    assert found.rows.tolist() == list(range(11, 100_000))
    assert found.columns["y"].to_pylist() == list(range(22, 200_000, 2))
    assert evaluate({}, 3, where=None, computed={}, source="").rows is None


NANOSECONDS = pa.array([1_577_836_800_000_000_049, 1_577_836_800_000_000_001, None], pa.timestamp("ns"))


@pytest.mark.parametrize("array", [NANOSECONDS, NANOSECONDS.cast(pa.timestamp("ns", "UTC"))])
def test_values_that_python_types_do_not_hold_come_out_as_they_were(array: Any) -> None:
    records = array.to_pylist()
    arrays = {"x": array, "k": pa.array([1, 1, 1])}
    asked = {"least": smr.min("x"), "most": smr.max("x"), "all": smr.collect("x"), "two": smr.top("x", 2)}
    program = program_of_aggregations("k", None, asked)
    block = TableBlock("input", arrays, 3, 10, 0, 3, Position(0))
    sinks: list[RowList] = run_job(program, [lambda meter: TableEmitter(program.asked, [block], meter=meter)], RowList)
    (row,) = pa.table(list(sinks[0].pieces[0].columns), names=["k", *asked]).to_pylist()
    ordered = sorted(records[:2])
    assert row == {"k": 1, "least": ordered[0], "most": ordered[1], "all": records, "two": ordered[::-1]}
    program = program_of_aggregations("x", None, {"n": smr.count()})
    sinks = run_job(program, [lambda meter: TableEmitter(program.asked, [block], meter=meter)], RowList)
    assert {value for rows in sinks[0].pieces for value in rows.columns[0].to_pylist()} == set(records)


@pytest.mark.parametrize(
    "values",
    [
        ["a", b"a"],
        [date(2020, 1, 1), datetime(2020, 1, 1, 5)],  # noqa: DTZ001 - a time without a zone
        [datetime(2020, 1, 1), datetime(2020, 1, 1, tzinfo=UTC)],  # noqa: DTZ001 - one without a zone
        [Decimal("NaN"), Decimal(1)],
    ],
)
def test_values_that_one_type_would_change_are_refused(values: list[Any]) -> None:
    records = [{"k": 1, "x": value} for value in values]
    with pytest.raises(InputFormatError, match="go into no one type"):
        run(program_of_aggregations("x", None, {"n": smr.count()}), [records], typed=False)
    with pytest.raises(UserCodeError) as caught:
        run(program_of_aggregations("k", None, {"all": smr.collect("x")}), [records], typed=False)
    assert "go into no one type" in str(caught.value.__cause__)


def test_no_name_of_a_column_is_taken_by_the_numbers_of_rows() -> None:
    name = "__smr_row__"
    found = evaluate({name: pa.array([5, 7, 9])}, 3, where=pc.field(name) > 5, computed={"twice": pc.field(name) * 2}, source="input")
    assert found.rows.tolist() == [1, 2]
    assert found.columns["twice"].to_pylist() == [14, 18]
