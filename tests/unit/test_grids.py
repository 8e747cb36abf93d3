"""The grid of merge tasks: each slice is moved once, to where its reduce task looks for it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.dataflow.grids import Grid


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    maps, partitions = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    return Grid(maps, partitions, draw(st.integers(1, maps)), draw(st.integers(1, partitions)))


@given(grids())
def test_each_slice_is_moved_by_one_task_and_found_in_its_place(grid: Grid) -> None:
    moved = [(task, partition) for merge in range(grid.tasks) for partition in grid.partitions_of(merge) for task in grid.maps_of(merge)]
    assert sorted(moved) == [(task, partition) for task in range(grid.maps) for partition in range(grid.partitions)]
    for partition in range(grid.partitions):
        mine = grid.merges_of(partition)
        assert [merge for merge in range(grid.tasks) if partition in grid.partitions_of(merge)] == list(mine)
        assert [task for merge in mine for task in grid.maps_of(merge)] == list(range(grid.maps)), "in the order of the input"
    for task in range(grid.maps):
        assert [merge for merge in range(grid.tasks) if task in grid.maps_of(merge)] == list(grid.readers_of(task))


@given(grids())
def test_the_reads_are_those_of_all_tasks(grid: Grid) -> None:
    merging = sum(len(grid.maps_of(merge)) for merge in range(grid.tasks))
    assert grid.reads == merging + sum(len(grid.merges_of(partition)) for partition in range(grid.partitions))
