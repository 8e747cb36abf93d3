"""What is old and alone is removed, and nothing else."""

from __future__ import annotations

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.control.expiry import remove_ended, remove_expired
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger, list_jobs
from smr_notebook.control.rows import JobEntry
from smr_notebook.model import JobState
from smr_notebook.standing import Outcome


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


def test_jobs_that_ended_are_removed_and_never_one_that_runs() -> None:
    """However short a time they are kept: a job between two coordinators has an expired lease and no outcome."""
    objects, table = MemoryStore(), MemoryTable()
    ends = {"done": 40.0, "base": 40.0, "theirs": 40.0, "late": 95.0, "closing": 40.0, "between": None, "new": None}
    for job, end in ends.items():
        base = "base" if job == "between" else ""
        ledger = Ledger(table, job)
        ledger.create_job(JobEntry(job, "", 0.0, Layout(job).plan, "bob" if job == "theirs" else "ann", base))
        objects.put(Layout(job).plan, b"plan")
        ledger.take_lease("coordinator", now=95.0 if job == "closing" else 1.0, seconds=10.0)
        if end is not None:
            ledger.put_outcome(Outcome(JobState.DONE, end))

    def remove(older: float) -> tuple[str, ...]:
        return remove_ended(objects, table, now=100.0, older=older, mine=lambda entry: entry.user == "ann")

    assert remove(70.0) == ()
    assert remove(50.0) == ("done",)
    assert remove(0.0) == ("late",)
    left = {"base", "theirs", "closing", "between", "new"}
    assert {entry.job for entry in list_jobs(table)} == left
    assert {info.key for info in objects.list_prefix("jobs/")} == {Layout(job).plan for job in left}
