"""Map and reduce attempts of a user's functions over records at hand: what the tests of the data plane are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from smr_notebook.dataflow import mapping, reducing
from smr_notebook.dataflow.combining import FunctionCombiner
from smr_notebook.dataflow.emitting import PairEmitter, PairSink, write_rows
from smr_notebook.dataflow.functions import Functions
from smr_notebook.dataflow.inputs import SplitInput
from smr_notebook.dataflow.mapping import Mapped, MappedPart
from smr_notebook.dataflow.memory import Room
from smr_notebook.dataflow.merging import BY_KEY, BlockOrder, Blocks
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.partitioning import HashPartitioner, Partitioner
from smr_notebook.dataflow.programs import Handed
from smr_notebook.dataflow.records import RecordBlock
from smr_notebook.dataflow.reducing import Reduced, reduce_groups
from smr_notebook.dataflow.tolerant_groups import TolerantCombiner, reduce_tolerantly
from smr_notebook.model import Format, Position, Split
from smr_notebook.ports import ExchangeWriter


@dataclass(frozen=True, slots=True)
class _Groups:
    """Reduces with a function."""

    functions: Functions

    def reduce(self, blocks: Blocks, sink: PairSink, *, meter: Meter, done: int) -> Handed:
        if meter.bad is not None:
            return reduce_tolerantly(self.functions, blocks, sink, meter.bad, meter=meter, done=done)
        return reduce_groups(self.functions, blocks, sink, meter=meter, done=done)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Maps blocks at hand, whatever the split."""

    functions: Functions
    blocks: Iterable[RecordBlock]

    def map_to_rows(self, _: SplitInput, sink: PairSink, *, meter: Meter) -> Position | None:
        return write_rows(self.functions, self.blocks, sink, meter=meter)


def run_map(
    functions: Functions,
    blocks: Iterable[RecordBlock],
    writer: ExchangeWriter,
    *,
    partitions: int = 1,
    partitioner: Partitioner | None = None,
    meter: Meter,
    budget: int,
    scratch: Path,
    order: BlockOrder = BY_KEY,
) -> Mapped:
    """Make a map attempt over blocks; by hash into so many partitions, if no partitioner is given. Else as of `mapping.run_map`."""
    emitter = PairEmitter(functions, blocks, meter=meter, batch_bytes=budget // 16, ordered=order.of_values)
    dealt = partitioner or HashPartitioner(partitions)
    combiner = FunctionCombiner(functions) if meter.bad is None else TolerantCombiner(functions)
    return mapping.run_map(emitter, combiner, writer, partitioner=dealt, meter=meter, room=Room(budget), scratch=scratch, order=order)


def run_map_to_part(functions: Functions, blocks: Iterable[RecordBlock], sink: PairSink, *, meter: Meter) -> MappedPart:
    """Make a map attempt without `reduce` over blocks; arguments and errors as of `mapping.run_map_to_part`."""
    nothing = SplitInput(Split(0, ()), Format.ITEMS, {})
    return mapping.run_map_to_part(_Rows(functions, blocks), nothing, sink, meter=meter)


def run_reduce(
    functions: Functions,
    runs: Iterable[Iterator[bytes]],
    sink: PairSink,
    *,
    meter: Meter,
    budget: int,
    scratch: Path,
    after: Position | None = None,
    order: BlockOrder = BY_KEY,
) -> Reduced:
    """Make a reduce attempt over runs; arguments and errors as of `reducing.run_reduce`."""
    return reducing.run_reduce(_Groups(functions), runs, sink, meter=meter, room=Room(budget), scratch=scratch, after=after, order=order)
