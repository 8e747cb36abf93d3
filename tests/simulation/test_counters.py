"""Counters in whole jobs in simulated time: each committed task counts once, whatever happens to its attempts, and whoever asks when."""

from __future__ import annotations

import pytest

from smr_notebook.control.ledger import Ledger
from smr_notebook.control.manifests import read_manifest
from smr_notebook.job.counters import counters_of
from smr_notebook.model import JobState, Numbers
from smr_notebook.testing.fates import ROUGH, STORM, Odds
from smr_notebook.testing.stories import draw
from smr_notebook.testing.tinyplane import expected


@pytest.mark.parametrize("odds", [pytest.param(ROUGH, id="rough"), pytest.param(STORM, id="storm")])
def test_each_committed_task_counts_once_whatever_happens(odds: Odds) -> None:
    done, legs = 0, 0
    for seed in range(40):
        job = draw(seed, odds)
        story = job.run()
        if story.outcome.state is not JobState.DONE:
            continue
        done += 1
        ledger = Ledger(job.table, job.plan.job)
        counted = {"pairs": sum(map(len, job.pairs))} | ({"groups": len(expected(job.pairs))} if job.plan.reducers else {})
        manifests = [read_manifest(job.objects, ledger, phase, job=job.plan.job) for phase in job.plan.phases]
        assert dict(sum((manifest.totals for manifest in manifests), start=Numbers()).counters) == counted
        progress = ledger.progress()
        assert progress is not None
        found = counters_of(progress)
        assert (dict(found), found.final) == (counted, True)
        legs += sum(len(commit.receipts) > 1 for manifest in manifests for commit in manifest.commits)
    assert done
    assert legs
