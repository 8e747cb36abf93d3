"""Choices: which values of each group an aggregation keeps. The state is what is kept, and keeping again what was kept changes nothing.

Rules of this module:

* What is kept stands in input order (`distinct` alone sorts); of equal values the first is kept.
* Values of one typed kind are compared as 64-bit integers of the same order, all groups at once; all others one by one, as Python does.
* NaN is larger than every number, and wins both `min` and `max`, as in NumPy: a wrong number does not vanish.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from smr_notebook.dataflow.columns import Column, decode_values, encode_values
from smr_notebook.dataflow.folds import references
from smr_notebook.dataflow.folds.references import is_nan
from smr_notebook.dataflow.folds.segments import GroupError, Indices, Segments, offsets_of, over_groups

Choose = Callable[[Segments], Segments]
_FLIP = 0x7FFFFFFFFFFFFFFF


def ranks(column: Column) -> npt.NDArray[np.int64] | None:
    """Return integers that compare as the values do, all values being of one kind and none of them `None`; `None` if they cannot be had."""
    array: Any = column.array
    match column.kind:
        case "int":
            numbers: npt.NDArray[np.int64] = array.to_numpy()
        case "float":
            floats = array.to_numpy() + 0.0  # makes 0.0 of -0.0
            floats[np.isnan(floats)] = np.nan
            bits = floats.view(np.int64)
            numbers = np.where(bits < 0, bits ^ _FLIP, bits)
        case "bool" | "date" | "datetime":
            integers = array.cast(pa.int32()) if column.kind == "date" else array
            numbers = integers.cast(pa.int64()).to_numpy()
        case "str" | "bytes" | "uuid":
            encoded = array.dictionary_encode()
            order = pc.sort_indices(encoded.dictionary).to_numpy()
            places = np.empty(len(order), np.int64)
            places[order] = np.arange(len(order))
            numbers = places[encoded.indices.to_numpy()]
        case _:
            return None
    return numbers


def first(segments: Segments) -> Segments:
    """Keep the first value of each group."""
    return segments.pick(segments.offsets[:-1][segments.counts > 0])


def least(segments: Segments) -> Segments:
    """Keep the least value of each group."""
    return _extreme(segments, largest=False)


def greatest(segments: Segments) -> Segments:
    """Keep the greatest value of each group."""
    return _extreme(segments, largest=True)


def _extreme(segments: Segments, *, largest: bool) -> Segments:
    if segments.counts.max(initial=0) <= 1:
        return segments
    numbers = ranks(segments.values)
    if numbers is None:
        return _by_python(segments, lambda values: [_first_extreme(values, largest=largest)])
    if segments.values.kind == "float" and not largest:
        numbers = np.where(numbers > np.float64(np.inf).view(np.int64), np.iinfo(np.int64).min, numbers)  # NaN
    best = over_groups(np.maximum if largest else np.minimum, numbers, segments.offsets, 0)
    found = np.flatnonzero(numbers == np.repeat(best, segments.counts))
    starts = segments.offsets[:-1][segments.counts > 0]
    return segments.pick(found[np.searchsorted(found, starts)])


def _first_extreme(values: list[Any], *, largest: bool) -> int:
    for row, value in enumerate(values):
        if is_nan(value):
            return row
    return (max if largest else min)(range(len(values)), key=values.__getitem__)


def keep_top(n: int) -> Choose:
    """Return what keeps the `n` largest values of each group."""

    def keep(segments: Segments) -> Segments:
        many = segments.counts > n
        if not many.any():
            return segments
        numbers = ranks(segments.values)
        if numbers is None:
            return _by_python(segments, lambda values: sorted(_descending(values)[:n]))
        rows = np.flatnonzero(np.repeat(many, segments.counts))
        owners = segments.owners[rows]
        order = np.lexsort((~numbers[rows], owners))
        place = np.arange(len(rows)) - np.repeat(offsets_of(segments.counts[many])[:-1], segments.counts[many])
        dropped = rows[order[place >= n]]
        kept = np.ones(len(segments.values), bool)
        kept[dropped] = False
        return segments.pick(np.flatnonzero(kept))

    return keep


def descending(segments: Segments) -> Segments:
    """Sort the values of each group, the largest first; equal ones stay in order."""
    numbers = ranks(segments.values)
    if numbers is not None:
        return Segments(segments.values.take(np.lexsort((~numbers, segments.owners))), segments.offsets)
    sorted_rows = _each(segments, _descending)
    return Segments(segments.values.take(sorted_rows), segments.offsets)


def _descending(values: list[Any]) -> list[int]:
    nans = [row for row, value in enumerate(values) if is_nan(value)]
    others = [row for row, value in enumerate(values) if not is_nan(value)]
    return nans + sorted(others, key=values.__getitem__, reverse=True)


def distinct(segments: Segments) -> Segments:
    """Keep each value of a group once (as keys are one, by exact type and value), in the order of keys."""
    array: Any = segments.values.array
    if segments.values.kind == "float":
        floats = array.to_numpy() + 0.0
        floats[np.isnan(floats)] = np.nan
        segments = Segments(Column("float", pa.array(floats)), segments.offsets)
    numbers = ranks(segments.values)
    if numbers is None:
        return _distinct_by_python(segments)
    owners = segments.owners
    order = np.lexsort((numbers, owners))
    numbers, owners = numbers[order], owners[order]
    new = np.ones(len(order), bool)
    new[1:] = (numbers[1:] != numbers[:-1]) | (owners[1:] != owners[:-1])
    counts = np.bincount(owners[new], minlength=len(segments))
    return Segments(segments.values.take(order[new]), offsets_of(counts))


def _distinct_by_python(segments: Segments) -> Segments:
    kept: list[Any] = []
    counts = []
    for group, values in enumerate(segments.lists()):
        try:
            found = references.distinct(values)
        except Exception as error:
            raise GroupError(group) from error
        kept += found
        counts.append(len(found))
    return Segments(encode_values(kept), offsets_of(np.array(counts, np.int64)))


def _by_python(segments: Segments, choose: Callable[[list[Any]], list[int]]) -> Segments:
    return segments.pick(_each(segments, choose))


def _each(segments: Segments, choose: Callable[[list[Any]], list[int]]) -> Indices:
    """Return the rows that a function of each group's values names, counted from the group's first."""
    values, rows = decode_values(segments.values), []
    bounds = segments.offsets.tolist()
    for group, (start, stop) in enumerate(pairwise(bounds)):
        try:
            rows += [start + row for row in (choose(values[start:stop]) if stop > start else [])]
        except Exception as error:
            raise GroupError(group) from error
    return np.array(rows, np.int64)
