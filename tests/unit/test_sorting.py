"""Keys in total order over all parts, and the values of a group in theirs, against `sorted` over encoded keys."""

from __future__ import annotations

import random
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.control.reading import PlannedInput
from smr_notebook.control.sampling import sample_keys
from smr_notebook.dataflow import reducing
from smr_notebook.dataflow.blocks import unpack
from smr_notebook.dataflow.columns import Column, decode_values
from smr_notebook.dataflow.exchange import ObjectExchange
from smr_notebook.dataflow.functions import Functions, UserCodeError
from smr_notebook.dataflow.grouping import block_bytes
from smr_notebook.dataflow.keys import encode_key, split_keys
from smr_notebook.dataflow.memory import Room
from smr_notebook.dataflow.merging import BY_PAIR, ORDERS
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.outputs import PartWriter
from smr_notebook.dataflow.pair_programs import PairProgram
from smr_notebook.dataflow.partitioning import HashPartitioner, Partitioner, RangePartitioner, choose_bounds
from smr_notebook.dataflow.records import RecordBlock
from smr_notebook.dataflow.reducing import Partition
from smr_notebook.dataflow.results import iter_frames
from smr_notebook.dataflow.splits import PlannedObject
from smr_notebook.model import AttemptId, Format, Numbers, Part, Phase, Position, Receipt, Sorting, TaskId
from smr_notebook.testing.pair_tasks import run_map

# ---------------------------------------------------------------- parts to work with


class RowList:
    """Keeps rows in a list; `on_rows` is called after each batch."""

    def __init__(self, on_rows: Callable[[], None] = lambda: None) -> None:
        self.rows: list[tuple[Any, Any]] = []
        self._on_rows = on_rows

    def add(self, keys: list[Any], values: list[Any], groups: list[Any] | None = None) -> None:
        assert groups is None
        self.rows += zip(keys, values, strict=True)

    def add_columns(self, keys: Column, values: Column, *, ordered: bool) -> None:
        assert ordered
        self.rows += zip(decode_values(keys), decode_values(values), strict=True)
        self._on_rows()

    def close(self) -> Part:
        return Part(0, ())

    def abort(self) -> None:
        self.rows.clear()


def functions(reduce: Callable[..., Any] | None = None, combine: Callable[..., Any] | None = None) -> Functions:
    return Functions(lambda record: record, False, reduce, False, combine, False)  # noqa: FBT003 - takes no source, yields no rows


def mapped(
    store: MemoryStore, tasks: list[list[Any]], functions: Functions, *, partitioner: Partitioner, sorting: Sorting, budget: int
) -> tuple[ObjectExchange, list[Receipt]]:
    """Map lists of records, one for each task."""
    receipts = []
    with tempfile.TemporaryDirectory() as scratch:
        exchange = ObjectExchange(store, "jobs/j", scratch=Path(scratch))
        for number, records in enumerate(tasks):
            writer = exchange.writer(AttemptId(TaskId(Phase.MAP, number), 1), partitioner.count)
            blocks = [RecordBlock("input", records, 10, lambda index: 10 * index, begin=None, at=Position(0))]
            done = run_map(
                functions,
                blocks,
                writer,
                partitioner=partitioner,
                meter=Meter(),
                budget=budget,
                scratch=Path(scratch),
                order=ORDERS[sorting.values],
            )
            receipts.append(done.receipt)
        assert list(Path(scratch).iterdir()) == []
    return exchange, receipts


@dataclass
class Rows:
    """What the attempts of the reduce tasks gave, partition after partition."""

    rows: list[list[tuple[Any, Any]]] = field(default_factory=list)
    totals: Numbers = field(default_factory=Numbers)
    checksum: int = 0
    attempts: int = 0

    @property
    def all(self) -> list[tuple[Any, Any]]:
        return [row for part in self.rows for row in part]


