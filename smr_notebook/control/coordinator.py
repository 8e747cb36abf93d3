"""The coordinator's invocation: step after step until the job has ended, its lease is another's, or its time is up.

Rules of this module:

* A port that cannot be reached is tried again, later and later.
* What repetition cannot heal - sums that differ, objects that are not what was written, a defect of this package - ends
  the job under its own name: never a result, and never silence.
* Before its invocation ends, a coordinator gives the lease back and calls a fresh one: the *hop*. State is in the table, so
  that a hop is nothing but a new lease.
* Whoever notices an expired lease may call `revive`: a coordinator too many finds the lease taken and ends.
"""

from __future__ import annotations

from dataclasses import replace

from smr_notebook.control.backoff import Backoff
from smr_notebook.control.coordination import Coordinator
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.messages import Message, coordinate, encode
from smr_notebook.control.plans import read_plan
from smr_notebook.errors import CorruptObjectError, JobNotFoundError, ObjectNotFoundError, PlatformError, StoreError
from smr_notebook.model import JobState, Outcome
from smr_notebook.ports import Backend, Context

HOP_MARGIN = 15.0
"""Seconds before the end of its invocation at which a coordinator hands over; a quarter of a shorter invocation."""

_BACKOFF = (0.1, 5.0)
"""Seconds: first and longest wait for a port that cannot be reached."""


def run_coordinator(backend: Backend, message: Message, context: Context) -> None:
    """Coordinate a job for as long as this invocation may.

    Args:
        backend: The platform.
        message: Names the job.
        context: Name, clock and deadline of the invocation.
    """
    backend = replace(backend, clock=context.clock)
    clock, trouble = context.clock, Backoff(*_BACKOFF)
    until = context.deadline - min(HOP_MARGIN, (context.deadline - clock.now()) / 4)
    coordinator: Coordinator | None = None
    while clock.now() < until:
        try:
            coordinator = coordinator or _open(backend, message.job, context.invocation, until=until)
            wake_at = _turn(coordinator, clock.now()) if coordinator else None
            trouble.reset()
        except StoreError:
            wake_at = clock.now() + trouble.next()
        if wake_at is None:
            return
        clock.sleep(max(0.0, min(wake_at, until) - clock.now()))
    _hop(coordinator, context)


def revive(backend: Backend, job: str) -> bool:
    """Call a coordinator if the job needs one: it has no outcome, and its lease has expired or was never taken.

    Returns:
        Whether one was called. It takes a moment to take the lease: look again after some seconds, not at once.

    Raises:
        PlatformError: The table or the service cannot be reached, or refuses.
    """
    ledger = Ledger(backend.table, job)
    now, lease = backend.clock.now(), ledger.lease()
    if lease is not None and not lease.expired(now):
        return False
    entry = ledger.job()
    if entry is None or ledger.outcome() is not None:
        return False
    if lease is None and now < entry.created + backend.policy.coordinator_lease:
        return False
    backend.functions.invoke(encode(coordinate(job)))
    return True


def _open(backend: Backend, job: str, owner: str, *, until: float) -> Coordinator | None:
    ledger = Ledger(backend.table, job)
    if ledger.job() is None:
        return None
    try:
        plan = read_plan(backend.objects, job)
    except (ObjectNotFoundError, CorruptObjectError) as error:
        ledger.put_outcome(Outcome(JobState.FAILED, backend.clock.now(), error=type(error).__name__, message=str(error)))
        return None
    return Coordinator(backend, plan, owner, until=until)


def _turn(coordinator: Coordinator, now: float) -> float | None:
    try:
        return coordinator.step()
    except JobNotFoundError:
        return None
    except ObjectNotFoundError as error:
        coordinator.fail(error)
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, a job must end with its name rather than be coordinated in circles
        coordinator.fail(error)
    return now


def _hop(coordinator: Coordinator | None, context: Context) -> None:
    trouble = Backoff(*_BACKOFF)
    while coordinator is not None and context.clock.now() < context.deadline:
        try:
            coordinator.hand_over()
        except PlatformError:
            context.clock.sleep(trouble.next())
        else:
            return
