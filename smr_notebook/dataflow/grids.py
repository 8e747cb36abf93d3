"""The grid of merge tasks: groups of neighbouring map tasks by groups of neighbouring partitions. Pure.

A merge task takes, from the run of each map task of one group, the slices of the partitions of one group, which lie side by side there: one
read. Its own run holds these partitions. So a reduce task finds its partition in as many runs as there are groups of map tasks. With
M map tasks in G groups and R partitions in H, the reads are M × H + G × R instead of M × R.

Tasks are numbered group of partitions after group of partitions, in each one group of map tasks after the other: so those that a reduce
task reads from are neighbours, in the order of the input.
"""

from __future__ import annotations

from dataclasses import dataclass

from smr_notebook.model import Plan


@dataclass(frozen=True, slots=True)
class Grid:
    """Which slices a merge task moves.

    Attributes:
        maps: Map tasks.
        partitions: Partitions.
        task_groups: Groups of map tasks, 1 to `maps`.
        partition_groups: Groups of partitions, 1 to `partitions`.
    """

    maps: int
    partitions: int
    task_groups: int
    partition_groups: int

    @property
    def tasks(self) -> int:
        """How many merge tasks there are."""
        return self.task_groups * self.partition_groups

    @property
    def reads(self) -> int:
        """How many ranges are read in all, by merge tasks and by reduce tasks."""
        return self.maps * self.partition_groups + self.task_groups * self.partitions

    def maps_of(self, number: int) -> range:
        """Return the map tasks whose runs a merge task reads."""
        return _piece(self.maps, self.task_groups, number % self.task_groups)

    def partitions_of(self, number: int) -> range:
        """Return the partitions that a merge task moves."""
        return _piece(self.partitions, self.partition_groups, number // self.task_groups)

    def merges_of(self, partition: int) -> range:
        """Return the merge tasks whose runs hold a partition."""
        group = _group(self.partitions, self.partition_groups, partition)
        return range(group * self.task_groups, (group + 1) * self.task_groups)

    def readers_of(self, task: int) -> range:
        """Return the merge tasks that read the runs of a map task."""
        return range(_group(self.maps, self.task_groups, task), self.tasks, self.task_groups)


def grid_of(plan: Plan) -> Grid:
    """Return the grid of a plan with merge tasks."""
    assert plan.merging is not None  # noqa: S101 - who asks has a merge task, or its manifest
    return Grid(plan.maps, plan.reducers, plan.merging.task_groups, plan.merging.partition_groups)


def _piece(count: int, groups: int, number: int) -> range:
    return range(number * count // groups, (number + 1) * count // groups)


def _group(count: int, groups: int, item: int) -> int:
    """Return the number of the piece that holds an item."""
    return ((item + 1) * groups - 1) // count
