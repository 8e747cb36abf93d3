"""A few trials of the campaign that `make chaos` runs at length."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from smr_notebook.testing.chaos.campaign import run_trials
from smr_notebook.testing.chaos.local import local_arena
from smr_notebook.testing.chaos.verdicts import Tally, Verdict


@pytest.mark.parametrize("seed", [1, 2])
def test_jobs_under_torment_are_right_or_say_why_not(tmp_path: Path, seed: int) -> None:
    tally = Tally()
    with local_arena(tmp_path, small_disk=False) as arena:
        run_trials(arena, Random(seed), trials=4, tally=tally, pace=(0.02, 0.4), tell=lambda _: None)
    assert tally.clean, str(tally)
    assert tally.verdicts.total() == 4
    assert tally.verdicts[Verdict.RIGHT] > 0
    assert tally.faults.total() > 0
