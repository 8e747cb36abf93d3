"""An early answer: what the map tasks that have committed would give if they were all.

A reduce attempt reads the runs that the map manifest names. Here, in whoever's process it is that asks, the same code reads those that are
committed so far: by a manifest of its own, which is never stored.

Rules of this module:

* Only committed runs are read, of a set of commits that is fixed beforehand. What other attempts wrote, or commit meanwhile, is not seen.
* The sums are proved as at the end of a job, but for those that only all tasks together have.
* Nothing is written: what is reduced stays in memory, and no more of it than may be.
* How much is left out is told, and never too much: `max_bad` is of the whole job, of which groups may fail in part that do not in the end.
* Only where a part of a group means something: for built-in aggregations, and a `reduce` that has a combiner, whose law says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from smr_notebook.control.keys import keys_of
from smr_notebook.control.manifests import manifest_of
from smr_notebook.control.plans import read_code
from smr_notebook.control.proof import check_reduce, check_tasks_mapped
from smr_notebook.control.replaying import check_python
from smr_notebook.control.work import Errand, work_on
from smr_notebook.dataflow.aggregations import is_known
from smr_notebook.dataflow.code import load_program
from smr_notebook.dataflow.exchange import gather_index
from smr_notebook.dataflow.frames.programs import FrameProgram
from smr_notebook.dataflow.functions import UserCodeError
from smr_notebook.dataflow.joined_programs import core_of
from smr_notebook.dataflow.memory import Room
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.pair_programs import PairProgram
from smr_notebook.dataflow.programs import Program
from smr_notebook.dataflow.table_programs import TableProgram
from smr_notebook.errors import ConfigError, ResultTooLargeError, TaskError
from smr_notebook.model import AttemptId, Commit, ObjectInfo, Part, Phase, Plan, TaskId
from smr_notebook.ports import Backend, Buffer, ObjectStore


@dataclass(frozen=True, slots=True)
class EarlyAnswer:
    """What some map tasks give, reduced.

    Attributes:
        parts: The rows.
        objects: Where they are: nowhere else.
        left_out: How many of their records and groups were left out, as `on_error` asked for.
        columns: Where there are no parts, the names of the columns that there would be, as far as the program tells.
    """

    parts: tuple[Part, ...]
    objects: ObjectStore
    left_out: int
    columns: tuple[str, ...] = ()


def reduce_early(backend: Backend, plan: Plan, commits: Sequence[Commit], *, scratch: Path, limit_bytes: int) -> EarlyAnswer:
    """Reduce what some map tasks committed, in this process.

    Args:
        backend: The platform.
        plan: The plan of the job.
        commits: Of map tasks, in task order.
        scratch: Folder on the local disk for what does not fit in memory.
        limit_bytes: Bytes that the stored rows may take.

    Raises:
        ConfigError: The job has no `reduce` that could be run on parts of groups.
        ResultTooLargeError: The rows take more than they may.
        EnvironmentMismatchError: The functions were made by another Python.
        TaskError: The job's `reduce` fails on what there is.
        ConservationError: The sums differ.
        CorruptObjectError: A run is not what was written, or gone.
        StoreError: The store cannot be reached.
    """
    check_python(plan, "Ask for what there is so far")
    code = read_code(backend.objects, plan.job, keys_of(backend.table))
    columns = _check_merges(load_program(code)[0], plan)
    if not commits:
        return EarlyAnswer((), backend.objects, 0, columns)
    index = gather_index(backend.objects, [receipt for commit in commits for receipt in commit.receipts], plan.reducers)
    mapped = manifest_of(plan, Phase.MAP, commits, index)
    check_tasks_mapped(plan, mapped)
    objects = _InMemory(backend.objects, limit_bytes, {mapped.index: index.data.tobytes()})
    place = replace(backend, objects=objects)
    outputs = []
    for partition in range(plan.reducers):
        program, sources = load_program(code)  # anew for each, as a worker does it: so that no state of one leaks into another
        attempt = AttemptId(TaskId(Phase.REDUCE, partition), 1)
        outputs.append(_reduce(Errand(place, plan, program, attempt, Meter(), scratch, Room(plan.budget), sources=sources, mapped=mapped)))
    reduced = manifest_of(plan, Phase.REDUCE, outputs)
    check_reduce(_lenient(plan), mapped, reduced)
    parts = tuple(commit.part for commit in outputs if commit.part is not None)
    return EarlyAnswer(parts, objects, mapped.totals.records_bad + reduced.totals.records_bad)


def _reduce(errand: Errand) -> Commit:
    """Return what would be committed."""
    try:
        output = work_on(errand)
    except UserCodeError as error:
        cause = error.__cause__ or error
        raise TaskError(f"{error.function} fails on what there is so far: {type(cause).__name__}: {cause}", job=errand.plan.job) from cause
    bad = () if output.bad is None else (output.bad,)
    numbers = errand.meter.numbers()
    return Commit(errand.attempt, "", 0.0, 0.0, numbers, part=output.part, checksum=output.checksum, groups=output.groups, bad=bad)


def _lenient(plan: Plan) -> Plan:
    """Return the plan with any number that may be left out: parts of groups may fail that do not as a whole, so that it is only told."""
    return replace(plan, tolerance=replace(plan.tolerance, share=1.0))


def _columns(program: Program) -> tuple[str, ...]:
    """Return the names of the result's columns, as far as a program tells: those of frames only its functions know."""
    if isinstance(program, TableProgram):
        return tuple(name for name, _ in (*program.asked.by, *program.asked.aggregations))
    return () if isinstance(program, FrameProgram) else ("key", "value")


