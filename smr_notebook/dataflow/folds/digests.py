"""Digests: the state of quantiles. Values with weights, exact as long as they are few, a sketch of bounded size beyond.

A digest holds values in ascending order, each standing for `weight` values of the group. Up to `EXACT` values all weights are one, and
quantiles are exactly those of `numpy.quantile` (which knows no infinities). A longer digest is shortened by merging neighbours (the
merging t-digest: Dunning and Ertl, Computing extremely accurate quantiles using t-digests, 2019): groups of neighbours become their
mean, small groups at the ends and larger ones in the middle, so that the error is least where it matters most. The least and the
greatest value stay as they are.

The error, measured as a share of the ranks, of a million values cut into 300 parts: at most 0.001 in the middle, and 0.0002 outside of the
first and last hundredth. It is no guarantee for every order of values; what is one: the same plan gives the same digest.

NaN in a group makes all its quantiles NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smr_notebook.dataflow.folds.segments import Floats, Indices, offsets_of

EXACT = 4_096
"""Groups of up to so many values are kept whole."""
_COMPRESSION = 2_000.0


@dataclass(frozen=True, slots=True, eq=False)
class Digests:
    """Digests of groups, one after the other; the values of each are in ascending order.

    Attributes:
        values: The values.
        weights: How many values of the group each stands for.
        offsets: Where each group begins, and where the last one ends.
    """

    values: Floats
    weights: Floats
    offsets: Indices


def digest(values: Floats, weights: Floats, offsets: Indices) -> Digests:
    """Return the digest of each group: its values sorted, and shortened where there are too many."""
    counts = np.diff(offsets)
    order = np.lexsort((values, np.repeat(np.arange(len(counts)), counts)))
    values, weights = values[order], weights[order]
    long = np.flatnonzero(counts > EXACT).tolist()
    if not long:
        return Digests(values, weights, offsets)
    pieces: list[tuple[Floats, Floats]] = []
    done = 0
    for group in long:
        start, stop = int(offsets[group]), int(offsets[group + 1])
        pieces += [(values[done:start], weights[done:start]), _shortened(values[start:stop], weights[start:stop])]
        counts[group] = len(pieces[-1][0])
        done = stop
    pieces.append((values[done:], weights[done:]))
    return Digests(np.concatenate([piece for piece, _ in pieces]), np.concatenate([piece for _, piece in pieces]), offsets_of(counts))


def _shortened(values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Merge neighbours whose ends lie in the same unit of the scale `asin(2q - 1) * compression / 2pi`."""
    if np.isnan(values[-1]):
        return values[-1:], weights.sum(keepdims=True)
    ends = np.cumsum(weights)
    scale = np.arcsin(np.clip(2.0 * ends / ends[-1] - 1.0, -1.0, 1.0)) * (_COMPRESSION / (2.0 * np.pi))
    unit = np.floor(scale)
    begins = np.ones(len(values), bool)
    begins[1:] = unit[1:] != unit[:-1]
    begins[1] = begins[-1] = True
    starts = np.flatnonzero(begins)
    total = np.add.reduceat(weights, starts)
    with np.errstate(invalid="ignore", over="ignore"):
        means = np.add.reduceat(values * (weights / np.repeat(total, np.diff(np.append(starts, len(values))))), starts)
    means = np.where(np.diff(np.append(starts, len(values))) == 1, values[starts], means)
    means[np.isnan(means)] = values[starts][np.isnan(means)]  # both infinities in one
    return np.maximum.accumulate(np.clip(means, values[starts], values[np.append(starts[1:], len(values)) - 1])), total


def quantiles(digests: Digests, shares: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Return the quantiles of each group, by linear interpolation as `numpy.quantile`; NaN for an empty group.

    Returns:
        One row for each group, one column for each share.
    """
    offsets = digests.offsets
    counts = np.diff(offsets)
    result = np.full((len(counts), len(shares)), np.nan)
    total = np.concatenate([[0.0], np.cumsum(digests.weights)])
    sizes = total[offsets[1:]] - total[offsets[:-1]]
    exact = (counts > 0) & (sizes == counts)
    starts = offsets[:-1][exact]
    for column, share in enumerate(shares):
        at = (counts[exact] - 1) * share
        lower = np.floor(at).astype(np.int64)
        upper = np.minimum(lower + 1, counts[exact] - 1)
        result[exact, column] = _between(digests.values[starts + lower], digests.values[starts + upper], at - lower)
    for group in np.flatnonzero((counts > 0) & ~exact).tolist():
        span = slice(int(offsets[group]), int(offsets[group + 1]))
        values, weights = digests.values[span], digests.weights[span]
        places = np.cumsum(weights) - (weights + 1.0) / 2.0
        result[group] = np.interp(np.array(shares) * (weights.sum() - 1.0), places, values)
    last = digests.values[np.maximum(offsets[1:] - 1, 0)] if len(digests.values) else np.zeros(len(counts))
    result[(counts > 0) & np.isnan(last)] = np.nan
    return result


def _between(one: Floats, other: Floats, part: Floats) -> Floats:
    """Interpolate finite numbers as NumPy does, to the last bit; beside an infinity there is nothing between."""
    with np.errstate(invalid="ignore", over="ignore"):
        difference = other - one
        between = one + difference * part
        late = part >= 0.5
        between[late] = other[late] - difference[late] * (1 - part[late])
        between = np.where(np.isinf(one) | np.isinf(other), one + other, between)
    return np.where(part == 0, one, between)
