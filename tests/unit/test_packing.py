"""Intervals in lanes: none overlap, nothing is lost, and there are no more lanes than are needed."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.pictures.packing import at_once, pack, sampled

TIMES = st.integers(0, 50).map(float)
INTERVALS = st.lists(st.tuples(TIMES, TIMES).map(lambda ends: (min(ends), max(ends))), max_size=60)


@given(INTERVALS)
def test_no_two_of_a_lane_overlap_and_nothing_is_lost(intervals: list[tuple[float, float]]) -> None:
    lanes = pack(intervals)
    assert len(lanes) == len(intervals)
    by_lane = defaultdict(list)
    for lane, interval in zip(lanes, intervals, strict=True):
        by_lane[lane].append(interval)
    for found in by_lane.values():
        assert all(first[1] <= second[0] for first, second in pairwise(sorted(found)))
    assert sorted(by_lane) == list(range(len(by_lane)))


@given(INTERVALS)
def test_there_are_as_many_lanes_as_run_at_once(intervals: list[tuple[float, float]]) -> None:
    longer = [(start, stop) for start, stop in intervals if stop > start]
    assert len(set(pack(longer))) == max((count for _, count in at_once(longer)), default=0)


@given(INTERVALS, TIMES)
def test_the_steps_count_what_there_is_at_a_time(intervals: list[tuple[float, float]], time: float) -> None:
    moment = time + 0.5
    count = next((count for start, count in reversed(at_once(intervals)) if start <= moment), 0)
    assert count == sum(start <= moment < stop for start, stop in intervals)


@given(INTERVALS, st.integers(1, 70))
def test_a_column_shows_the_most_that_there_are_in_it(intervals: list[tuple[float, float]], columns: int) -> None:
    steps = at_once(intervals)
    found = sampled(steps, 0.0, 50.0, columns)
    assert len(found) == columns
    assert max(found) == max((count for _, count in steps), default=0)
    for column, count in enumerate(found):
        middle = 50.0 * (column + 0.5) / columns
        assert count >= sum(start <= middle < stop for start, stop in intervals)


def test_no_time_has_no_columns_to_fill() -> None:
    assert sampled([(1.0, 2)], 1.0, 1.0, 3) == [0, 0, 0]
