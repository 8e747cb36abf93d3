"""When runs are merged: above some hundred thousand reads, where that is cheaper, or when somebody says so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.control.costs import PRICES
from smr_notebook.control.merges import MOST_READS, TASK_BYTES, Shuffle, choose_merging
from smr_notebook.dataflow.grids import Grid
from smr_notebook.values.shuffles import Merging

RATES = PRICES["aws/us-east-1/arm64"]
MEMORY = 1769 << 20


def chosen(maps: int, reducers: int, size: int, *, above: int = 0) -> Merging | None:
    return choose_merging(Shuffle(maps, reducers, size), RATES, memory_bytes=MEMORY, above=above)


@pytest.mark.parametrize(("maps", "reducers"), [(1, 1), (100, 100), (1_000, 300), (300_000, 1)])
def test_few_reads_are_left_as_they_are(maps: int, reducers: int) -> None:
    assert maps * reducers <= MOST_READS
    assert chosen(maps, reducers, 10**10) is None


def test_a_terabyte_is_merged_for_a_fraction_of_what_its_reads_cost() -> None:
    merging = chosen(7_813, 1_000, 10**11)
    assert merging is not None
    assert merging.direct_cost == pytest.approx(3.27, abs=0.05)
    assert merging.cost < merging.direct_cost / 10
    assert Grid(7_813, 1_000, merging.task_groups, merging.partition_groups).reads < 200_000


def test_bytes_that_cost_more_to_move_than_to_read_are_not_moved() -> None:
    assert chosen(1_000, 301, 10**13) is None
    assert chosen(1_000, 301, 10**13, above=1) is not None


def test_where_nothing_costs_nothing_is_merged_unless_somebody_says_so() -> None:
    large = Shuffle(10_000, 1_000, 10**11)
    assert choose_merging(large, None, memory_bytes=0) is None
    merging = choose_merging(large, None, memory_bytes=0, above=1_000)
    assert merging is not None
    assert (merging.direct_cost, merging.cost) == (0.0, 0.0)
    assert choose_merging(large, None, memory_bytes=0, above=10_000_000) is None


@given(st.integers(1, 20_000), st.integers(1, 2_000), st.integers(0, 10**13))
def test_the_grid_fits_the_job(maps: int, reducers: int, size: int) -> None:
    merging = chosen(maps, reducers, size, above=1)
    if maps * reducers == 1:
        assert merging is None
        return
    assert merging is not None
    assert 1 <= merging.task_groups <= maps
    assert 1 <= merging.partition_groups <= reducers
    assert size / merging.tasks <= TASK_BYTES or merging.tasks >= min(100_000, maps * reducers) / 2
