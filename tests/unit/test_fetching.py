"""Reading ahead keeps the order, its bounds, and the errors where they belong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.dataflow.fetching import fetch_ahead


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 5), st.integers(0, 100))
def test_all_comes_in_order_and_no_more_is_ahead_than_may_be(sizes: list[int], threads: int, most: int) -> None:
    asked: list[int] = []
    given: list[int] = []

    def wanted() -> Iterator[tuple[int, Callable[[], int]]]:
        for number, size in enumerate(sizes):
            asked.append(number)
            yield size, lambda number=number: number  # type: ignore[misc]

    for number in fetch_ahead(wanted(), threads=threads, most_bytes=most):
        given.append(number)
        ahead = [sizes[place] for place in asked[len(given) :]]
        assert len(ahead) <= threads
        assert sum(ahead[:-1]) <= most
    assert given == list(range(len(sizes)))


def test_several_are_under_way_at_once() -> None:
    together = threading.Barrier(3, timeout=30)
    assert len(list(fetch_ahead([(1, together.wait)] * 3, threads=3, most_bytes=100))) == 3


def test_an_error_is_raised_in_its_turn_and_ends_the_reading() -> None:
    def fail() -> int:
        raise OSError("gone")

    fetched = fetch_ahead([(1, lambda: 1), (1, fail), (1, lambda: 3)], threads=2, most_bytes=100)
    assert next(fetched) == 1
    with pytest.raises(OSError, match="gone"):
        next(fetched)
    assert list(fetched) == []
