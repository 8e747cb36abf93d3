"""Whole jobs of a program over pairs or blocks at hand, in one process, with all their sums checked: for tests of the data plane."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from smr_notebook.dataflow.combining import Combiner
from smr_notebook.dataflow.mapping import Sink, run_map
from smr_notebook.dataflow.memory import Room
from smr_notebook.dataflow.merging import Blocks
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.partitioning import HashPartitioner
from smr_notebook.dataflow.programs import Emitter, Handed
from smr_notebook.dataflow.reducing import run_reduce
from smr_notebook.dataflow.runs import RunReader, RunWriter, read_rows
from smr_notebook.model import AttemptId, Phase, Position, Receipt, TaskId

S = TypeVar("S", bound=Sink)
In_contra = TypeVar("In_contra", contravariant=True)


class Shuffles(Protocol[In_contra]):
    """What of a program these jobs need."""

    def combiner(self) -> Combiner:
        """Return what combines the pairs of one map attempt: `programs.Program`."""
        ...

    def reduce(self, blocks: Blocks, sink: In_contra, *, meter: Meter, done: int) -> Handed:
        """Turn the groups of a partition into rows: `programs.Program`."""
        ...


class OneFile:
    """An exchange writer whose run lies in memory.

    Attributes:
        reader: The run, once the writer is closed.
    """

    def __init__(self, partitions: int) -> None:
        self._file = io.BytesIO()
        self._run = RunWriter(self._file, partitions)
        self.reader: RunReader | None = None

    def write(self, partition: int, block: bytes, *, groups: int, pairs: int, checksum: int) -> None:
        """Append a block."""
        self._run.write(partition, block, groups=groups, pairs=pairs, checksum=checksum)

    def close(self) -> Receipt:
        """End the run."""
        end = self._run.close()
        self.reader = RunReader(self._get, read_rows(self._get, size=end.size, footer=end.footer, crc=end.crc, name="run"), "run")
        return Receipt(AttemptId(TaskId(Phase.MAP, 0), 1), "run", end.size, end.footer, end.crc, end.pairs)

    def abort(self) -> None:
        """Keep what there is."""

    def _get(self, start: int, stop: int) -> bytes:
        self._file.seek(start)
        return self._file.read(stop - start)


@dataclass(frozen=True, slots=True)
class _Due(Generic[S]):
    """A program whose reduce attempts are due once they have done something."""

    program: Shuffles[S]
    legs: bool

    def reduce(self, blocks: Blocks, sink: S, *, meter: Meter, done: int) -> Handed:
        if self.legs:
            meter.wind_up()
        return self.program.reduce(blocks, sink, meter=meter, done=done)


def run_job(
    program: Shuffles[S],
    tasks: Sequence[Callable[[Meter], Emitter]],
    make_sink: Callable[[], S],
    *,
    partitions: int = 1,
    budget: int = 1 << 26,
    legs: bool = False,
) -> list[S]:
    """Run a job, and check that what was reduced is what was mapped.

    Args:
        program: What it runs.
        tasks: For each map task, what makes its emitter.
        make_sink: Makes a sink for a partition.
        partitions: How many there are.
        budget: Bytes of memory that pairs may take.
        legs: Whether each reduce attempt ends as soon as it may, and another one goes on.

    Returns:
        The sink of each partition.
    """
    with tempfile.TemporaryDirectory() as folder:
        scratch, room, written, partitioner = Path(folder), Room(budget), 0, HashPartitioner(partitions)
        readers: list[RunReader] = []
        for make in tasks:
            meter, writer = Meter(), OneFile(partitions)
            run_map(make(meter), program.combiner(), writer, partitioner=partitioner, meter=meter, room=room, scratch=scratch)
            assert writer.reader is not None
            written += meter.pairs_out
            readers.append(writer.reader)
        sinks = [make_sink() for _ in range(partitions)]
        for number, sink in enumerate(sinks):
            checksum, position = 0, Position(done=0)
            while True:
                meter = Meter()
                blocks = (reader.blocks(number) for reader in readers)
                step = _Due(program, legs)
                found = run_reduce(step, blocks, sink, meter=meter, room=room, scratch=scratch, after=position if position.done else None)
                assert found.groups == meter.records_mapped
                written -= meter.pairs_in
                checksum = (checksum + found.checksum) % 2**64
                if found.position is None:
                    break
                assert found.position.done == position.done + found.groups
                position = found.position
            assert checksum == sum(reader.slice(number).checksum for reader in readers) % 2**64
        assert written == 0
        assert list(scratch.iterdir()) == []
    return sinks
