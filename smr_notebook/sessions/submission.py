"""Submitting a job: from a request to rows, objects and one call, or to nothing at all.

Where jobs are planned by whoever submits, the plan is stored and a coordinator called; else what a driver plans from is, and the driver is
called: so is that of a job that reads the result of another one, wherever it runs. A submission that breaks off leaves no job behind that
could run.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from smr_notebook.control.carrying import carrier_of
from smr_notebook.control.expiry import remove_expired
from smr_notebook.control.inlets import AnyInput, anchored, files_of, jobs_read
from smr_notebook.control.keys import keys_of
from smr_notebook.control.layout import Layout
from smr_notebook.control.messages import Message, coordinate, drive
from smr_notebook.control.naming import Files, JobRows
from smr_notebook.control.planning import Request, plan_job, prepare, stored_input
from smr_notebook.control.plans import StoredRequest, stored_inlets, write_code, write_plan, write_request
from smr_notebook.control.reading import StoredInput
from smr_notebook.control.registering import new_job, register, told_of_name
from smr_notebook.control.rows import JobEntry
from smr_notebook.control.stages import note_reading, tell_waiting
from smr_notebook.control.triggers import Template
from smr_notebook.control.uploads import note_use, remove_expired_uploads
from smr_notebook.environment import environment
from smr_notebook.errors import StoreError
from smr_notebook.labels import cell_label
from smr_notebook.ports import Backend


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that stands, and what the user should know of it."""

    entry: JobEntry
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Begun:
    """What was stored of a new job: whom to call, when it was submitted, what the user should know."""

    message: Message
    created: float
    warnings: tuple[str, ...]


def submit(request: Request, backend: Backend) -> Submitted:
    """Submit a job; it may not have begun when this returns.

    Args:
        request: What the user asked for.
        backend: Where it shall run.

    Raises:
        InputError, PlanError, EnvironmentMismatchError: The job cannot be planned.
        PlatformError: It cannot be stored.
    """
    request = replace(request, warnings=request.warnings + told_of_name(backend, request.name))
    with new_job(backend) as job:
        note_use(backend, job, files_of(request.input).patterns)
        after = jobs_read(request.input)
        note_reading(backend.table, job, after)
        begin = _store_request if backend.plans or after else _store_plan
        begun = begin(backend, job, request)
        entry = JobEntry(job, request.name, begun.created, Layout(job).plan, user=backend.user, after=after)
        tell_waiting(backend.table, entry)
        return Submitted(register(backend, entry, begun.message), begun.warnings)


def _store_plan(backend: Backend, job: str, request: Request) -> _Begun:
    """Plan here, and store the plan."""
    planned = plan_job(request, backend, job=job, here=environment(), store=backend.objects, label_of=cell_label)
    if planned.plan.carried:
        carrier_of(backend, planned.plan)  # what cannot be reached from here, where the workers are, is told at once
    write_code(backend.objects, job, planned.bundle.data, keys_of(backend.table))
    write_plan(backend.objects, planned.plan, planned.splits, keys_of(backend.table))
    return _Begun(coordinate(job), planned.plan.created, planned.plan.warnings)


def _store_request(backend: Backend, job: str, request: Request) -> _Begun:
    """Store what a driver plans from, and what is in this process's memory. A mistyped name is told at once."""
    bundle = prepare(request, backend, here=environment(), label_of=cell_label)
    request = request if backend.plans else replace(request, input=anchored(request.input))
    named = stored_input(request, backend, job=job, store=backend.objects)
    stored = _as_stored(request, named, created=backend.clock.now(), warnings=request.warnings + bundle.report.warnings)
    write_code(backend.objects, job, bundle.data, keys_of(backend.table))
    write_request(backend.objects, job, stored, keys_of(backend.table))
    return _Begun(drive(job), stored.created, stored.warnings)


def template_of(request: Request, backend: Backend) -> Template:
    """Return what jobs are planned from again and again, from a request over locations. Raises as `submit` does; nothing is stored."""
    bundle = prepare(request, backend, here=environment(), label_of=cell_label)
    named = request.input if isinstance(request.input, Files) else Files(())
    return Template(bundle.data, _as_stored(request, named, created=backend.clock.now(), warnings=bundle.report.warnings))


def _as_stored(request: Request, named: AnyInput, *, created: float, warnings: tuple[str, ...]) -> StoredRequest:
    return StoredRequest(
        patterns=named.patterns if isinstance(named, Files) else (),
        stored=named if isinstance(named, StoredInput) else None,
        format=request.format,
        reducers=request.reducers,
        split_size=request.split_size,
        name=request.name,
        created=created,
        budget=request.budget,
        policy=request.policy,
        max_cost=request.max_cost,
        warnings=warnings,
        reading=request.reading,
        tolerance=request.tolerance,
        exchange=request.exchange,
        carrier=request.carrier,
        merge_above=request.merge_above,
        rows_of=named.job if isinstance(named, JobRows) else "",
        inlets=stored_inlets(named),
    )


def tidy_up(backend: Backend, *, keep_days: float, wanted: Sequence[str]) -> None:
    """Remove the jobs that ended longer ago, and the uploads that nobody used since, where nothing else does that; `wanted` jobs stay."""
    if backend.expires:
        return
    with suppress(StoreError):  # an old job that cannot be removed is no reason against a new one
        now, keep = backend.clock.now(), keep_days * 86_400
        remove_expired(backend.objects, backend.table, now=now, keep_seconds=keep, wanted=wanted)
        remove_expired_uploads(backend.objects, backend.table, now=now, keep_seconds=keep)
