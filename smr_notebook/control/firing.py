"""A trigger fires: one job for each occurrence, however often we are called for it, and in which order.

Theory. Services of schedules and of notifications deliver at least once. So a job's identifier is not drawn, but follows from the
occurrence, and is reserved by a token that does so too: who is called again comes to the same job, finds what stands of it, and does what
is missing. A row that is created at most once says which job is that of an occurrence, before the job stands: for two callers at once,
and for an identifier that was somebody else's job.

Rows, in the group of the trigger: `fired/<occurrence>`, the job of an occurrence, or none where it was skipped; `last`, the job that was
made last. They expire as those of jobs do, long after the last call for an occurrence.

Rules of this module:

* Whoever calls for a trigger that does not stand, or for an object that it does not watch, calls in vain.
* A template that cannot be read or is not signed makes no job: the invocation fails, and says why in its log.
* An invocation that failed is followed by another one, later and later, for some hours: nobody else would notice.
* Nobody may be there to start a coordinator: the alarm of the job is set before it stands, and a driver that cannot be called is a failure.
* Objects without a byte make no job: there is no record in them, and consoles make folders of such. Nor do marks (`export_marks`), which
  come behind the files that they name, unless the location names them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import count
from typing import Final

from smr_notebook.control.keys import keys_of
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.messages import FailedFiring, Firing, drive, encode, encode_firing
from smr_notebook.control.plans import read_code_under, read_request_under, write_code, write_request
from smr_notebook.control.registering import reserve_first
from smr_notebook.control.rows import JobEntry, RowCodec
from smr_notebook.control.triggers import Trigger, TriggerKind, code_key, request_key, trigger_called
from smr_notebook.control.watchdog import Watchdog
from smr_notebook.dataflow.export_marks import without_marks
from smr_notebook.errors import WorkerLostError
from smr_notebook.ports import Backend, Table
from smr_notebook.values.globs import lies_under

MOST_FAILURES: Final = 9
"""Invocations for one occurrence that may fail."""

_FIRST_WAIT: Final = 30.0
_LONGEST_WAIT: Final = 3600.0
_BEING_MADE: Final = 900.0
"""Seconds for which a job that was chosen, and does not stand, may still be on its way."""


@dataclass(frozen=True, slots=True)
class Fired:
    """Which job is that of an occurrence, and since when; no job for one that was skipped."""

    job: str
    at: float


_FIRED: Final = RowCodec(Fired)


def fire(backend: Backend, firing: Firing) -> str:
    """Make the job of an occurrence, unless that was done.

    Args:
        backend: The platform.
        firing: Which trigger, and which occurrence.

    Returns:
        The identifier of the job; empty where there shall be none.

    Raises:
        PlatformError: A port cannot be reached, or refuses.
        CorruptObjectError: The template is damaged; or, as `UntrustedObjectError`, was not written by this workspace.
    """
    trigger = trigger_called(backend.table, firing.trigger)
    if trigger is None or not _is_meant(trigger, firing):
        return ""
    fired = _chosen(backend, trigger, _token(firing))
    if fired.job:
        _make(backend, trigger, firing, fired)
    return fired.job


def fire_again(backend: Backend, failed: FailedFiring) -> None:
    """See to it that a firing whose invocation failed is tried again, some time later.

    Raises:
        WorkerLostError: That was done often enough.
        PlatformError: A port cannot be reached, or refuses.
    """
    firing = replace(failed.firing, restarts=failed.firing.restarts + 1)
    if firing.restarts >= MOST_FAILURES:
        told = f"The trigger {firing.trigger} could not make the job of {firing.occurrence}, {firing.restarts} times"
        raise WorkerLostError(f"{told}; the last time: {failed.reason}. Make it with `smr run`.")
    if backend.alarms is None:
        backend.functions.invoke(encode_firing(firing))
        return
    wait = min(_FIRST_WAIT * 2.0**failed.firing.restarts, _LONGEST_WAIT)
    backend.alarms.set(f"fire-{_token(firing)}", backend.clock.now() + wait, encode_firing(firing))


def last_fired(table: Table, trigger: Trigger) -> str:
    """Return the job that a trigger made last; empty for none that is known."""
    row = table.get(trigger.group, "last")
    return _FIRED.decode(row.key, row.value).job if row is not None else ""


def _is_meant(trigger: Trigger, firing: Firing) -> bool:
    """Whether a call is one that the trigger waits for."""
    if trigger.kind is TriggerKind.SCHEDULE:
        return not firing.object
    return firing.bytes > 0 and lies_under(firing.object, trigger.location) and without_marks([(firing.object, 1)], trigger.location)[0]


def _token(firing: Firing) -> str:
    """Return what stands for an occurrence of a trigger, and is the same whenever we are called for it."""
    told = f"{firing.trigger}\0{firing.occurrence}\0{firing.object}"
    return blake2b(told.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _chosen(backend: Backend, trigger: Trigger, token: str) -> Fired:
    """Return which job is that of an occurrence."""
    key, now = f"fired/{token}", backend.clock.now()
    row = backend.table.get(trigger.group, key)
    if row is None:
        candidates = (blake2b(f"{token}/{number}".encode(), digest_size=4).hexdigest() for number in count())
        job = reserve_first(backend, candidates, token=token)
        wanted = Fired(job if _is_next(backend, trigger, Fired(job, now)) else "", now)
        row = backend.table.put(trigger.group, key, _FIRED.encode(wanted), expect=0)
    return _FIRED.decode(key, row.value)


def _is_next(backend: Backend, trigger: Trigger, wanted: Fired) -> bool:
    """Note that a job is the last one that the trigger made; return whether it may be, with regard to the one before."""
    while True:
        row = backend.table.get(trigger.group, "last")
        before = _FIRED.decode(row.key, row.value) if row is not None else Fired("", 0.0)
        if trigger.skips and before.job not in {"", wanted.job} and _is_at_work(backend, before, now=wanted.at):
            return False
        standing = backend.table.put(trigger.group, "last", _FIRED.encode(wanted), expect=row.version if row is not None else 0)
        if not trigger.skips or _FIRED.decode("last", standing.value) == wanted:
            return True


def _is_at_work(backend: Backend, before: Fired, *, now: float) -> bool:
    ledger = Ledger(backend.table, before.job)
    if ledger.job() is None:
        return now < before.at + _BEING_MADE
    return ledger.outcome() is None


def _make(backend: Backend, trigger: Trigger, firing: Firing, fired: Fired) -> None:
    """Let the job stand, and see to it that it is driven; of a job that stands, the latter."""
    ledger = Ledger(backend.table, fired.job)
    entry = ledger.job()
    if entry is not None:
        ledger.create_job(entry)  # whoever did so may have been ended before it was in the list of jobs, or the driver was called
        if ledger.outcome() is None and ledger.lease() is None:
            backend.functions.invoke(encode(drive(fired.job)))
        return
    keys = keys_of(backend.table)
    code = read_code_under(backend.objects, code_key(trigger), keys)
    request = replace(read_request_under(backend.objects, request_key(trigger), keys), name=trigger.name, created=fired.at)
    if firing.object:
        location = f"{trigger.what.partition('://')[0]}://{firing.object}"
        request = replace(request, patterns=(location,), versions=(firing.version,) if firing.version else (), stored=None)
    write_code(backend.objects, fired.job, code, keys)
    write_request(backend.objects, fired.job, request, keys)
    Watchdog(backend, fired.job, seconds=backend.policy.watchdog).arm()
    ledger.create_job(JobEntry(fired.job, trigger.name, fired.at, Layout(fired.job).plan, user=trigger.user))
    backend.functions.invoke(encode(drive(fired.job)))
