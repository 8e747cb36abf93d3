"""What is old and alone is removed, and nothing else."""

from __future__ import annotations

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.control.expiry import remove_expired
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger, list_jobs
from smr_notebook.control.rows import JobEntry


def test_only_old_jobs_that_nobody_coordinates_are_removed() -> None:
    objects, table = MemoryStore(), MemoryTable()
    for job, created in (("old", 0.0), ("busy", 1.0), ("new", 90.0)):
        Ledger(table, job).create_job(JobEntry(job, "", created, Layout(job).plan))
        objects.put(Layout(job).plan, b"plan")
    Ledger(table, "busy").take_lease("coordinator", now=95.0, seconds=10.0)
    assert remove_expired(objects, table, now=100.0, keep_seconds=50.0) == ("old",)
    assert [entry.job for entry in list_jobs(table)] == ["busy", "new"]
    assert [info.key for info in objects.list_prefix("jobs/")] == [Layout("busy").plan, Layout("new").plan]
    assert Ledger(table, "old").job() is None
    assert remove_expired(objects, table, now=100.0, keep_seconds=50.0) == ()
