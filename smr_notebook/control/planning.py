"""From what the user asked for to a plan, before anything runs: in the notebook, or in a driver where code runs.

Order matters, because each step may refuse: the functions travel or do not, the input is there or is not, the combiner keeps its
law on a sample, the job is thought to cost no more than it may. Only then is there a plan. Items of an iterable and rows of a DataFrame
are stored beside the job on the way, so that workers read them like any other object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

from smr_notebook.control.costs import Sample, Shape, estimate, rates_of
from smr_notebook.control.layout import Layout
from smr_notebook.control.naming import Files, FoundObject, Items, NamedInput, choose_format, empty_objects, find, peek
from smr_notebook.control.row_keys import MOST_TASKS
from smr_notebook.dataflow.aggregations import is_natural
from smr_notebook.dataflow.code import Bundle, CodeReport, capture, load_functions, modules_by_value
from smr_notebook.dataflow.combining import check_combiner
from smr_notebook.dataflow.compression import HEAD_BYTES, cuttable
from smr_notebook.dataflow.functions import Functions, Pair
from smr_notebook.dataflow.inputs import JobInput, open_blocks
from smr_notebook.dataflow.splits import PlannedObject, choose_split_bytes, plan_splits
from smr_notebook.dataflow.stored import store_frame, store_items
from smr_notebook.environment import PACKAGES
from smr_notebook.errors import AccessDeniedError, BudgetExceededError, EnvironmentMismatchError, InputEmptyError, PlanError
from smr_notebook.model import Environment, Format, ObjectInfo, Plan, Policy, Split
from smr_notebook.ports import Backend, Clock, InputSource, ObjectStore, ServiceLimits

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
        max_cost: US dollars that the job may cost; 0 for any.
        planner: Who plans, where several may; empty for whoever submits.
        warnings: What the user should know of already.
    """

    functions: Functions
    input: NamedInput
    format: str
    reducers: int
    split_size: int
    name: str
    budget: int
    policy: Policy
    max_cost: float = 0.0
    planner: str = ""
    warnings: tuple[str, ...] = ()


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
        if plan.estimate is not None and plan.rates is not None:
            thought, rates = plan.estimate, plan.rates
            lines.insert(1, f"Cost    ${thought.low:,.2g} to ${thought.high:,.2g}, at prices of {rates.region}, {rates.date}")
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
    check_environment(here, backend.functions.limits.environment, mend=backend.functions.limits.advice.environment)
    code = capture(request.functions, label_of=label_of)
    planned = plan_captured(request, backend, job=job, code=code.data, store=store)
    plan = replace(planned[0], warnings=planned[0].warnings + code.report.warnings)
    return PlannedJob(plan, planned[1], code)


def prepare(request: Request, backend: Backend, *, here: Environment, label_of: Callable[[str], str]) -> Bundle:
    """Do what must be done where the user is, for a job that is planned elsewhere: capture the functions, and look for the input.

    Args:
        request: What the user asked for.
        backend: Where it shall run.
        here: The environment of this process.
        label_of: Gives the name that a person knows a code file by.

    Raises:
        InputMissingError: Nothing stands under a name. Whoever may not look does not: the driver does.
        PlanError: The functions cannot travel.
        EnvironmentMismatchError: The workers could not read what this notebook pickles.
    """
    check_environment(here, backend.functions.limits.environment, mend=backend.functions.limits.advice.environment)
    code = capture(request.functions, label_of=label_of)
    if isinstance(request.input, Files):
        with suppress(AccessDeniedError):
            peek(request.input, backend.sources)
    return code


