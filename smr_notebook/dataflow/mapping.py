"""A map attempt: records in, a run of sorted groups out.

::

    records ─map→ batches of pairs ─columns→ raw ─group, combine→ held blocks ─merge→ exchange
                                                                       └─over budget→ spills ─┘

Memory, as shares of the budget: raw pairs an eighth (grouping them takes about twice as much again), held blocks a
quarter (merging them takes three times as much again). Past that the held blocks go to a spill; so do they when the whole process has
grown near to what it may take (`memory`).

An attempt that is due maps no further record, and otherwise ends as always: what it has is the *leg* of the task that it publishes, and
where it stands is the position from which another attempt goes on.

Rules of this module: what the exchange gets is in the order of (partition, key kind, key); the values of a key are in
input order, or in their own where the job asks for that; every pair is counted when `map` emits it, when it is combined and when it is
written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from smr_notebook.dataflow.blocks import Codec, GroupBlock
from smr_notebook.dataflow.combining import Combiner
from smr_notebook.dataflow.draining import resting_collector
from smr_notebook.dataflow.grouping import Pairs, PartitionedBlock, block_bytes, group_pairs, pair_bytes, partition_block
from smr_notebook.dataflow.inputs import SplitInput
from smr_notebook.dataflow.keys import KeyKind
from smr_notebook.dataflow.memory import Room, release
from smr_notebook.dataflow.merging import BY_KEY, BlockOrder, Blocks, merge_streams
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.partitioning import Partitioner
from smr_notebook.dataflow.spilling import BlockWriter, Spills, collect, write_partition
from smr_notebook.errors import ConservationError
from smr_notebook.model import Part, Position, Receipt
from smr_notebook.ports import ExchangeWriter

if TYPE_CHECKING:
    from smr_notebook.dataflow.programs import Emitter

BLOCK_BYTES = 1 << 20
"""About how large a block of a run is in memory."""
_MOST_RAW = 32 << 20
_LITTLE = 8  # less than such a part of what may be held is not worth a spill, however tight memory is
_MOST_HELD = 1 << 30  # text columns have 32-bit offsets


class Sink(Protocol):
    """What rows are written to."""

    def close(self) -> Part:
        """Make the rows readable, and say where they are."""
        ...

    def abort(self) -> None:
        """Drop the rows."""
        ...


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a map attempt gives.

    Attributes:
        receipt: Its run.
        position: Where the next attempt goes on; `None` when the records came to their end.
    """

    receipt: Receipt
    position: Position | None


@dataclass(frozen=True, slots=True)
class MappedPart:
    """What a map attempt without `reduce` gives: its rows, and the position as of `Mapped`."""

    part: Part
    position: Position | None


def run_map(
    emitter: Emitter,
    combiner: Combiner,
    writer: ExchangeWriter,
    *,
    partitioner: Partitioner,
    meter: Meter,
    room: Room,
    scratch: Path,
    order: BlockOrder = BY_KEY,
    codec: Codec = "lz4",
) -> Mapped:
    """Map records, and write the pairs to the exchange.

    Args:
        emitter: Maps the records of the split, or what of them follows a position.
        combiner: Combines pairs before they travel.
        writer: Takes the pairs; it is closed, or aborted on any error.
        partitioner: Deals keys out to partitions.
        meter: Counts, and may end or stop the attempt.
        room: Memory that it may take.
        scratch: Folder for spills.
        order: By what the pairs of a partition are sorted.
        codec: How the run is compressed.

    Raises:
        UserCodeError: `map` or `combine` raised, or gave the wrong shape.
        ConservationError: What would be written is not what was mapped.
        AttemptStopped: The meter was told to stop.
    """
    grouped = GroupedPairs(combiner, partitioner=partitioner, room=room, scratch=scratch, order=order)
    try:
        with resting_collector():
            for columns in emitter.batches():
                grouped.add(columns)
            packed = BlockWriter(writer, codec)
            for partition, stream in grouped.partitions():
                meter.check()
                meter.pairs_out += write_partition(packed, partition, stream)
        return Mapped(writer.close(), emitter.position)
    except BaseException:
        writer.abort()
        raise
    finally:
        grouped.close()


S = TypeVar("S", bound=Sink)
In_contra = TypeVar("In_contra", contravariant=True)


class MapsToRows(Protocol[In_contra]):
    """What of a program `run_map_to_part` needs."""

    def map_to_rows(self, input: SplitInput, sink: In_contra, *, meter: Meter) -> Position | None:
        """Map the records of a split and write the pairs as rows: `programs.Program`."""
        ...


def run_map_to_part(program: MapsToRows[S], input: SplitInput, sink: S, *, meter: Meter) -> MappedPart:
    """Map records, and write the pairs as rows, in order: a job without `reduce`.

    Args:
        program: What maps them.
        input: The records of the split, or what of them follows a position.
        sink: Takes the rows; it is closed, or aborted on any error.
        meter: Counts, and may end or stop the attempt.

    Raises:
        UserCodeError: `map` raised, or gave the wrong shape, or a value that cannot be stored.
        AttemptStopped: The meter was told to stop.
    """
    try:
        with resting_collector():
            position = program.map_to_rows(input, sink, meter=meter)
        return MappedPart(sink.close(), position)
    except BaseException:
        sink.abort()
        raise


