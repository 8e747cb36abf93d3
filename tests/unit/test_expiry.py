"""What is old and alone is removed, and nothing else."""

from __future__ import annotations

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.control.expiry import remove_expired
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger, list_jobs
from smr_notebook.control.rows import JobEntry


def test_only_jobs_that_were_left_alone_long_ago_are_removed() -> None:
    objects, table = MemoryStore(), MemoryTable()
    for job, created in (("lost", 0.0), ("old", 0.5), ("busy", 1.0), ("handed over", 2.0), ("new", 90.0)):
        Ledger(table, job).create_job(JobEntry(job, "", created, Layout(job).plan))
        objects.put(Layout(job).plan, b"plan")
    for job, now in (("old", 39.0), ("busy", 95.0), ("handed over", 89.0)):
        Ledger(table, job).take_lease("coordinator", now=now, seconds=10.0)
    assert remove_expired(objects, table, now=100.0, keep_seconds=50.0) == ("lost", "old")
    assert [entry.job for entry in list_jobs(table)] == ["busy", "handed over", "new"]
    assert [info.key for info in objects.list_prefix("jobs/")] == [Layout(job).plan for job in ("busy", "handed over", "new")]
    assert Ledger(table, "old").job() is None
    assert remove_expired(objects, table, now=100.0, keep_seconds=50.0) == ()
