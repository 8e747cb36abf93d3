"""Legs: an attempt whose time is nearly up publishes what it has, and the next one goes on. Together they do what one would have done."""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.dataflow.columns import encode_values
from smr_notebook.dataflow.exchange import ObjectExchange, gather_index
from smr_notebook.dataflow.formats.stored import store_items
from smr_notebook.dataflow.functions import Functions, UserCodeError
from smr_notebook.dataflow.inputs import JobInput, open_blocks
from smr_notebook.dataflow.keys import encode_key
from smr_notebook.dataflow.meter import AttemptStopped, Meter
from smr_notebook.dataflow.splits import PlannedObject, plan_splits
from smr_notebook.model import AttemptId, Format, Numbers, Part, Phase, Position, Receipt, Span, Split, TaskId
from smr_notebook.ports import InputSource
from smr_notebook.testing.keys import KEYS
from smr_notebook.testing.pair_tasks import run_map, run_map_to_part, run_reduce

# ---------------------------------------------------------------- parts to work with


class ListSink:
    """Keeps rows in lists."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, Any]] = []
        self.ended = ""

    def add(self, keys: list[Any], values: list[Any], groups: list[Any] | None = None) -> None:
        encode_values(keys)
        encode_values(values)
        assert groups is None or len(groups) == len(keys)
        self.rows += zip(keys, values, strict=True)

    def close(self) -> Part:
        self.ended = "closed"
        return Part(0, ())

    def abort(self) -> None:
        self.ended = "aborted"


class Due:
    """The user's function, during whose calls an attempt's time gets short.

    Args:
        function: The function.
        legs: For each attempt, in which of its calls (counted from 1) that is so; 0 for before the first one.
    """

    def __init__(self, function: Callable[..., Any], legs: list[int]) -> None:
        self.function = function
        self.legs = iter(legs)
        self.meter = Meter()
        self.left = 0
        self.last: int | None = None
        """The call that is the attempt's last one, unless there is nothing left to do before: the one after which it is due."""
        self.calls = 0

    def attempt(self) -> Meter:
        """Begin an attempt; without a further leg given, it has all the time it needs."""
        self.meter = Meter()
        self.left = next(self.legs, -1)
        self.last = max(self.left, 1) if self.left >= 0 else None
        self.calls = 0
        if self.left == 0:
            self.meter.wind_up()
        return self.meter

    def __call__(self, *arguments: Any) -> Any:
        self.calls += 1
        self.left -= 1
        if self.left == 0:
            thread = threading.Thread(target=self.meter.wind_up)
            thread.start()
            thread.join()
        return self.function(*arguments)


def functions(map: Callable[..., Any], reduce: Callable[..., Any] | None = None, *, yields: bool = False) -> Functions:
    return Functions(map, map_takes_source=False, reduce=reduce, reduce_yields=yields, combine=None, combine_yields=False)


def stored(items: Iterable[Any], store: MemoryStore, number: int = 0) -> Split:
    """Store items, as one split."""
    infos, _ = store_items(items, store, f"input/{number}", keys=KEYS, split_bytes=1 << 20, slots=1)
    spans = tuple(Span("job", info.key, 0, info.size, info.size, info.version) for info in infos)
    return Split(number, spans or (Span("job", "", 0, 0, 0, ""),))


def text(data: bytes) -> tuple[Split, MemorySource]:
    """Text as one split, and where to read it."""
    source = MemorySource({"key": data})
    return Split(0, (Span("m", "key", 0, len(data), len(data), source.stat("key").version),)), source


@dataclass
class Mapped:
    """What the attempts of a map task gave."""

    numbers: list[Numbers] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    rows: list[tuple[Any, Any]] = field(default_factory=list)

    @property
    def totals(self) -> Numbers:
        return sum(self.numbers, start=Numbers())


