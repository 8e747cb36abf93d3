"""Temporary data expires: jobs that ended, or were left alone, long ago are removed with all that they stored.

A job is removed when its last coordinator let go of it longer ago than the workspace keeps jobs, and no job that is kept stands on it:
what a job took over of another one (`control.deriving`), or reads as its input (`control.stages`), lies where that one wrote it. A lease
that has just expired is no reason: between two coordinators each job has one. A job that waits for others is left alone when they are, and
its time begins when they have ended. Objects go first and rows last, so that an interrupted removal is found and finished by the next one,
and no identifier is given anew as long as something of the old job is there.

So for a moment a job stands without what it stored, and who reads it then finds objects missing. Of these the code goes first, which each
job has from its submission on. Hence the rule: a job whose code is gone is removed, whatever its rows still say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager

from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger, forget_job, forget_rows, list_jobs
from smr_notebook.control.rows import JobEntry
from smr_notebook.control.stages import may_begin, waits_for
from smr_notebook.errors import CorruptObjectError, ObjectNotFoundError
from smr_notebook.ports import ObjectStore, Table


def remove_expired(objects: ObjectStore, table: Table, *, now: float, keep_seconds: float, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Remove the jobs that nobody needs any more.

    Args:
        objects: Where their data is.
        table: Where their rows are.
        now: The time.
        keep_seconds: Jobs that ended, or were left alone, less than so long ago stay.
        wanted: Jobs that stay in any case, because one is about to be submitted that reads them.

    Returns:
        The identifiers of the jobs removed.
    """
    since = now - keep_seconds
    entries = list_jobs(table)
    old = [entry for entry in entries if entry.job not in wanted and entry.created < since and _left_alone(table, entry) < since]
    old = _without_waiting(table, old)
    return _remove(objects, table, entries, old)


def remove_ended(objects: ObjectStore, table: Table, *, now: float, older: float, mine: Callable[[JobEntry], bool]) -> tuple[str, ...]:
    """Remove jobs that ended long enough ago; one that has not ended stays, however long it is silent.

    Args:
        objects: Where their data is.
        table: Where their rows are.
        now: The time.
        older: Seconds since their end.
        mine: Tells which jobs may go.

    Returns:
        The identifiers of the jobs removed.
    """
    entries = list_jobs(table)
    old = [entry for entry in entries if mine(entry) and _ended(table, entry) <= now - older and _left_alone(table, entry) <= now]
    return _remove(objects, table, entries, old)


def _remove(objects: ObjectStore, table: Table, entries: Sequence[JobEntry], old: Sequence[JobEntry]) -> tuple[str, ...]:
    """Remove jobs, but for those that others stand on which stay."""
    needed = _needed(entries, {entry.job for entry in old})
    removed = [entry for entry in old if entry.job not in needed]
    for entry in removed:
        _delete_objects(objects, entry.job)
        forget_job(table, entry)
    return tuple(entry.job for entry in removed)


def _ended(table: Table, entry: JobEntry) -> float:
    """Return when a job ended; never, where it has not."""
    outcome = Ledger(table, entry.job).outcome()
    return outcome.at if outcome is not None else math.inf


def _needed(entries: Sequence[JobEntry], old: AbstractSet[str]) -> set[str]:
    """Return the jobs that others stand on which are not old, and those that these stand on."""
    bases = {entry.job: (*([entry.base] if entry.base else ()), *entry.after) for entry in entries}
    needed: set[str] = set()
    found = [base for job in bases.keys() - old for base in bases[job]]
    while found:
        base = found.pop()
        if base not in needed:
            needed.add(base)
            found += bases.get(base, ())
    return needed


def _without_waiting(table: Table, old: Sequence[JobEntry]) -> list[JobEntry]:
    """Return jobs but those that wait for one that is not among them: they were not left alone."""
    left, before = list(old), len(old) + 1
    while len(left) < before:
        before, names = len(left), {entry.job for entry in left}
        left = [entry for entry in left if names.issuperset(waits_for(table, entry))]
    return left


def _left_alone(table: Table, entry: JobEntry) -> float:
    """Return since when nobody looks after a job: where nobody ever has, since it could begin, or ended without having begun."""
    ledger = Ledger(table, entry.job)
    lease = ledger.lease()
    if lease is not None:
        return lease.expires
    outcome = ledger.outcome()
    return outcome.at if outcome is not None else entry.created if waits_for(table, entry) else may_begin(table, entry)


def remove_job(objects: ObjectStore, table: Table, job: str) -> None:
    """Remove a job with all that it stored; one whose submission broke off may have no rows yet.

    Its entry goes last, for the reason given above; `unless_removed` tells meanwhile that it is being removed.
    """
    _delete_objects(objects, job)
    entry = Ledger(table, job).job()
    if entry is not None:
        forget_job(table, entry)
    else:
        forget_rows(table, job)


@contextmanager
def unless_removed(objects: ObjectStore, table: Table, job: str) -> Iterator[None]:
    """Say of what a block reads and does not find, or finds in parts, that the job was removed, if that is why.

    Raises:
        JobNotFoundError: The job was removed meanwhile, or is being removed.
        CorruptObjectError, ObjectNotFoundError: What the block raises, of a job that stands.
    """
    try:
        yield
    except (CorruptObjectError, ObjectNotFoundError):
        if is_removed(objects, table, job):
            raise Ledger(table, job).missing() from None
        raise


def is_removed(objects: ObjectStore, table: Table, job: str) -> bool:
    """Whether a job is gone, or is going."""
    if Ledger(table, job).job() is None:
        return True
    try:
        objects.get(Layout(job).code, 0, 1)
    except ObjectNotFoundError:
        return True
    return False


def _delete_objects(objects: ObjectStore, job: str) -> None:
    objects.delete_prefix(Layout(job).code)
    objects.delete_prefix(Layout(job).root)
