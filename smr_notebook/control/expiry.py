"""Temporary data expires: jobs that ended, or were left alone, long ago are removed with all that they stored.

A job is removed when its last coordinator let go of it longer ago than the workspace keeps jobs. A lease that has just expired is no
reason: between two coordinators each job has one. Objects go first and rows last, so that an interrupted removal is found and finished
by the next one.
"""

from __future__ import annotations

from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger, forget_job, list_jobs
from smr_notebook.control.rows import JobEntry
from smr_notebook.ports import ObjectStore, Table


def remove_expired(objects: ObjectStore, table: Table, *, now: float, keep_seconds: float) -> tuple[str, ...]:
    """Remove the jobs that nobody needs any more.

    Args:
        objects: Where their data is.
        table: Where their rows are.
        now: The time.
        keep_seconds: Jobs that ended, or were left alone, less than so long ago stay.

    Returns:
        The identifiers of the jobs removed.
    """
    since = now - keep_seconds
    removed = []
    for entry in list_jobs(table):
        if entry.created < since and _left_alone(table, entry) < since:
            objects.delete_prefix(Layout(entry.job).root)
            forget_job(table, entry)
            removed.append(entry.job)
    return tuple(removed)


def _left_alone(table: Table, entry: JobEntry) -> float:
    lease = Ledger(table, entry.job).lease()
    return lease.expires if lease is not None else entry.created


def remove_job(objects: ObjectStore, table: Table, job: str) -> None:
    """Remove a job with all that it stored; one whose submission broke off may have no rows yet."""
    objects.delete_prefix(Layout(job).root)
    entry = Ledger(table, job).job()
    if entry is not None:
        forget_job(table, entry)
