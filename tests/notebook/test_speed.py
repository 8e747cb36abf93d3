"""How fast a job goes and how long its phase may still take, from two looks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.model import JobState, Numbers
from smr_notebook.standing import PhaseProgress, Progress
from smr_notebook.views.speed import Start, seconds_left, speed, started


def look(done: int, running: int = 0, *, at: float, tasks: int = 100, records: int = 0, state: JobState = JobState.MAPPING) -> Progress:
    phase = PhaseProgress(tasks, done, running, numbers=Numbers(records_mapped=records))
    mapped = PhaseProgress(tasks, tasks)
    reducing = state is JobState.REDUCING
    return Progress(state, mapped if reducing else phase, phase if reducing else PhaseProgress(8), 1_000.0, at, 1, 0.0)


BEGAN = started(look(0, 4, at=1_001.0))


def test_what_is_done_in_a_time_tells_what_the_rest_takes() -> None:
    assert seconds_left(look(25, at=1_026.0), BEGAN, 1_026.0) == pytest.approx(75.0)


def test_a_task_at_work_counts_as_not_done() -> None:
    assert seconds_left(look(20, 10, at=1_021.0), BEGAN, 1_021.0) == pytest.approx(80.0)


def test_tasks_that_were_at_work_when_a_phase_was_joined_say_nothing() -> None:
    """100 tasks of an hour, ten at once, joined ten seconds before the first wave ends: nine hours are left then, eight after the next."""
    joined = started(look(0, 10, at=1_000.0 + 3_590.0))
    assert seconds_left(look(10, 10, at=1_000.0 + 3_600.0), joined, 1_000.0 + 3_600.0) is None
    left = seconds_left(look(20, 10, at=1_000.0 + 7_200.0), joined, 1_000.0 + 7_200.0)
    assert left == pytest.approx(8 * 3_600.0, rel=0.01)


def test_the_time_left_goes_on_between_two_looks() -> None:
    assert seconds_left(look(25, at=1_026.0), BEGAN, 1_036.0) == pytest.approx(65.0)


def test_a_clock_that_is_behind_adds_nothing() -> None:
    assert seconds_left(look(25, at=1_026.0), BEGAN, 900.0) == pytest.approx(75.0)


@pytest.mark.parametrize(
    "progress",
    [
        look(0, 4, at=1_026.0),
        look(1, 4, at=1_001.1),
        look(25, at=1_026.0, state=JobState.SUBMITTED),
        look(25, at=1_026.0, state=JobState.DONE),
        look(100, at=1_026.0),
    ],
    ids=["no task was seen to end", "too soon", "not begun", "ended", "nothing is left"],
)
def test_what_is_not_known_is_not_told(progress: Progress) -> None:
    assert seconds_left(progress, BEGAN, progress.updated) is None


def test_a_time_that_is_over_is_not_told() -> None:
    assert seconds_left(look(25, at=1_026.0), BEGAN, 1_200.0) is None


def test_one_look_knows_no_speed() -> None:
    assert seconds_left(look(25, at=1_026.0), None, 1_026.0) is None
    assert speed(look(25, at=1_026.0, records=1_000), None) is None


def test_who_joins_late_measures_from_then_on() -> None:
    joined = started(look(50, at=2_000.0, records=5_000))
    assert seconds_left(look(75, at=2_050.0), joined, 2_050.0) == pytest.approx(50.0)
    assert speed(look(75, at=2_050.0, records=7_500), joined) == pytest.approx(50.0)


def test_each_phase_has_its_own_speed() -> None:
    reducing = look(0, 2, at=1_100.0, state=JobState.REDUCING)
    began = started(reducing, BEGAN)
    assert began == Start(JobState.REDUCING, 1_100.0, reducing.reduce)
    assert seconds_left(look(50, at=1_110.0, state=JobState.REDUCING), began, 1_110.0) == pytest.approx(10.0)


def test_records_of_a_lost_attempt_give_no_negative_speed() -> None:
    assert speed(look(10, at=1_010.0, records=5), started(look(10, at=1_001.0, records=50))) is None


@given(
    st.integers(1, 10_000).flatmap(lambda tasks: st.tuples(st.just(tasks), st.integers(0, tasks), st.integers(0, tasks))),
    st.integers(0, 3_000),
    st.floats(0, 1e6),
    st.floats(-1e6, 1e6),
)
def test_a_time_left_is_none_or_above_zero(tasks: tuple[int, int, int], running: int, passed: float, off: float) -> None:
    total, one, other = tasks
    began = started(look(min(one, other), at=1_000.0, tasks=total))
    left = seconds_left(look(max(one, other), running, at=1_000.0 + passed, tasks=total), began, 1_000.0 + passed + off)
    assert left is None or left > 0
