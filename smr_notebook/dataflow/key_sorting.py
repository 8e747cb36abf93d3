"""Sorting the keys of a column directly, without a dictionary: faster where most keys are distinct.

Each key becomes a 64-bit *word* whose order is that of the keys: numbers as a whole, text and bytes by eight of their bytes. NumPy sorts
words many times faster than anything sorts text; only rows whose words are equal are looked at again. Where all keys begin alike, the
eight bytes behind that are taken.

Rules of this module:

* The order is that of `keys`, and stable: rows with equal keys stay as they are.
* Whether this way is taken is a matter of speed alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from smr_notebook.dataflow.keys import KeyColumn, KeyKind

Indices = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

_SIGN: Final = np.uint64(1 << 63)
_SAMPLE: Final = 4_096
_LEAST: Final = 1_024
_TIMES: Final = 4
"""How many times more keys there should be to draw from than rows."""
_FEW_TIES: Final = 8
"""Up to one row in so many may have the word of another one, or words tell too little."""


@dataclass(frozen=True, slots=True, eq=False)
class SortedRows:
    """Rows in the order of their keys.

    Attributes:
        order: The row numbers.
        starts: For each distinct key, where its rows begin in `order`.
    """

    order: Indices
    starts: Indices


def mostly_distinct(keys: KeyColumn) -> bool:
    """Guess from some keys, chosen at random, whether most differ. Few keys are not worth the question.

    Of `n` keys drawn from `d` that are equally frequent about `n² / 2d` are a repetition of another one (the birthday problem).
    """
    count = len(keys)
    if count < _LEAST or keys.kind is KeyKind.BOOL:
        return False
    rows = np.unique(np.random.default_rng(count).integers(0, count, _SAMPLE))
    found: Any = pc.count_distinct(keys.array.take(rows))
    repeated = len(rows) - int(found.as_py())
    return repeated * 2 * _TIMES * count <= len(rows) ** 2


def sort_keys(keys: KeyColumn) -> SortedRows:
    """Return the rows of keys, at least one, in key order."""
    if keys.kind in _EXACT:
        words = _EXACT[keys.kind](keys.array)
        order = np.argsort(words)
        ordered = words[order]
        tied = _tied(ordered)
        if len(tied) * _FEW_TIES > len(order):
            order = np.argsort(words, kind="stable")
        elif len(tied):
            rows = np.sort(order[tied])
            order[tied] = rows[np.argsort(words[rows], kind="stable")]
        return SortedRows(order, _starts(ordered[1:] != ordered[:-1]))
    return _sort_text(keys.array)


def _sort_text(array: Any) -> SortedRows:
    words = _leading(array, 0)
    order = np.argsort(words)
    ordered = words[order]
    tied = _tied(ordered)
    if len(tied) * _FEW_TIES > len(order):
        words = _leading(array, _common(array))
        order = np.argsort(words)
        ordered = words[order]
        tied = _tied(ordered)
    if len(tied) * _FEW_TIES > len(order):
        order = _rows_of(pc.sort_indices(array))
        found: Any = array.take(order)
        return SortedRows(order, _starts(pc.not_equal(found[1:], found[:-1]).to_numpy(zero_copy_only=False)))
    differs = ordered[1:] != ordered[:-1]
    if len(tied):
        rows = np.sort(order[tied])
        order[tied] = rows[_rows_of(pc.sort_indices(array.take(rows)))]
        same = np.flatnonzero(~differs)
        differs[same] = pc.not_equal(array.take(order[same]), array.take(order[same + 1])).to_numpy(zero_copy_only=False)
    return SortedRows(order, _starts(differs))


def _tied(ordered: Words) -> Indices:
    """Return the places of words that have an equal neighbour."""
    same = ordered[1:] == ordered[:-1]
    if not same.any():
        return np.zeros(0, np.int64)
    tied = np.zeros(len(ordered), np.bool_)
    tied[1:] = same
    tied[:-1] |= same
    return np.flatnonzero(tied)


def _starts(differs: npt.NDArray[np.bool_]) -> Indices:
    return np.concatenate([np.zeros(1, np.int64), np.flatnonzero(differs) + 1])


def _rows_of(rows: Any) -> Indices:
    numbers: Indices = rows.to_numpy().astype(np.int64)
    return numbers


def _common(array: Any) -> int:
    """Return how many bytes all of the array begin with alike."""
    ends = pc.min_max(array)
    low, high = (end.encode() if isinstance(end, str) else end for end in (ends["min"].as_py(), ends["max"].as_py()))
    return next((place for place, (one, other) in enumerate(zip(low, high, strict=False)) if one != other), min(len(low), len(high)))


def _leading(array: Any, skipped: int) -> Words:
    """Return the first eight bytes behind `skipped` ones as a big-endian word; what is missing is zero."""
    _, offset_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32)[array.offset : array.offset + len(array) + 1].astype(np.int64)
    data = np.frombuffer(data_buffer or b"", np.uint8)
    if data.size < 8:
        data = np.concatenate([data, np.zeros(8, np.uint8)])
    left = np.clip(np.diff(offsets) - skipped, 0, 8)
    position = offsets[:-1] + skipped
    inside = np.minimum(position, data.size - 8)
    every: npt.NDArray[Any] = np.ndarray((data.size - 7,), ">u8", data, strides=(1,))
    words: Words = every[inside].astype(np.uint64)
    shifted = (np.minimum(position - inside, 8) * 8).astype(np.uint64)
    if (shifted > 0).any():
        words = np.where(shifted < 64, words << np.minimum(shifted, np.uint64(63)), np.uint64(0))
    if (left < 8).any():
        unused = ((8 - left) * 8).astype(np.uint64)
        kept = np.minimum(unused, np.uint64(63))
        words = np.where(unused < 64, words >> kept << kept, np.uint64(0))
    return words


def _of_integers(array: Any) -> Words:
    words: Words = array.to_numpy().view(np.uint64) ^ _SIGN
    return words


def _of_floats(array: Any) -> Words:
    floats = array.to_numpy() + 0.0
    floats[np.isnan(floats)] = np.nan
    words: Words = floats.view(np.uint64)
    return np.where(words & _SIGN, ~words, words | _SIGN)


_EXACT: Final = {KeyKind.INT: _of_integers, KeyKind.FLOAT: _of_floats}
