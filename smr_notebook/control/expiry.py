"""Temporary data expires: jobs that ended, or were left alone, long ago are removed with all that they stored.

A job is removed when it is older than the workspace keeps jobs and nobody coordinates it. Its objects go first and its rows last, so
that an interrupted removal is found and finished by the next one.
"""

from __future__ import annotations

from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger, forget_job, list_jobs
from smr_notebook.ports import ObjectStore, Table


def remove_expired(objects: ObjectStore, table: Table, *, now: float, keep_seconds: float) -> tuple[str, ...]:
    """Remove the jobs that nobody needs any more.

    Args:
        objects: Where their data is.
        table: Where their rows are.
        now: The time.
        keep_seconds: Jobs submitted less than so long ago stay.

    Returns:
        The identifiers of the jobs removed.
    """
    old = [entry for entry in list_jobs(table) if entry.created < now - keep_seconds]
    removed = []
    for entry in old:
        lease = Ledger(table, entry.job).lease()
        if lease is None or lease.expired(now):
            objects.delete_prefix(Layout(entry.job).root)
            forget_job(table, entry)
            removed.append(entry.job)
    return tuple(removed)


def remove_job(objects: ObjectStore, table: Table, job: str) -> None:
    """Remove a job with all that it stored; one whose submission broke off may have no rows yet."""
    objects.delete_prefix(Layout(job).root)
    entry = Ledger(table, job).job()
    if entry is not None:
        forget_job(table, entry)
