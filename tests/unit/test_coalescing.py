"""Merged runs: the same blocks in the same order, with fewer reads, and nothing that is not what was written."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.dataflow.coalescing import Coalescer, SourceRun
from smr_notebook.dataflow.exchange import GatheredIndex, ObjectExchange
from smr_notebook.dataflow.grids import Grid
from smr_notebook.dataflow.merged_index import gather_for_merging, gather_merged, rows_to_merge
from smr_notebook.dataflow.meter import AttemptStopped, Meter
from smr_notebook.errors import CorruptObjectError
from smr_notebook.model import AttemptId, Phase, Receipt, TaskId

FOLDER = "jobs/j"
Written = list[list[list[list[bytes]]]]
"""Blocks by map task, leg, partition."""


@dataclass
class Counted(MemoryStore):
    """A store that counts the ranges that are read of each object."""

    gets: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        self.gets.append(key)
        return super().get(key, start, stop)


@dataclass
class Merged:
    """What some map tasks wrote, merged in a grid."""

    written: Written
    grid: Grid
    most_bytes: int = 1 << 20
    parallel: int = 1
    objects: Counted = field(default_factory=Counted)

    def __post_init__(self) -> None:
        self.runs = [[self.write(task, leg, slices) for leg, slices in enumerate(legs, 1)] for task, legs in enumerate(self.written)]
        self.mapped = gather_for_merging(self.objects, self.runs, self.grid)
        self.objects.put("index", self.mapped.pieces())
        self.meters = [Meter() for _ in range(self.grid.tasks)]

    def exchange(self, index: GatheredIndex | None = None) -> ObjectExchange:
        where = {"index": "merged", "index_crcs": index.crcs} if index else {}
        return ObjectExchange(self.objects, FOLDER, scratch=Path(), parallel=self.parallel, **where)  # type: ignore[arg-type]

    def write(self, task: int, leg: int, slices: list[list[bytes]]) -> Receipt:
        writer = self.exchange().writer(AttemptId(TaskId(Phase.MAP, task), leg), self.grid.partitions)
        for partition, blocks in enumerate(slices):
            for block in blocks:
                writer.write(partition, block, groups=1, pairs=len(block), checksum=zlib.crc32(block))
        return writer.close()

    def merge(self, task: int) -> Receipt:
        attempt = AttemptId(TaskId(Phase.MERGE, task), 1)
        rows = rows_to_merge(self.objects, "index", self.runs, self.grid, task=task, crc=self.mapped.crcs[task])
        mine = self.grid.maps_of(task)
        receipts = [receipt for its in self.runs[mine.start : mine.stop] for receipt in its]
        return Coalescer(
            self.objects,
            [SourceRun(receipt, rows[:, at]) for at, receipt in enumerate(receipts)],
            self.grid.partitions_of(task),
            attempt=attempt,
            key=None,
            meter=self.meters[task],
            most_bytes=self.most_bytes,
            parallel=self.parallel,
        ).write(f"{FOLDER}/{attempt}/run")

    def merge_all(self) -> tuple[list[Receipt], GatheredIndex]:
        receipts = [self.merge(task) for task in range(self.grid.tasks)]
        index = gather_merged(self.objects, receipts, self.grid)
        self.objects.put("merged", index.pieces())
        return receipts, index

    def read(self, partition: int, receipts: list[Receipt], index: GatheredIndex) -> list[bytes]:
        mine = self.grid.merges_of(partition)
        return [block for run in self.exchange(index).read(partition, receipts[mine.start : mine.stop]) for block in run]


@st.composite
def shuffles(draw: st.DrawFn) -> Merged:
    partitions = draw(st.integers(1, 6))
    slices = st.lists(st.lists(st.binary(max_size=40), max_size=3), min_size=partitions, max_size=partitions)
    written = draw(st.lists(st.lists(slices, min_size=1, max_size=2), min_size=1, max_size=7))
    grid = Grid(len(written), partitions, draw(st.integers(1, len(written))), draw(st.integers(1, partitions)))
    return Merged(written, grid, draw(st.sampled_from([1, 60, 1 << 20])), draw(st.sampled_from([1, 3])))


@settings(max_examples=min(60, settings().max_examples))
@given(shuffles())
def test_a_reduce_task_gets_the_same_blocks_in_the_same_order(job: Merged) -> None:
    receipts, index = job.merge_all()
    for partition in range(job.grid.partitions):
        blocks = [block for legs in job.written for slices in legs for block in slices[partition]]
        assert job.read(partition, receipts, index) == blocks
        assert index.pairs[partition] == job.mapped.pairs[partition] == sum(map(len, blocks))
        assert index.checksums[partition] == job.mapped.checksums[partition] == sum(map(zlib.crc32, blocks)) % 2**64
    for receipt, meter in zip(receipts, job.meters, strict=True):
        assert meter.pairs_in == meter.pairs_out == receipt.pairs
        assert meter.records_read == meter.records_mapped


def square(size: int = 4, groups: int = 2, *, most_bytes: int = 1 << 20) -> Merged:
    written = [[[[bytes([task, partition]) * 30] for partition in range(size)]] for task in range(size)]
    return Merged(written, Grid(size, size, groups, groups), most_bytes)


def test_each_run_is_read_once_for_a_group_of_partitions() -> None:
    job = square(8)
    job.objects.gets.clear()
    receipts = [job.merge(task) for task in range(job.grid.tasks)]
    assert len(job.objects.gets) == job.grid.maps * job.grid.partition_groups + job.grid.tasks, "and the index once for each task"
    index = gather_merged(job.objects, receipts, job.grid)
    job.objects.put("merged", index.pieces())
    job.objects.gets.clear()
    for partition in range(8):
        job.read(partition, receipts, index)
    assert len([key for key in job.objects.gets if key != "merged"]) == job.grid.task_groups * 8


@pytest.mark.parametrize("most_bytes", [1, 1 << 20], ids=["streamed", "together"])
def test_a_slice_that_is_not_what_was_written_is_passed_on_to_nobody(most_bytes: int) -> None:
    job = square(most_bytes=most_bytes)
    damaged = job.runs[1][0].key
    data = bytearray(job.objects.get(damaged))
    data[10] ^= 1
    job.objects.put(damaged, bytes(data))
    with pytest.raises(CorruptObjectError, match=damaged):
        job.merge(0)
    assert list(job.objects.list_prefix(f"{FOLDER}/merge/")) == []


def test_a_run_that_is_gone_is_named() -> None:
    job = square()
    job.objects.delete_prefix(job.runs[3][0].key)
    with pytest.raises(CorruptObjectError, match=r"map/000003/001/run is missing"):
        job.merge(1)


def test_an_index_of_another_run_is_refused() -> None:
    job = square()
    rows = rows_to_merge(job.objects, "index", job.runs, job.grid, task=0, crc=job.mapped.crcs[0]).copy()
    rows["offset"][1, 0] += 1
    merge = Coalescer(
        job.objects,
        [SourceRun(job.runs[0][0], rows[:, 0])],
        range(2),
        attempt=AttemptId(TaskId(Phase.MERGE, 0), 1),
        key=None,
        meter=Meter(),
        most_bytes=1 << 20,
    )
    with pytest.raises(CorruptObjectError, match="it belongs to another run"):
        merge.write("x")


def test_rows_that_are_not_what_was_gathered_are_refused() -> None:
    job = square()
    with pytest.raises(CorruptObjectError, match="the rows of merge task 1 differ"):
        rows_to_merge(job.objects, "index", job.runs, job.grid, task=1, crc=job.mapped.crcs[1] ^ 1)


def test_an_attempt_that_is_stopped_writes_nothing() -> None:
    job = square()
    job.meters[0].stop("cancelled")
    with pytest.raises(AttemptStopped):
        job.merge(0)
    assert list(job.objects.list_prefix(f"{FOLDER}/merge/")) == []
