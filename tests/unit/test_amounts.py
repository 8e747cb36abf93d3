"""Numbers as people read them, bars of text, and the marks of an axis."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.pictures.bars import bar, spark
from smr_notebook.pictures.marks import marks, time_marks, time_names
from smr_notebook.showing.amounts import counted, dollars, quantity, span


@pytest.mark.parametrize(
    ("count", "unit", "expected"),
    [(0, "", "0"), (999, "", "999"), (1_500, "", "1.5 k"), (99_960, "", "100 k"), (0, "B", "0 B"), (4_100, "B", "4.1 KB")],
)
def test_quantity(count: float, unit: str, expected: str) -> None:
    assert quantity(count, unit) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 ms"), (0.0351, "35 ms"), (0.0999, "0.1 s"), (1.24, "1.2 s"), (99.94, "99.9 s"), (100, "1 min 40 s"), (7_500, "2 h 5 min")],
)
def test_how_long_something_took(seconds: float, expected: str) -> None:
    assert span(seconds) == expected


@pytest.mark.parametrize(
    ("amount", "expected"),
    [(0, "$0.00"), (1e-7, "$0.0000001"), (0.000_045_6, "$0.000046"), (0.0012, "$0.0012"), (1.3, "$1.30"), (1_234.5, "$1,234.50")],
)
def test_money_is_told_without_powers_of_ten(amount: float, expected: str) -> None:
    assert dollars(amount) == expected


def test_things_are_counted() -> None:
    assert [counted(0, "task"), counted(1, "task"), counted(2_000, "task")] == ["0 tasks", "1 task", "2,000 tasks"]


@given(st.floats(1e-6, 1e15), st.integers(2, 20))
def test_marks_are_few_even_and_reach_far(largest: float, most: int) -> None:
    found = marks(largest, most)
    assert found[0] == 0
    assert len(found) <= most
    assert found[-1] <= largest * (1 + 1e-6)
    steps = [second - first for first, second in itertools.pairwise(found)]
    assert all(step == pytest.approx(steps[0]) for step in steps)


@given(st.floats(1e-3, 1e8))
def test_marks_of_time_are_few_and_have_names_of_their_own(seconds: float) -> None:
    found = time_marks(seconds)
    assert len(found) <= 8
    assert found[-1] <= seconds * (1 + 1e-6)
    names = time_names(found)
    assert len(set(names)) == len(names)


def test_there_is_a_mark_where_there_is_nothing() -> None:
    assert marks(0, 6) == [0.0]
    assert time_names([0.0]) == ["0 s"]


@pytest.mark.parametrize(
    ("seconds", "names"),
    [
        (0.4, ["0.0 s", "0.1 s", "0.2 s", "0.3 s", "0.4 s"]),
        (70, ["0 s", "15 s", "30 s", "45 s", "1:00"]),
        (900, ["0 min", "5 min", "10 min", "15 min"]),
        (30_000, ["0 h", "2 h", "4 h", "6 h", "8 h"]),
    ],
)
def test_times_are_named_as_a_clock_does(seconds: float, names: list[str]) -> None:
    assert time_names(time_marks(seconds)) == names


def test_a_bar_is_as_long_as_its_share() -> None:
    assert bar(8, 8, 4) == "████"
    assert bar(1, 8, 4) == "▌"
    assert bar(1, 10_000, 4) == "▏"
    assert bar(0, 8, 4) == bar(1, 0, 4) == ""


@given(st.lists(st.integers(0, 1_000), max_size=200))
def test_a_curve_shows_the_largest_and_what_is_nothing(values: list[int]) -> None:
    shown = spark(values, 20)
    assert len(shown) == min(len(values), 20)
    assert ("█" in shown) == any(values)
    if len(values) <= 20:
        assert [cell == " " for cell in shown] == [value == 0 for value in values]
