"""From the user's `map` to the reducer's rows, against a few lines of plain Python."""

from __future__ import annotations

import gc
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook.dataflow.blocks import GroupBlock, unpack
from smr_notebook.dataflow.combining import FunctionCombiner
from smr_notebook.dataflow.draining import Drain
from smr_notebook.dataflow.emitting import PairEmitter
from smr_notebook.dataflow.functions import Functions, UserCodeError
from smr_notebook.dataflow.grouping import block_bytes, cut_block
from smr_notebook.dataflow.keys import encode_key
from smr_notebook.dataflow.mapping import GroupedPairs
from smr_notebook.dataflow.memory import Room, room_of
from smr_notebook.dataflow.meter import AttemptStopped, Meter
from smr_notebook.dataflow.partitioning import HashPartitioner
from smr_notebook.dataflow.records import RecordBlock
from smr_notebook.dataflow.reducing import Groups, Partition, Reduced
from smr_notebook.dataflow.runs import RunReader, RunWriter, read_rows
from smr_notebook.errors import ConservationError, CorruptObjectError, PairShapeError
from smr_notebook.model import AttemptId, Numbers, Part, Phase, Position, Receipt, TaskId
from smr_notebook.testing.pair_tasks import run_map, run_map_to_part, run_reduce

# ---------------------------------------------------------------- parts to work with


