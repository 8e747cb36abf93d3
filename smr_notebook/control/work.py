"""What an attempt does between its claim and its commit: the data plane, put together from the plan.

Rules of this module:

* Nothing here knows of rows, leases or time; what comes out is an `Output`, or an exception.
* Whatever is written lies under the keys of the attempt. The data plane aborts what it began and could not end.
* The plan, the code and the map manifest of a job are kept by the process, because a worker takes task after task of the same
  job. The functions are loaded anew for each attempt, so that no state of one task leaks into another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

from smr_notebook.control.attempts import Output
from smr_notebook.control.carrying import exchange_of
from smr_notebook.control.failures import tell_of
from smr_notebook.control.keys import keys_of
from smr_notebook.control.layout import SPLITS_PER_PAGE, Layout
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.manifests import read_manifest
from smr_notebook.control.plans import read_code, read_plan, read_split_page, split_of
from smr_notebook.counting import counting
from smr_notebook.dataflow.bad_records import BadRecords
from smr_notebook.dataflow.coalescing import Coalescer, SourceRun
from smr_notebook.dataflow.code import Sources
from smr_notebook.dataflow.grids import grid_of
from smr_notebook.dataflow.inputs import JobInput, SplitInput
from smr_notebook.dataflow.joined_programs import inlet_of_task
from smr_notebook.dataflow.mapping import run_map, run_map_to_part
from smr_notebook.dataflow.memory import Room, keep_freed
from smr_notebook.dataflow.merged_index import rows_to_merge
from smr_notebook.dataflow.merging import ORDERS
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.opening import NAMES, opened
from smr_notebook.dataflow.outputs import PartWriter
from smr_notebook.dataflow.partitioning import partitioner_of
from smr_notebook.dataflow.programs import Program
from smr_notebook.dataflow.reducing import run_reduce
from smr_notebook.dataflow.signing import Keyring
from smr_notebook.dataflow.vouching import SigningWriter, proved_runs
from smr_notebook.errors import CorruptObjectError
from smr_notebook.model import AttemptId, Manifest, Phase, Plan, Position, Split
from smr_notebook.ports import Backend, ObjectStore, Table
from smr_notebook.values.tolerance import OnError

_JOBS = 2  # a worker runs one job; a service of threads may run two at a time
_PAGES = 8
_MANIFESTS = 2 * _JOBS


@dataclass(frozen=True, slots=True)
class LoadedJob:
    """What a worker read of a job: its plan, and its code still packed."""

    plan: Plan
    code: bytes


@dataclass(frozen=True, slots=True)
class Task:
    """One attempt's errand.

    Attributes:
        backend: The platform.
        plan: The plan of the job.
        program: What the job runs.
        attempt: Which attempt.
        meter: Where to count, and whom to ask whether to go on.
        scratch: Folder on the local disk for files without a name.
        room: Memory that it may take.
        after: Where the legs before this attempt ended, or `None`.
        sources: Labels and texts of the files that travelled with the code.
        mapped: The manifest whose runs are reduced, in place of that of the map phase; `None` for that one.
    """

    backend: Backend
    plan: Plan
    program: Program
    attempt: AttemptId
    meter: Meter
    scratch: Path
    room: Room
    after: Position | None = None
    sources: Sources = field(default_factory=Sources)
    mapped: Manifest | None = None


@lru_cache(maxsize=_JOBS)
def load_job(objects: ObjectStore, table: Table, job: str) -> LoadedJob:
    """Return the plan and the code of a job.

    Raises:
        CorruptObjectError: They are not what was written, or not by this workspace.
        StoreError: The store cannot be read.
    """
    return LoadedJob(read_plan(objects, job, keys_of(table)), read_code(objects, job, keys_of(table)))


@lru_cache(maxsize=_MANIFESTS)
def _manifest(objects: ObjectStore, table: Table, job: str, phase: Phase) -> Manifest:
    return read_manifest(objects, Ledger(table, job), phase, job=job)


@lru_cache(maxsize=_PAGES)
def _split_page(objects: ObjectStore, table: Table, prefix: str, page: int) -> tuple[Split, ...]:
    return read_split_page(objects, prefix, page, keys_of(table))


def perform(task: Task) -> Output:
    """Do the work of one attempt.

    Raises:
        AttemptStopped: Somebody asked the meter to stop.
        UserCodeError: A user's function raised.
        InputError: The input cannot be read as planned.
        CorruptObjectError: A run or a stored object is not what was written.
        StoreError: The store cannot be reached.
    """
    keep_freed()
    return work_on(task)


def work_on(task: Task) -> Output:
    """Do the work of one attempt in a process that is used for other things, too. Raises as `perform` does."""
    phase = task.attempt.task.phase
    if phase is Phase.MERGE:
        return _merge(task)
    work = _reduce if phase is Phase.REDUCE else _map if task.plan.reducers else _map_to_part
    with counting(task.meter.counts):
        inlet = inlet_of_task(task.plan.reading, task.attempt.task)
        with opened(task.program, NAMES[phase], meter=task.meter, inlet=inlet) as program:
            task = replace(task, program=program)
            output = _leaving_out(task, work) if task.plan.tolerance.tolerant else work(task)
        task.meter.counts.check()
    return output


def _leaving_out(task: Task, work: Callable[[Task], Output]) -> Output:
    """Do the work, and store what it left out."""
    everything = task.plan.tolerance.on_error is OnError.COLLECT
    tell = partial(tell_of, sources=task.sources)
    bad = task.meter.bad = BadRecords(tell, everything=everything, scratch=task.scratch, in_memory=_spooled(task))
    try:
        output = work(task)
        return replace(output, bad=bad.store(task.backend.objects, Layout(task.plan.job).bad(task.attempt)))
    finally:
        bad.close()


def _map(task: Task) -> Output:
    exchange = exchange_of(task.backend, task.plan, scratch=task.scratch, in_memory=_spooled(task))
    mapped = run_map(
        task.program.emitter(input_of(task), meter=task.meter, batch_bytes=task.room.budget // 16),
        task.program.combiner(tolerant=task.plan.tolerance.tolerant),
        SigningWriter(exchange.writer(task.attempt, task.plan.reducers), task.attempt, _keys(task).of_folder(Layout(task.plan.job).folder)),
        partitioner=partitioner_of(task.plan.reducers, task.plan.bounds if task.plan.sorting.keys else None),
        meter=task.meter,
        room=task.room,
        scratch=task.scratch,
        order=ORDERS[task.plan.sorting.values],
        codec=task.backend.codec,
    )
    return Output(receipt=mapped.receipt, position=mapped.position)


def _map_to_part(task: Task) -> Output:
    mapped = run_map_to_part(task.program, input_of(task), _sink(task), meter=task.meter)
    return Output(part=mapped.part, position=mapped.position)


def _merge(task: Task) -> Output:
    backend, plan, attempt = task.backend, task.plan, task.attempt
    mapped = _manifest(backend.objects, backend.table, plan.job, Phase.MAP)  # type: ignore[arg-type]  # hashed by identity
    sources = sources_of(backend.objects, plan, mapped, attempt.task.number, keys=_keys(task))
    layout = Layout(plan.job)
    merged = Coalescer(
        backend.objects,
        sources,
        grid_of(plan).partitions_of(attempt.task.number),
        attempt=attempt,
        key=_keys(task).of_folder(layout.folder),
        meter=task.meter,
        most_bytes=task.room.budget // 2,
        parallel=backend.parallel,
    )
    return Output(receipt=merged.write(layout.run(attempt)))


def _reduce(task: Task) -> Output:
    reduced = run_reduce(
        task.program,
        partition_runs(task),
        _sink(task),
        meter=task.meter,
        room=task.room,
        scratch=task.scratch,
        after=task.after,
        order=ORDERS[task.plan.sorting.values],
    )
    return Output(part=reduced.part, checksum=reduced.checksum, groups=reduced.groups, position=reduced.position)


def partition_runs(task: Task) -> Iterator[Iterator[bytes]]:
    """Yield, for each map task in order, the blocks of the partition that a reduce task is to reduce.

    Raises:
        CorruptObjectError: A run, or the manifest of the map phase, is not what was written.
        StoreError: The store cannot be reached.
    """
    backend, plan = task.backend, task.plan
    objects, table, before = backend.objects, backend.table, Phase.MERGE if plan.merging else Phase.MAP
    manifest = task.mapped or _manifest(objects, table, plan.job, before)  # type: ignore[arg-type]  # hashed by identity
    tasks = len(task.mapped.commits) if task.mapped else plan.tasks(manifest.phase)
    if sum(bool(commit.receipts) for commit in manifest.commits) != tasks:
        told = f"The {manifest.phase} manifest of job {plan.job} names no run of some of {tasks} tasks."
        raise CorruptObjectError(f"{told} Submit the job again.")
    partition = task.attempt.task.number
    mine = grid_of(plan).merges_of(partition) if manifest.phase is Phase.MERGE else range(tasks)
    receipts = [receipt for commit in manifest.commits[mine.start : mine.stop] for receipt in commit.receipts]
    exchange = exchange_of(backend, plan, scratch=task.scratch, index=manifest.index, index_crcs=manifest.index_crcs)
    keys = [_keys(task).of_object(receipt.key) for receipt in receipts]
    return proved_runs(exchange.read(partition, receipts), partition, receipts, keys)


def sources_of(objects: ObjectStore, plan: Plan, mapped: Manifest, number: int, *, keys: Keyring | None) -> list[SourceRun]:
    """Return the runs that a merge task reads.

    Args:
        objects: Where they are.
        plan: A plan with merge tasks.
        mapped: The manifest of its map phase.
        number: Of the merge task.
        keys: Prove what is in them; `None` where nothing is signed.

    Raises:
        CorruptObjectError: The index is not what was written.
        StoreError: The store cannot be reached.
    """
    grid, runs = grid_of(plan), [commit.receipts for commit in mapped.commits]
    rows = rows_to_merge(objects, mapped.index, runs, grid, task=number, crc=mapped.index_crcs[number])
    mine = grid.maps_of(number)
    receipts = [receipt for its in runs[mine.start : mine.stop] for receipt in its]
    return [SourceRun(receipt, rows[:, at], None if keys is None else keys.of_object(receipt.key)) for at, receipt in enumerate(receipts)]


def input_of(task: Task) -> SplitInput:
    """Return what a map task reads. Raises as `perform` does."""
    sources = {**task.backend.sources, "job": JobInput(task.backend.objects, _keys(task))}
    job, number = task.plan.job, task.attempt.task.number
    prefix = task.plan.splits or Layout(job).splits
    page = _split_page(task.backend.objects, task.backend.table, prefix, number // SPLITS_PER_PAGE)  # type: ignore[arg-type]  # hashed by identity
    return SplitInput(split_of(page, prefix, number), task.plan.format, sources, after=task.after, reading=task.plan.reading)


def _sink(task: Task) -> PartWriter:
    return PartWriter(
        task.backend.objects,
        Layout(task.plan.job).attempt(task.attempt),
        task.attempt.task.number,
        grouped_order=task.plan.grouped_order,
        scratch=task.scratch,
        in_memory=_spooled(task),
    )


def _keys(task: Task) -> Keyring:
    return keys_of(task.backend.table)


def _spooled(task: Task) -> int:
    """Return how many bytes of what is being written may stay in memory."""
    return task.room.budget // 8
