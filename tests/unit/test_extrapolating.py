"""What the first records say of all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.control.costs import PRICES, Shape
from smr_notebook.control.extrapolating import Looked, whole_of

GIB = 1 << 30
LOOKED = Looked(
    records=100, bytes=10_000, pairs=100, travelling=100, fetched=1 << 20, read_seconds=0.001, map_seconds=0.01, reduce_seconds=0.002
)
SHAPE = Shape(maps=8, reducers=2, input_bytes=80 << 20, concurrency=4, heartbeat=1.0, overhead=0.0)


def seconds_of(looked: Looked, shape: Shape = SHAPE) -> float:
    seconds = whole_of(looked, shape, None, memory_bytes=GIB, records=None).seconds
    assert seconds is not None
    return seconds


def test_the_beginning_stands_for_all() -> None:
    whole = whole_of(LOOKED, SHAPE, None, memory_bytes=GIB, records=None)
    assert (whole.records, whole.exact, whole.bytes) == (838_861, False, 80 << 20)
    assert (whole.maps, whole.reducers, whole.workers, whole.estimate) == (8, 2, 4, None)
    mapping = 838_861 * (100e-6 + 100 * 0.001 / (1 << 20))
    reducing = 838_861 * (2e-6 + 20e-6)
    assert whole.seconds == pytest.approx(mapping / 4 + reducing / 2, rel=0.01), "two waves of four map tasks, one of two reduce tasks"


def test_a_number_that_is_known_is_told_as_it_is() -> None:
    whole = whole_of(LOOKED, SHAPE, None, memory_bytes=GIB, records=7)
    assert (whole.records, whole.exact) == (7, True)


def test_it_costs_something_where_there_are_prices() -> None:
    rates = PRICES["aws/us-east-1/x86_64"]
    quick = whole_of(LOOKED, SHAPE, rates, memory_bytes=GIB, records=None).estimate
    slow = whole_of(replace(LOOKED, map_seconds=10.0), SHAPE, rates, memory_bytes=GIB, records=None).estimate
    reduced = whole_of(replace(LOOKED, reduce_seconds=10.0), SHAPE, rates, memory_bytes=GIB, records=None).estimate
    assert quick is not None
    assert slow is not None
    assert reduced is not None
    assert quick.likely < min(slow.likely, reduced.likely)
    assert quick.sampled == 100


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0, 100))
def test_what_takes_longer_here_takes_longer_there(read: float, map: float, more: float) -> None:
    looked = replace(LOOKED, read_seconds=read, map_seconds=map)
    for slower in (replace(looked, map_seconds=map + more), replace(looked, read_seconds=read + more)):
        if map + read:
            assert seconds_of(slower) >= seconds_of(looked) * (1 - 1e-9)


def test_a_slow_connection_here_is_no_reason_for_a_long_job() -> None:
    assert seconds_of(replace(LOOKED, read_seconds=1e6)) == seconds_of(replace(LOOKED, read_seconds=2e6))


def test_pairs_that_combining_makes_few_grow_with_the_tasks_and_not_with_the_records() -> None:
    few, all = replace(LOOKED, travelling=7, reduce_seconds=0.0), replace(LOOKED, reduce_seconds=0.0)
    larger = replace(SHAPE, input_bytes=SHAPE.input_bytes * 10)
    mapping = 100e-6 + 100 * 0.001 / (1 << 20)
    assert seconds_of(few, larger) == pytest.approx(8_388_608 * mapping / 4, rel=0.01)
    assert seconds_of(all, larger) > 1.01 * seconds_of(few, larger)


def test_nothing_is_divided_by_nothing() -> None:
    nothing = Looked(0, 0, 0, 0, 0, 0.0, 0.0, 0.0)
    whole = whole_of(nothing, SHAPE, None, memory_bytes=GIB, records=None)
    assert whole.records is None
    assert whole.seconds is not None
    assert seconds_of(nothing, replace(SHAPE, reducers=0)) > 0


def test_what_travels_costs_as_a_plan_would_have_it() -> None:
    """Many reads are merged, and a carrier is paid for."""
    rates, many = PRICES["aws/us-east-1/x86_64"], replace(SHAPE, maps=8_000, reducers=1_000, concurrency=1_000)

    def likely(**options: Any) -> float:
        thought = whole_of(LOOKED, many, rates, memory_bytes=GIB, records=None, **options).estimate
        assert thought is not None
        return thought.likely

    assert likely() < likely(merge_above=10**9) - 2.5, "8,000,000 reads cost $3.20"
    assert likely(exchange="sqs") > likely(merge_above=10**9)