def map_in_legs(split: Split, format: Format, source: InputSource, due: Due, *, store: MemoryStore, partitions: int) -> Mapped:
    """Map a split to runs, or to rows where there are no partitions, until an attempt gets to its end."""
    sources = {span.scheme: source for span in split.spans}
    found = Mapped()
    after: Position | None = None
    with tempfile.TemporaryDirectory() as scratch:
        exchange = ObjectExchange(store, "jobs/j", scratch=Path(scratch))
        while True:
            meter = due.attempt()
            blocks = open_blocks(split, format, sources, after=after)
            done = after.done if after else 0
            if partitions:
                attempt = AttemptId(TaskId(Phase.MAP, split.number), len(found.numbers) + 1)
                mapped = run_map(
                    functions(due),
                    blocks,
                    exchange.writer(attempt, partitions),
                    partitions=partitions,
                    meter=meter,
                    budget=1 << 20,
                    scratch=Path(scratch),
                )
                found.receipts.append(mapped.receipt)
                after = mapped.position
            else:
                sink = ListSink()
                after = run_map_to_part(functions(due), blocks, sink, meter=meter).position
                assert sink.ended == "closed"
                found.rows += sink.rows
            found.numbers.append(meter.numbers())
            assert meter.records_mapped == meter.records_read == due.calls
            if after is None:
                return found
            assert due.calls == due.last or due.last is None
            assert after.done == done + meter.records_mapped > done


def pairs_of(record: Any) -> list[tuple[Any, Any]] | None:
    """The map of these tests: no pair for some records, several for others."""
    return [(record, number) for number in range(len(repr(record)) % 4)] or None


legs = st.lists(st.integers(0, 7), max_size=12)
lines = st.lists(st.sampled_from(["", "a", "bb", "ccc", "é\r", "a much longer line"]), max_size=12)
texts = st.builds(lambda lines, last: "\n".join([*lines, last]).encode(), lines, st.sampled_from(["", "no end"]))

# ---------------------------------------------------------------- map


