"""Simulated jobs whose runs are merged between map and reduce: under any mixture of troubles the plain answer, or the true cause."""

from __future__ import annotations

from random import Random

import pytest

from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger
from smr_notebook.model import JobState, Phase
from smr_notebook.testing.fates import CALM, mixed
from smr_notebook.testing.stories import check, draw


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_any_job_whose_runs_are_merged_ends_with_the_plain_answer_or_with_its_true_cause(first: int) -> None:
    for seed in range(first, first + 20):
        maps = Random(f"shape {seed}").choice([0, 0, 12])
        job = draw(seed, mixed(seed), maps=maps, merges=True)
        try:
            check(job, job.run())
        except AssertionError as error:
            raise AssertionError(f"story {seed}: {error}") from error


def test_a_calm_job_merges_each_run_once_and_leaves_none() -> None:
    merged = 0
    for seed in range(15):
        job = draw(seed, CALM, merges=True)
        story = job.run()
        assert story.outcome.state is JobState.DONE
        check(job, story)
        progress = Ledger(job.table, "job").progress()
        assert progress is not None
        assert progress.merge.done == job.plan.tasks(Phase.MERGE)
        merged += progress.merge.done
        if job.plan.reducers:
            left = [info.key for phase in (Phase.MAP, Phase.MERGE) for info in job.objects.list_prefix(Layout("job").phase(phase))]
            assert left == []
    assert merged > 15