class GroupedPairs:
    """The pairs of one map attempt, grouped, within a budget.

    Args:
        combiner: Combines pairs before they travel.
        partitioner: Deals keys out to partitions.
        room: Memory that it may take.
        scratch: Folder for spills.
        order: By what the pairs of a partition are sorted.

    Attributes:
        held_bytes: Bytes of grouped pairs in memory.
        spills: What went to disk.
    """

    def __init__(self, combiner: Combiner, *, partitioner: Partitioner, room: Room, scratch: Path, order: BlockOrder = BY_KEY) -> None:
        self._order = order
        self._partitioner = partitioner
        self._combiner = combiner
        self._pairs = 0  # taken, and neither combined away nor given out yet
        self._raw: dict[KeyKind, list[Pairs]] = {}
        self._raw_bytes = 0
        self._most_raw = min(room.budget // 8, _MOST_RAW)
        self._held: dict[KeyKind, list[GroupBlock]] = {}
        self.held_bytes = 0
        self._most_held = min(room.budget // order.held_share, _MOST_HELD)
        self._tight = room.tight
        self.spills = Spills(scratch, partitions=partitioner.count, budget=room.budget, order=order)

    def add(self, columns: Iterable[Pairs]) -> None:
        """Take a batch of pairs.

        Raises:
            UserCodeError: The combiner raised.
        """
        for keys, values in columns:
            kept = self._combiner.combine_batch(keys, values)
            self._raw.setdefault(keys.kind, []).append(kept)
            self._raw_bytes += pair_bytes(*kept)
            self._pairs += len(kept[1])
        if self._raw_bytes > self._most_raw:
            self._consolidate()
            if self.held_bytes > self._most_held:
                self._shrink()
            elif self.held_bytes > self._most_held // _LITTLE and self._tight():
                self._spill(self._merged(combine=self._combiner.worthwhile))

    def partitions(self) -> Iterator[tuple[int, Iterator[GroupBlock]]]:
        """Yield the blocks of every partition, in order; nothing may be added after.

        Raises:
            ConservationError: At the end: other pairs were given out than were taken, the combined ones counted off.
        """
        self._consolidate()
        memory = self._merged(combine=self._combiner.present)
        self.spills.settle()
        for number in range(self._partitioner.count):
            streams = [*self.spills.streams(number), _in_memory(memory, number)]
            blocks = collect(merge_streams(streams, self._order), BLOCK_BYTES)
            again = not self._order.of_values  # combined in pieces, the values of a group would be in no order
            if self._combiner.present and len(streams) > 1 and again:
                blocks = collect(map(self._combined, blocks), BLOCK_BYTES)
            yield number, self._given(blocks)
        if self._pairs:
            raise ConservationError(
                f"The sums of a map task differ: {self._pairs:,} more pairs were mapped than combined and written. "
                "There is no result, because it would be wrong. Submit the job again; if it happens again, report it with this line."
            )

    def close(self) -> None:
        """Drop everything."""
        self.spills.close()

    def _consolidate(self) -> None:
        """Group the raw pairs."""
        for kind, batches in self._raw.items():
            runs = [list(alike) for _, alike in groupby(batches, lambda pairs: pairs[1].kind)]  # values of one kind stay columns
            batches.clear()
            for run in runs:
                block = self._begun(group_pairs(run, self._partitioner))
                run.clear()
                self._held.setdefault(kind, []).append(block)
                self.held_bytes += block_bytes(block)
        self._raw.clear()
        self._raw_bytes = 0

    def _shrink(self) -> None:
        """Merge and combine the held blocks; spill them unless that made them small."""
        memory = self._merged(combine=self._combiner.worthwhile)
        self.held_bytes = sum(block_bytes(part.block) for part in memory.values())
        if self.held_bytes > self._most_held // 2:
            self._spill(memory)
        else:
            self._held = {kind: [part.block] for kind, part in memory.items()}

    def _spill(self, memory: dict[KeyKind, PartitionedBlock]) -> None:
        self.spills.add(lambda number: _in_memory(memory, number))
        self.held_bytes = 0
        release()

    def _merged(self, *, combine: bool) -> dict[KeyKind, PartitionedBlock]:
        """Merge the held blocks of each kind, in rank order, and let go of them."""
        merged = {}
        for kind in sorted(self._held):
            block = self._order.merge(self._held.pop(kind), self._partitioner)
            merged[kind] = partition_block(self._arranged(block, combine=True) if combine else block, self._partitioner)
        return merged

    def _begun(self, block: GroupBlock) -> GroupBlock:
        """Return groups that were just made of pairs, combined if that is worth it, with their values in order before and after."""
        arranged = self._order.arrange(block)
        begun = self._combiner.begin(arranged)
        self._pairs -= len(arranged.values) - len(begun.values)
        return arranged if begun is arranged else self._order.arrange(begun, function="combine")

    def _arranged(self, block: GroupBlock, *, combine: bool) -> GroupBlock:
        """Return groups, combined if they shall be, with their values in order."""
        if combine:
            return self._order.arrange(self._combined(block), function="combine")
        return self._order.arrange(block)

    def _combined(self, block: GroupBlock) -> GroupBlock:
        combined = self._combiner.combine(block)
        self._pairs -= len(block.values) - len(combined.values)
        return combined

    def _given(self, blocks: Blocks) -> Blocks:
        for block in blocks:
            self._pairs -= len(block.values)
            yield block


def _in_memory(memory: dict[KeyKind, PartitionedBlock], number: int) -> Iterator[GroupBlock]:
    for part in memory.values():
        block = part.partition(number)
        if len(block.keys):
            yield block