@settings(max_examples=3 * settings().max_examples // 2)
@given(bodies=st.lists(texts, min_size=1, max_size=4), split_bytes=st.integers(1, 120), legs=legs)
def test_the_rows_of_the_legs_are_those_of_one_attempt(bodies: list[bytes], split_bytes: int, legs: list[int]) -> None:
    source = MemorySource({f"object-{number}": data for number, data in enumerate(bodies)})
    objects = [PlannedObject("m", source.stat(key), cuttable=True) for key in sorted(f"object-{number}" for number in range(len(bodies)))]
    for split in plan_splits(objects, split_bytes=split_bytes):
        whole = map_in_legs(split, Format.TEXT, source, Due(pairs_of, []), store=MemoryStore(), partitions=0)
        found = map_in_legs(split, Format.TEXT, source, Due(pairs_of, legs), store=MemoryStore(), partitions=0)
        assert len(whole.numbers) == 1
        assert found.rows == whole.rows
        assert found.totals == whole.totals


@settings(max_examples=min(60, settings().max_examples))
@given(
    tasks=st.lists(st.lists(st.one_of(st.integers(0, 3), st.text("ab", max_size=2)), min_size=1, max_size=20), min_size=1, max_size=3),
    partitions=st.integers(1, 3),
    map_legs=legs,
    reduce_legs=legs,
)
def test_a_job_of_many_legs_gives_the_answer_and_the_sums_of_one_without(
    tasks: list[list[Any]], partitions: int, map_legs: list[int], reduce_legs: list[int]
) -> None:
    def run(map_legs: list[int], reduce_legs: list[int]) -> tuple[list[Any], list[Any]]:
        store, receipts, sums, rows = MemoryStore(), [], [], []
        map_due, reduce_due = Due(pairs_of, map_legs), Due(lambda key, values: (key, list(values)), reduce_legs)
        for number, records in enumerate(tasks):
            mapped = map_in_legs(
                stored(records, store, number), Format.ITEMS, JobInput(store, KEYS), map_due, store=store, partitions=partitions
            )
            receipts += mapped.receipts
            sums.append(mapped.totals)
            assert mapped.totals.pairs_out == sum(receipt.pairs for receipt in mapped.receipts)
        index = gather_index(store, receipts, partitions)
        store.put("jobs/j/index", index.data)
        for partition in range(partitions):
            with tempfile.TemporaryDirectory() as scratch:
                exchange = ObjectExchange(store, "jobs/j", scratch=Path(scratch), index="jobs/j/index", index_crcs=index.crcs)
                reduced = reduce_in_legs(partial(exchange.read, partition, receipts), reduce_due)
            assert reduced.checksum == index.checksums[partition]
            assert reduced.pairs == index.pairs[partition]
            rows += reduced.rows
        return rows, sums

    assert run(map_legs, reduce_legs) == run([], [])


def test_a_record_that_fails_in_a_later_leg_is_named_as_in_the_first() -> None:
    data = b"".join(b"line %d\n" % number for number in range(50))
    split, source = text(data)

    def fails(record: str) -> None:
        assert record != "line 33"

    def failure(legs: list[int]) -> tuple[str, str, int, int]:
        with pytest.raises(UserCodeError) as caught:
            map_in_legs(split, Format.TEXT, source, Due(fails, legs), store=MemoryStore(), partitions=0)
        return caught.value.record, caught.value.source, caught.value.offset, caught.value.record_number

    assert failure([]) == ("'line 33'", "key", data.index(b"line 33"), 34)
    assert failure([10, 0, 20]) == failure([33]) == failure([])


@pytest.mark.parametrize("fails", [0, 3, 4, 5])
def test_a_record_that_fails_while_the_attempt_is_due_is_named(fails: int) -> None:
    """The list that the loop goes over is empty then."""

    def map(record: int) -> list[tuple[int, float]]:
        return [(record, 1 / (record - fails))]

    store = MemoryStore()
    split = stored(list(range(9)), store)
    with pytest.raises(UserCodeError) as caught:
        map_in_legs(split, Format.ITEMS, JobInput(store, KEYS), Due(map, [fails + 1]), store=store, partitions=0)
    assert (caught.value.record, caught.value.record_number) == (str(fails), fails + 1)


def test_a_record_with_very_many_pairs_is_mapped_to_its_end() -> None:
    def many(record: int) -> Iterator[tuple[int, int]]:
        return ((record, number) for number in range(5_000))

    store = MemoryStore()
    split = stored(iter(range(6)), store)
    found = map_in_legs(split, Format.ITEMS, JobInput(store, KEYS), Due(many, [1, 0, 2]), store=store, partitions=0)
    assert found.rows == [(record, number) for record in range(6) for number in range(5_000)]
    assert [numbers.records_mapped for numbers in found.numbers] == [1, 1, 2, 2]


def test_a_stop_is_noticed_between_two_records() -> None:
    data = b"line\n" * 1_000
    split, source = text(data)
    meter, seen, sink = Meter(), list[str](), ListSink()

    def map(record: str) -> None:
        seen.append(record)
        if len(seen) == 17:
            meter.stop("cancelled")

    with pytest.raises(AttemptStopped, match="cancelled"):
        run_map_to_part(functions(map), open_blocks(split, Format.TEXT, {"m": source}), sink, meter=meter)
    assert len(seen) == 17
    assert sink.ended == "aborted"


def test_a_heart_that_beats_at_any_moment_costs_no_record_and_doubles_none() -> None:
    """Fast records, and a thread that asks each attempt to end at once, as soon as it has begun."""
    data = b"".join(b"%d\n" % number for number in range(5_000))
    split, source = text(data)
    due = Due(lambda record: [(record, 1)], [])
    over = threading.Event()

    def beat() -> None:
        while not over.is_set():
            due.meter.wind_up()

    thread, interval = threading.Thread(target=beat), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        found = map_in_legs(split, Format.TEXT, source, due, store=MemoryStore(), partitions=0)
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert found.rows == [(str(number), 1) for number in range(5_000)]
    assert found.totals.bytes_read == len(data)


# ---------------------------------------------------------------- reduce


@dataclass
class Reduced:
    """What the attempts of a reduce task gave, summed."""

    rows: list[tuple[Any, Any]] = field(default_factory=list)
    groups: int = 0
    checksum: int = 0
    pairs: int = 0
    legs: int = 0


def reduce_in_legs(runs: Callable[[], Iterator[Iterator[bytes]]], due: Due, *, yields: bool = False, budget: int = 1 << 20) -> Reduced:
    """Reduce a partition until an attempt gets to its end."""
    found = Reduced()
    after: Position | None = None
    with tempfile.TemporaryDirectory() as scratch:
        while True:
            meter, sink = due.attempt(), ListSink()
            reduced = run_reduce(
                functions(pairs_of, due, yields=yields),
                runs(),
                sink,
                meter=meter,
                budget=budget,
                scratch=Path(scratch),
                after=after,
            )
            assert sink.ended == "closed"
            assert reduced.groups == meter.records_mapped == due.calls
            found.rows += sink.rows
            found.groups += reduced.groups
            found.checksum = (found.checksum + reduced.checksum) % 2**64
            found.pairs += meter.pairs_in
            found.legs += 1
            after = reduced.position
            if after is None:
                return found
            assert after == Position(done=found.groups)
            assert reduced.groups == due.last


keys = st.one_of(st.integers(0, 3), st.integers(-3, 30), st.text("ab", max_size=2), st.sampled_from([0.5, float("nan")]), st.none())


@settings(max_examples=min(60, settings().max_examples))
@given(
    tasks=st.lists(st.lists(st.tuples(keys, st.integers(0, 3)), max_size=60), min_size=1, max_size=3),
    budget=st.sampled_from([500, 3_000, 1 << 20]),
    yields=st.booleans(),
    take=st.integers(0, 3),
    legs=legs,
)
@example(tasks=[[(number % 5, number % 3) for number in range(60)]], budget=500, yields=False, take=3, legs=[1, 2])
@example(tasks=[[(number % 5, number % 3) for number in range(60)]] * 2, budget=3_000, yields=True, take=3, legs=[0, 1, 1, 1])
def test_the_legs_of_a_reduce_task_give_the_rows_and_the_sums_of_one_attempt(
    tasks: list[list[tuple[Any, Any]]], budget: int, yields: bool, take: int, legs: list[int]
) -> None:
    def some(_key: Any, values: Iterator[Any]) -> list[Any]:
        return [value for value, _ in zip(values, range(take), strict=False)]

    def repeated(key: Any, values: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
        return ((value, repr(key)) for value in values for _ in range(value))

    store, receipts = MemoryStore(), []
    with tempfile.TemporaryDirectory() as scratch:
        exchange = ObjectExchange(store, "jobs/j", scratch=Path(scratch))
        for number, pairs in enumerate(tasks):
            split, due = stored(pairs, store, number), Due(lambda pair: [pair], [])
            receipts += map_in_legs(split, Format.ITEMS, JobInput(store, KEYS), due, store=store, partitions=1).receipts

        def reduced(legs: list[int]) -> Reduced:
            due = Due(repeated if yields else some, legs)
            return reduce_in_legs(lambda: exchange.read(0, receipts), due, yields=yields, budget=budget)

        whole, found = reduced([]), reduced(legs)
    assert list(map(repr, found.rows)) == list(map(repr, whole.rows))
    assert (found.groups, found.checksum, found.pairs) == (whole.groups, whole.checksum, whole.pairs)
    assert whole.pairs == sum(map(len, tasks))
    assert whole.groups == len({encode_key(key) for pairs in tasks for key, _ in pairs})
    assert whole.legs == 1


def test_a_stop_is_noticed_between_two_groups() -> None:
    store, meter, seen, sink = MemoryStore(), Meter(), list[int](), ListSink()
    split = stored(list(range(100)), store)
    due = Due(lambda record: [(record, record)], [])
    receipts = map_in_legs(split, Format.ITEMS, JobInput(store, KEYS), due, store=store, partitions=1).receipts

    def reduce(key: int, _values: Iterator[int]) -> None:
        seen.append(key)
        if key == 41:
            meter.stop("cancelled")

    with tempfile.TemporaryDirectory() as scratch, pytest.raises(AttemptStopped, match="cancelled"):
        run_reduce(
            functions(pairs_of, reduce),
            ObjectExchange(store, "jobs/j", scratch=Path(scratch)).read(0, receipts),
            sink,
            meter=meter,
            budget=1 << 20,
            scratch=Path(scratch),
        )
    assert seen == list(range(42))
    assert sink.ended == "aborted"
