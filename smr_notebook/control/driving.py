"""The driver's invocation: a job is planned where code runs, so that the notebook may go as soon as it has submitted.

Rules of this module:

* The driver holds the job's lease, as a coordinator does, and renews it while it lists and splits: a doubled call finds it taken, and
  whoever notices that it has expired calls another.
* What planning refuses is how the job ends, under its own name: nobody may be there to be told.
* The plan that is written first stands, and names its own splits: a driver that was replaced and works on changes nothing.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Final, Self

from smr_notebook.control.ledger import Ledger
from smr_notebook.control.messages import Message, coordinate, encode
from smr_notebook.control.naming import Files
from smr_notebook.control.planning import Request, plan_captured
from smr_notebook.control.plans import StoredRequest, read_code, read_request, write_plan
from smr_notebook.control.pulse import Watch, pulse_of
from smr_notebook.control.rows import JobEntry
from smr_notebook.dataflow.code import load_functions
from smr_notebook.errors import PlatformError, SmrError, StoreError, WorkerLostError
from smr_notebook.model import JobState
from smr_notebook.ports import Backend, Context
from smr_notebook.standing import Lease, Outcome, PhaseProgress, Progress
from smr_notebook.usage import Usage

MOST_DRIVERS: Final = 20
"""Drivers of one job, one after the other, before it gives up."""


def run_driver(backend: Backend, message: Message, context: Context) -> None:
    """Plan a job, and call its coordinator.

    Args:
        backend: The platform.
        message: Names the job.
        context: Name and clock of the invocation.

    Raises:
        StoreError: A port cannot be reached; the lease expires, and another driver tries again.
    """
    backend = replace(backend, clock=context.clock)
    ledger = Ledger(backend.table, message.job)
    entry = ledger.job()
    if entry is None or ledger.outcome() is not None:
        return
    keeper = Keeper(backend, ledger, context.invocation)
    if not keeper.take():
        return
    try:
        with keeper:
            _plan(backend, entry, keeper.lease)
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the job must end with its name
        name = type(error).__name__ if isinstance(error, SmrError) else PlatformError.__name__
        text = str(error) if isinstance(error, SmrError) else f"The driver failed with {type(error).__name__}: {error}"
        give_up(ledger, entry, error=name, message=text, now=context.clock.now())
        return
    ledger.expire_lease(context.invocation, context.clock.now(), usage=keeper.usage())
    backend.functions.invoke(encode(coordinate(message.job)))


def give_up(ledger: Ledger, entry: JobEntry, *, error: str, message: str, now: float) -> None:
    """End a job that cannot be planned or coordinated, so that its watchers learn why.

    Args:
        ledger: Its rows.
        entry: Its entry.
        error: Class name in `smr_notebook.errors`.
        message: The text.
        now: The time.
    """
    outcome = ledger.put_outcome(Outcome(JobState.FAILED, now, error=error, message=message))
    seen = ledger.progress() or Progress(outcome.state, PhaseProgress(), PhaseProgress(), entry.created, now, epoch=0, lease_expires=now)
    ledger.put_progress(replace(seen, state=outcome.state, updated=now, proof=outcome.proof))


class Keeper:
    """Keeps the lease of a job while a block runs, as a context.

    Args:
        backend: The platform.
        ledger: The rows of the job.
        owner: Unique name of the invocation.

    Attributes:
        lease: The lease that stood last.
    """

    def __init__(self, backend: Backend, ledger: Ledger, owner: str) -> None:
        self._ledger = ledger
        self._owner = owner
        self._clock = backend.clock
        self._seconds = backend.policy.coordinator_lease
        self._tally = backend.tally
        self._began = backend.clock.now()
        self._used_before = self._tally.usage if self._tally else Usage()
        self.lease = Lease("", 0, 0.0)
        self.watch: Watch | None = None
        self.patience = 0.0

    def take(self) -> bool:
        """Take or renew the lease, and return whether it is held."""
        self.lease = self._ledger.take_lease(self._owner, now=self._clock.now(), seconds=self._seconds, usage=self.usage())
        return self.lease.owner == self._owner

    def usage(self) -> Usage:
        """Return what this invocation used so far, where anybody bills it."""
        return self._tally.usage - self._used_before + Usage(seconds=self._clock.now() - self._began) if self._tally else Usage()

    def __enter__(self) -> Self:
        pulse_of(os.getpid()).join(self, first=self._seconds / 3)
        return self

    def __exit__(self, *_: object) -> None:
        pulse_of(os.getpid()).leave(self)

    def beat(self) -> float:
        """Renew the lease, and return in how many seconds to do so again."""
        try:
            self.take()
        except PlatformError:
            return 1.0
        return self._seconds / 3


def _plan(backend: Backend, entry: JobEntry, lease: Lease) -> None:
    """Plan a job and store its plan. Raises what planning refuses."""
    if lease.epoch > MOST_DRIVERS:
        raise WorkerLostError(
            f"The planning of job {entry.job} was begun {lease.epoch - 1} times and never ended. Name less input, or larger splits.",
            job=entry.job,
        )
    code = read_code(backend.objects, entry.job)
    stored = read_request(backend.objects, entry.job)
    request = _request(stored, code, planner=f"{lease.epoch:06d}")
    plan, splits = plan_captured(request, backend, job=entry.job, code=code, store=backend.objects)
    write_plan(backend.objects, replace(plan, created=stored.created), splits)


def _request(stored: StoredRequest, code: bytes, *, planner: str) -> Request:
    functions, _ = load_functions(code)
    return Request(
        functions=functions,
        input=stored.stored or Files(stored.patterns),
        format=stored.format,
        reducers=stored.reducers,
        split_size=stored.split_size,
        name=stored.name,
        budget=stored.budget,
        policy=stored.policy,
        max_cost=stored.max_cost,
        planner=planner,
        warnings=stored.warnings,
    )
