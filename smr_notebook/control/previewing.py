"""A preview: what a job would do with the first records of its input, run in this process.

The data plane is the job's own: the same readers over the same splits, the functions as they travel, the same shuffle, the same parts. What
differs is that it ends early, has one partition, and leaves nothing behind: what it writes goes to a store of the caller's that is thrown
away.

Rules of this module:

* A function that fails ends the preview with what a job would tell of it: no more and no less.
* Of an input in memory only the first items or rows are taken, so that a preview of a large one is quick.
* Time is that of the backend's clock. Reading is timed apart from mapping, because it is done elsewhere in a job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from smr_notebook.control.costs import OVERHEAD_SECONDS, Shape, rates_of
from smr_notebook.control.extrapolating import LOCAL_OVERHEAD, Looked, Whole, whole_of
from smr_notebook.control.inlets import Inlets
from smr_notebook.control.keys import keys_of
from smr_notebook.control.naming import Files, Items, Rows
from smr_notebook.control.planning import (
    CutInput,
    Request,
    check_environment,
    cut_input,
    reducers_of,
    slots_of,
    told_of_service,
)
from smr_notebook.control.preview_tasks import JOB, PreviewTasks
from smr_notebook.control.reading import LARGEST_CHUNK, store_input
from smr_notebook.control.trying import check_law
from smr_notebook.dataflow.bad_records import BadRecord
from smr_notebook.dataflow.code import capture, load_program
from smr_notebook.dataflow.first_records import FirstRecords, beginning_of
from smr_notebook.dataflow.functions import Pair
from smr_notebook.dataflow.pair_programs import program_of_pairs
from smr_notebook.dataflow.watched import HeavyKey
from smr_notebook.errors import PlanError
from smr_notebook.model import Environment, Numbers, Part, TaskId
from smr_notebook.ports import Backend

_IDLE: Final = "idle"
"""What stands for the identifier of a job that does nothing."""

_LEAST: Final = 0.1
"""Part of the time measured that is a function's own at least, whatever doing nothing takes."""


@dataclass(frozen=True, slots=True)
class Previewed:
    """What came of the first records.

    Attributes:
        parts: The rows.
        map: What was counted while mapping.
        reduce: What was counted while reducing.
        looked: What it took.
        whole: What the whole input is thought to take.
        heaviest: The keys that have most pairs, where there is a reduce phase.
        bad: What was left out, as `on_error` asked for.
        warnings: What the user should know, a sentence each.
    """

    parts: tuple[Part, ...]
    map: Numbers
    reduce: Numbers
    looked: Looked
    whole: Whole
    heaviest: tuple[HeavyKey, ...]
    bad: tuple[tuple[TaskId, BadRecord], ...]
    warnings: tuple[str, ...]


def preview(request: Request, backend: Backend, *, records: int, here: Environment, label_of: Callable[[str], str]) -> Previewed:
    """Run a job over the first records of its input, in this process.

    Args:
        request: What the user asked for.
        backend: Where it would run, with an object store and a table that are thrown away.
        records: How many records.
        here: The environment of this process.
        label_of: Gives the name that a person knows a code file by.

    Raises:
        PreviewFailed: A task failed.
        InputError: The input is missing, empty, mixed or unreadable.
        PlanError: The functions cannot travel, or the combiner breaks its law.
        EnvironmentMismatchError: The workers could not read what this notebook pickles.
    """
    if isinstance(request.input, Inlets):
        raise PlanError("A preview reads one input. Preview each map function over its own: smr.preview(map, None, input).")
    check_environment(here, backend.functions.limits.environment, mend=backend.functions.limits.advice.environment)
    code = capture(request.program, label_of=label_of)
    beginning, known = _first(request, backend, records)
    cut = cut_input(beginning, backend, job=JOB, store=backend.objects)
    idle = _idle(request, backend)
    program, sources = load_program(code.data)
    wanted = FirstRecords(records, backend.clock.now)
    tasks = PreviewTasks(request, backend, program, sources)
    for input in cut.inputs:
        if wanted.left > 0:
            tasks.map(beginning_of(input, wanted))
    if program.has_law:
        check_law(load_program(code.data)[0], tasks.watched.pairs)  # a copy, as planning does: trying leaves no trace in the functions
    if program.reduces:
        tasks.reduce()
    looked = _without(tasks.looked(wanted), idle, attempts=tasks.attempts)
    whole = _whole(request, backend, cut, looked, known=looked.records if wanted.left > 0 else known)
    warnings = request.warnings + cut.source.warnings + code.report.warnings
    warnings += told_of_service(backend.functions.limits, maps=whole.maps)
    heaviest = tasks.watched.heaviest() if program.reduces else ()
    return Previewed(tuple(tasks.parts), tasks.mapped, tasks.reduced, looked, whole, heaviest, tuple(tasks.bad), warnings)


