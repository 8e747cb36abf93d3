"""What is old and alone is removed, and nothing else."""

from __future__ import annotations

import pytest

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.control.expiry import remove_ended, remove_expired, remove_job, unless_removed
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger, list_jobs
from smr_notebook.control.rows import JobEntry
from smr_notebook.errors import CorruptObjectError, JobNotFoundError, ObjectNotFoundError, StoreError
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


class BreaksOff(MemoryStore):
    """An object store that is gone before all of a job is deleted."""

    breaks = True

    def delete_prefix(self, prefix: str) -> int:
        if self.breaks and prefix == Layout("job-1").root:
            raise StoreError("out of reach")
        return super().delete_prefix(prefix)


def stored(objects: MemoryStore, table: MemoryTable) -> None:
    Ledger(table, "job-1").create_job(JobEntry("job-1", "", 0.0, Layout("job-1").plan))
    for key in (Layout("job-1").plan, Layout("job-1").code, Layout("job-1").index):
        objects.put(key, b"data")


@pytest.mark.parametrize("error", [CorruptObjectError("a run is damaged"), ObjectNotFoundError("a run is gone")])
def test_what_is_missing_of_a_job_is_told_unless_it_is_removed(error: Exception) -> None:
    objects, table = MemoryStore(), MemoryTable()

    def read() -> None:
        with unless_removed(objects, table, "job-1"):
            raise error

    stored(objects, table)
    with pytest.raises(type(error), match="a run is"):
        read()
    objects.delete_prefix(Layout("job-1").code)
    with pytest.raises(JobNotFoundError, match="removed"):
        read()
    stored(objects, table)
    table.delete_group("job-1")
    with pytest.raises(JobNotFoundError, match="removed"):
        read()


def test_a_job_whose_removal_broke_off_is_told_to_be_gone_and_found_by_the_next() -> None:
    objects, table = BreaksOff(), MemoryTable()
    stored(objects, table)
    with pytest.raises(StoreError):
        remove_job(objects, table, "job-1")
    with pytest.raises(JobNotFoundError), unless_removed(objects, table, "job-1"):
        objects.get(Layout("job-1").code)
    assert [entry.job for entry in list_jobs(table)] == ["job-1"]
    with pytest.raises(StoreError):
        remove_expired(objects, table, now=100.0, keep_seconds=50.0)
    objects.breaks = False
    assert remove_expired(objects, table, now=100.0, keep_seconds=50.0) == ("job-1",)
    assert list(objects.list_prefix("jobs/")) == []
    assert list_jobs(table) == []
