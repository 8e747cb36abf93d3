"""From what the user asked for to a plan, before anything runs: in the notebook, or in a driver where code runs.

Order matters, because each step may refuse: the functions travel or do not, the input is there or is not, the combiner keeps its
law on a sample, the job is thought to cost no more than it may. Only then is there a plan. Items of an iterable and rows of a DataFrame
are stored beside the job on the way, so that workers read them like any other object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from smr_notebook.control.costs import Sample, Shape, estimate, rates_of
from smr_notebook.control.inlets import AnyInput, Inlet, Inlets, cut_parts, files_of, plan_inlets, told_of
from smr_notebook.control.keys import keys_of
from smr_notebook.control.layout import Layout
from smr_notebook.control.moving import moves_of
from smr_notebook.control.naming import Files, JobRows, NamedInput, peek
from smr_notebook.control.planned import PlannedJob
from smr_notebook.control.prior_results import plan_rows
from smr_notebook.control.reading import PlannedInput, StoredInput, plan_input, store_input
from smr_notebook.control.row_keys import MOST_TASKS
from smr_notebook.control.sampling import sample_keys
from smr_notebook.control.trying import try_out
from smr_notebook.dataflow.code import Bundle, capture, load_program
from smr_notebook.dataflow.inputs import JobInput, SplitInput
from smr_notebook.dataflow.joined_programs import JoinedProgram
from smr_notebook.dataflow.partitioning import choose_bounds
from smr_notebook.dataflow.programs import Program
from smr_notebook.dataflow.splits import plan_splits
from smr_notebook.environment import PACKAGES
from smr_notebook.errors import AccessDeniedError, BudgetExceededError, EnvironmentMismatchError, PlanError
from smr_notebook.model import OBJECTS, PLAINLY, Environment, Format, Plan, Policy, Reading, Split
from smr_notebook.ports import Backend, InputSource, ObjectStore, ServiceLimits
from smr_notebook.showing.amounts import dollars
from smr_notebook.values.tolerance import STRICT, Tolerance

PARTITION_BYTES = 64 * 2**20
"""Input bytes for each partition when the user names no number."""

SORTED_BYTES = 32 * 2**20
"""The same where keys are sorted: nothing makes the pairs fewer, and ranges are not quite even."""

SMALLEST_PARTITION = 8 * 2**20
"""Input bytes for each partition below which a worker of its own is not worth it."""

MOST_PARTITIONS = 1_000

LEAST_MEMORY = 256 * 2**20
MOST_MEMORY = 2**30
"""Resident bytes of a worker when the user names none: half of what the platform gives it, but no less and no more than these."""

FEW_WAVES = 8
"""How often a worker may have to begin anew before the user is told: as many pieces as are made of an input for each worker."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for, checked in form but not in substance.

    Attributes:
        program: What the job runs.
        input: What they should run over.
        format: Name of a format, or `auto`.
        reducers: Partitions; 0 for automatic.
        split_size: Bytes for each map task; 0 for automatic.
        name: What the job is called, or an empty string.
        budget: Resident bytes that a worker may take before it spills; 0 for automatic.
        policy: How hard to try.
        max_cost: US dollars that the job may cost; 0 for any.
        planner: Who plans, where several may; empty for whoever submits.
        samples: Whether records may be mapped for an estimate alone.
        warnings: What the user should know of already.
        reading: What is said of the format besides its name.
        tolerance: What may be left out.
        include: Names of installed modules that travel with the functions.
        exchange: What pairs travel by.
        carrier: Where that is, if it is not the object store.
        merge_above: As of `merges.choose_merging`.
    """

    program: Program
    input: AnyInput
    format: str
    reducers: int
    split_size: int
    name: str
    budget: int
    policy: Policy
    max_cost: float = 0.0
    planner: str = ""
    samples: bool = True
    warnings: tuple[str, ...] = ()
    reading: Reading = PLAINLY
    tolerance: Tolerance = STRICT
    include: tuple[str, ...] = ()
    exchange: str = OBJECTS
    carrier: str = ""
    merge_above: int = 0


@dataclass(frozen=True, slots=True)
class CutInput:
    """What a job reads, listed and cut.

    Attributes:
        source: What was found.
        splits: What each map task reads.
        inputs: The same, to be read.
    """

    source: PlannedInput
    splits: tuple[Split, ...]
    inputs: Sequence[SplitInput]

    @property
    def bytes(self) -> int:
        """Bytes of all objects."""
        return sum(planned.info.size for planned in self.source.objects)


@dataclass(frozen=True, slots=True)
class PlannedTasks:
    """A plan, its splits, and what was tried: as of `PlannedJob`."""

    plan: Plan
    splits: tuple[Split, ...]
    tried: int
    lawful: bool
    failed: str


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
    began = backend.clock.now()
    check_environment(here, backend.functions.limits.environment, mend=backend.functions.limits.advice.environment)
    code = capture(request.program, label_of=label_of, include=request.include)
    planned = plan_captured(request, backend, job=job, code=code.data, store=store)
    plan = replace(planned.plan, warnings=planned.plan.warnings + code.report.warnings)
    tried = (planned.tried, planned.lawful, planned.failed)
    return PlannedJob(plan, planned.splits, code, *tried, backend.clock.now() - began)


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
    code = capture(request.program, label_of=label_of, include=request.include)
    with suppress(AccessDeniedError):
        peek(files_of(request.input), backend.sources)
    return code


def stored_input(request: Request, backend: Backend, *, job: str, store: ObjectStore) -> Files | StoredInput | JobRows | Inlets:
    """Store items or rows of a request beside the job; locations, and what is stored already, are left as they are.

    Raises:
        InputEmptyError: There is nothing to map over.
        PlanError: An item does not pickle, or a frame has no names for its columns.
        StoreError: It cannot be written.
    """
    keys, size, slots, parallel = keys_of(backend.table), request.split_size, slots_of(backend), backend.parallel

    def put(named: NamedInput | StoredInput, folder: str = "") -> Files | StoredInput | JobRows:
        if isinstance(named, StoredInput | JobRows):
            return named
        return store_input(named, store, job=job, keys=keys, split_size=size, slots=slots, parallel=parallel, folder=folder)

    if not isinstance(request.input, Inlets):
        return put(request.input)
    stored = []
    for number, inlet in enumerate(request.input.inlets, 1):
        with told_of(number):
            stored.append(replace(inlet, input=put(inlet.input, f"{number:03d}/")))
    return Inlets(tuple(stored))


def cut_input(request: Request, backend: Backend, *, job: str, store: ObjectStore) -> CutInput:
    """List what a job reads and cut it; items and rows are stored first.

    Args:
        request: What the user asked for.
        backend: Where it shall run.
        job: Identifier of the job.
        store: Where items and frames are put.

    Raises:
        InputError: The input is missing, empty, mixed or unreadable.
        PlanError: The program cannot read it, there would be too many tasks, or an object is too large for a record.
    """
    source = _planned_input(request, backend, job=job, store=store, slots=slots_of(backend))
    splits, source = _splits_of(source, reducers=request.reducers)
    sources = {**backend.sources, "job": JobInput(store, keys_of(backend.table))}
    return CutInput(source, splits, _checked_inputs(request.program, splits, source, sources))


def slots_of(backend: Backend) -> int:
    """Return how many tasks run at once."""
    return max(1, backend.functions.limits.concurrency)


def plan_captured(request: Request, backend: Backend, *, job: str, code: bytes, store: ObjectStore) -> PlannedTasks:
    """Plan a job whose functions are captured already.

    Args:
        request: What the user asked for.
        backend: Where it shall run.
        job: Identifier of the job.
        code: The captured functions. A copy of them is tried, so that trying leaves no trace in anybody's own objects.
        store: Where items and frames are put.

    Raises:
        InputError: The input is missing, empty, mixed or unreadable.
        PlanError: The combiner breaks its law, there would be too many tasks, or an object is too large for a record.
        BudgetExceededError: The job is thought to cost more than it may.
    """
    cut = cut_input(request, backend, job=job, store=store)
    source, splits, total, slots = cut.source, cut.splits, cut.bytes, slots_of(backend)
    rates, program = rates_of(backend.tariff), request.program
    sample = try_out(code, cut.inputs, backend) if program.has_law or (rates and request.samples) else Sample()
    plan = Plan(
        job=job,
        name=request.name,
        created=backend.clock.now(),
        format=source.format,
        maps=len(splits),
        reducers=reducers_of(request, total, slots=slots),
        combine=program.combines,
        grouped_order=program.grouped_order,
        input_bytes=total,
        input_records=source.records,
        budget=budget_of(request, backend),
        policy=request.policy,
        environment=backend.functions.limits.environment,
        warnings=request.warnings + source.warnings + told_of_service(backend.functions.limits, maps=len(splits)),
        splits=Layout(job).splits_of(request.planner) if request.planner else "",
        rates=rates,
        memory_bytes=backend.functions.limits.memory_bytes,
        max_cost=request.max_cost,
        sorting=program.sorting,
        reading=source.reading,
        tolerance=request.tolerance,
        memory_sizes=backend.functions.limits.memory_sizes,
        exchange=request.exchange,
        carrier=request.carrier,
    )
    plan = _ranged(plan, code, source, backend, store=store)
    shape = Shape(plan.maps, plan.reducers, total, slots, plan.policy.heartbeat)
    above, memory = request.merge_above, plan.memory_bytes
    moves = moves_of(shape, sample, rates, exchange=plan.exchange, memory_bytes=memory, merge_above=above)
    plan = replace(plan, rates=moves.rates, merging=moves.merging, carriage=moves.carriage)
    plan = _estimated(plan, sample, moves.shape)
    return PlannedTasks(plan, splits, sample.records, program.has_law and sample.pairs > 0, sample.failed)


def _planned_input(request: Request, backend: Backend, *, job: str, store: ObjectStore, slots: int) -> PlannedInput:
    """List what a job reads; items and rows are stored first. Raises as `stored_input` and `plan_input` do."""
    size, per_slot = request.split_size, request.program.splits_per_worker

    def plan(inlet: Inlet) -> PlannedInput:
        reading = replace(inlet.reading, tolerant=inlet.reading.tolerant or request.tolerance.tolerant)
        named, format, sources = inlet.input, inlet.format, backend.sources
        if isinstance(named, JobRows):
            return plan_rows(named, backend, split_size=size, slots=slots, per_slot=per_slot, reading=reading)
        assert isinstance(named, Files | StoredInput)  # noqa: S101 - all else was stored
        planned = plan_input(
            named, sources, store=store, job=job, format=format, split_size=size, slots=slots, per_slot=per_slot, reading=reading
        )
        _refuse_beyond_memory(planned, budget_of(request, backend))
        return planned

    named = stored_input(request, backend, job=job, store=store)
    return plan_inlets(named, plan) if isinstance(named, Inlets) else plan(Inlet(named, request.format, request.reading))


def _refuse_beyond_memory(source: PlannedInput, budget: int) -> None:
    """Refuse whole objects as records that no worker has room for. Raises `PlanError`."""
    if source.format is not Format.BINARY:
        return
    largest = max((planned.info for planned in source.objects), key=lambda info: info.size)
    if largest.size > budget:
        raise PlanError(
            f"{largest.key} has {largest.size:,} bytes, more than the {budget:,} bytes of memory that a worker may take, and with "
            "format='binary' map gets it as a whole. Read it piece by piece with format=smr.formats.parse(...) or "
            "smr.formats.fixed(...), or raise worker_memory where there is more."
        )


def budget_of(request: Request, backend: Backend) -> int:
    """Return how many resident bytes a worker may take before it spills."""
    return request.budget or memory_share(backend.functions.limits.memory_bytes)


def _check_tasks(tasks: int) -> None:
    """Refuse what keys of rows and objects cannot tell apart. Raises `PlanError`."""
    if tasks > MOST_TASKS:
        raise PlanError(f"The job would have {tasks:,} tasks; {MOST_TASKS:,} are the most. Use larger splits.")


def _ranged(plan: Plan, code: bytes, source: PlannedInput, backend: Backend, *, store: ObjectStore) -> Plan:
    """Return a plan with ranges of keys if they are to be sorted, cut at some of those that records from all over the input give."""
    if not plan.sorting.keys or plan.reducers < 2:
        return plan
    program, _ = load_program(code)
    sources = {**backend.sources, "job": JobInput(store, keys_of(backend.table))}
    several = program.inlets if isinstance(program, JoinedProgram) else (program,)
    keys = []
    for one, part in zip(several, source.parts or (source,), strict=True):
        keys += sample_keys(one, part, ranges=plan.reducers, sources=sources, clock=backend.clock)
    bounds = choose_bounds(keys, plan.reducers)
    return replace(plan, reducers=len(bounds) + 1, bounds=bounds)


def _splits_of(source: PlannedInput, *, reducers: int) -> tuple[tuple[Split, ...], PlannedInput]:
    """Cut what a job reads, and return it with how it is read then. Raises `PlanError` where there would be too many tasks."""
    splits, read = cut_parts(source) if source.parts else (plan_splits(source.objects, split_bytes=source.split_bytes), source)
    _check_tasks(max(len(splits), reducers))
    return tuple(splits), read


def _checked_inputs(
    program: Program, splits: Sequence[Split], source: PlannedInput, sources: Mapping[str, InputSource]
) -> list[SplitInput]:
    """Return what the tasks will read. Raises `PlanError` where the program cannot."""
    inputs = [SplitInput(split, source.format, sources, reading=source.reading) for split in splits]
    program.check_input(inputs)
    return inputs


def _estimated(plan: Plan, sample: Sample, shape: Shape) -> Plan:
    """Return a plan with what it is thought to cost.

    Raises:
        BudgetExceededError: That is more than it may.
    """
    if plan.rates is None:
        return plan
    thought = estimate(shape, sample, plan.rates, memory_bytes=plan.memory_bytes)
    if plan.max_cost and thought.likely > plan.max_cost:
        raise BudgetExceededError(
            f"The job is thought to cost {dollars(thought.low)} to {dollars(thought.high)}, and max_cost is {dollars(plan.max_cost)}. "
            f"Raise max_cost, or name less input: {plan.maps:,} map and {plan.reducers:,} reduce tasks over {plan.input_bytes:,} bytes.",
            job=plan.job,
        )
    return replace(plan, estimate=thought)


def memory_share(memory_bytes: int) -> int:
    """Return how much of the memory of an invocation a worker may take before it spills, where nobody says otherwise."""
    return min(max(memory_bytes // 2, min(memory_bytes, LEAST_MEMORY)), MOST_MEMORY)


def told_of_service(limits: ServiceLimits, *, maps: int) -> tuple[str, ...]:
    """Return what the user should know of the service before a job of so many map tasks: a sentence or two for each thing."""
    few = limits.advice.concurrency and maps > FEW_WAVES * limits.concurrency
    waves = (f"{maps:,} map tasks run {limits.concurrency:,} at a time. {limits.advice.concurrency}",) if few else ()
    return (*waves, *((limits.advice.settings,) if limits.advice.settings else ()))


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


def reducers_of(request: Request, total: int, *, slots: int) -> int:
    """Return the number of partitions of a job over so many bytes, where so many tasks run at once; 0 where nothing is reduced."""
    if not request.program.reduces:
        return 0
    by_size, by_slots = -(-total // PARTITION_BYTES), min(slots, total // SMALLEST_PARTITION)
    if request.program.sorting.keys:
        by_size = -(-total // SORTED_BYTES)
    if by_size > slots:
        by_size = -(-by_size // slots) * slots  # so that the last wave is a full one
    return request.reducers or max(1, min(MOST_PARTITIONS, max(by_size, by_slots)))
