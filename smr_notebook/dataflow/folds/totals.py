"""Totals: the state of `smr.sum` and `smr.mean`, exact for numbers of any type and size.

The total of a group has three summands, each kept apart so that none rounds another:

* `ints`: the sum of its integers (a bool counts as one), as long as that fits into 64 bits;
* `floats`: a few floats with the exact sum of its floats (`dataflow.folds.float_sums`);
* `others`: everything else added up in input order with `+`, as a pickle: integers beyond 64 bits, `Decimal`, `Fraction`, `timedelta`.
  Decimals are added exactly, and rounded to the context's precision at the end.

`None` is left out. The total of a group is an `int` if all its values are integers, a `float` that is rounded once if they are integers,
fractions and floats, else what `+` gives; `None` if there are no values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from smr_notebook.dataflow import pickles
from smr_notebook.dataflow.columns import Column, decode_values
from smr_notebook.dataflow.folds.float_sums import round_sums, sum_parts
from smr_notebook.dataflow.folds.references import NO_NUMBER, join, plus
from smr_notebook.dataflow.folds.segments import Floats, GroupError, Indices, Segments, list_array, of_lists, offsets_of, over_groups
from smr_notebook.dataflow.folds.tuples import tuple_column, tuple_parts

_LOW = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, eq=False)
class Totals:
    """The totals of groups.

    Attributes:
        ints: Sum of each group's integers; 0 where there are none.
        has_ints: Whether there are any.
        floats: Floats with the exact sum of the floats of the groups, one group after the other.
        bounds: Where each group begins in `floats`, and where the last one ends.
        others: By number of the group, the sum of everything else.
    """

    ints: npt.NDArray[np.int64]
    has_ints: npt.NDArray[np.bool_]
    floats: Floats
    bounds: Indices
    others: dict[int, Any]

    def __len__(self) -> int:
        return len(self.ints)

    def column(self) -> Column:
        """Return the totals as a column of tuples (ints, floats, others); a summand that no group has takes no space."""
        nothing = Column("null", pa.nulls(len(self)))
        ints = floats = others = nothing
        if self.has_ints.any():
            ints = Column("int", pa.array(self.ints, pa.int64(), mask=~self.has_ints))
        if len(self.floats):
            floats = Column("list(float)", list_array(pa.array(self.floats), self.bounds))
        if self.others:
            pickled: list[bytes | None] = [None] * len(self)
            for group, value in self.others.items():
                pickled[group] = pickles.dumps(value)
            others = Column("pickle", pa.array(pickled, pa.binary()))
        return tuple_column([ints, floats, others])


def totals_of(segments: Segments) -> Totals:
    """Return the total of each group's values.

    Raises:
        GroupError: Values cannot be added.
    """
    values = segments.without_none()
    array: Any = values.values.array
    none = np.zeros(0), np.zeros(len(segments) + 1, np.int64)
    if values.values.kind == "int":
        return _add(array.to_numpy(), values.offsets, *none, [])
    if values.values.kind == "bool":
        return _add(array.to_numpy(zero_copy_only=False).astype(np.int64), values.offsets, *none, [])
    if values.values.kind == "float":
        return _add(np.zeros(0, np.int64), none[1], array.to_numpy(), values.offsets, [])
    return _totals_of_mixed(values)


def totals_of_parts(ints: Segments, floats: Segments, others: Segments) -> Totals:
    """Return the total of integers, floats and other values of the same groups, each kind in a column of its own or absent."""
    ints, floats, others = ints.without_none(), floats.without_none(), others.without_none()
    numbers: Any = ints.values.array.cast(pa.int64())
    decimals: Any = floats.values.array.cast(pa.float64())
    mixed = list(zip(others.owners.tolist(), decode_values(others.values), strict=True))
    return _add(numbers.to_numpy(), ints.offsets, decimals.to_numpy(), floats.offsets, mixed)


def merge_totals(totals: Column, offsets: Indices) -> Totals:
    """Return the total of the totals of each group.

    Raises:
        GroupError: Totals cannot be added.
    """
    summands = tuple_parts(totals)
    ints, others = _array(summands[0]), _array(summands[2])
    rows = np.flatnonzero(ints.is_valid().to_numpy(zero_copy_only=False))
    numbers = (ints if len(rows) == len(ints) else ints.take(rows)).cast(pa.int64()).to_numpy()
    parts = of_lists(summands[1], offsets)
    more: list[tuple[int, Any]] = []
    if others.null_count < len(others):
        at = np.flatnonzero(others.is_valid().to_numpy(zero_copy_only=False))
        groups = np.searchsorted(offsets, at, "right") - 1
        more = list(zip(groups.tolist(), decode_values(summands[2].take(at)), strict=True))  # by its own kind: bytes are no pickle
    floats: Any = parts.values.array.cast(pa.float64())
    return _add(numbers, np.searchsorted(rows, offsets).astype(np.int64), floats.to_numpy(), parts.offsets, more)


def _array(column: Column) -> Any:
    return column.array


def read_totals(column: Column) -> Totals:
    """Return the totals of a column, one for each group."""
    return merge_totals(column, np.arange(len(column) + 1, dtype=np.int64))


def _totals_of_mixed(values: Segments) -> Totals:
    """Sort values by how they are added: integers, floats, all else."""
    ints: tuple[list[int], list[int]] = ([], [])
    floats: tuple[list[float], list[int]] = ([], [])
    others: list[tuple[int, Any]] = []
    for group, value in zip(values.owners.tolist(), decode_values(values.values), strict=True):
        if isinstance(value, int | np.integer | np.bool_) and -(1 << 63) <= value < 1 << 63:
            ints[0].append(int(value))
            ints[1].append(group)
        elif isinstance(value, float | np.floating):
            floats[0].append(float(value))
            floats[1].append(group)
        elif isinstance(value, str | bytes):
            raise GroupError(group) from TypeError(NO_NUMBER.format(value, type(value).__name__))
        else:
            others.append((group, int(value) if isinstance(value, np.integer) else value))
    groups = np.arange(len(values) + 1)
    int_offsets, float_offsets = (np.searchsorted(np.array(owners, np.int64), groups).astype(np.int64) for owners in (ints[1], floats[1]))
    return _add(np.array(ints[0], np.int64), int_offsets, np.array(floats[0], np.float64), float_offsets, others)


def _add(
    ints: npt.NDArray[np.int64], int_offsets: Indices, floats: Floats, float_offsets: Indices, others: list[tuple[int, Any]]
) -> Totals:
    sums, large = add_integers(ints, int_offsets)
    has_ints = np.diff(int_offsets) > 0
    more: dict[int, Any] = {}
    for group, value in sorted([*large, *others], key=lambda item: item[0]):
        try:
            more[group] = plus(more[group], value) if group in more else value
        except Exception as error:
            raise GroupError(group) from error
    for group, _ in large:
        has_ints[group], sums[group] = False, 0
    return Totals(sums, has_ints, *sum_parts(floats, float_offsets), more)


def add_integers(ints: npt.NDArray[np.int64], offsets: Indices) -> tuple[npt.NDArray[np.int64], list[tuple[int, int]]]:
    """Return the sum of each group, and with their groups those that 64 bits cannot hold."""
    if not len(ints):
        return np.zeros(len(offsets) - 1, np.int64), []
    sums = over_groups(np.add, ints, offsets, 0)
    if max(-int(ints.min()), int(ints.max())) * int(np.diff(offsets).max()) < 1 << 63:
        return sums, []
    upper, lower = over_groups(np.add, ints >> 32, offsets, 0), over_groups(np.add, ints & _LOW, offsets, 0)
    carried = upper + (lower >> 32)
    large = np.flatnonzero((carried < -(1 << 31)) | (carried >= 1 << 31)).tolist()
    return sums, [(group, (int(upper[group]) << 32) + int(lower[group])) for group in large]


# ---------------------------------------------------------------- results


def exact_floats(totals: Totals) -> tuple[Floats, Indices]:
    """Return floats whose exact sum is that of each group's integers (beyond 64 bits apart) and floats."""
    if not totals.has_ints.any():
        return totals.floats, totals.bounds
    upper = totals.ints.astype(np.float64)
    upper[upper >= 2.0**63] = 2.0**63 - 1024.0
    lower = (totals.ints - upper.astype(np.int64)).astype(np.float64)
    counts = np.diff(totals.bounds)
    offsets = offsets_of(counts + 2)
    floats = np.empty(int(offsets[-1]))
    floats[offsets[:-1]], floats[offsets[:-1] + 1] = upper, lower
    from_parts = np.ones(len(floats), bool)
    from_parts[offsets[:-1]] = from_parts[offsets[:-1] + 1] = False
    floats[from_parts] = totals.floats
    return floats, offsets


def rounded(totals: Totals) -> Floats:
    """Return each group's integers (beyond 64 bits apart) and floats, added up and rounded once."""
    return round_sums(*exact_floats(totals))


def add_up(totals: Totals, group: int) -> Any:
    """Return the total of one group before it is rounded, as `references.join`."""
    ints = [int(totals.ints[group])] if totals.has_ints[group] else []
    others = [totals.others[group]] if group in totals.others else []
    floats: list[float] = totals.floats[totals.bounds[group] : totals.bounds[group + 1]].tolist()
    return join(ints, others, floats)