class ListSink:
    """Keeps rows in lists."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, Any]] = []
        self.groups: list[Any] = []
        self.closed = self.aborted = False

    def add(self, keys: list[Any], values: list[Any], groups: list[Any] | None = None) -> None:
        self.rows += zip(keys, values, strict=True)
        self.groups += groups or []

    def close(self) -> Part:
        self.closed = True
        return Part(0, ())

    def abort(self) -> None:
        self.aborted = True


class ScratchWriter:
    """An exchange of one file: a run that is read where it was written."""

    def __init__(self, partitions: int) -> None:
        self.file = io.BytesIO()
        self.run = RunWriter(self.file, partitions)
        self.aborted = False
        self.reader: RunReader | None = None

    def write(self, partition: int, block: bytes, *, groups: int, pairs: int, checksum: int) -> None:
        self.run.write(partition, block, groups=groups, pairs=pairs, checksum=checksum)

    def close(self) -> Receipt:
        end = self.run.close()
        self.reader = RunReader(self.get, read_rows(self.get, size=end.size, footer=end.footer, crc=end.crc, name="run"), "run")
        return Receipt(AttemptId(TaskId(Phase.MAP, 0), 1), "run", end.size, end.footer, end.crc, end.pairs)

    def abort(self) -> None:
        self.aborted = True

    def get(self, start: int, stop: int) -> bytes:
        self.file.seek(start)
        return self.file.read(stop - start)

    def blocks(self, partition: int) -> Iterator[bytes]:
        assert self.reader is not None
        return self.reader.blocks(partition)


def emit(record: Any) -> Any:
    """The map of most tests: a record is the list of pairs that it emits."""
    return record


def functions(
    reduce: Callable[..., Any] | None = None,
    combine: Callable[..., Any] | None = None,
    *,
    map: Callable[..., Any] = emit,
    yields: bool = False,
    combine_yields: bool = False,
    source: bool = False,
) -> Functions:
    return Functions(map, source, reduce, yields, combine, combine_yields)


def blocks_of(records: list[Any], *, size: int = 3, source: str = "input.txt") -> list[RecordBlock]:
    """Blocks of a few records each; record `i` stands at byte 10 * i."""
    starts = range(0, len(records), size)
    return [RecordBlock(source, records[start : start + size], 10, locator(start), begin=None, at=Position(start)) for start in starts]


def locator(start: int) -> Callable[[int], int]:
    return lambda index: 10 * (start + index)


@dataclass
class Job:
    rows: list[tuple[Any, Any]]
    maps: list[Numbers]
    reduces: list[Numbers]
    reduced: list[Reduced]
    checksums: list[int]


def run(functions: Functions, tasks: list[list[Any]], *, partitions: int = 1, budget: int = 1 << 26) -> Job:
    """Run a whole job over lists of records, one for each map task."""
    job = Job([], [], [], [], [0] * partitions)
    with tempfile.TemporaryDirectory() as folder:
        scratch, writers = Path(folder), []
        for records in tasks:
            meter, writer = Meter(), ScratchWriter(partitions)
            mapped = run_map(functions, blocks_of(records), writer, partitions=partitions, meter=meter, budget=budget, scratch=scratch)
            assert mapped.receipt.pairs == meter.pairs_out
            job.maps.append(meter.numbers())
            writers.append(writer)
        for number in range(partitions):
            meter, sink = Meter(), ListSink()
            for writer in writers:
                assert writer.reader is not None
                job.checksums[number] = (job.checksums[number] + writer.reader.slice(number).checksum) % 2**64
            runs = (writer.blocks(number) for writer in writers)
            job.reduced.append(run_reduce(functions, runs, sink, meter=meter, budget=budget, scratch=scratch))
            job.rows += sink.rows
            job.reduces.append(meter.numbers())
        assert list(scratch.iterdir()) == []
    return job


def reference(tasks: list[list[list[tuple[Any, Any]]]]) -> dict[bytes, list[Any]]:
    """Values by key, in input order, in order of the keys."""
    groups: dict[bytes, list[Any]] = {}
    for records in tasks:
        for pairs in records:
            for key, value in pairs or ():
                groups.setdefault(encode_key(key), []).append(value)
    return dict(sorted(groups.items()))


def exactly(value: Any) -> Any:
    """What two values must agree in: type, and text down to the last digit."""
    return (type(value), repr(value))


keys = st.one_of(
    st.integers(-3, 3),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.floats(allow_nan=True, width=16),
    st.text("ab\0é𝄞", max_size=3),
    st.binary(max_size=2),
    st.none(),
    st.tuples(st.integers(0, 1), st.text("xy", max_size=1)),
    st.decimals(-2, 2, places=1),
)
values = st.one_of(st.integers(-5, 5), st.integers(), st.floats(), st.text(max_size=5), st.none(), st.lists(st.integers(), max_size=2))
few_keys = st.one_of(st.integers(0, 3), st.sampled_from(["a", "b", "longer"]), st.sampled_from([0.5, float("nan")]))


def tasks_of(keys: st.SearchStrategy[Any], values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[list[list[tuple[Any, Any]]]]]:
    records = st.one_of(st.none(), st.lists(st.tuples(keys, values), max_size=12))
    return st.lists(st.lists(records, max_size=8), max_size=3)


budgets = st.sampled_from([500, 3_000, 20_000, 1 << 26])


def collect(_key: Any, values: Iterator[Any]) -> list[Any]:
    return list(values)


# ---------------------------------------------------------------- the whole


@settings(max_examples=min(40, settings().max_examples))
@given(tasks_of(keys, values), st.integers(1, 5), budgets)
def test_every_pair_arrives_once_under_its_key_in_input_order(tasks: list[Any], partitions: int, budget: int) -> None:
    job = run(functions(collect), tasks, partitions=partitions, budget=budget)
    found = {encode_key(key): value for key, value in job.rows}
    assert len(found) == len(job.rows)
    assert {key: list(map(exactly, value)) for key, value in found.items()} == {
        key: list(map(exactly, value)) for key, value in reference(tasks).items()
    }


@settings(max_examples=min(40, settings().max_examples))
@given(tasks_of(keys, values), st.integers(1, 5), budgets)
def test_the_sums_agree(tasks: list[Any], partitions: int, budget: int) -> None:
    job = run(functions(collect), tasks, partitions=partitions, budget=budget)
    pairs = sum(len(record or ()) for records in tasks for record in records)
    assert sum(numbers.pairs_in for numbers in job.maps) == sum(numbers.pairs_out for numbers in job.maps) == pairs
    assert sum(numbers.pairs_in for numbers in job.reduces) == pairs
    assert sum(numbers.records_read for numbers in job.maps) == sum(map(len, tasks))
    assert all(numbers.records_read == numbers.records_mapped for numbers in [*job.maps, *job.reduces])
    assert sum(reduced.groups for reduced in job.reduced) == len(reference(tasks)) == len(job.rows)
    assert [reduced.checksum for reduced in job.reduced] == job.checksums


@settings(max_examples=min(40, settings().max_examples))
@given(tasks_of(keys, values), budgets)
def test_one_partition_is_in_key_order(tasks: list[Any], budget: int) -> None:
    job = run(functions(collect), tasks, budget=budget)
    assert [encode_key(key) for key, _ in job.rows] == list(reference(tasks))


@settings(max_examples=min(40, settings().max_examples))
@given(tasks_of(few_keys, st.integers()), st.integers(1, 3), budgets, st.booleans())
def test_a_combiner_changes_the_counts_and_not_the_answer(tasks: list[Any], partitions: int, budget: int, as_pairs: bool) -> None:
    def total(_key: Any, values: Iterator[int]) -> int:
        return sum(values)

    def total_pairs(key: Any, values: Iterator[int]) -> Iterator[tuple[Any, int]]:
        yield key, sum(values)

    job = run(functions(total, total_pairs if as_pairs else total, combine_yields=as_pairs), tasks, partitions=partitions, budget=budget)
    assert {encode_key(key): value for key, value in job.rows} == {key: sum(value) for key, value in reference(tasks).items()}
    for records, numbers in zip(tasks, job.maps, strict=True):
        assert numbers.pairs_in == sum(len(record or ()) for record in records)
        assert len(reference([records])) <= numbers.pairs_out <= numbers.pairs_in
    assert sum(numbers.pairs_in for numbers in job.reduces) == sum(numbers.pairs_out for numbers in job.maps)
    assert [reduced.checksum for reduced in job.reduced] == job.checksums


@settings(max_examples=min(40, settings().max_examples))
@given(tasks_of(few_keys, st.integers(0, 3)), st.integers(1, 3), budgets)
def test_a_generator_reduce_gives_its_rows_in_group_order(tasks: list[Any], partitions: int, budget: int) -> None:
    def repeat(key: Any, values: Iterator[int]) -> Iterator[tuple[Any, Any]]:
        for number, value in enumerate(values):
            for _ in range(value):
                yield (number, key)

    job = run(functions(repeat, yields=True), tasks, partitions=partitions, budget=budget)
    expected = [(number, key) for key, values in reference(tasks).items() for number, value in enumerate(values) for _ in range(value)]
    found = [(number, encode_key(key)) for number, key in job.rows]
    assert (found if partitions == 1 else sorted(found)) == (expected if partitions == 1 else sorted(expected))


@settings(max_examples=20)
@given(tasks_of(few_keys, st.integers()), budgets, st.integers(0, 3))
def test_a_reduce_may_stop_early(tasks: list[Any], budget: int, wanted: int) -> None:
    def first(_key: Any, values: Iterator[int]) -> list[int]:
        return [value for value, _ in zip(values, range(wanted), strict=False)]

    job = run(functions(first), tasks, budget=budget)
    assert [value for _, value in job.rows] == [values[:wanted] for values in reference(tasks).values()]
    assert job.reduces[0].pairs_in == sum(map(len, reference(tasks).values()))


@settings(max_examples=min(40, settings().max_examples))
@given(tasks_of(keys, values))
def test_without_reduce_the_pairs_are_the_rows_in_order(tasks: list[Any]) -> None:
    for records in tasks:
        sink, meter = ListSink(), Meter()
        run_map_to_part(functions(), blocks_of(records), sink, meter=meter)
        expected = [pair for record in records for pair in record or ()]
        assert list(map(repr, sink.rows)) == list(map(repr, expected))
        assert meter.pairs_in == meter.pairs_out == len(expected)
        assert sink.closed


# ---------------------------------------------------------------- memory


def test_a_small_budget_spills_and_the_spills_are_merged_in_several_passes(tmp_path: Path) -> None:
    grouped = GroupedPairs(FunctionCombiner(functions(collect)), partitioner=HashPartitioner(2), room=Room(40_000), scratch=tmp_path)
    records = [[(number % 997, number)] for number in range(12_000)]
    for batch in PairEmitter(functions(), blocks_of(records), meter=Meter(), batch_bytes=2_500).batches():
        grouped.add(batch)
        assert grouped.held_bytes <= 40_000 // 2
    assert grouped.spills.written > grouped.spills.fan_in
    groups: dict[int, list[int]] = {}
    for _, blocks in grouped.partitions():
        for block in blocks:
            for key, values in content(block):
                groups.setdefault(key, []).extend(values)
    grouped.close()
    assert groups == {number: list(range(number, 12_000, 997)) for number in range(997)}


def test_a_process_that_has_grown_too_large_spills_what_it_holds(tmp_path: Path) -> None:
    sizes = iter([50, 86, 40])
    room = room_of(100, bare=20, resident=lambda: next(sizes))
    assert [room.tight() for _ in range(3)] == [False, True, False]
    assert room.budget == 56
    tight = [False]
    grouped = GroupedPairs(
        FunctionCombiner(functions()), partitioner=HashPartitioner(2), room=Room(1 << 20, lambda: tight[0]), scratch=tmp_path
    )
    batches = PairEmitter(functions(), blocks_of([[(n % 97, n)] for n in range(30_000)]), meter=Meter(), batch_bytes=40_000).batches()
    for batch in batches:
        grouped.add(batch)
        tight[0] = grouped.held_bytes > 0
    assert grouped.spills.written >= 1
    groups: dict[int, list[int]] = {}
    for _, blocks in grouped.partitions():
        for block in blocks:
            for key, values in content(block):
                groups.setdefault(key, []).extend(values)
    grouped.close()
    assert groups == {number: list(range(number, 30_000, 97)) for number in range(97)}


def test_a_map_task_that_would_write_fewer_pairs_than_were_mapped_is_an_error(tmp_path: Path) -> None:
    for combine in (None, collect):
        grouped = GroupedPairs(FunctionCombiner(functions(combine)), partitioner=HashPartitioner(2), room=Room(40_000), scratch=tmp_path)
        for batch in PairEmitter(functions(), blocks_of([[(n % 97, n)] for n in range(8_000)]), meter=Meter(), batch_bytes=2_500).batches():
            grouped.add(batch)
        grouped.spills._spills.pop().file.close()
        with pytest.raises(ConservationError, match="more pairs were mapped than combined and written"):
            sum(len(list(blocks)) for _, blocks in grouped.partitions())
        grouped.close()


def test_a_group_larger_than_the_budget_streams_through_reduce(tmp_path: Path) -> None:
    writer = ScratchWriter(1)
    records = [[("big", number) for number in range(start, start + 1_000)] for start in range(0, 100_000, 1_000)]
    run_map(functions(), blocks_of(records), writer, partitions=1, meter=Meter(), budget=1 << 24, scratch=tmp_path)
    partition = Partition(room=Room(50_000), scratch=tmp_path)
    for data in writer.blocks(0):
        partition.add(unpack(data))
    largest = max(block_bytes(block) for block in partition.blocks())
    assert partition.spills.written >= 1
    assert largest <= 50_000
    partition.close()

    def in_order(_key: Any, values: Iterator[int]) -> bool:
        return all(value == number for number, value in enumerate(values))

    sink = ListSink()
    run_reduce(functions(in_order), [writer.blocks(0)], sink, meter=Meter(), budget=50_000, scratch=tmp_path)
    assert sink.rows == [("big", True)]


def test_a_record_with_very_many_pairs_is_cut_into_batches() -> None:
    def endless(record: int) -> Iterator[tuple[int, int]]:
        return ((record, number) for number in range(500_000))

    drain = Drain(functions(map=endless), blocks_of([1, 2]), meter=Meter(), batch_bytes=1 << 20)
    sizes = []
    for batch in drain.batches():
        sizes.append(len(batch.keys))
        drain.fit(len(batch.keys), 16 * len(batch.keys))
    assert sum(sizes) == 1_000_000
    assert max(sizes) <= 2 * (1 << 20) // 16


def test_large_values_make_small_batches() -> None:
    drain = Drain(functions(map=lambda _: [("k", b"x")]), blocks_of(list(range(2_000))), meter=Meter(), batch_bytes=1 << 20)
    sizes = []
    for batch in drain.batches():
        sizes.append(len(batch.keys))
        drain.fit(len(batch.keys), 300_000 * len(batch.keys))
    assert sizes[0] <= 32
    assert max(sizes[1:]) <= 3


def content(block: GroupBlock) -> Iterable[tuple[Any, list[Any]]]:
    keys, values = block.keys.array.to_pylist(), block.values.array.to_pylist()
    for row, key in enumerate(keys):
        yield key, values[block.offsets[row] : block.offsets[row + 1]]


# ---------------------------------------------------------------- failures


def failing(map: Callable[..., Any], records: list[Any], *, source: bool = False) -> UserCodeError:
    writer = ScratchWriter(1)
    with tempfile.TemporaryDirectory() as scratch, pytest.raises(UserCodeError) as caught:
        run_map(
            functions(map=map, source=source),
            blocks_of(records),
            writer,
            partitions=1,
            meter=Meter(),
            budget=1 << 24,
            scratch=Path(scratch),
        )
    assert writer.aborted
    assert caught.value.function == "map"
    return caught.value


def place(error: UserCodeError) -> tuple[str, str, int, int]:
    return error.record, error.source, error.offset, error.record_number


@pytest.mark.parametrize("bad", [0, 2, 3, 7, 99])
def test_an_exception_of_map_names_the_record(bad: int) -> None:
    def returns(record: int) -> list[tuple[str, float]]:
        return [("x", 1 / (record - bad))]

    def yields(record: int) -> Iterator[tuple[str, float]]:
        yield "before", 1
        yield "x", 1 / (record - bad)

    for map in (returns, yields):
        error = failing(map, list(range(100)))
        assert place(error) == (str(bad), "input.txt", 10 * bad, bad + 1)
        assert isinstance(error.__cause__, ZeroDivisionError)


def test_map_may_take_the_source_of_the_record() -> None:
    def with_source(source: str, record: int) -> list[tuple[str, int]]:
        return [(source, record)]

    sink = ListSink()
    run_map_to_part(functions(map=with_source, source=True), blocks_of([7, 8]), sink, meter=Meter())
    assert sink.rows == [("input.txt", 7), ("input.txt", 8)]
    assert place(failing(lambda source, record: [(source, 1 // record)], [5, 0], source=True)) == ("0", "input.txt", 10, 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (7, "map must yield (key, value) pairs, or return an iterable of them, or None; got 7 (int)"),
        (["ab"], "map must yield (key, value) pairs; got 'ab' (str)"),
        ([b"ab"], "map must yield (key, value) pairs; got b'ab' (bytes)"),
        (("word", 1), "map must yield (key, value) pairs; got 'word' (str)"),
        ({"k": 1, "l": 2}, "map must yield (key, value) pairs; got 'k' (str)"),
        ([(1, 2, 3)], "map must yield (key, value) pairs; got (1, 2, 3) (tuple of 3)"),
        ([()], "map must yield (key, value) pairs; got () (tuple of 0)"),
        ([[1]], "map must yield (key, value) pairs; got [1] (list)"),
        ([{1, 2}], "map must yield (key, value) pairs; got {1, 2} (set)"),
        ([{1: 2, 3: 4}], "map must yield (key, value) pairs; got {1: 2, 3: 4} (dict)"),
        ([None], "map must yield (key, value) pairs; got None (NoneType)"),
    ],
)
def test_a_wrong_shape_says_what_came(given: Any, message: str) -> None:
    good: list[Any] = [[("a", 1)], (("b", 2) for _ in range(3)), [["c", 3]], None]
    error = failing(emit, [*good, given])
    assert isinstance(error.__cause__, PairShapeError)
    assert str(error.__cause__).startswith(message)
    assert error.record_number == 5


def test_an_exception_while_the_shape_was_good_stays_the_users() -> None:
    def raises(record: int) -> Iterator[tuple[str, int]]:
        yield "a", 1
        if record == 4:
            raise TypeError("mine")

    assert str(failing(raises, list(range(9))).__cause__) == "mine"


def test_sys_exit_in_map_is_a_failure_of_the_record() -> None:
    def exits(record: int) -> None:
        if record == 3:
            raise SystemExit(1)

    assert failing(exits, list(range(9))).record_number == 4


def test_a_key_that_cannot_be_grouped_names_its_record() -> None:
    records: list[Any] = [[("a", 1)] * number for number in range(40)]
    records[33] = [("fine", 1), (["list"], 2), ("fine", 3)]
    error = failing(emit, records)
    assert place(error)[1:] == ("input.txt", 330, 34)
    assert isinstance(error.__cause__, TypeError)


def test_a_value_that_cannot_be_stored_names_its_record() -> None:
    records: list[Any] = [[("a", 1)] * number for number in range(40)]
    records[21] = [("a", (value for value in "generator"))]
    assert place(failing(emit, records))[1:] == ("input.txt", 210, 22)


def test_combine_errors_name_the_key(tmp_path: Path) -> None:
    def other_key(_key: Any, values: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
        yield "other", sum(values)

    def raises(key: str, values: Iterator[int]) -> int:
        return sum(values) // (0 if key == "b" else 1)

    for combine, yields, cause in ((raises, False, ZeroDivisionError), (other_key, True, PairShapeError)):
        with pytest.raises(UserCodeError) as caught:
            run_map(
                functions(collect, combine, combine_yields=yields),
                blocks_of([[("b", 1), ("b", 2)]]),
                ScratchWriter(1),
                partitions=1,
                meter=Meter(),
                budget=1 << 20,
                scratch=tmp_path,
            )
        assert (caught.value.function, caught.value.record) == ("combine", "'b'")
        assert isinstance(caught.value.__cause__, cause)


def reducing(functions: Functions, pairs: list[tuple[Any, Any]], tmp_path: Path, *, sink: ListSink | None = None) -> ListSink:
    writer, sink = ScratchWriter(1), sink or ListSink()
    run_map(functions, blocks_of([[pair] for pair in pairs]), writer, partitions=1, meter=Meter(), budget=1 << 20, scratch=tmp_path)
    run_reduce(functions, [writer.blocks(0)], sink, meter=Meter(), budget=1 << 20, scratch=tmp_path)
    return sink


def test_reduce_errors_name_the_key(tmp_path: Path) -> None:
    def divides(key: int, _values: Iterator[int]) -> float:
        return 1 / key

    def yields_wrong(key: int, _values: Iterator[int]) -> Iterator[Any]:
        yield ("fine", 1) if key else "ab"

    for reduce, yields, cause in ((divides, False, ZeroDivisionError), (yields_wrong, True, PairShapeError)):
        sink = ListSink()
        with pytest.raises(UserCodeError) as caught:
            reducing(functions(reduce, yields=yields), [(1, 1), (0, 2), (3, 4)], tmp_path, sink=sink)
        assert (caught.value.function, caught.value.record) == ("reduce", "0")
        assert isinstance(caught.value.__cause__, cause)
        assert sink.aborted


def test_rows_of_a_generator_carry_the_key_of_their_group(tmp_path: Path) -> None:
    def twice(key: str, values: Iterator[int]) -> Iterator[tuple[int, str]]:
        for value in values:
            yield value, key
            yield -value, key

    sink = reducing(functions(twice, yields=True), [("b", 1), ("a", 2), ("b", 3)], tmp_path)
    assert sink.rows == [(2, "a"), (-2, "a"), (1, "b"), (-1, "b"), (3, "b"), (-3, "b")]
    assert sink.groups == ["a", "a", "b", "b", "b", "b"]


def test_what_is_lost_between_reading_and_reducing_shows_in_the_checksum(tmp_path: Path) -> None:
    writer = ScratchWriter(1)
    run_map(functions(), blocks_of([[(n, n)] for n in range(5_000)]), writer, partitions=1, meter=Meter(), budget=1 << 24, scratch=tmp_path)
    assert writer.reader is not None
    mapped = writer.reader.slice(0).checksum

    def handed_over(*, lost: int) -> int:
        partition = Partition(room=Room(20_000), scratch=tmp_path)
        for data in writer.blocks(0):
            for block in cut_block(unpack(data), 2_000):
                partition.add(block)
        for spill in partition.spills._spills[:lost]:
            spill.file.close()
        del partition.spills._spills[:lost]
        groups = Groups(partition.blocks(), Meter())
        for _ in groups:
            pass
        partition.close()
        return groups.checksum

    assert handed_over(lost=0) == mapped
    assert handed_over(lost=1) != mapped


def test_damage_found_while_reduce_reads_is_not_blamed_on_reduce(tmp_path: Path) -> None:
    writer = ScratchWriter(1)
    records = [[("k", bytes([number % 256]) * 1_000)] for number in range(5_000)]
    run_map(functions(), blocks_of(records), writer, partitions=1, meter=Meter(), budget=1 << 26, scratch=tmp_path)

    def swallows(_key: Any, values: Iterator[bytes]) -> int:
        try:
            return sum(1 for _ in values)
        except Exception:  # noqa: BLE001 - what a careless user writes
            return 0

    partition = Partition(room=Room(200_000), scratch=tmp_path)
    for data in writer.blocks(0):
        partition.add(unpack(data))
    spills = partition.spills
    file = spills._spills[-1].file
    file.seek(-2_000, 2)
    file.write(bytes(100))
    groups = Groups(partition.blocks(), Meter())

    def reduce_all() -> None:
        for key, values in groups:
            swallows(key, values)
            groups.check()

    with pytest.raises(CorruptObjectError):
        reduce_all()
    partition.close()


# ---------------------------------------------------------------- conduct


def test_the_collector_is_left_as_it_was_found(tmp_path: Path) -> None:
    seen = []

    def look(_record: int) -> None:
        seen.append(gc.isenabled())

    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            run_map(functions(map=look), blocks_of([1]), ScratchWriter(1), partitions=1, meter=Meter(), budget=1000, scratch=tmp_path)
            after = gc.isenabled()
            failing(lambda record: 1 / record, [0])
            assert [after, gc.isenabled()] == [enabled, enabled]
        finally:
            gc.enable()
    assert seen == [False, False]


def test_a_stopped_meter_ends_both_halves(tmp_path: Path) -> None:
    writer, sink, meter = ScratchWriter(1), ListSink(), Meter()

    def stops(record: int) -> list[tuple[int, int]]:
        if record == 50:
            meter.stop("cancelled")
        return [(record, record)]

    with pytest.raises(AttemptStopped):
        run_map(functions(map=stops), blocks_of(list(range(99))), writer, partitions=1, meter=meter, budget=1000, scratch=tmp_path)
    assert writer.aborted
    with pytest.raises(AttemptStopped):
        run_reduce(functions(collect), [iter(())], sink, meter=meter, budget=1000, scratch=tmp_path)
    assert sink.aborted


def test_a_record_that_emits_for_long_is_stopped_between_batches(tmp_path: Path) -> None:
    meter = Meter()

    def endless(_record: int) -> Iterator[tuple[int, int]]:
        number = 0
        while True:
            if number == 1_000:
                meter.stop("cancelled")
            yield number, number
            number += 1

    with pytest.raises(AttemptStopped):
        run_map(functions(map=endless), blocks_of([1]), ScratchWriter(1), partitions=1, meter=meter, budget=10_000, scratch=tmp_path)