def _check_merges(program: Program, plan: Plan) -> tuple[str, ...]:
    """Refuse a program that could not be run on parts of groups, and return the names of its columns."""
    inner = core_of(program)
    if plan.reducers and (inner.combines or (isinstance(inner, PairProgram) and is_known(inner.functions.reduce))):
        return _columns(inner)
    why = (
        "is a function without combine, and nobody knows what it makes of a part of a group. With combine=True (`--combine` in a cell), if "
        "it may be run on parts, there is an answer so far"
        if inner.reduces and inner.named()
        else "is none: nothing is aggregated"
    )
    raise ConfigError(
        f"{plan.job}: an answer so far is what a built-in aggregation (smr.sum, smr.aggregate(…), sum, len, …), or a reduce with combine, "
        f"gives for the tasks that are done. The reduce of this job {why}."
    )


@dataclass(frozen=True, slots=True)
class _InMemory:
    """An object store that keeps in memory what is put, and for the rest is another one; implements `ports.ObjectStore`."""

    behind: ObjectStore
    limit_bytes: int
    index: dict[str, bytes]
    kept: dict[str, bytes] = field(default_factory=dict)

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return bytes of an object, ours before theirs."""
        mine = self.kept.get(key, self.index.get(key))
        return self.behind.get(key, start, stop) if mine is None else mine[start:stop]

    def put(self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False) -> bool:  # noqa: ARG002 - each key is put once
        """Keep an object."""
        kept, room = bytearray(), self.limit_bytes - sum(map(len, self.kept.values()))
        for piece in (data,) if isinstance(data, Buffer) else data:
            kept += piece
            if len(kept) > room:
                raise ResultTooLargeError(
                    f"What there is so far takes more than {self.limit_bytes:,} bytes, the session's `result_limit`. Raise it, or wait for "
                    "the end: `job.head()` and `job.scan()` then need not load all."
                )
        self.kept[key] = bytes(kept)
        return True

    def list_prefix(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield theirs: nobody lists ours."""
        return self.behind.list_prefix(prefix)

    def delete_prefix(self, prefix: str) -> int:  # noqa: ARG002 - the port's verb
        """Leave all as it is."""
        return 0
