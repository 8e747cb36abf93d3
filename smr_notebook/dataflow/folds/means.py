"""Means of numbers: an exact sum divided by a count, rounded once.

The sum of a group is `upper + lower`, two floats. One division and the exact remainder (Dekker's product, 1971) give a quotient
and a correction; their sum is the mean, unless it lies so near to the middle of two floats that the error of the correction could
decide. Such a group, and one of more than two floats, is divided as a fraction.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from smr_notebook.dataflow.folds.float_sums import sum_parts
from smr_notebook.dataflow.folds.references import divide
from smr_notebook.dataflow.folds.segments import Floats, Indices
from smr_notebook.dataflow.folds.totals import Totals, exact_floats

_SPLITTER = 2.0**27 + 1
_LEAST, _MOST = 2.0**-900, 2.0**900
_DOUBT = 2.0**-40


def means(totals: Totals, counts: Indices) -> Floats:
    """Return the mean of each group of integers and floats; NaN for an empty group. What else is in a group is left out."""
    parts, bounds = sum_parts(*exact_floats(totals))
    sizes = np.diff(bounds)
    padded = np.concatenate([parts, np.zeros(2)])
    first = np.where(sizes > 0, padded[bounds[:-1]], 0.0)
    second = np.where(sizes > 1, padded[bounds[:-1] + 1], 0.0)
    with np.errstate(all="ignore"):
        upper = first + second
        lower = second - (upper - first)
        divisors = counts.astype(np.float64)
        quotient = upper / divisors
        product = quotient * divisors
        correction = ((upper - product) - _product_error(quotient, divisors, product) + lower) / divisors
        result: Floats = quotient + correction
        left_over = np.abs(correction - (result - quotient))
        gap = np.abs(np.spacing(result))
        doubt = np.minimum(np.abs(left_over - gap / 2), np.abs(left_over - gap / 4)) <= gap * _DOUBT  # floats lie twice as dense below 2**n
        doubt |= ~((np.abs(upper) < _MOST) & (np.abs(upper) > _LEAST))
    plain = (lower == 0) | ~np.isfinite(upper)  # one division rounds once
    result = np.where(plain, quotient, result)
    doubtful = (doubt & ~plain) | (sizes > 2)
    for group in np.flatnonzero(doubtful & (counts > 0)).tolist():
        result[group] = _divided(parts[bounds[group] : bounds[group + 1]].tolist(), int(counts[group]))
    return result


def _product_error(one: Floats, other: Floats, product: Floats) -> Floats:
    """Return what rounding took from a product."""
    (high, low), (other_high, other_low) = _split(one), _split(other)
    error: Floats = low * other_low - (((product - high * other_high) - low * other_high) - high * other_low)
    return error


def _split(number: Floats) -> tuple[Floats, Floats]:
    scaled = number * _SPLITTER
    high = scaled - (scaled - number)
    return high, number - high


def _divided(parts: list[float], count: int) -> float:
    if not all(map(math.isfinite, parts)):
        return sum(parts)
    result: float = divide(sum(map(Fraction, parts), Fraction(0)), count, as_float=True)
    return result
