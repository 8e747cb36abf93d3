"""The first retry comes at once, further ones later and later, and never for ever."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.control.retrying import LONGEST, due_at, not_yet
from smr_notebook.model import Attempt, AttemptId, AttemptState, Failure, FailureKind, Phase, Policy, TaskId

TASK = TaskId(Phase.MAP, 7)
FULL = Failure(FailureKind.SYSTEM, "OSError", "no space left on device")
UNCLAIMED = Failure(FailureKind.LOST, "LaunchLost", "nobody began it")
POLICY = Policy(pause=1.0)


def attempt(
    number: int, state: AttemptState = AttemptState.FAILED, *, at: float = 0.0, failure: Failure = FULL, owner: str = "w"
) -> Attempt:
    return Attempt(AttemptId(TASK, number), state, owner, 0.0, 0.0, at, failure=failure if state is AttemptState.FAILED else None)


@pytest.mark.parametrize(
    ("failures", "waits"), [(0, -math.inf), (1, -math.inf), (2, 1.0), (3, 2.0), (4, 4.0), (5, 8.0), (6, LONGEST), (60, LONGEST)]
)
def test_each_retry_but_the_first_waits_twice_as_long(failures: int, waits: float) -> None:
    assert due_at([attempt(number, at=100.0) for number in range(1, failures + 1)], POLICY) - 100.0 == waits


def test_lost_launches_wait_for_nothing_and_a_leg_begins_anew() -> None:
    lost = [attempt(number, failure=UNCLAIMED, owner="") for number in (1, 2, 3)]
    assert due_at(lost, POLICY) == -math.inf
    behind = [attempt(1), attempt(2), attempt(3, AttemptState.PAUSED), attempt(4)]
    assert due_at(behind, POLICY) == -math.inf
    assert due_at([*behind, attempt(5, at=10.0)], POLICY) == 11.0


def test_a_task_that_somebody_works_on_waits_for_nobody() -> None:
    ended = (attempt(1, at=100.0), attempt(2, at=100.0))
    assert not_yet({TASK: ended}, POLICY, 100.5) == {TASK: 101.0}
    assert not_yet({TASK: ended}, POLICY, 101.0) == {}
    assert not_yet({TASK: (*ended, attempt(3, AttemptState.RUNNING))}, POLICY, 100.5) == {}


@given(st.lists(st.floats(0, 1e6), max_size=20), st.floats(0, 1e6))
def test_no_task_waits_longer_than_the_longest_pause(times: list[float], now: float) -> None:
    attempts = [attempt(number, at=at) for number, at in enumerate(times, start=1)]
    assert all(now < at <= max(times) + LONGEST for at in not_yet({TASK: attempts}, POLICY, now).values())
