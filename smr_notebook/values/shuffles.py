"""How pairs travel from map to reduce, as far as a plan fixes it: plain values.

Rules of this module: those of `model`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Merging:
    """How the runs of map tasks become fewer before they are reduced: a merge task for each pair of a group of tasks and one of partitions.

    Attributes:
        task_groups: Into how many groups of neighbours the map tasks are cut.
        partition_groups: Into how many groups of neighbours the partitions are.
        direct_cost: Dollars that reading the pairs was thought to cost without; 0 where nothing costs.
        cost: The same with the merge tasks and their reads.
    """

    task_groups: int
    partition_groups: int
    direct_cost: float = 0.0
    cost: float = 0.0

    @property
    def tasks(self) -> int:
        """Number of merge tasks."""
        return self.task_groups * self.partition_groups


@dataclass(frozen=True, slots=True)
class CarriageCost:
    """Dollars that it is thought to cost that pairs travel by a carrier which somebody bills, and what they would cost by objects."""

    cost: float
    objects: float
