"""From what the user asked for to a plan: the driver's part of a job, before anything runs.

Order matters, because each step may refuse: the functions travel or do not, the input is there or is not, the combiner keeps its
law on a sample. Only then is there a plan. Items of an iterable and rows of a DataFrame are stored beside the job on the way, so
that workers read them like any other object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from smr_notebook.control.layout import Layout
from smr_notebook.control.naming import Files, FoundObject, Items, NamedInput, choose_format, empty_objects, find
from smr_notebook.dataflow.aggregations import is_natural
from smr_notebook.dataflow.code import Bundle, CodeReport, capture, load_functions, modules_by_value
from smr_notebook.dataflow.combining import check_combiner
from smr_notebook.dataflow.compression import HEAD_BYTES, cuttable
from smr_notebook.dataflow.functions import Functions, Pair
from smr_notebook.dataflow.inputs import JobInput, open_blocks
from smr_notebook.dataflow.splits import PlannedObject, choose_split_bytes, plan_splits
from smr_notebook.dataflow.stored import store_frame, store_items
from smr_notebook.errors import EnvironmentMismatchError, InputEmptyError
from smr_notebook.model import Environment, Format, ObjectInfo, Plan, Policy, Split
from smr_notebook.ports import Backend, Clock, InputSource, ObjectStore

PARTITION_BYTES = 64 * 2**20
"""Input bytes for each partition when the user names no number."""

LARGEST_CHUNK = 128 * 2**20
"""Bytes of items or rows for each map task at most; `store_items` shares smaller inputs out among the workers."""

SMALLEST_PARTITION = 8 * 2**20
"""Input bytes for each partition below which a worker of its own is not worth it."""

MOST_PARTITIONS = 1_000
SAMPLE_BYTES = 2**20
SAMPLE_RECORDS = 200
SAMPLE_PAIRS = 5_000
SAMPLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for, checked in form but not in substance.

    Attributes:
        functions: The user's functions.
        input: What they should run over.
        format: Name of a format, or `auto`.
        reducers: Partitions; 0 for automatic.
        split_size: Bytes for each map task; 0 for automatic.
        name: Label, or an empty string.
        budget: Bytes of data that a worker holds before it spills.
        policy: How hard to try.
    """

    functions: Functions
    input: NamedInput
    format: str
    reducers: int
    split_size: int
    name: str
    budget: int
    policy: Policy


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A plan with all that belongs to it; nothing has run."""

    plan: Plan
    splits: tuple[Split, ...]
    bundle: Bundle

    @property
    def code(self) -> CodeReport:
        """What travels with the functions."""
        return self.bundle.report

    def describe(self) -> str:
        """Return the plan as a few lines of text."""
        plan, code = self.plan, self.code
        sizes = [split.bytes for split in self.splits]
        reduce = f"{plan.reducers:,} reduce" if plan.reducers else "no reduce"
        lines = [
            f"Plan    {plan.maps:,} map × {max(sizes):,} bytes at most · {reduce} · {plan.input_bytes:,} bytes of {plan.format}",
            f"Code    {code.size:,} bytes · captured: "
            + (", ".join(f"{name} ({size:,} bytes)" for name, size in code.captured) or "nothing"),
            "Check   Python and packages match · input found · functions travel",
        ]
        if code.modules:
            lines.insert(2, f"Modules by value: {', '.join(code.modules)}")
        return "\n".join(lines + [f"Warning {warning}" for warning in plan.warnings])


@dataclass(frozen=True, slots=True)
class _Input:
    objects: tuple[PlannedObject, ...]
    format: Format
    split_bytes: int
    records: int | None
    warnings: tuple[str, ...]


def plan_job(
    request: Request, backend: Backend, *, job: str, here: Environment, store: ObjectStore, label_of: Callable[[str], str]
) -> PlannedJob:
    """Plan a job.

    Args:
        request: What the user asked for.
        backend: Where it shall run.
        job: Identifier of the job.
        here: The environment of this process.
        store: Where items and frames are put (the backend's, or a throw-away store for a dry run).
        label_of: Gives the name that a person knows a code file by.

    Raises:
        InputError: The input is missing, empty, mixed or unreadable.
        PlanError: The functions cannot travel, or the combiner breaks its law.
        EnvironmentMismatchError: The workers could not read what this notebook pickles.
    """
    check_environment(here, backend.functions.limits.environment)
    code = capture(request.functions, label_of=label_of)
    slots = max(1, backend.functions.limits.concurrency)
    source = _planned_input(request, backend, job=job, store=store, slots=slots)
    splits = plan_splits(source.objects, split_bytes=source.split_bytes)
    total = sum(planned.info.size for planned in source.objects)
    sources = {**backend.sources, "job": JobInput(store)}
    if request.functions.combine is not None and not is_natural(request.functions.combine):
        tried, _ = load_functions(code.data)  # a copy, so that trying them leaves no trace in the notebook's own objects
        check_combiner(tried, list(sample_pairs(tried, splits, format=source.format, sources=sources, clock=backend.clock)))
    plan = Plan(
        job=job,
        name=request.name,
        created=backend.clock.now(),
        format=source.format,
        maps=len(splits),
        reducers=_reducers(request, total, slots=slots),
        combine=request.functions.combine is not None,
        grouped_order=request.functions.reduce_yields,
        input_bytes=total,
        input_records=source.records,
        budget=request.budget,
        policy=request.policy,
        environment=backend.functions.limits.environment,
        warnings=source.warnings + code.report.warnings,
    )
    return PlannedJob(plan, splits, code)


def check_environment(here: Environment, there: Environment) -> None:
    """Refuse a pair of environments between which pickled code does not travel safely.

    Raises:
        EnvironmentMismatchError: Python's minor version, the pickle protocol or a package differs.
    """
    differences = []
    if here.python != there.python:
        differences.append(f"Python {here.python} here, {there.python} on the workers")
    if here.pickle_protocol != there.pickle_protocol:
        differences.append(f"pickle protocol {here.pickle_protocol} here, {there.pickle_protocol} on the workers")
    ours, theirs = dict(here.packages), dict(there.packages)
    differences += [
        f"{name} {ours.get(name, 'missing')} here, {theirs.get(name, 'missing')} on the workers"
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    ]
    if differences:
        raise EnvironmentMismatchError(
            "This notebook and the workers differ: " + "; ".join(differences) + ". "
            "Restart the kernel after installing packages, or install the same versions on both sides."
        )


def sample_pairs(
    functions: Functions, splits: Iterable[Split], *, format: Format, sources: dict[str, InputSource], clock: Clock
) -> Iterator[Pair]:
    """Yield the pairs of the first few records, as far as `map` is quick and does not fail: the job itself names its failures."""
    end = clock.now() + SAMPLE_SECONDS
    try:
        for source, record in islice(_first_records(splits, format, sources), SAMPLE_RECORDS):
            found = functions.map(source, record) if functions.map_takes_source else functions.map(record)
            for pair in islice(found or (), SAMPLE_PAIRS // 10):
                key, value = pair
                yield key, value
            if clock.now() > end:
                return
    except (Exception, SystemExit):  # noqa: BLE001 - whatever is wrong here is found again, and told with its place, by the map task
        return


def _first_records(splits: Iterable[Split], format: Format, sources: dict[str, InputSource]) -> Iterator[tuple[str, object]]:
    """Yield records with their sources, split after split: a short list has as many splits as items."""
    size = 0
    for block in chain.from_iterable(open_blocks(split, format, sources) for split in splits):
        yield from ((block.source, record) for record in block.records)
        size += block.size
        if size >= SAMPLE_BYTES:
            return


def _reducers(request: Request, total: int, *, slots: int) -> int:
    if request.functions.reduce is None:
        return 0
    by_size, by_slots = -(-total // PARTITION_BYTES), min(slots, total // SMALLEST_PARTITION)
    return request.reducers or max(1, min(MOST_PARTITIONS, max(by_size, by_slots)))


def _planned_input(request: Request, backend: Backend, *, job: str, store: ObjectStore, slots: int) -> _Input:
    if isinstance(request.input, Files):
        return _planned_files(request, request.input, backend.sources, slots=slots)
    prefix = Layout(job).input
    split_bytes = request.split_size or LARGEST_CHUNK
    if isinstance(request.input, Items):
        with modules_by_value():
            stored, records = store_items(request.input.values, store, prefix, split_bytes=split_bytes, slots=slots)
        return _stored(stored, records, Format.ITEMS, split_bytes, what="The iterable has no items")
    stored, records = store_frame(request.input.frame, store, prefix, split_bytes=split_bytes, slots=slots)
    return _stored(stored, records, Format.FRAME, split_bytes, what="The DataFrame has no rows")


def _stored(stored: list[ObjectInfo], records: int, format: Format, split_bytes: int, *, what: str) -> _Input:
    if not records:
        raise InputEmptyError(f"{what}: there is nothing to map over.")
    return _Input(tuple(PlannedObject("job", info, cuttable=False, packable=False) for info in stored), format, split_bytes, records, ())


def _planned_files(request: Request, named: Files, sources: Any, *, slots: int) -> _Input:
    found = find(named, sources)
    format = choose_format(request.format, found)
    total = sum(item.info.size for item in found)
    split_bytes = choose_split_bytes(total, slots=slots, requested=request.split_size or None)
    objects = tuple(PlannedObject(item.scheme, item.info, cuttable=_cuttable(item, format, sources, split_bytes)) for item in found)
    empty = list(empty_objects(found))
    gives = "an empty record each" if format is Format.BINARY else "no records"
    warnings = (f"Empty objects give {gives}: {len(empty):,} of {len(found):,}, {empty[0]} first.",) if empty else ()
    return _Input(objects, format, split_bytes, None, warnings)


def _cuttable(item: FoundObject, format: Format, sources: Any, split_bytes: int) -> bool:
    if item.info.size <= split_bytes:
        return False  # nobody needs to know: it is not cut, and its reader looks at its head anyway
    return cuttable(sources[item.scheme].get(item.info.key, 0, HEAD_BYTES), format)
