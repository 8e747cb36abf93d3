"""Segments: what an aggregation sees of groups, values one group after the other, and where each group begins.

Everything here is a step over all groups at once. Rules:

* A group may be empty; `offsets` go from 0 to the number of values.
* Rows that are picked keep their order, so that *first* means the same before and after.
* Lists are states that hold several values of a group; `None` among them is an empty one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from smr_notebook.dataflow.columns import Column, decode_values
from smr_notebook.dataflow.kinds import Shape, parse_kind

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class GroupError(Exception):
    """The values of one group cannot be aggregated; what is wrong is the `__cause__`.

    Attributes:
        group: Number of the group in its segments.
    """

    def __init__(self, group: int) -> None:
        super().__init__(group)
        self.group = group


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """Values of groups: those of group `i` are `values[offsets[i]:offsets[i + 1]]`."""

    values: Column
    offsets: Indices

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> Indices:
        """How many values each group has."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> Indices:
        """The group of each value."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.counts)

    def pick(self, rows: Indices) -> Segments:
        """Return the values at these row numbers, which ascend."""
        if len(rows) == len(self.values):
            return self
        return Segments(self.values.take(rows), np.searchsorted(rows, self.offsets).astype(np.int64))

    def without_none(self) -> Segments:
        """Return what is not `None`."""
        array: Any = self.values.array
        if not array.null_count:
            return self
        return self.pick(np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False)))

    def lists(self) -> list[list[Any]]:
        """Return the values of each group as Python objects."""
        values = decode_values(self.values)
        return [values[start:stop] for start, stop in pairwise(self.offsets.tolist())]


def offsets_of(counts: npt.NDArray[Any]) -> Indices:
    """Return where groups of these sizes begin, and where the last one ends."""
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def over_groups(operation: np.ufunc, numbers: npt.NDArray[Any], offsets: Indices, nothing: Any) -> npt.NDArray[Any]:
    """Return the numbers of each group folded by an operation such as `np.add`; `nothing` for an empty group."""
    there = np.flatnonzero(np.diff(offsets))
    if len(there) == len(offsets) - 1 > 0:
        folded: npt.NDArray[Any] = operation.reduceat(numbers, offsets[:-1])
        return folded
    result = np.full(len(offsets) - 1, nothing, numbers.dtype)
    if len(there):
        result[there] = operation.reduceat(numbers, offsets[:-1][there])
    return result


def to_lists(segments: Segments) -> Column:
    """Return the values of each group as one list."""
    shape = Shape("list", (), (parse_kind(segments.values.kind),))
    return Column(str(shape), list_array(segments.values.array, segments.offsets))


def list_array(values: pa.Array[Any], offsets: Indices) -> pa.Array[Any]:
    """Return an Arrow array of lists."""
    if len(values) >= 1 << 31:
        raise ValueError(f"Lists of {len(values):,} values in all are too many for one column.")
    starts: Any = pa.array(offsets.astype(np.int32))
    lists: pa.Array[Any] = pa.ListArray.from_arrays(starts, values)
    return lists


def to_states(segments: Segments) -> Column:
    """Return the values of each group as one list, or a column of nothing where there are no values at all."""
    return to_lists(segments) if len(segments.values) else Column("null", pa.nulls(len(segments)))


def of_lists(lists: Column, offsets: Indices) -> Segments:
    """Return the values of all lists of each group; the lists of group `i` are those from `offsets[i]` to `offsets[i + 1]`."""
    if lists.kind == "null":
        return Segments(Column("null", pa.nulls(0)), np.zeros(len(offsets), np.int64))
    kind = str(parse_kind(lists.kind).parts[0])
    values, bounds = list_parts(lists.array)
    return Segments(Column(kind, values), bounds[offsets])


def list_parts(array: Any) -> tuple[pa.Array[Any], Indices]:
    """Return the values of an Arrow array of lists, of which a null holds none, and where each list begins in them."""
    bounds = array.offsets.to_numpy().astype(np.int64)
    return array.values.slice(bounds[0], bounds[-1] - bounds[0]), bounds - bounds[0]
