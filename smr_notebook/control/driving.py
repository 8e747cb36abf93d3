"""The driver's invocation: a job is planned where code runs, so that the notebook may go as soon as it has submitted.

Rules of this module:

* The driver holds the job's lease, as a coordinator does, and renews it while it lists and splits: a doubled call finds it taken, and
  whoever notices that it has expired calls another; in the end the job's alarm does.
* What planning refuses is how the job ends, under its own name: nobody may be there to be told. A port that cannot be reached is none
  of that: the lease expires, or the service tells that the driver ended without an answer, and another one tries again.
* The plan that is written first stands, and names its own splits: a driver that was replaced, or called late, changes nothing, and
  what it could not plan is no reason to end a job that has a plan.
* Whoever cancels a job while it is planned need not wait for that: the driver tells the end, and its process ends in the middle of it.
* A job whose input is the result of another one is planned when that has ended: before, a driver leaves it as it is (see `stages`).
* A driver that follows another one maps no records for an estimate: they may be what the one before died of.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from smr_notebook.control.backoff import passes
from smr_notebook.control.keys import keys_of
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.messages import Message, coordinate, encode
from smr_notebook.control.metering import Spending
from smr_notebook.control.planning import Request, plan_captured
from smr_notebook.control.plans import StoredRequest, input_of, is_planned, read_code, read_request, write_plan
from smr_notebook.control.pulse import Watch
from smr_notebook.control.renewing import Renewer
from smr_notebook.control.rows import JobEntry
from smr_notebook.control.stages import call_followers, may_begin, spoiled_outcome, waits_for
from smr_notebook.control.verdicts import broken_outcome, cancelled_outcome
from smr_notebook.control.watchdog import Watchdog
from smr_notebook.dataflow.code import load_program
from smr_notebook.errors import JobTimeoutError, WorkerLostError
from smr_notebook.model import JobState
from smr_notebook.ports import Backend, Context
from smr_notebook.showing.amounts import brief
from smr_notebook.standing import Lease, Outcome, PhaseProgress, Progress

MOST_DRIVERS: Final = 30
"""Drivers of one job, one after the other, before it gives up: more than die where the service tells of it (`worker.handle_death`)."""


Abandon = Callable[[int], object]
"""Ends the process with an exit status. For a driver that shares its process, something that does not."""

_PATIENCE: Final = 1.5
"""How many leases a driver may be held up before the watchdog ends its process: as long as an attempt may."""

GIVEN_UP: Final = 75
"""Exit status of a driver whose job was cancelled while it planned."""


def run_driver(backend: Backend, message: Message, context: Context, *, abandon: Abandon = os._exit, watch: Watch | None = None) -> None:
    """Plan a job, and call its coordinator.

    Args:
        backend: The platform.
        message: Names the job.
        context: Name and clock of the invocation.
        abandon: Ends the process of a driver whose job is cancelled while it plans.
        watch: Called while it plans; ends the process when one call of the user's code, in C, lets no other thread run.

    Raises:
        StoreError, ServiceError, ThrottledError: A port cannot be reached, or refuses.
    """
    backend, clock = replace(backend, clock=context.clock), context.clock
    ledger, spending = Ledger(backend.table, message.job), Spending(backend.tally, clock.now())
    entry = ledger.job()
    if entry is None or ledger.outcome() is not None:
        return
    watchdog = Watchdog(backend, message.job, seconds=backend.policy.watchdog)
    watchdog.arm_until(context.deadline + backend.policy.coordinator_lease)  # should it vanish, and nobody watch

    if waits_for(backend.table, entry) and end_without_plan(backend, entry, now=clock.now()) is None:
        return  # whoever ends what it waits for calls again: see `stages`

    def give_up() -> None:
        outcome = end_without_plan(backend, entry, now=clock.now())
        if outcome is not None and not is_planned(backend.objects, entry.job):  # else the coordinator sees to it
            tell_end(backend, entry, outcome, now=clock.now())
            watchdog.call_off()
            abandon(GIVEN_UP)

    seconds = backend.policy.coordinator_lease
    renewer = Renewer(ledger, context.invocation, clock, seconds=seconds, spending=spending, unwanted=give_up)
    renewer.watch, renewer.patience = watch, _PATIENCE * seconds
    if not renewer.take():
        return
    _tell_begin(ledger, renewer.lease, now=clock.now())
    outcome = _end_or_plan(backend, entry, renewer)
    if outcome is not None:
        tell_end(backend, entry, outcome, now=clock.now())
        watchdog.call_off()
        return
    ledger.expire_lease(context.invocation, clock.now(), usage=spending.usage(clock.now()))
    backend.functions.invoke(encode(coordinate(message.job)))


def end_without_plan(backend: Backend, entry: JobEntry, *, now: float) -> Outcome | None:
    """Return how a job that has no plan ends, if there shall be none any more.

    It was cancelled, or what it should read will never be there, or nobody has planned it for longer than it may take.

    Args:
        backend: Where its rows are, and how long a job may take.
        entry: Its entry.
        now: The time.
    """
    cancel, longest = Ledger(backend.table, entry.job).cancelled(), backend.policy.longest
    if cancel is not None:
        return cancelled_outcome(cancel.reason, now=now)
    spoiled = spoiled_outcome(backend.table, entry, now=now)
    if spoiled is not None:
        return spoiled
    if now > may_begin(backend.table, entry) + longest:
        text = f"The job was not planned within {brief(longest)}: no driver came to its end. Submit it again."
        return Outcome(JobState.FAILED, now, error=JobTimeoutError.__name__, message=text)
    return None


def tell_end(backend: Backend, entry: JobEntry, outcome: Outcome, *, now: float) -> None:
    """End a job that nobody coordinates, unless it has ended, and tell its watchers how, and the jobs that wait for it.

    Args:
        backend: Where its rows are.
        entry: Its entry.
        outcome: How it ends.
        now: The time.
    """
    ledger = Ledger(backend.table, entry.job)
    standing = ledger.put_outcome(outcome)
    call_followers(backend, entry.job)
    seen = ledger.progress() or Progress(standing.state, PhaseProgress(), PhaseProgress(), entry.created, now, epoch=0, lease_expires=now)
    ledger.put_progress(replace(seen, state=standing.state, updated=now, proof=standing.proof, waits=()))


def _tell_begin(ledger: Ledger, lease: Lease, *, now: float) -> None:
    """Tell the watchers of a job that waited that it does not any more."""
    seen = ledger.progress()
    if seen is not None and seen.waits and not seen.state.ended:
        ledger.put_progress(replace(seen, started=now, updated=now, epoch=lease.epoch, lease_expires=lease.expires, waits=()))


def _end_or_plan(backend: Backend, entry: JobEntry, renewer: Renewer) -> Outcome | None:
    """Plan a job unless a plan stands; return how it ends where there is none after that."""
    if is_planned(backend.objects, entry.job):
        return None
    outcome = end_without_plan(backend, entry, now=backend.clock.now())
    if outcome is not None:
        return outcome
    try:
        with renewer:
            _plan(backend, entry, renewer.lease)
    except Exception as error:  # whatever it is, the job must end with its name
        if passes(error):
            raise
        return None if is_planned(backend.objects, entry.job) else broken_outcome(error, who="driver", now=backend.clock.now())
    return None


def _plan(backend: Backend, entry: JobEntry, lease: Lease) -> None:
    """Plan a job and store its plan. Raises what planning refuses."""
    if lease.epoch > MOST_DRIVERS:
        raise WorkerLostError(
            f"The planning of job {entry.job} was begun {lease.epoch - 1} times and never ended. Name less input, or larger splits.",
            job=entry.job,
        )
    code = read_code(backend.objects, entry.job, keys_of(backend.table))
    stored = read_request(backend.objects, entry.job, keys_of(backend.table))
    request = _request(stored, code, planner=f"{lease.epoch:06d}", samples=lease.epoch == 1)
    planned = plan_captured(request, backend, job=entry.job, code=code, store=backend.objects)
    plan = planned.plan if entry.after else replace(planned.plan, created=stored.created)  # it takes no time to wait for others
    write_plan(backend.objects, plan, planned.splits, keys_of(backend.table))


def _request(stored: StoredRequest, code: bytes, *, planner: str, samples: bool) -> Request:
    program, _ = load_program(code)
    return Request(
        program=program,
        input=input_of(stored),
        format=stored.format,
        reducers=stored.reducers,
        split_size=stored.split_size,
        name=stored.name,
        budget=stored.budget,
        policy=stored.policy,
        max_cost=stored.max_cost,
        planner=planner,
        samples=samples,
        warnings=stored.warnings,
        reading=stored.reading,
        tolerance=stored.tolerance,
        exchange=stored.exchange,
        carrier=stored.carrier,
        merge_above=stored.merge_above,
    )