def run(
    tasks: list[list[Any]],
    reduce: Callable[..., Any] | None = None,
    *,
    combine: Callable[..., Any] | None = None,
    partitioner: Partitioner | None = None,
    sorting: Sorting,
    budget: int = 1 << 26,
    legs: list[int] | None = None,
) -> Rows:
    """Run a job; `legs` says after how many batches of rows each of the first attempts is due."""
    dealt, found, after_batches = partitioner or HashPartitioner(1), Rows(), iter(legs or [])
    program = PairProgram(functions(reduce, combine), sorting)
    exchange, receipts = mapped(MemoryStore(), tasks, program.functions, partitioner=dealt, sorting=sorting, budget=budget)
    for number in range(dealt.count):
        found.rows.append([])
        after: Position | None = None
        while True:
            meter, left = Meter(), next(after_batches, -1)
            countdown = iter(range(left, -1, -1))
            sink = RowList(lambda meter=meter, countdown=countdown: meter.wind_up() if next(countdown, -1) == 0 else None)  # type: ignore[misc]
            with tempfile.TemporaryDirectory() as scratch:
                reduced = reducing.run_reduce(
                    program,
                    exchange.read(number, receipts),
                    sink,
                    meter=meter,
                    room=Room(budget),
                    scratch=Path(scratch),
                    after=after,
                    order=ORDERS[sorting.values],
                )
            found.rows[-1] += sink.rows
            found.totals += meter.numbers()
            found.checksum = (found.checksum + reduced.checksum) % 2**64
            found.attempts += 1
            assert reduced.groups == meter.records_read == meter.records_mapped
            after = reduced.position
            if after is None:
                break
    return found


def by_key(tasks: list[list[list[tuple[Any, Any]]]]) -> list[tuple[Any, Any]]:
    """All pairs in key order, equal keys in input order."""
    return sorted((pair for records in tasks for pairs in records for pair in pairs), key=lambda pair: encode_key(pair[0]))


def exactly(value: Any) -> Any:
    return (type(value), repr(value))


def normal(key: Any) -> Any:
    """What a key comes back as."""
    return 0.0 if type(key) is float and key == 0 else key


plain = st.one_of(
    st.integers(-3, 3),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.floats(allow_nan=True, width=16),
    st.text("ab\0é𝄞", max_size=3),
    st.binary(max_size=2),
    st.none(),
    st.dates(date(2020, 1, 1), date(2020, 1, 3)),
)
keys = st.one_of(plain, st.tuples(st.integers(0, 1), st.text("xy", max_size=1)))
few_keys = st.one_of(st.integers(0, 3), st.sampled_from(["a", "b"]), st.sampled_from([0.5, float("nan"), -0.0]))
ordered_values = st.one_of(
    st.lists(st.integers(-5, 5), max_size=12),
    st.lists(st.floats(), max_size=12),
    st.lists(st.one_of(st.text("ab\0é𝄞", max_size=3), st.none()), max_size=12),
    st.lists(st.tuples(st.integers(0, 3), st.text("xy", max_size=1)), max_size=12),
    st.lists(st.tuples(st.floats(width=16), st.one_of(st.none(), st.integers(0, 2))), max_size=12),
    st.lists(st.one_of(plain, st.tuples(st.booleans()), st.decimals(-2, 2, places=1)), max_size=12),
    st.lists(st.datetimes(datetime(2020, 1, 1), datetime(2020, 1, 2)), max_size=12),  # noqa: DTZ001 - naive ones are plain values
)


def records_of(keys: st.SearchStrategy[Any], values: st.SearchStrategy[list[Any]]) -> st.SearchStrategy[list[Any]]:
    """Tasks, each a list of records, each a list of pairs."""
    record = st.tuples(values, st.lists(keys, min_size=12, max_size=12)).map(lambda drawn: list(zip(drawn[1], drawn[0], strict=False)))
    return st.lists(st.lists(record, max_size=4), max_size=3)


anything = st.lists(st.one_of(st.integers(0, 9), st.lists(st.integers(), max_size=2), st.text(max_size=2)), max_size=12)
budgets = st.sampled_from([500, 3_000, 20_000, 1 << 26])
bounds = st.lists(keys, max_size=5).map(lambda drawn: RangePartitioner(tuple(sorted(set(map(encode_key, drawn))))))

