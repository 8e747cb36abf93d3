"""Keys as typed columns: what one key is, and in which order keys stand.

Two keys are one key when their exact type and their value are equal (`dataflow.encoding` says what that means for each type).
Keys of one kind stand in one `KeyColumn`; a batch of mixed keys is one column for each kind. The order over all keys is the kind's
rank, then the order of the kind's Arrow array: numbers by value with NaN last, text in code point order, the rest in byte order.

`INT_LOW`, `INT_HIGH` and `OTHER` hold encodings. Where an encoding cannot be read back exactly, `originals` holds the
pickled key (of equal keys, the one that came first); it is null where the encoding suffices.

Text and bytes have 32-bit offsets: one column holds less than 2 GiB of them. Batches are bounded far below that.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from smr_notebook.dataflow import pickles
from smr_notebook.dataflow.decoding import decode
from smr_notebook.dataflow.key_objects import encode
from smr_notebook.dataflow.tuple_keys import encode_tuples

Rows = npt.NDArray[np.int64]


class KeyKind(IntEnum):
    """The kinds of keys, in the order in which they stand in a result. The numbers are a stored format."""

    BOOL = 0
    INT_LOW = 1
    """Integers below the 64-bit range."""
    INT = 2
    INT_HIGH = 3
    """Integers above the 64-bit range."""
    FLOAT = 4
    STR = 5
    BYTES = 6
    OTHER = 7


ARROW_TYPES: dict[KeyKind, pa.DataType] = {
    KeyKind.BOOL: pa.bool_(),
    KeyKind.INT_LOW: pa.binary(),
    KeyKind.INT: pa.int64(),
    KeyKind.INT_HIGH: pa.binary(),
    KeyKind.FLOAT: pa.float64(),
    KeyKind.STR: pa.string(),
    KeyKind.BYTES: pa.binary(),
    KeyKind.OTHER: pa.binary(),
}
"""Type of the array of each kind. Arrays hold no nulls; `originals` are `pa.binary()` with nulls."""

_ENCODED = frozenset({KeyKind.INT_LOW, KeyKind.INT_HIGH, KeyKind.OTHER})
_TYPED: dict[type, KeyKind] = {bool: KeyKind.BOOL, int: KeyKind.INT, float: KeyKind.FLOAT, str: KeyKind.STR, bytes: KeyKind.BYTES}


@dataclass(frozen=True, slots=True, eq=False)
class KeyColumn:
    """Keys of one kind.

    Attributes:
        kind: What they are.
        array: The keys, of type `ARROW_TYPES[kind]`, without nulls.
        originals: For `OTHER`: the pickled keys where the encoding cannot be read back; `None` when all can.
    """

    kind: KeyKind
    array: pa.Array[Any]
    originals: pa.Array[Any] | None = None

    def __len__(self) -> int:
        return len(self.array)

    def take(self, rows: Rows) -> KeyColumn:
        """Return the keys at these row numbers, in this order."""
        return KeyColumn(self.kind, self.array.take(rows), None if self.originals is None else self.originals.take(rows))

    def slice(self, start: int, stop: int) -> KeyColumn:
        """Return keys `[start, stop)` without copying."""
        length = stop - start
        return KeyColumn(
            self.kind, self.array.slice(start, length), None if self.originals is None else self.originals.slice(start, length)
        )


def encode_key(key: object) -> bytes:
    """Return bytes that are equal for equal keys only, and whose order is the order of keys, over all kinds: the first is the kind's rank.

    Raises:
        TypeError: The key is not hashable, or has no value that is the same in every process.
    """
    return encode(key)[0]


def split_keys(keys: list[Any]) -> list[tuple[KeyColumn, Rows | None]]:
    """Sort a batch of keys into typed columns, one for each kind that occurs, in rank order.

    Returns:
        Each column with the row numbers of its keys in `keys`, ascending; `None` stands for all rows.

    Raises:
        TypeError: A key is not hashable, or has no value that is the same in every process.
    """
    types = set(map(type, keys))
    if len(types) == 1:
        kind = _TYPED.get(types.pop(), KeyKind.OTHER)
        column = key_column(kind, keys) if kind is KeyKind.OTHER else _typed_column(kind, keys)
        if column is not None:
            return [(column, None)]
    rows: dict[KeyKind, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(kind_of(key), []).append(row)
    return [
        (key_column(kind, [keys[row] for row in rows[kind]]), None if len(rows) == 1 else np.array(rows[kind], np.int64))
        for kind in sorted(rows)
    ]


def kind_of(key: object) -> KeyKind:
    """Return the kind of column in which a key stands."""
    kind = _TYPED.get(type(key), KeyKind.OTHER)
    if kind is KeyKind.INT:
        number: int = key  # type: ignore[assignment] # its exact type is int
        return KeyKind.INT_LOW if number < -(1 << 63) else KeyKind.INT_HIGH if number >= 1 << 63 else KeyKind.INT
    if kind is KeyKind.STR:
        try:
            str.encode(key)  # type: ignore[arg-type] # its exact type is str
        except UnicodeEncodeError:
            return KeyKind.OTHER
    return kind


def key_column(kind: KeyKind, keys: list[Any]) -> KeyColumn:
    """Return the column of keys that are all of one kind.

    Raises:
        TypeError: As `split_keys`.
    """
    if kind not in _ENCODED:
        column = _typed_column(kind, keys)
        if column is None:
            raise TypeError(f"These keys are not all of kind {kind.name}: use split_keys, which sorts them by kind.")
        return column
    tuples = encode_tuples(keys)
    if tuples is not None:
        return KeyColumn(kind, pa.array(tuples, pa.binary()))
    encoded = [encode(key) for key in keys]
    array = pa.array([data for data, _ in encoded], ARROW_TYPES[kind])
    if kind is not KeyKind.OTHER or all(exact for _, exact in encoded):
        return KeyColumn(kind, array)
    originals = [None if exact else pickles.dumps(key) for key, (_, exact) in zip(keys, encoded, strict=True)]
    return KeyColumn(kind, array, pa.array(originals, pa.binary()))


def _typed_column(kind: KeyKind, keys: list[Any]) -> KeyColumn | None:
    """Return the column, or `None` when an integer is beyond 64 bits or a text has lone surrogates."""
    if kind is KeyKind.FLOAT:
        floats = np.array(keys, np.float64) + 0.0  # makes 0.0 of -0.0
        floats[np.isnan(floats)] = np.nan
        return KeyColumn(kind, pa.array(floats))
    try:
        return KeyColumn(kind, pa.array(keys, ARROW_TYPES[kind]))
    except (OverflowError, UnicodeEncodeError):
        return None


def decode_keys(column: KeyColumn) -> list[Any]:
    """Return the keys of a column as Python objects of their exact types."""
    keys: list[Any] = column.array.to_pylist()
    if column.kind not in _ENCODED:
        return keys
    if column.originals is None:
        return [decode(data) for data in keys]
    pairs = zip(keys, column.originals.to_pylist(), strict=True)
    return [decode(data) if original is None else pickle.loads(original) for data, original in pairs]


def concat_keys(columns: Sequence[KeyColumn]) -> KeyColumn:
    """Return the keys of several columns of one kind, at least one, in one column."""
    if len(columns) == 1:
        return columns[0]
    array = pa.concat_arrays([column.array for column in columns])
    if all(column.originals is None for column in columns):
        return KeyColumn(columns[0].kind, array)
    originals = [pa.nulls(len(column), pa.binary()) if column.originals is None else column.originals for column in columns]
    return KeyColumn(columns[0].kind, array, pa.concat_arrays(originals))