class _FirstItems:
    """The first items of an iterable that is no list: pickled one by one, as those of the whole one would be."""

    def __init__(self, values: Iterable[Any], most: int) -> None:
        self._items = list(islice(values, most))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


def _first(request: Request, backend: Backend, records: int) -> tuple[Request, int | None]:
    """Return a request for the first items or rows of what is in memory, which are stored, and how many there are, where that is known."""
    named, known = request.input, None
    if isinstance(named, Rows):
        first: Items | Rows = Rows(named.frame.iloc[:records])
        known = len(named.frame)
    elif isinstance(named, Items):
        values = named.values
        known = len(values) if isinstance(values, Sized) else None
        first = Items(values[:records] if isinstance(values, list | tuple) else _FirstItems(values, records))
    else:
        return request, None
    keys = keys_of(backend.table)
    stored = store_input(first, backend.objects, job=JOB, keys=keys, split_size=request.split_size, slots=1, parallel=1)
    return replace(request, input=stored), known


def _idle(request: Request, backend: Backend) -> Looked:
    """Return what one attempt of each phase takes that does nothing, in a process that is warm: no function is to be charged for that."""
    folds = request.program.combines and not request.program.has_law
    program = program_of_pairs(_pair, (sum if folds else _nothing) if request.program.reduces else None, None)
    idle = Request(program, Items([0]), "auto", 0, 0, "", request.budget, request.policy)
    inputs = cut_input(idle, backend, job=_IDLE, store=backend.objects).inputs
    found = Looked(0, 0, 0, 0, 0, 0.0, 0.0, 0.0)
    for _ in range(2):  # the first time pays for what libraries make on first use
        tasks, wanted = PreviewTasks(idle, backend, program, {}, job=_IDLE), FirstRecords(1, backend.clock.now)
        tasks.map(beginning_of(inputs[0], wanted))
        if program.reduces:
            tasks.reduce()
        found = tasks.looked(wanted)
    return found


def _pair(record: object) -> list[Pair]:
    return [(record, record)]


def _nothing(_: object, __: object) -> None:
    return None


def _without(looked: Looked, idle: Looked, *, attempts: int) -> Looked:
    """Return what was taken without what so many attempts take in any case."""
    return replace(
        looked,
        map_seconds=max(looked.map_seconds - attempts * idle.map_seconds, _LEAST * looked.map_seconds),
        reduce_seconds=max(looked.reduce_seconds - idle.reduce_seconds, _LEAST * looked.reduce_seconds),
    )


def _whole(request: Request, backend: Backend, cut: CutInput, looked: Looked, *, known: int | None) -> Whole:
    """Return what the whole input is thought to take. `known` says how many records it has, if that is known."""
    slots, rates, maps, total = slots_of(backend), rates_of(backend.tariff), len(cut.splits), cut.bytes
    if not isinstance(request.input, Files):
        if known is None:
            return Whole(None, exact=False, bytes=0, maps=0, reducers=0, workers=slots)
        total = cut.bytes * known // max(looked.records, 1)
        maps = max(-(-total // (request.split_size or LARGEST_CHUNK)), min(known, request.program.splits_per_worker * slots), 1)
    reducers = reducers_of(request, total, slots=slots)
    shape = Shape(maps, reducers, total, slots, request.policy.heartbeat, overhead=OVERHEAD_SECONDS if rates else LOCAL_OVERHEAD)
    memory, above = backend.functions.limits.memory_bytes, request.merge_above
    return whole_of(looked, shape, rates, memory_bytes=memory, records=known, exchange=request.exchange, merge_above=above)
