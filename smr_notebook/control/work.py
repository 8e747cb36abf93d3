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
class Errand:
    """What one attempt has to do, and by what means.

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


def perform(errand: Errand) -> Output:
    """Do the work of one attempt.

    Raises:
        AttemptStopped: Somebody asked the meter to stop.
        UserCodeError: A user's function raised.
        InputError: The input cannot be read as planned.
        CorruptObjectError: A run or a stored object is not what was written.
        StoreError: The store cannot be reached.
    """
    keep_freed()
    return work_on(errand)


def work_on(errand: Errand) -> Output:
    """Do the work of one attempt in a process that is used for other things, too. Raises as `perform` does."""
    phase = errand.attempt.task.phase
    if phase is Phase.MERGE:
        return _merge(errand)
    work = _reduce if phase is Phase.REDUCE else _map if errand.plan.reducers else _map_to_part
    with counting(errand.meter.counts):
        inlet = inlet_of_task(errand.plan.reading, errand.attempt.task)
        with opened(errand.program, NAMES[phase], meter=errand.meter, inlet=inlet) as program:
            errand = replace(errand, program=program)
            output = _leaving_out(errand, work) if errand.plan.tolerance.tolerant else work(errand)
        errand.meter.counts.check()
    return output


def _leaving_out(errand: Errand, work: Callable[[Errand], Output]) -> Output:
    """Do the work, and store what it left out."""
    everything = errand.plan.tolerance.on_error is OnError.COLLECT
    tell = partial(tell_of, sources=errand.sources)
    bad = errand.meter.bad = BadRecords(tell, everything=everything, scratch=errand.scratch, in_memory=_spooled(errand))
    try:
        output = work(errand)
        return replace(output, bad=bad.store(errand.backend.objects, Layout(errand.plan.job).bad(errand.attempt)))
    finally:
        bad.close()


def _map(errand: Errand) -> Output:
    exchange = exchange_of(errand.backend, errand.plan, scratch=errand.scratch, in_memory=_spooled(errand))
    writer = exchange.writer(errand.attempt, errand.plan.reducers)
    mapped = run_map(
        errand.program.emitter(input_of(errand), meter=errand.meter, batch_bytes=errand.room.budget // 16),
        errand.program.combiner(tolerant=errand.plan.tolerance.tolerant),
        SigningWriter(writer, errand.attempt, _keys(errand).of_folder(Layout(errand.plan.job).folder)),
        partitioner=partitioner_of(errand.plan.reducers, errand.plan.bounds if errand.plan.sorting.keys else None),
        meter=errand.meter,
        room=errand.room,
        scratch=errand.scratch,
        order=ORDERS[errand.plan.sorting.values],
        codec=errand.backend.codec,
    )
    return Output(receipt=mapped.receipt, position=mapped.position)


def _map_to_part(errand: Errand) -> Output:
    mapped = run_map_to_part(errand.program, input_of(errand), _sink(errand), meter=errand.meter)
    return Output(part=mapped.part, position=mapped.position)


def _merge(errand: Errand) -> Output:
    backend, plan, attempt = errand.backend, errand.plan, errand.attempt
    mapped = _manifest(backend.objects, backend.table, plan.job, Phase.MAP)  # type: ignore[arg-type]  # hashed by identity
    sources = sources_of(backend.objects, plan, mapped, attempt.task.number, keys=_keys(errand))
    layout = Layout(plan.job)
    merged = Coalescer(
        backend.objects,
        sources,
        grid_of(plan).partitions_of(attempt.task.number),
        attempt=attempt,
        key=_keys(errand).of_folder(layout.folder),
        meter=errand.meter,
        most_bytes=errand.room.budget // 2,
        parallel=backend.parallel,
    )
    return Output(receipt=merged.write(layout.run(attempt)))


def _reduce(errand: Errand) -> Output:
    reduced = run_reduce(
        errand.program,
        partition_runs(errand),
        _sink(errand),
        meter=errand.meter,
        room=errand.room,
        scratch=errand.scratch,
        after=errand.after,
        order=ORDERS[errand.plan.sorting.values],
    )
    return Output(part=reduced.part, checksum=reduced.checksum, groups=reduced.groups, position=reduced.position)


def partition_runs(errand: Errand) -> Iterator[Iterator[bytes]]:
    """Yield, for each map task in order, the blocks of the partition that a reduce task is to reduce.

    Raises:
        CorruptObjectError: A run, or the manifest of the map phase, is not what was written.
        StoreError: The store cannot be reached.
    """
    backend, plan = errand.backend, errand.plan
    objects, table, before = backend.objects, backend.table, Phase.MERGE if plan.merging else Phase.MAP
    manifest = errand.mapped or _manifest(objects, table, plan.job, before)  # type: ignore[arg-type]  # hashed by identity
    tasks = len(errand.mapped.commits) if errand.mapped else plan.tasks(manifest.phase)
    if sum(bool(commit.receipts) for commit in manifest.commits) != tasks:
        told = f"The {manifest.phase} manifest of job {plan.job} names no run of some of {tasks} tasks."
        raise CorruptObjectError(f"{told} Submit the job again.")
    partition = errand.attempt.task.number
    mine = grid_of(plan).merges_of(partition) if manifest.phase is Phase.MERGE else range(tasks)
    receipts = [receipt for commit in manifest.commits[mine.start : mine.stop] for receipt in commit.receipts]
    exchange = exchange_of(backend, plan, scratch=errand.scratch, index=manifest.index, index_crcs=manifest.index_crcs)
    keys = [_keys(errand).of_object(receipt.key) for receipt in receipts]
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


def input_of(errand: Errand) -> SplitInput:
    """Return what a map task reads. Raises as `perform` does."""
    sources = {**errand.backend.sources, "job": JobInput(errand.backend.objects, _keys(errand))}
    job, number = errand.plan.job, errand.attempt.task.number
    prefix = errand.plan.splits or Layout(job).splits
    page = _split_page(errand.backend.objects, errand.backend.table, prefix, number // SPLITS_PER_PAGE)  # type: ignore[arg-type]  # hashed by identity
    return SplitInput(split_of(page, prefix, number), errand.plan.format, sources, after=errand.after, reading=errand.plan.reading)


def _sink(errand: Errand) -> PartWriter:
    return PartWriter(
        errand.backend.objects,
        Layout(errand.plan.job).attempt(errand.attempt),
        errand.attempt.task.number,
        grouped_order=errand.plan.grouped_order,
        scratch=errand.scratch,
        in_memory=_spooled(errand),
    )


def _keys(errand: Errand) -> Keyring:
    return keys_of(errand.backend.table)


def _spooled(errand: Errand) -> int:
    """Return how many bytes of what is being written may stay in memory."""
    return errand.room.budget // 8