def plan_captured(request: Request, backend: Backend, *, job: str, code: bytes, store: ObjectStore) -> tuple[Plan, tuple[Split, ...]]:
    """Plan a job whose functions are captured already, and return the plan and its splits.

    Args:
        request: What the user asked for.
        backend: Where it shall run.
        job: Identifier of the job.
        code: The captured functions. A copy of them is tried, so that trying leaves no trace in anybody's own objects.
        store: Where items and frames are put.

    Raises:
        InputError: The input is missing, empty, mixed or unreadable.
        PlanError: The combiner breaks its law, or there would be too many tasks.
        BudgetExceededError: The job is thought to cost more than it may.
    """
    slots = max(1, backend.functions.limits.concurrency)
    source = _planned_input(request, backend, job=job, store=store, slots=slots)
    splits = plan_splits(source.objects, split_bytes=source.split_bytes)
    if len(splits) > MOST_TASKS or request.reducers > MOST_TASKS:
        raise PlanError(f"The job would have {max(len(splits), request.reducers):,} tasks; {MOST_TASKS:,} are the most. Use larger splits.")
    total = sum(planned.info.size for planned in source.objects)
    rates, combine = rates_of(backend.tariff), request.functions.combine
    unproved = combine is not None and not is_natural(combine)
    sample = Sample()
    if rates is not None or unproved:
        sources = {**backend.sources, "job": JobInput(store)}
        tried, _ = load_functions(code)
        sample, pairs = take_sample(tried, splits, format=source.format, sources=sources, clock=backend.clock)
        if unproved:
            check_combiner(tried, pairs)
    plan = Plan(
        job=job,
        name=request.name,
        created=backend.clock.now(),
        format=source.format,
        maps=len(splits),
        reducers=_reducers(request, total, slots=slots),
        combine=combine is not None,
        grouped_order=request.functions.reduce_yields,
        input_bytes=total,
        input_records=source.records,
        budget=request.budget,
        policy=request.policy,
        environment=backend.functions.limits.environment,
        warnings=request.warnings + source.warnings + _waves(backend.functions.limits, len(splits)),
        splits=Layout(job).splits_of(request.planner) if request.planner else "",
        rates=rates,
        memory_bytes=backend.functions.limits.memory_bytes,
        max_cost=request.max_cost,
    )
    return _estimated(plan, sample, slots=slots), splits


def _estimated(plan: Plan, sample: Sample, *, slots: int) -> Plan:
    """Return a plan with what it is thought to cost.

    Raises:
        BudgetExceededError: That is more than it may.
    """
    if plan.rates is None:
        return plan
    shape = Shape(plan.maps, plan.reducers, plan.input_bytes, slots, plan.policy.heartbeat)
    thought = estimate(shape, sample, plan.rates, memory_bytes=plan.memory_bytes)
    if plan.max_cost and thought.likely > plan.max_cost:
        raise BudgetExceededError(
            f"The job is thought to cost ${thought.low:,.2g} to ${thought.high:,.2g}, and max_cost is ${plan.max_cost:,.4g}. "
            f"Raise max_cost, or name less input: {plan.maps:,} map and {plan.reducers:,} reduce tasks over {plan.input_bytes:,} bytes.",
            job=plan.job,
        )
    return replace(plan, estimate=thought)


def _waves(limits: ServiceLimits, maps: int) -> tuple[str, ...]:
    if not limits.advice.concurrency or maps <= limits.concurrency:
        return ()
    return (f"{maps:,} map tasks run {limits.concurrency:,} at a time. {limits.advice.concurrency}",)


def check_environment(here: Environment, there: Environment, *, mend: str = "") -> None:
    """Refuse a pair of environments between which pickled code does not travel safely. `mend` says how the workers' can be changed.

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
        for name in sorted(ours.keys() | (theirs.keys() & set(PACKAGES)))
        if ours.get(name) != theirs.get(name)
    ]
    if differences:
        raise EnvironmentMismatchError(
            "This notebook and the workers differ: "
            + "; ".join(differences)
            + ". "
            + (mend or "Restart the kernel after installing packages, or install the same versions on both sides.")
        )


def take_sample(
    functions: Functions, splits: Iterable[Split], *, format: Format, sources: dict[str, InputSource], clock: Clock
) -> tuple[Sample, list[Pair]]:
    """Map the first few records, and return what that took and the first pairs that it gave.

    As far as `map` is quick and does not fail: the job itself names its failures.
    """
    began = clock.now()
    pairs: list[Pair] = []
    records, size, given = 0, 0.0, 0
    try:
        for source, record, weight in islice(_first_records(splits, format, sources), SAMPLE_RECORDS):
            found = functions.map(source, record) if functions.map_takes_source else functions.map(record)
            for pair in islice(found or (), SAMPLE_PAIRS // 10):
                key, value = pair
                pairs.append((key, value))
            records, size, given = records + 1, size + weight, len(pairs)
            if clock.now() > began + SAMPLE_SECONDS or len(pairs) > SAMPLE_PAIRS:
                break
    except (Exception, SystemExit):  # noqa: BLE001 - whatever is wrong here is found again, and told with its place, by the map task
        return Sample(records, int(size), given, clock.now() - began), pairs
    return Sample(records, int(size), given, clock.now() - began), pairs


def _first_records(splits: Iterable[Split], format: Format, sources: dict[str, InputSource]) -> Iterator[tuple[str, object, float]]:
    """Yield records with their sources and bytes, split after split: a short list has as many splits as items."""
    size = 0
    for block in chain.from_iterable(open_blocks(split, format, sources) for split in splits):
        weight = block.size / max(len(block.records), 1)
        yield from ((block.source, record, weight) for record in block.records)
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
