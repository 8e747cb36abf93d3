"""What attempts of a simulated fleet give: outputs whose sums agree, and one run in place of thousands.

Each map task maps one record and emits one pair for each partition, all of keys whose hash is 1. So each partition has as many pairs as
there are map tasks, and a reduce task that says so is right.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from functools import lru_cache

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.control.attempts import Output
from smr_notebook.control.layout import Layout
from smr_notebook.dataflow.grids import grid_of
from smr_notebook.dataflow.runs import RunEnd, RunWriter
from smr_notebook.model import AttemptId, Numbers, ObjectInfo, Part, PartFile, Phase, Plan, Receipt
from smr_notebook.ports import Buffer

RECORD_BYTES = 10


def work_of(plan: Plan, attempt: AttemptId) -> tuple[Output, Numbers]:
    """Return what an attempt gives."""
    number = attempt.task.number
    if attempt.task.phase is Phase.REDUCE:
        return Output(part=_part(number, 1), checksum=plan.maps, groups=1), Numbers(0, 1, 1, plan.maps, 1)
    if attempt.task.phase is Phase.MERGE:
        return _merged(plan, attempt)
    if not plan.reducers:
        return Output(part=_part(number, 1)), Numbers(RECORD_BYTES, 1, 1, 1, 1)
    end = _run(plan.reducers, 1)[1]
    receipt = Receipt(attempt, f"{Layout(plan.job).attempt(attempt)}/run", end.size, end.footer, end.crc, end.pairs)
    return Output(receipt=receipt), Numbers(RECORD_BYTES, 1, 1, plan.reducers, plan.reducers)


def gets_of(plan: Plan, attempt: AttemptId) -> int:
    """Return how many reads of objects an attempt would make: plan, code, splits and 128 MB in steps of eight; or runs."""
    runs = plan.merging.task_groups if plan.merging else plan.maps
    return {Phase.MAP: 20, Phase.MERGE: plan.maps // runs + 4, Phase.REDUCE: runs + 4}[attempt.task.phase]


def share_of(attempt: AttemptId) -> float:
    """Return how long an attempt works, as a share of what `map` or `reduce` of one takes: a merge task moves bytes, and calls nothing."""
    return 0.2 if attempt.task.phase is Phase.MERGE else 1.0


def _merged(plan: Plan, attempt: AttemptId) -> tuple[Output, Numbers]:
    grid, number = grid_of(plan), attempt.task.number
    maps, partitions = len(grid.maps_of(number)), len(grid.partitions_of(number))
    end = _run(partitions, maps)[1]
    receipt = Receipt(attempt, Layout(plan.job).run(attempt), end.size, end.footer, end.crc, end.pairs)
    return Output(receipt=receipt), Numbers(0, maps, maps, end.pairs, end.pairs)


def _part(number: int, rows: int) -> Part:
    return Part(number, (PartFile(f"part-{number}", rows, 1, 1, 1, ("int", "int")),))


@lru_cache(maxsize=16)
def _run(partitions: int, pairs: int) -> tuple[bytes, RunEnd]:
    """Return a run with so many pairs in each partition."""
    file = io.BytesIO()
    writer = RunWriter(file, partitions)
    for partition in range(partitions):
        writer.write(partition, b"x", groups=1, pairs=pairs, checksum=pairs)
    end = writer.close()
    return file.getvalue(), end


class SameRuns:
    """An object store in which each run of a job is the same one, or the one that a merge task would make of these.

    Args:
        plan: The plan of the job.
    """

    def __init__(self, plan: Plan) -> None:
        self._store = MemoryStore()
        self._plan = plan
        self._runs = Layout(plan.job).phase(Phase.MAP)
        self._merged = Layout(plan.job).phase(Phase.MERGE)
        self._run = _run(plan.reducers, 1)[0] if plan.reducers else b""

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """See `ports.ObjectStore.get`."""
        if key.startswith(self._runs):
            return self._run[start:stop]
        if key.startswith(self._merged) and key.endswith("/run"):
            grid, number = grid_of(self._plan), int(key.removeprefix(self._merged).partition("/")[0])
            return _run(len(grid.partitions_of(number)), len(grid.maps_of(number)))[0][start:stop]
        return self._store.get(key, start, stop)

    def put(self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False) -> bool:
        """See `ports.ObjectStore.put`."""
        return self._store.put(key, data, if_absent=if_absent)

    def list_prefix(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `ports.ObjectStore.list_prefix`."""
        return self._store.list_prefix(prefix)

    def delete_prefix(self, prefix: str) -> int:
        """See `ports.ObjectStore.delete_prefix`."""
        return self._store.delete_prefix(prefix)
