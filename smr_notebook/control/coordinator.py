"""The coordinator's invocation: step after step until the job has ended, its lease is another's, or its time is up.

Rules of this module:

* A port that cannot be reached is tried again, later and later; after ten minutes in vain the job ends with its words.
* What repetition cannot heal - sums that differ, objects that are not what was written, a defect of this package - ends
  the job under its own name: never a result, and never silence.
* Before its invocation ends, a coordinator gives the lease back and calls a fresh one: the *hop*. State is in the table, so
  that a hop is nothing but a new lease.
* A sleep may be cut short by whoever has news, but looks take at most a quarter of the time: many tasks that end at once
  are one look, not many.
* Its alarm is set before it opens the job: it may be the last one that looks after it, and a table that answers nobody until its time is
  up must not be the end of the job.
* Whoever notices an expired lease may call `revive`: a coordinator too many finds the lease taken and ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from smr_notebook.control.backoff import PASSING, Backoff, passes
from smr_notebook.control.coordination import Coordinator
from smr_notebook.control.driving import end_without_plan, tell_end
from smr_notebook.control.keys import keys_of
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.messages import Message, coordinate, drive, encode
from smr_notebook.control.plans import read_plan
from smr_notebook.control.rows import JobEntry
from smr_notebook.control.stages import held_up_by
from smr_notebook.control.verdicts import broken_outcome
from smr_notebook.control.watchdog import Watchdog
from smr_notebook.errors import CorruptObjectError, JobNotFoundError, ObjectNotFoundError, PlatformError, StoreError
from smr_notebook.ports import Backend, Clock, Context

HOP_MARGIN = 15.0
"""Seconds before the end of its invocation at which a coordinator hands over; a quarter of a shorter invocation."""

_QUICK_LOOK = 0.0005
"""Seconds: looks of up to a few times this are cheap and follow each other closely; costly ones take a tenth of the time at most."""

_BACKOFF = (0.1, 5.0)
"""Seconds: first and longest wait for a port that cannot be reached."""

_PATIENCE = 600.0
"""Seconds: a port that cannot be reached for longer is not tried again."""


def run_coordinator(backend: Backend, message: Message, context: Context) -> None:
    """Coordinate a job for as long as this invocation may.

    Args:
        backend: The platform.
        message: Names the job.
        context: Name, clock and deadline of the invocation.
    """
    clock = context.clock
    began = clock.now()
    for wake_at in looks(backend, message, context):
        _rest(clock, backend.poll[0], began=began, wake_at=wake_at)
        began = clock.now()


def looks(backend: Backend, message: Message, context: Context) -> Iterator[float]:
    """Coordinate a job, and yield after each look when the next one is wanted at the latest. Arguments as for `run_coordinator`."""
    backend = replace(backend, clock=context.clock)
    clock, trouble, well = context.clock, Backoff(*_BACKOFF), context.clock.now()
    until = context.deadline - min(HOP_MARGIN, (context.deadline - clock.now()) / 4)
    coordinator: Coordinator | None = None
    watchdog = Watchdog(backend, message.job, seconds=backend.policy.watchdog)
    watchdog.arm()
    while clock.now() < until:
        try:
            coordinator = coordinator or _open(backend, message.job, context.invocation, until=until, watchdog=watchdog)
            wake_at = _turn(coordinator, clock) if coordinator else None
            trouble.reset()
            well = clock.now()
        except PASSING as error:
            wake_at = clock.now() + trouble.next()
            if coordinator is not None and clock.now() - well > _PATIENCE and _failed(coordinator, error):
                return
        if wake_at is None:
            return
        yield min(wake_at, until)
    while coordinator is not None and clock.now() < context.deadline:
        try:
            coordinator.hand_over()
        except PlatformError:
            yield clock.now() + trouble.next()
        else:
            return


def revive(backend: Backend, job: str) -> bool:
    """Call a coordinator if the job needs one: its end is not told yet, and its lease has expired or was never taken.

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
    if entry is None or end_is_told(ledger) or _revive_priors(backend, entry):
        return False
    if lease is None and not entry.after and now < entry.created + backend.policy.coordinator_lease:
        return False
    backend.functions.invoke(encode(coordinate(job)))
    return True


def _revive_priors(backend: Backend, entry: JobEntry) -> bool:
    """Revive those that a job waits for in the end, and return whether it does. Raises as `revive` does."""
    priors = held_up_by(backend.table, entry) if entry.after else ()
    for prior in priors:
        revive(backend, prior)
    return bool(priors)


def end_is_told(ledger: Ledger) -> bool:
    """Whether the watchers of a job see that it has ended. An outcome alone is not enough: its coordinator may die before it tells it."""
    told = ledger.progress()
    return told is not None and told.state.ended


def _rest(clock: Clock, shortest: float, *, began: float, wake_at: float) -> None:
    """Sleep until `wake_at` or until woken, but for a while at least, unless the next look is wanted at once."""
    now = clock.now()
    took = now - began
    rested = min(now + max(shortest, took * min(max(took / _QUICK_LOOK, 3.0), 10.0)), wake_at)
    if wake_at > now:
        clock.sleep(wake_at - now, least=rested - now)
    while clock.now() < rested:  # it was woken although it wanted to rest
        clock.sleep(rested - clock.now())


def _open(backend: Backend, job: str, owner: str, *, until: float, watchdog: Watchdog) -> Coordinator | None:
    """Return the coordinator of a job; `None` where nobody can coordinate: there is no such job, no plan yet, or none that can be read."""
    ledger = Ledger(backend.table, job)
    entry = ledger.job()
    if entry is None:
        watchdog.call_off()
        return None
    try:
        plan = read_plan(backend.objects, job, keys_of(backend.table))
    except (ObjectNotFoundError, CorruptObjectError) as error:
        now, awaited = backend.clock.now(), (backend.plans or entry.after) and isinstance(error, ObjectNotFoundError)
        outcome = ledger.outcome()
        if outcome is None and awaited:
            outcome = end_without_plan(backend, entry, now=now)
        elif outcome is None:
            outcome = broken_outcome(error, who="coordinator", now=now)
        if outcome is None and _revive_priors(backend, entry):
            return None
        if outcome is None:
            backend.functions.invoke(encode(drive(job)))
        else:
            tell_end(backend, entry, outcome, now=now)
            watchdog.call_off()
        return None
    return Coordinator(backend, plan, owner, until=until, watchdog=watchdog)


def _failed(coordinator: Coordinator, error: PlatformError) -> bool:
    """End the job, if that much can still be written, and return whether it is told."""
    try:
        return coordinator.fail(error)
    except StoreError:
        return False


def _turn(coordinator: Coordinator, clock: Clock) -> float | None:
    try:
        return coordinator.step()
    except JobNotFoundError:
        return None
    except Exception as error:  # whatever it is, a job must end with its name rather than be coordinated in circles
        if passes(error):
            raise
        return None if coordinator.fail(error) else clock.now()
