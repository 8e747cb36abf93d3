"""Jobs from submission to proof, call by call: coordinator, workers and death notices with the real data plane."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import smr_notebook as smr
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.control.attempts import Output, claim
from smr_notebook.control.layout import Layout
from smr_notebook.control.worker import deliver
from smr_notebook.model import JobState, Numbers
from smr_notebook.standing import PhaseProgress, Progress
from smr_notebook.testing.job_by_hand import ITEMS, Job, functions, remainders


def test_a_job_runs_to_its_proof(job: Job) -> None:
    assert job.run() is JobState.DONE
    outcome, progress = job.ledger.outcome(), job.ledger.progress()
    assert outcome is not None
    assert progress is not None
    assert outcome.proof == f"{job.plan.maps} splits · 100 records read = mapped · 3 groups · 100 pairs = reduced"
    assert (progress.state, progress.proof) == (JobState.DONE, outcome.proof)
    assert (progress.map.done, progress.reduce.done) == (job.plan.maps, 2)


def test_a_job_without_reduce_keeps_the_parts_of_its_map_tasks() -> None:
    job = Job(functions(remainders, reduce=False), ITEMS, reducers=0)
    assert job.run() is JobState.DONE
    parts = [commit.part for commit in job.ledger.snapshot().commits.values()]
    assert sum(part.rows for part in parts if part) == 100
    assert all(job.backend.objects.get(file.key) for part in parts if part for file in part.files)


def test_a_part_that_no_manifest_names_is_never_read() -> None:
    """An attempt that died before its commit left one, say, or one that committed too late."""
    job = Job(functions(remainders), ITEMS, reducers=1)
    assert job.run() is JobState.DONE
    entry = job.ledger.job()
    assert entry is not None
    result = smr.Job(job.backend, entry, result_limit=1 << 30)
    ((file,),) = (part.files for part in result.parts())
    before = result.result()
    other = file.key.replace("/001/", "/002/")
    assert other != file.key
    job.backend.objects.put(other, job.backend.objects.get(file.key))
    assert smr.Job(job.backend, entry, result_limit=1 << 30).result().equals(before)
    assert len(before) == 3


def test_what_only_a_running_job_needs_is_gone_at_its_end(job: Job) -> None:
    job.run()
    left = {info.key.split("/")[2] for info in job.backend.objects.list_prefix("jobs/3f9a/")}
    assert left == {"plan", "code", "manifest", "reduce"}


def test_where_objects_expire_nobody_deletes_any(job: Job) -> None:
    """Neither at the end of a job nor for an output that lost: no role may."""
    kept = DeletesNothing()
    for info in job.backend.objects.list_prefix("jobs/"):
        kept.put(info.key, job.backend.objects.get(info.key))
    job.backend = replace(job.backend, objects=kept, expires=True)
    next(job.looking())
    (message, *_) = job.service.calls
    zombie = claim(job.ledger, message.attempt_id, owner="zombie", clock=job.clock, lease=15)
    assert zombie is not None
    job.clock.sleep(20)
    assert job.run() is JobState.DONE
    deliver(job.backend, "3f9a", zombie, Output(), numbers=Numbers())
    assert kept.asked == 0


class DeletesNothing(MemoryStore):
    """Counts what it was asked to delete."""

    asked = 0

    def delete_prefix(self, prefix: str) -> int:
        self.asked += 1
        return 0


def test_a_user_error_is_told_with_its_line_and_ends_the_job_the_second_time() -> None:
    def poisoned(item: int) -> Iterator[tuple[int, int]]:
        yield item, 1 // (item - 50)

    job = Job(functions(poisoned), ITEMS)
    assert job.run() is JobState.FAILED
    outcome = job.ledger.outcome()
    assert outcome is not None
    assert outcome.error == "TaskError"
    (sample,) = outcome.failures
    assert (sample.attempt.number, sample.failure.type, sample.failure.record) == (2, "ZeroDivisionError", "50")
    assert list(job.backend.objects.list_prefix(Layout("3f9a").input)), "what a job read that failed is still there"
    assert sample.failure.frames[-1].text == "yield item, 1 // (item - 50)"


def test_the_result_is_that_of_the_last_phase_whatever_the_progress_says(job: Job) -> None:
    job.run()
    nothing = PhaseProgress()
    job.ledger.put_progress(Progress(JobState.DONE, nothing, nothing, 1_000.0, 1_000.0, epoch=9, lease_expires=0.0))
    entry = job.ledger.job()
    assert entry is not None
    assert [part.number for part in smr.Job(job.backend, entry, result_limit=1 << 30).parts()] == [0, 1]
