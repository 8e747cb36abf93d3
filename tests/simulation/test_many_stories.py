"""Jobs of any shape under any mixture of troubles. How many: `SMR_TEST_STORIES`, or `make stories SEEDS=5000`."""

from __future__ import annotations

import os
from random import Random

import pytest

from smr_notebook.testing.fates import mixed
from smr_notebook.testing.simulation import Simulation
from smr_notebook.testing.stories import check, draw

STORIES = int(os.environ.get("SMR_TEST_STORIES", "300"))
CHAPTER = 20


def story(seed: int) -> Simulation:
    random = Random(f"shape {seed}")
    maps, branching, watched = random.choice([0, 0, 12, 24]), random.choice([0, 0, 2]), random.random() < 0.7
    return draw(seed, mixed(seed), maps=maps, branching=branching, watched=watched)


@pytest.mark.parametrize("first", range(0, STORIES, CHAPTER))
def test_any_job_under_any_troubles_ends_with_the_plain_answer_or_with_its_true_cause(first: int) -> None:
    for seed in range(first, min(first + CHAPTER, STORIES)):
        job = story(seed)
        try:
            check(job, job.run())
        except AssertionError as error:
            raise AssertionError(f"story {seed}: {error}") from error


def test_a_story_of_all_troubles_repeats_from_its_seed() -> None:
    for seed in (4, 76, 121):
        first, second = story(seed), story(seed)
        assert first.run() == second.run()
        assert first.table.query("job") == second.table.query("job")
