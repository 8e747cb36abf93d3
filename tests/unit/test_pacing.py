"""How often a watcher looks and paints."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.values.pacing import LONG, LONGEST_PAUSE, TICK, is_due, next_pause


@given(st.floats(0.001, 60), st.floats(0.001, 60))
def test_a_pause_never_shrinks_below_the_one_before_nor_grows_above_the_longest(pause: float, longest: float) -> None:
    following = next_pause(min(pause, longest, LONGEST_PAUSE), longest)
    assert min(pause, longest, LONGEST_PAUSE) <= following <= min(longest, LONGEST_PAUSE)


@pytest.mark.parametrize(
    ("changed", "since", "watched", "due"),
    [
        (True, 0.1, 5.0, False),
        (True, 0.2, 5.0, True),
        (False, 0.2, 5.0, False),
        (False, TICK, 5.0, True),
        (True, 0.2, LONG, False),
        (True, TICK, LONG, True),
        (True, float("inf"), 0.0, True),
    ],
)
def test_a_change_is_painted_after_an_interval_and_a_clock_once_a_second(changed: bool, since: float, watched: float, due: bool) -> None:
    assert is_due(changed=changed, since_paint=since, watched=watched, interval=0.2) is due
