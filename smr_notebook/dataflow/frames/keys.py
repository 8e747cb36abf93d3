"""Keys of rows, from the columns that they are grouped by.

A group is what a frame library would group: rows whose values in the columns are equal, whatever type a column has in one frame or
another. So `1` and `1.0` are one key here (a column of integers with a missing value is one of floats in pandas), dates and times
count nanoseconds, categories are their values, and missing values are a key of their own.

The key of one column is its value; that of several is the tuple of their values, encoded as `dataflow.encoding` says. Both are worked
out for whole columns, or for distinct values only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from smr_notebook.dataflow.arrow_kinds import Rows
from smr_notebook.dataflow.encoding import END, Tag
from smr_notebook.dataflow.keys import KeyColumn, KeyKind, decode_keys, encode_key, split_keys
from smr_notebook.dataflow.keys import Rows as Numbers
from smr_notebook.errors import PairShapeError

Parts = list[tuple[KeyColumn, Numbers | None]]
"""As `keys.split_keys` returns: keys of each kind, with the numbers of their rows; `None` for all rows."""

_NANOSECONDS: Final = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_INT_LIMIT: Final = float(1 << 63)
_DAY: Final = 86_400


def keys_of(rows: Rows, by: Sequence[str], function: str) -> Parts:
    """Return the keys of rows.

    Args:
        rows: The rows.
        by: The columns that they are grouped by.
        function: What returned the rows, for messages.

    Raises:
        PairShapeError: A column is not there, or its values cannot be keys.
    """
    names = rows.schema.names
    missing = [name for name in by if name not in names]
    if missing:
        there = ", ".join(map(repr, names))
        raise PairShapeError(
            f"{function} returned a frame without the column {missing[0]!r}, which its rows are grouped by; it has {there}"
        )
    columns = [(name, rows.columns[names.index(name)]) for name in by]
    try:
        return _one(columns[0][1]) if len(columns) == 1 else _several([column for _, column in columns])
    except (TypeError, pa.ArrowNotImplementedError) as error:
        told = ", ".join(f"{name!r} ({column.type})" for name, column in columns)
        raise PairShapeError(f"Rows cannot be grouped by {told}: {error}") from error


def _one(array: Any) -> Parts:
    if not array.null_count:
        return _typed(array)
    there = np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False))
    nowhere = np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))
    nothing = KeyColumn(KeyKind.OTHER, pa.array([encode_key(None)], pa.binary()).take(np.zeros(len(nowhere), np.int64)))
    parts = [(keys, there if rows is None else there[rows]) for keys, rows in _typed(array.take(there))] if len(there) else []
    return _joined([*parts, (nothing, nowhere)])


def _joined(parts: Parts) -> Parts:
    """Return parts of which no two are of one kind."""
    *others, last = parts
    same = [part for part in others if part[0].kind is last[0].kind]
    if not same:
        return parts
    [(keys, rows)] = same
    numbers = np.concatenate([rows, last[1]])
    order = np.argsort(numbers, kind="stable")
    both = KeyColumn(keys.kind, pa.concat_arrays([keys.array, last[0].array]).take(order))
    return [part for part in others if part[0].kind is not both.kind] + [(both, numbers[order])]


def _typed(array: Any) -> Parts:
    """Return the keys of values none of which is missing."""
    type = array.type
    for belongs, keys in _TYPED:
        if belongs(type):
            parts = keys(array)
            if parts is not None:
                return parts
    return _distinct(array)


def _booleans(array: Any) -> Parts:
    return [(KeyColumn(KeyKind.BOOL, array), None)]


def _integers(array: Any) -> Parts | None:
    try:
        return [(KeyColumn(KeyKind.INT, array.cast(pa.int64())), None)]
    except pa.ArrowInvalid:  # beyond 63 bits
        return None


def _floats(array: Any) -> Parts:
    floats = array.cast(pa.float64()).to_numpy() + 0.0  # makes 0.0 of -0.0
    with np.errstate(invalid="ignore"):
        whole = (floats == np.floor(floats)) & (np.abs(floats) < _INT_LIMIT)
    floats[np.isnan(floats)] = np.nan
    integers = np.flatnonzero(whole)
    fractions = np.flatnonzero(~whole)
    parts: Parts = []
    if len(integers):
        parts.append((KeyColumn(KeyKind.INT, pa.array(floats[integers].astype(np.int64))), integers if len(fractions) else None))
    if len(fractions) or not len(floats):
        large = np.abs(floats[fractions]) >= _INT_LIMIT
        if (large & np.isfinite(floats[fractions])).any():
            return _of_objects([int(value) if value == value // 1 and abs(value) < np.inf else value for value in floats.tolist()])
        parts.append((KeyColumn(KeyKind.FLOAT, pa.array(floats[fractions])), fractions if len(integers) else None))
    return parts


def _times(array: Any) -> Parts | None:
    """Return times as the nanoseconds that they count."""
    if pa.types.is_date32(array.type):
        counts, factor = array.cast(pa.int32()).cast(pa.int64()), _DAY * 10**9
    else:
        unit = "ms" if pa.types.is_date64(array.type) else array.type.unit
        width = pa.int32() if array.type.bit_width == 32 else pa.int64()
        counts, factor = array.cast(width).cast(pa.int64()), _NANOSECONDS[unit]
    try:
        return [(KeyColumn(KeyKind.INT, pc.multiply_checked(counts, factor) if factor > 1 else counts), None)]
    except pa.ArrowInvalid:
        return _of_objects([count * factor for count in counts.to_pylist()])


def _texts(array: Any) -> Parts:
    return [(KeyColumn(KeyKind.STR, array.cast(pa.string())), None)]


def _bytes(array: Any) -> Parts:
    return [(KeyColumn(KeyKind.BYTES, array.cast(pa.binary())), None)]


_TYPED: Final[tuple[tuple[Callable[[pa.DataType], bool], Callable[[Any], Parts | None]], ...]] = (
    (pa.types.is_boolean, _booleans),
    (pa.types.is_integer, _integers),
    (pa.types.is_floating, _floats),
    (lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind), _texts),
    (lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind), _bytes),
    (lambda kind: pa.types.is_temporal(kind) and not pa.types.is_interval(kind), _times),
)


def _distinct(array: Any) -> Parts:
    """Return keys that are worked out as Python objects, each distinct value once."""
    try:
        encoded = array.dictionary_encode()
    except pa.ArrowException:  # no type that Arrow can compare
        return _of_objects(array.to_pylist())
    codes: Any = encoded.indices.to_numpy()
    parts: Parts = []
    for keys, rows in _of_objects(encoded.dictionary.to_pylist()):
        ranks = np.full(len(encoded.dictionary), -1, np.int64)
        ranks[slice(None) if rows is None else rows] = np.arange(len(keys))
        found = ranks[codes]
        numbers = np.flatnonzero(found >= 0)
        parts.append((keys.take(found[numbers]), None if len(numbers) == len(codes) else numbers))
    return parts


def _of_objects(values: list[Any]) -> Parts:
    """Return the keys of Python objects, without pickled originals: nobody reads a key of rows back."""
    return [(KeyColumn(keys.kind, keys.array), rows) for keys, rows in split_keys(values)]


# ---------------------------------------------------------------- several columns


def _several(columns: Sequence[Any]) -> Parts:
    """Return the keys of tuples. Column by column, each distinct beginning of a tuple gets a code, so that codes stay small."""
    codes = np.zeros(len(columns[0]), np.int64)
    begun = [bytes([Tag.TUPLE])]
    for column in columns:
        encoded = column.dictionary_encode(null_encoding="encode")
        tokens = _tokens(encoded.dictionary)
        size = max(1, len(tokens))
        longer: Any = pa.array(codes * size + encoded.indices.to_numpy()).dictionary_encode()
        places = [divmod(code, size) for code in longer.dictionary.to_pylist()]
        begun = [begun[before] + tokens[place] for before, place in places]
        codes = longer.indices.to_numpy().astype(np.int64)
    end = bytes([END])
    distinct = pa.array([token + end for token in begun], pa.binary())
    return [(KeyColumn(KeyKind.OTHER, distinct.take(codes)), None)]


def _tokens(array: Any) -> list[bytes]:
    """Return what stands for each value inside a tuple."""
    tokens = [b""] * len(array)
    for keys, rows in _one(array):
        found: list[Any] = keys.array.to_pylist() if keys.kind is KeyKind.OTHER else [encode_key(key) for key in decode_keys(keys)]
        for row, token in zip(range(len(array)) if rows is None else rows.tolist(), found, strict=True):
            tokens[row] = token
    return tokens