# ---------------------------------------------------------------- ranges


@given(st.lists(keys, max_size=40), bounds)
def test_the_range_of_a_key_is_the_number_of_bounds_that_are_not_behind_it(keys: list[Any], partitioner: RangePartitioner) -> None:
    for column, rows in split_keys(sorted(keys, key=encode_key)) if keys else []:
        chosen = sorted(keys, key=encode_key) if rows is None else [sorted(keys, key=encode_key)[row] for row in rows]
        owners = partitioner.of(column).tolist()
        assert owners == [bisect_right(partitioner.bounds, encode_key(key)) for key in chosen]
        assert owners == sorted(owners)
        assert all(0 <= owner < partitioner.count for owner in owners)


@given(st.lists(st.binary(min_size=1, max_size=2)), st.integers(1, 9))
def test_bounds_cut_a_sample_into_ranges_of_which_none_is_empty(tokens: list[bytes], partitions: int) -> None:
    bounds = choose_bounds(tokens, partitions)
    assert len(bounds) < partitions
    assert all(low < high for low, high in pairwise(bounds))
    filled = {bisect_right(bounds, token) for token in tokens}
    assert filled == set(range(len(bounds) + 1)) or not tokens


def test_even_keys_are_shared_out_evenly_and_a_heavy_one_stands_alone() -> None:
    even = [bytes([number // 256, number % 256]) for number in range(10_000)]
    bounds = choose_bounds(even, 7)
    sizes = np.bincount([bisect_right(bounds, token) for token in even])
    assert sizes.max() - sizes.min() <= 2
    heavy = [*even[:1_000], *[b"\x05"] * 5_000, *even[2_000:3_000]]
    bounds = choose_bounds(heavy, 4)
    owner = bisect_right(bounds, b"\x05")
    assert {token for token in heavy if bisect_right(bounds, token) == owner} == {b"\x05"}
    assert choose_bounds([], 4) == ()


# ---------------------------------------------------------------- whole jobs


@settings(max_examples=3 * settings().max_examples // 2)
@given(records_of(keys, anything), bounds, budgets)
def test_the_parts_of_a_sorted_job_are_in_total_order_and_equal_keys_in_input_order(
    tasks: list[Any], partitioner: RangePartitioner, budget: int
) -> None:
    found = run(tasks, partitioner=partitioner, sorting=Sorting(keys=True), budget=budget)
    assert [(exactly(key), exactly(value)) for key, value in found.all] == [
        (exactly(normal(key)), exactly(value)) for key, value in by_key(tasks)
    ]
    assert found.totals.pairs_in == found.totals.pairs_out == len(found.all)
    assert found.totals.records_mapped == len({encode_key(key) for key, _ in found.all})


@settings(max_examples=3 * settings().max_examples // 2)
@given(records_of(few_keys, ordered_values), bounds, budgets)
def test_sorted_values_reach_reduce_in_order_whatever_spills(tasks: list[Any], partitioner: RangePartitioner, budget: int) -> None:
    for dealt in (HashPartitioner(2), partitioner):
        found = run(tasks, lambda _, values: tuple(values), partitioner=dealt, sorting=Sorting(values=True), budget=budget)
        expected: dict[bytes, list[Any]] = {}
        for key, value in by_key(tasks):
            expected.setdefault(encode_key(key), []).append(value)
        for values in expected.values():
            values.sort(key=encode_key)
        got = {encode_key(key): list(map(exactly, values)) for key, values in found.all}
        assert got == {key: list(map(exactly, values)) for key, values in expected.items()}


@given(records_of(few_keys, ordered_values), bounds, budgets)
def test_keys_and_values_are_sorted_together(tasks: list[Any], partitioner: RangePartitioner, budget: int) -> None:
    found = run(tasks, partitioner=partitioner, sorting=Sorting(keys=True, values=True), budget=budget)
    expected = sorted(by_key(tasks), key=lambda pair: (encode_key(pair[0]), encode_key(pair[1])))
    assert [(exactly(key), exactly(value)) for key, value in found.all] == [
        (exactly(normal(key)), exactly(value)) for key, value in expected
    ]


@given(records_of(few_keys, st.lists(st.integers(0, 9), max_size=12)), bounds, budgets, st.booleans())
def test_a_combiner_and_sorting_go_together(tasks: list[Any], partitioner: RangePartitioner, budget: int, values: bool) -> None:
    def largest(_key: Any, values: Iterator[int]) -> int:
        return max(values)

    sorting = Sorting(keys=True, values=values)
    found = run(tasks, largest, combine=largest, partitioner=partitioner, sorting=sorting, budget=budget)
    assert list(map(exactly, found.all)) == list(map(exactly, run(tasks, largest, sorting=Sorting()).all))


@given(records_of(few_keys, st.lists(st.integers(0, 9), max_size=12)), bounds, budgets, st.booleans())
def test_a_combiner_gets_the_values_of_its_part_in_order(tasks: list[Any], partitioner: RangePartitioner, budget: int, first: bool) -> None:
    """So that a `reduce` that counts on the order may be the combiner as well."""

    def one_end(_key: Any, values: Iterator[int]) -> int:
        given = list(values)
        assert given == sorted(given)
        return given[0 if first else -1]

    found = run(tasks, one_end, combine=one_end, partitioner=partitioner, sorting=Sorting(keys=True, values=True), budget=budget)
    expected = run(tasks, lambda _, values: (min if first else max)(values), sorting=Sorting()).all
    assert list(map(exactly, found.all)) == list(map(exactly, expected))


@settings(max_examples=3 * settings().max_examples // 2)
@given(records_of(few_keys, anything), bounds, budgets, st.lists(st.integers(0, 3), max_size=8), st.booleans())
def test_the_rows_of_a_sorted_job_are_the_same_in_many_legs(
    tasks: list[Any], partitioner: RangePartitioner, budget: int, legs: list[int], by_hash: bool
) -> None:
    dealt: Partitioner = HashPartitioner(2) if by_hash else partitioner
    whole = run(tasks, partitioner=dealt, sorting=Sorting(keys=True), budget=budget)
    found = run(tasks, partitioner=dealt, sorting=Sorting(keys=True), budget=budget, legs=legs)
    assert list(map(exactly, found.all)) == list(map(exactly, whole.all))
    assert (found.checksum, found.totals.pairs_in, found.totals.records_mapped) == (
        whole.checksum,
        whole.totals.pairs_in,
        whole.totals.records_mapped,
    )


def test_a_sorted_group_larger_than_the_budget_streams_in_order(tmp_path: Path) -> None:
    numbers = list(range(60_000))
    random.Random(7).shuffle(numbers)
    tasks = [[[("big", number) for number in numbers[start::3]]] for start in range(3)]
    sorting, budget = Sorting(values=True), 60_000
    exchange, receipts = mapped(MemoryStore(), tasks, functions(), partitioner=HashPartitioner(1), sorting=sorting, budget=budget)
    partition = Partition(room=Room(budget), scratch=tmp_path, order=BY_PAIR)
    for blocks in exchange.read(0, receipts):
        for data in blocks:
            partition.add(unpack(data))
    assert partition.spills.written > 1
    seen: list[int] = []
    for block in partition.blocks():
        assert block_bytes(block) <= budget
        seen += decode_values(block.values)
    partition.close()
    assert seen == list(range(60_000))


@pytest.mark.parametrize("budget", [2_000, 1 << 26])
def test_a_value_without_order_is_told_with_its_record(budget: int) -> None:
    tasks = [[[("a", 1)], [("b", 2), ("c", [3])]]]
    with pytest.raises(UserCodeError) as caught:
        run(tasks, tuple, sorting=Sorting(values=True), budget=budget)
    assert caught.value.record == "[('b', 2), ('c', [3])]"
    assert "list cannot be sorted" in str(caught.value.__cause__)
    assert len(run(tasks, lambda _, values: list(values), sorting=Sorting()).all) == 3


def test_a_combined_value_without_order_is_told_with_its_key() -> None:
    tasks = [[[("b", number) for number in range(9)], [("a", 1)]]]

    def unordered(_key: Any, values: Iterator[Any]) -> list[Any]:
        return list(values)

    def twice(key: Any, values: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
        for value in values:
            yield key, [value]

    program = Functions(lambda record: record, False, unordered, False, twice, True)  # noqa: FBT003 - yields, of no source
    with pytest.raises(UserCodeError) as caught:
        mapped(MemoryStore(), tasks, program, partitioner=HashPartitioner(1), sorting=Sorting(values=True), budget=1 << 20)
    assert (caught.value.function, caught.value.record) == ("combine", "'b'")


def test_sorted_rows_of_changing_kinds_come_back_from_parts(tmp_path: Path) -> None:
    """Where columns go to the part as they are, types are as exact as where Python objects do."""
    pairs: list[tuple[Any, Any]] = [
        (key, value)
        for key in (True, 3, 2**80, -(2**80), 0.5, "text", b"bytes", None, (1, "a"), Decimal("1.50"))
        for value in (1, "one", None, {"a": 1})
    ]
    random.Random(3).shuffle(pairs)
    store, sorting = MemoryStore(), Sorting(keys=True)
    exchange, receipts = mapped(store, [[pairs]], functions(), partitioner=HashPartitioner(1), sorting=sorting, budget=1 << 20)
    writer = PartWriter(store, "part", 0, grouped_order=False, scratch=tmp_path)
    program = PairProgram(functions(), sorting)
    reduced = reducing.run_reduce(program, exchange.read(0, receipts), writer, meter=Meter(), room=Room(1 << 20), scratch=tmp_path)
    assert reduced.part.rows == len(pairs)
    rows = sum(len(frame) for frame in iter_frames(store, [reduced.part]))
    assert rows == len(pairs)


# ---------------------------------------------------------------- the sample


def ranges_of(data: dict[str, bytes], partitions: int, map: Callable[..., Any] = lambda line: [(line[:6], line)]) -> list[int]:
    """How many lines fall into each range that a sample of the keys gives."""
    source = MemorySource(data)
    objects = [PlannedObject("m", source.stat(key), cuttable=False) for key in sorted(data)]
    program = PairProgram(Functions(map, False, None, False, None, False), Sorting(keys=True))  # noqa: FBT003 - of no source, no reduce
    tokens = sample_keys(
        program, PlannedInput(tuple(objects), Format.TEXT, 0, None), ranges=partitions, sources={"m": source}, clock=SimulatedClock()
    )
    bounds = choose_bounds(tokens, partitions)
    lines = [line for key in sorted(data) for line in data[key].decode().splitlines()]
    return [int(size) for size in np.bincount([bisect_right(bounds, encode_key(line[:6])) for line in lines])]


def test_ranges_of_an_input_that_is_sorted_already_are_about_even() -> None:
    lines = [b"%06d and more of the line\n" % number for number in range(60_000)]
    data = {"a": b"".join(lines[:10_000]), "b": b"".join(lines[10_000:50_000]), "c": b"".join(lines[50_000:])}
    sizes = ranges_of(data, 8)
    assert len(sizes) == 8
    assert max(sizes) < 1.5 * len(lines) / 8


def test_long_lines_are_sampled_too() -> None:
    data = {"a": b"".join(b"%06d" % number + b"x" * 100_000 + b"\n" for number in range(100))}
    sizes = ranges_of(data, 4)
    assert len(sizes) == 4
    assert max(sizes) < 50


def test_a_map_that_fails_while_it_is_sampled_leaves_one_range() -> None:
    def fails(line: str) -> Any:
        raise ValueError(line)

    assert ranges_of({"a": b"one\ntwo\n"}, 4, fails) == [2]
