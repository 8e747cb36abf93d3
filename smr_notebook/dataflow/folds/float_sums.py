"""Exact sums of floats, vectorised: the answer is rounded once, and so does not depend on the order of additions.

A few floats can stand for the exact sum of many: the *parts* of a group. They are found layer by layer (Rump, Ogita, Oishi:
Accurate floating-point summation, 2008): adding and subtracting a large power of two splits each value into a multiple of
some unit and a small rest. The multiples are so coarse that adding all those of a group loses nothing; the rests go to the next layer.
With values of similar size two or three layers take everything. Error-free sums of neighbouring layers (Knuth's TwoSum) then
leave one or two parts a group, so that parts are as small a state as one could wish for.

Rules of this module:

* Nothing is lost: the parts of a group have, as real numbers, the sum of its values.
* Two floats or fewer are rounded by one addition; what is left is rounded by `math.fsum`.
* An infinity or NaN in a group is its only part, as IEEE 754 adds them. A sum beyond the largest float is infinite.
* The sum of nothing, and of zeros of any sign, is 0.0. A group with values has a part, if only a zero.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from smr_notebook.dataflow.folds.segments import Floats, Indices, offsets_of, over_groups

_HUGE = 2.0**900
"""Groups with values as large as this are left alone, and added up by rational numbers at the end."""
_LEAST_EXPONENT = -1022


def sum_parts(values: Floats, offsets: Indices) -> tuple[Floats, Indices]:
    """Return for each group a few floats that have the same exact sum, and where they begin.

    Args:
        values: The floats of all groups, one group after the other.
        offsets: Where each group begins, and where the last one ends.
    """
    groups = len(offsets) - 1
    if not len(values):
        return values, offsets
    largest = max(float(values.max()), -float(values.min()))
    if largest < _HUGE:
        return _flat(_layers(values, offsets), offsets)
    with np.errstate(invalid="ignore"):
        sizes = np.abs(values)
        special = over_groups(np.add, np.where(sizes < np.inf, 0.0, values), offsets, 0.0)
    special[np.isnan(special)] = np.nan
    owners = np.repeat(np.arange(groups), np.diff(offsets))
    left_alone = np.zeros(groups, bool)
    left_alone[owners[sizes >= _HUGE]] = True
    left_alone[special != 0] = False
    usual = ~(left_alone | (special != 0))[owners]
    parts, bounds = _flat([special, *_layers(np.where(usual, values, 0.0), offsets)], offsets)
    kept = np.flatnonzero(left_alone[owners])
    order = np.argsort(np.concatenate([np.repeat(np.arange(groups), np.diff(bounds)), owners[kept]]), kind="stable")
    counts = np.diff(bounds) + np.bincount(owners[kept], minlength=groups)
    return np.concatenate([parts, values[kept]])[order], offsets_of(counts)


def round_sums(values: Floats, offsets: Indices) -> Floats:
    """Return the exact sum of the floats of each group, rounded once to the nearest float (ties to even)."""
    parts, bounds = sum_parts(values, offsets)
    counts = np.diff(bounds)
    if not len(parts):
        return np.zeros(len(counts))
    padded = np.concatenate([parts, np.zeros(2)])
    starts = bounds[:-1]
    with np.errstate(over="ignore"):
        sums: Floats = np.where(counts > 0, padded[starts], 0.0) + np.where(counts > 1, padded[starts + 1], 0.0)
    for group in np.flatnonzero(counts > 2).tolist():
        sums[group] = round_sum(parts[bounds[group] : bounds[group + 1]].tolist())
    return sums


def round_sum(values: list[float]) -> float:
    """Return the exact sum of some finite floats, rounded once; infinite when it is beyond the largest float."""
    try:
        return math.fsum(values)
    except OverflowError:
        exact = sum(map(Fraction, values))
        try:
            return float(exact)
        except OverflowError:
            return math.inf if exact > 0 else -math.inf


def _layers(rest: Floats, offsets: Indices) -> list[Floats]:
    """Return arrays of one float for each group, whose sum is that of the group's values; the larger ones first."""
    layers: list[Floats] = []
    counts = np.diff(offsets)
    spare = max(1, (int(counts.max(initial=1)) - 1).bit_length())
    while largest := max(float(rest.max(initial=0.0)), -float(rest.min(initial=0.0))):
        exponent = max(math.frexp(largest)[1] + spare, _LEAST_EXPONENT)
        coarse = math.ldexp(1.5, exponent)
        multiples = rest + coarse
        multiples -= coarse
        rest = rest - multiples
        layers.append(over_groups(np.add, multiples, offsets, 0.0))
        left = np.count_nonzero(rest)
        if left < len(rest) // 2:
            rows = np.flatnonzero(rest)
            rest, offsets = rest[rows], np.searchsorted(rows, offsets).astype(np.int64)
    for _ in range(min(len(layers) - 1, 2)):
        _distil(layers)
    return layers


def _distil(layers: list[Floats]) -> None:
    """Move what can be moved into the layer above, from the last one up, without an error."""
    for upper in range(len(layers) - 2, -1, -1):
        one, other = layers[upper], layers[upper + 1]
        both = one + other
        part = both - one
        layers[upper], layers[upper + 1] = both, (one - (both - part)) + (other - part)


def _flat(layers: list[Floats], offsets: Indices) -> tuple[Floats, Indices]:
    """Return what is not zero, group by group; one zero for a group that has values and nothing else."""
    table: npt.NDArray[np.float64] = np.stack(layers or [np.zeros(len(offsets) - 1)], axis=1)
    there = table != 0  # NaN is not zero
    there[:, 0] |= (np.diff(offsets) > 0) & ~there.any(axis=1)
    return table[there] + 0.0, offsets_of(there.sum(axis=1))
