"""Records that fail are left out, whatever way they fail, and nothing else is: the result is that of plain Python over the others."""

from __future__ import annotations

import pickle
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count as counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.dataflow.bad_records import BadRecord, BadRecords, Told, read_bad
from smr_notebook.dataflow.columns import encode_values
from smr_notebook.dataflow.exchange import ObjectExchange, gather_index
from smr_notebook.dataflow.functions import Functions, UserCodeError
from smr_notebook.dataflow.inputs import RecordBlock, open_blocks
from smr_notebook.dataflow.merging import ORDERS
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.records import Unreadable
from smr_notebook.dataflow.splits import PlannedObject, plan_splits
from smr_notebook.errors import CorruptObjectError, InputFormatError
from smr_notebook.model import AttemptId, Format, Numbers, Part, Phase, Position, Receipt, TaskId
from smr_notebook.testing.pair_tasks import run_map, run_map_to_part, run_reduce
from smr_notebook.values.tolerance import BadFile

# ---------------------------------------------------------------- parts to work with


class ListSink:
    """Keeps rows in lists, and refuses what no part can hold."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, Any]] = []

    def add(self, keys: list[Any], values: list[Any], groups: list[Any] | None = None) -> None:
        encode_values(keys)
        encode_values(values)
        assert groups is None or len(groups) == len(keys)
        self.rows += zip(keys, values, strict=True)

    def close(self) -> Part:
        return Part(0, ())

    def abort(self) -> None:
        self.rows.clear()


def told(error: BaseException) -> Told:
    return Told(f"{type(error).__name__}: {error}")


@dataclass
class Attempts:
    """The attempts of a job: their meters, when each is due, and what they left out.

    Attributes:
        legs: For each attempt, after how many calls of the user's functions it is due; without one, never.
    """

    legs: Iterable[int] = ()
    everything: bool = True
    store: MemoryStore = field(default_factory=MemoryStore)
    numbers: list[Numbers] = field(default_factory=list)
    bad: list[BadRecord] = field(default_factory=list)
    meter: Meter = field(default_factory=Meter)
    left: int = -1

    def __post_init__(self) -> None:
        self.legs = iter(self.legs)

    def begin(self, scratch: Path) -> Meter:
        self.meter = Meter()
        self.meter.bad = BadRecords(told, everything=self.everything, scratch=scratch, in_memory=1 << 10)
        self.left = next(iter(self.legs), -1)
        if self.left == 0:
            self.meter.wind_up()
        return self.meter

    def end(self) -> None:
        assert self.meter.bad is not None
        numbers = self.meter.numbers()
        assert numbers.records_read == numbers.records_mapped + numbers.records_bad
        file = self.meter.bad.store(self.store, f"bad/{len(self.numbers)}")
        assert (file is None) == (not numbers.records_bad)
        if file is not None:
            found = list(read_bad(self.store, file))
            assert len(found) == file.rows
            assert numbers.bad_sample
            self.bad += sorted(found, key=lambda bad: bad.number)  # what cannot be stored is noticed later
        self.meter.bad.close()
        self.numbers.append(numbers)

    def due(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, during whose calls the attempts become due."""

        def call(*arguments: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                self.meter.wind_up()
            return function(*arguments)

        return call


def with_unreadable(blocks: Iterable[RecordBlock]) -> Iterator[RecordBlock]:
    """Play a tolerant reader: lines that begin with a question mark are no records."""
    for block in blocks:
        records = [Unreadable(str(line), InputFormatError("no record")) if str(line).startswith("?") else line for line in block.records]
        yield replace(block, records=records)


def map_all(
    attempts: Attempts,
    functions: Functions,
    bodies: list[bytes],
    *,
    split_bytes: int = 1 << 20,
    partitions: int = 0,
    budget: int = 1 << 20,
    order: bool = False,
) -> tuple[list[Receipt], list[tuple[Any, Any]]]:
    """Map lines of some objects, split by split and leg by leg, to runs, or to rows where there are no partitions."""
    names = [f"object-{number}" for number in range(len(bodies))]
    source = MemorySource(dict(zip(names, bodies, strict=True)))
    objects = [PlannedObject("m", source.stat(name), cuttable=True) for name in names]
    receipts: list[Receipt] = []
    rows: list[tuple[Any, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        exchange = ObjectExchange(attempts.store, "jobs/j", scratch=Path(scratch))
        for split in plan_splits(objects, split_bytes=split_bytes):
            after: Position | None = None
            first = True
            while first or after is not None:
                first = False
                meter = attempts.begin(Path(scratch))
                blocks = with_unreadable(open_blocks(split, Format.TEXT, {"m": source}, after=after))
                if partitions:
                    attempt = AttemptId(TaskId(Phase.MAP, split.number), len(receipts) + 1)
                    mapped = run_map(
                        functions,
                        blocks,
                        exchange.writer(attempt, partitions),
                        partitions=partitions,
                        meter=meter,
                        budget=budget,
                        scratch=Path(scratch),
                        order=ORDERS[order],
                    )
                    receipts.append(mapped.receipt)
                    after = mapped.position
                else:
                    sink = ListSink()
                    after = run_map_to_part(functions, blocks, sink, meter=meter).position
                    rows += sink.rows
                attempts.end()
    return receipts, rows


def reduce_all(attempts: Attempts, functions: Functions, receipts: list[Receipt], *, partitions: int, budget: int = 1 << 20) -> list[Any]:
    index = gather_index(attempts.store, receipts, partitions)
    attempts.store.put("jobs/j/index", index.data)
    rows: list[Any] = []
    for partition in range(partitions):
        after: Position | None = None
        first, checksum, pairs = True, 0, 0
        while first or after is not None:
            first = False
            with tempfile.TemporaryDirectory() as scratch:
                exchange = ObjectExchange(attempts.store, "jobs/j", scratch=Path(scratch), index="jobs/j/index", index_crcs=index.crcs)
                meter, sink = attempts.begin(Path(scratch)), ListSink()
                runs = partial(exchange.read, partition, receipts)
                reduced = run_reduce(functions, runs(), sink, meter=meter, budget=budget, scratch=Path(scratch), after=after)
                attempts.end()
            rows += sink.rows
            checksum = (checksum + reduced.checksum) % 2**64
            pairs += meter.pairs_in
            after = reduced.position
        assert (checksum, pairs) == (index.checksums[partition], index.pairs[partition])
    return rows


def functions_of(map: Callable[..., Any], reduce: Any = None, *, yields: bool = False, combine: Any = None) -> Functions:
    return Functions(map, map_takes_source=False, reduce=reduce, reduce_yields=yields, combine=combine, combine_yields=False)


# ---------------------------------------------------------------- records that fail in every way

UNSTORABLE = threading.Lock()
BROKEN_ROWS = ("late", "string", "triple", "number", "unstorable", "?")
"""Kinds of lines that fail where rows are written, whose keys may be anything."""
BROKEN = (*BROKEN_ROWS, "unhashable")


def pairs_of(line: str) -> Any:
    """The map of these tests: what the first word of a line says, with the number behind it."""
    kind, number = line.split()
    made: dict[str, Callable[[], Any]] = {
        "none": lambda: None,
        "string": lambda: ["ab"],
        "triple": lambda: [(1, 2, 3)],
        "number": lambda: 7,
        "unhashable": lambda: [("fine", 1), ([], 2)],
        "unstorable": lambda: [("fine", 1), ("key", UNSTORABLE)],
        "late": lambda: late(int(number)),
        "ok": lambda: [((int(number) + place) % 5, (number, place)) for place in range(int(number) % 4)],
    }
    return made[kind]()


def late(number: int) -> Iterator[Any]:
    yield "left behind", number
    yield from [("left behind", place) for place in range(number % 40)]
    raise ValueError(f"{number} fails late")


lines = st.lists(st.tuples(st.sampled_from(["ok", "ok", "ok", "none", *BROKEN]), st.integers(0, 99)), max_size=30)
bodies_of_lines = st.lists(lines, min_size=1, max_size=3)
legs = st.lists(st.integers(0, 7), max_size=10)


def body(lines: list[tuple[str, int]]) -> bytes:
    return b"".join(f"{kind} {number}\n".encode() for kind, number in lines)


def good(lines: Iterable[tuple[str, int]], broken: tuple[str, ...] = BROKEN) -> list[tuple[Any, Any]]:
    return [pair for kind, number in lines if kind not in broken for pair in pairs_of(f"{kind} {number}") or ()]


def expected_bad(bodies: list[list[tuple[str, int]]], broken: tuple[str, ...] = BROKEN) -> list[tuple[str, int, str]]:
    found = []
    for number, lines in enumerate(bodies):
        offset = 0
        for kind, count in lines:
            line = f"{kind} {count}"
            if kind in broken:
                found.append((f"object-{number}", offset, line))
            offset += len(line) + 1
    return found


@settings(max_examples=3 * settings().max_examples // 2)
@given(bodies=bodies_of_lines, split_bytes=st.integers(1, 300), legs=legs)
def test_the_rows_are_those_of_the_good_records_and_the_others_are_told_with_their_places(
    bodies: list[list[tuple[str, int]]], split_bytes: int, legs: list[int]
) -> None:
    attempts = Attempts(legs)
    _, rows = map_all(attempts, functions_of(attempts.due(pairs_of)), [*map(body, bodies)], split_bytes=split_bytes)
    assert rows == good((line for lines in bodies for line in lines), BROKEN_ROWS)
    assert [(bad.source, bad.offset, bad.record) for bad in attempts.bad] == expected_bad(bodies, BROKEN_ROWS)
    assert all(bad.function == ("read" if str(bad.record).startswith("?") else "map") for bad in attempts.bad)


@settings(max_examples=min(60, settings().max_examples))
@given(
    bodies=bodies_of_lines,
    split_bytes=st.integers(20, 300),
    partitions=st.integers(1, 3),
    legs=legs,
    budget=st.sampled_from([1 << 12, 1 << 16, 1 << 20]),
    wrong=st.sets(st.integers(0, 4)),
    yields=st.booleans(),
    combined=st.booleans(),
    order=st.booleans(),
)
def test_a_job_over_records_and_groups_that_fail_gives_what_plain_python_gives_over_the_others(
    *,
    bodies: list[list[tuple[str, int]]],
    split_bytes: int,
    partitions: int,
    legs: list[int],
    budget: int,
    wrong: set[int],
    yields: bool,
    combined: bool,
    order: bool,
) -> None:
    def reduce(key: Any, values: Iterator[Any]) -> Any:
        first = next(values)
        if key in wrong:
            raise KeyError(key)
        return sorted([first, *values])

    def reduce_rows(key: Any, values: Iterator[Any]) -> Iterator[Any]:
        yield key, sorted(values)
        if key in wrong:
            raise KeyError(key)

    def combine(key: Any, _: Iterator[Any]) -> Any:
        raise ZeroDivisionError(key)

    attempts = Attempts(legs)
    call = attempts.due(reduce_rows if yields else reduce)
    functions = functions_of(attempts.due(pairs_of), call, yields=yields, combine=combine if combined else None)
    receipts, _ = map_all(
        attempts, functions, [*map(body, bodies)], split_bytes=split_bytes, partitions=partitions, budget=budget, order=order
    )
    mapped = sum(attempts.numbers, start=Numbers())
    assert [(bad.source, bad.offset, bad.record) for bad in attempts.bad] == expected_bad(bodies)
    attempts.bad.clear()
    attempts.numbers.clear()
    rows = reduce_all(attempts, functions, receipts, partitions=partitions, budget=budget)

    groups: dict[Any, list[Any]] = defaultdict(list)
    for lines in bodies:
        for key, value in good(lines):
            groups[key].append(value)
    assert dict(rows) == {key: sorted(values) for key, values in groups.items() if key not in wrong}
    assert len(rows) == len(dict(rows))
    assert sorted(str(bad.record) for bad in attempts.bad) == sorted(str(key) for key in groups if key in wrong)
    reduced = sum(attempts.numbers, start=Numbers())
    assert mapped.records_bad == len(expected_bad(bodies))
    assert reduced.pairs_bad == sum(len(values) for key, values in groups.items() if key in wrong)
    assert reduced.records_read == len(groups)


def test_a_record_is_numbered_within_its_split_also_behind_a_leg() -> None:
    attempts = Attempts([3, 5])
    map_all(attempts, functions_of(attempts.due(pairs_of)), [body([("late", number) for number in range(20)])])
    assert [bad.number for bad in attempts.bad] == list(range(1, 21))
    assert len(attempts.numbers) == 3


def test_a_proved_generator_is_drained_likewise() -> None:
    def map(line: str) -> Iterator[tuple[str, int]]:
        kind, number = line.split()
        yield kind, 1
        if kind == "late":
            raise ValueError(number)

    attempts = Attempts()
    _, rows = map_all(attempts, functions_of(map), [body([("ok", 1), ("late", 2), ("none", 3)])])
    assert rows == [("ok", 1), ("none", 1)]
    assert [bad.error for bad in attempts.bad] == ["ValueError: 2"]


def test_a_map_that_takes_the_source_gets_it() -> None:
    def map(source: str, line: str) -> list[tuple[str, int]]:
        return [(source, 1 // int(line))]

    attempts = Attempts()
    functions = Functions(map, map_takes_source=True, reduce=None, reduce_yields=False, combine=None, combine_yields=False)
    _, rows = map_all(attempts, functions, [b"1\n0\n", b"0\n1\n"])
    assert rows == [("object-0", 1), ("object-1", 1)]
    assert [(bad.source, bad.offset) for bad in attempts.bad] == [("object-0", 2), ("object-1", 0)]


@pytest.mark.parametrize("error", [MemoryError(), SystemExit(1), KeyboardInterrupt()])
def test_what_is_no_fault_of_the_record_ends_the_attempt(error: BaseException) -> None:
    def fails(_: str) -> None:
        raise error

    with pytest.raises(UserCodeError) as caught:
        map_all(Attempts(), functions_of(fails), [b"one\n"])
    assert caught.value.__cause__ is error
    assert caught.value.record == "'one'"


def test_a_record_with_more_pairs_than_memory_is_named_and_not_left_out() -> None:
    def many(_: str) -> Iterator[tuple[str, int]]:
        for number in range(10_000_000):
            yield f"key {number}", number

    with pytest.raises(UserCodeError) as caught:
        map_all(Attempts(), functions_of(many), [b"one\n"], partitions=1, budget=1 << 20)
    assert isinstance(caught.value.__cause__, MemoryError)
    assert "worker_memory" in str(caught.value.__cause__)


@pytest.mark.parametrize("proved", [False, True])
def test_a_record_with_few_large_pairs_is_named_before_it_takes_all_memory(proved: bool) -> None:
    given: list[int] = []

    def many(line: str) -> Iterator[tuple[str, bytes]]:
        for number in range(300 if line == "large" else 1):
            given.append(number)
            yield line, bytes(1 << 20)

    with pytest.raises(UserCodeError) as caught:
        map_all(Attempts(), functions_of(many if proved else lambda line: iter(many(line))), [b"one\nlarge\n"], partitions=1)
    assert isinstance(caught.value.__cause__, MemoryError)
    assert caught.value.record == "'large'"
    assert len(given) < 50


def test_a_group_with_few_large_rows_is_named_before_it_takes_all_memory_and_is_seen_to_move() -> None:
    attempts, signs = Attempts(), list[tuple[int, ...]]()

    def reduce(key: str, _: Iterator[int]) -> Iterator[tuple[str, bytes]]:
        for _row in range(300):
            signs.append(attempts.meter.moved)
            yield key, bytes(1 << 20)

    functions = functions_of(lambda line: [(line, 1)], reduce, yields=True)
    receipts, _ = map_all(attempts, functions, [b"one\n"], partitions=1)
    with pytest.raises(UserCodeError) as caught:
        reduce_all(attempts, functions, receipts, partitions=1)
    assert isinstance(caught.value.__cause__, MemoryError)
    assert caught.value.record == "'one'"
    assert len(signs) == len(set(signs)) < 50


def test_a_row_that_cannot_be_stored_is_not_blamed_on_the_many_behind_it() -> None:
    def map(line: str) -> Iterator[tuple[str, Any]]:
        for number in range(40):
            yield line, UNSTORABLE if line == "bad" else number

    attempts = Attempts()
    receipts, _ = map_all(attempts, functions_of(map), [b"bad\ngood\n"], partitions=1)
    assert [bad.record for bad in attempts.bad] == ["bad"]
    assert sum(receipt.pairs for receipt in receipts) == 40


def test_a_record_with_many_pairs_counts_as_a_whole() -> None:
    def many(line: str) -> Iterator[tuple[int, int]]:
        for number in range(35_000):
            yield number % 7, number
        if line == "two":
            raise ValueError(line)

    attempts = Attempts()
    _, rows = map_all(attempts, functions_of(many), [b"one\ntwo\nthree\n"])
    assert len(rows) == 70_000
    assert [bad.record for bad in attempts.bad] == ["two"]


def test_values_without_an_order_cost_their_record_where_values_are_sorted() -> None:
    def map(line: str) -> list[tuple[str, Any]]:
        return [("k", line), ("k", {} if line == "two" else None)]

    attempts = Attempts()
    receipts, _ = map_all(attempts, functions_of(map, lambda _, values: list(values)), [b"one\ntwo\nzero\n"], partitions=1, order=True)
    assert [bad.record for bad in attempts.bad] == ["two"]
    assert sum(receipt.pairs for receipt in receipts) == 4


def test_a_combiner_that_spoils_what_it_was_given_before_it_fails_changes_nothing() -> None:
    def map(line: str) -> list[tuple[str, list[str]]]:
        return [("k", [line])]

    def combine(_: str, values: Iterator[list[str]]) -> list[str]:
        first = next(values)
        first += ["spoilt"]
        raise ValueError(first)

    attempts = Attempts()
    functions = functions_of(map, lambda _, values: sorted(map for value in values for map in value), combine=combine)
    receipts, _ = map_all(attempts, functions, [b"one\ntwo\n"], partitions=1)
    assert reduce_all(attempts, functions, receipts, partitions=1) == [("k", ["one", "two"])]
    assert attempts.bad == []


def test_a_combiner_that_runs_out_of_memory_ends_the_attempt_and_its_group_is_told_with_its_values() -> None:
    def combine(_: str, values: Iterator[int]) -> int:
        raise MemoryError(sum(values))

    functions = functions_of(lambda line: [(line, 1), (line, 2)], lambda _, values: sum(values), combine=combine)
    with pytest.raises(UserCodeError) as caught:
        map_all(Attempts(), functions, [b"one\ntwo\ntwo\n"], partitions=1)
    assert caught.value.function == "combine"
    assert {"'one'": 2, "'two'": 4}[caught.value.record] == caught.value.value_count


@pytest.mark.parametrize("reads", [0, 1, 20_000])
def test_a_group_of_many_blocks_is_left_out_with_all_its_pairs(reads: int) -> None:
    def map(line: str) -> Iterator[tuple[str, str]]:
        for number in range(30_000):
            yield ("a", "b", "c")[number % 3], f"{line} {number}" * 3

    def reduce(key: str, values: Iterator[str]) -> int:
        if key == "b":
            for _ in range(reads):
                next(values)
            raise ValueError(key)
        return sum(1 for _ in values)

    attempts = Attempts()
    functions = functions_of(map, reduce)
    receipts, _ = map_all(attempts, functions, [b"one\ntwo\nthree\n"], partitions=1, budget=64 << 20)
    attempts.numbers.clear()
    rows = reduce_all(attempts, functions, receipts, partitions=1, budget=1 << 20)
    assert rows == [("a", 30_000), ("c", 30_000)]
    assert [(bad.record, bad.number, bad.function) for bad in attempts.bad] == [("'b'", 2, "reduce")]
    assert sum(attempts.numbers, start=Numbers()).pairs_bad == 30_000


def test_a_group_that_hangs_can_be_named_from_outside() -> None:
    attempts, named = Attempts(), list[str]()

    def reduce(key: str, _: Iterator[str]) -> int:
        failure = attempts.meter.place()
        named.append(f"{failure.function} {failure.record}" if failure else "nobody knows")
        return 1

    functions = functions_of(lambda line: [(line, 1)], reduce)
    receipts, _ = map_all(attempts, functions, [b"one\ntwo\n"], partitions=1)
    assert reduce_all(attempts, functions, receipts, partitions=1) == [("one", 1), ("two", 1)]
    assert named == ["reduce 'one'", "reduce 'two'"]


def test_a_row_that_cannot_be_stored_costs_its_group() -> None:
    def reduce(key: str, _: Iterator[str]) -> Any:
        return UNSTORABLE if key == "two" else key

    attempts = Attempts()
    functions = functions_of(lambda line: [(line, 1)], reduce)
    receipts, _ = map_all(attempts, functions, [b"one\ntwo\nthree\n"], partitions=1)
    assert reduce_all(attempts, functions, receipts, partitions=1) == [("one", "one"), ("three", "three")]
    assert "cannot be pickled" in attempts.bad[0].error


# ---------------------------------------------------------------- what is told


@example(texts=["x" * 70_000, "\udc80"], everything=True)
@given(texts=st.lists(st.text(), max_size=5), everything=st.booleans())
def test_what_is_told_comes_back(*, texts: list[str], everything: bool) -> None:
    store = MemoryStore()
    with tempfile.TemporaryDirectory() as scratch:
        bad = BadRecords(told, everything=everything, scratch=Path(scratch), in_memory=100)
        for number, text in enumerate(texts):
            bad.add("map", text, ValueError(text), number=number + 1, source="s", offset=partial(int, number))
        file = bad.store(store, "key")
        bad.close()
    found = list(read_bad(store, file)) if file else []
    assert [one.number for one in found] == list(range(1, len(texts) + 1))
    for one, text in zip(found, texts, strict=True):
        shown = text.encode("utf-8", "backslashreplace").decode()
        assert one.record == shown[: 64 << 10]
        assert one.cut == (len(text) > 64 << 10)


def test_only_some_are_told_where_not_all_are_asked_for() -> None:
    attempts = Attempts(everything=False)
    map_all(attempts, functions_of(pairs_of), [body([("late", number) for number in range(1_000)])])
    assert len(attempts.bad) == 100
    assert attempts.numbers[0].records_bad == 1_000


def test_where_a_record_stands_is_looked_for_only_where_it_is_told() -> None:
    asked = counter()
    with tempfile.TemporaryDirectory() as scratch:
        bad = BadRecords(told, everything=False, scratch=Path(scratch))
        for number in range(200):
            bad.add("map", "x", ValueError(), number=number, offset=lambda: next(asked))
    assert next(asked) == 100


def test_bytes_are_told_as_bytes_and_other_records_by_their_repr() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        store = MemoryStore()
        bad = BadRecords(told, everything=True, scratch=Path(scratch))
        for record in (b"\xff\x00", {"a": 1}, "x"):
            bad.add("map", record, ValueError(), number=1)
        file = bad.store(store, "key")
        assert file is not None
        assert [one.record for one in read_bad(store, file)] == [b"\xff\x00", "{'a': 1}", "x"]


def test_numbers_with_a_sample_pickle() -> None:
    numbers = Numbers(records_bad=1, bad_sample="x") + Numbers(records_bad=2, bad_sample="y", pairs_bad=3)
    assert pickle.loads(pickle.dumps(numbers)) == Numbers(records_bad=3, bad_sample="x", pairs_bad=3)


# ---------------------------------------------------------------- the stored form

GOLDEN = Path(__file__).parents[1] / "golden" / "bad-v1.bin"


def a_file(store: MemoryStore) -> BadFile:
    """Store what the golden file holds. A new version of the format gets a new file."""
    with tempfile.TemporaryDirectory() as scratch:
        bad = BadRecords(lambda error: Told(str(error), "Cell In[2], line 3: int(line)"), everything=True, scratch=Path(scratch))
        bad.add("map", "seven", ValueError("no number"), number=3, source="logs/a.txt", offset=lambda: 17)
        bad.add("read", b"\xff", InputFormatError("not UTF-8"), number=9, source="logs/a.txt", offset=lambda: 60)
        bad.add("reduce", ("k", 1), KeyError("k"), number=2)
        file = bad.store(store, "bad")
        bad.close()
    assert file is not None
    return file


def test_what_is_stored_is_what_was_stored_by_the_version_before() -> None:
    store = MemoryStore()
    a_file(store)
    assert store.get("bad") == GOLDEN.read_bytes()


def test_every_changed_byte_and_every_cut_is_found() -> None:
    store = MemoryStore()
    file = a_file(store)
    data = store.get("bad")
    for place in range(len(data)):
        for wrong in (data[:place], data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]):
            store.put("bad", wrong)
            with pytest.raises(CorruptObjectError):
                list(read_bad(store, file))
