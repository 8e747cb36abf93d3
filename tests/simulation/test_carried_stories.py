"""Simulated jobs whose pairs travel by a carrier: under any mixture of troubles the plain answer, or the true cause."""

from __future__ import annotations

from random import Random

import pytest

from smr_notebook.testing.fates import Odds, mixed
from smr_notebook.testing.simulation import CARRIED
from smr_notebook.testing.stories import check, draw


@pytest.mark.parametrize("first", range(0, 120, 20))
def test_any_job_by_a_carrier_ends_with_the_plain_answer_or_with_its_true_cause(first: int) -> None:
    for seed in range(first, first + 20):
        maps = Random(f"shape {seed}").choice([0, 0, 12])
        job = draw(seed, mixed(seed), maps=maps, exchange=CARRIED)
        try:
            check(job, job.run())
        except AssertionError as error:
            raise AssertionError(f"story {seed}: {error}") from error


def test_nothing_is_left_at_the_carrier_when_nothing_goes_wrong() -> None:
    for seed in range(10):
        job = draw(seed, Odds(), exchange=CARRIED)
        check(job, job.run())
        assert job.carrier.slices == {}


RIVALS = Odds(rivals=0.7, interleaved=0.6, frozen=0.03)
"""Coordinators come while others stand still in the middle of a step."""


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_no_box_is_made_again_by_who_stood_still_while_the_job_ended(first: int) -> None:
    """It would be left for good, and a stream costs something each hour."""
    for seed in range(first, first + 20):
        job = draw(seed, RIVALS, exchange=CARRIED)
        check(job, job.run())
        assert job.carrier.boxes == set(), f"story {seed}"
