"""The hash of keys: the same in every process, on every machine, in every version.

It decides which reducer gets a key, and it is summed into the proof that what `map` emitted is what `reduce` read. So it is a
stored format: the golden values in the tests never change.

It is computed with NumPy straight over Arrow buffers. A fixed width key is one 64-bit word (a float: its bits, of one
NaN and one zero), so its hash is `mix(word ^ seed)`. Text and bytes are read as little-endian words, the last one padded with
zeros::

    hash = mix(seed + length + Σ mix(word[i] + (i + 1) * GOLDEN))      mod 2**64

`mix` is the finaliser of splitmix64, `seed` comes from the kind, so that `1`, `1.0` and `"1"` go their own ways. As a sum over
words it can be taken word by word over many short keys, or at once over one long key.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from smr_notebook.dataflow.keys import KeyColumn, KeyKind

Hashes = npt.NDArray[np.uint64]

_GOLDEN = 0x9E3779B97F4A7C15
_ALL = (1 << 64) - 1
_HALF = np.uint64(32)


def hash_keys(column: KeyColumn) -> Hashes:
    """Return the hash of each key, whatever slice of whatever buffer its array is."""
    kind, array = column.kind, column.array
    if kind is KeyKind.BOOL:
        return _mix(array.to_numpy(zero_copy_only=False).astype(np.uint64) ^ _seed(kind))
    if kind is KeyKind.INT:
        return _mix(array.to_numpy().view(np.uint64) ^ _seed(kind))
    if kind is KeyKind.FLOAT:
        floats = array.to_numpy() + 0.0
        floats[np.isnan(floats)] = np.nan
        return _mix(floats.view(np.uint64) ^ _seed(kind))
    return _hash_binary(array, _seed(kind))


def partition_of(hashes: Hashes, partitions: int) -> npt.NDArray[np.int64]:
    """Return the partition of each hash, `0 <= partition < partitions < 2**31`: its upper half, scaled."""
    return (((hashes >> _HALF) * np.uint64(partitions)) >> _HALF).astype(np.int64)


def checksum(hashes: Hashes, counts: npt.NDArray[Any]) -> int:
    """Return the sum of hash times count, modulo 2**64. Sums over any grouping of the same pairs are equal."""
    return int(np.sum(hashes * counts.astype(np.uint64), dtype=np.uint64))


def _mix(words: Hashes) -> Hashes:
    words = words ^ (words >> np.uint64(30))
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words


def _seed(kind: KeyKind) -> np.uint64:
    return np.uint64(_mix(np.array([(kind + 1) * _GOLDEN & _ALL], np.uint64))[0])


def _hash_binary(array: Any, seed: np.uint64) -> Hashes:
    if not len(array):
        return np.zeros(0, np.uint64)
    _, offset_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32)[array.offset : array.offset + len(array) + 1].astype(np.int64)
    starts, lengths = offsets[:-1], np.diff(offsets)
    sums = lengths.astype(np.uint64) + seed
    rows = np.flatnonzero(lengths)
    if rows.size:
        data = np.frombuffer(data_buffer, np.uint8)
        _add_words(sums, rows, _Words(data), starts, lengths)
    return _mix(sums)


class _Words:
    """Unaligned 8-byte words of a buffer, by byte position; bytes past a key's end read as zero."""

    __slots__ = ("last", "words")

    def __init__(self, data: npt.NDArray[np.uint8]) -> None:
        if data.size < 8:
            data = np.concatenate([data, np.zeros(8 - data.size, np.uint8)])
        self.last = data.size - 8
        self.words: npt.NDArray[Any] = np.ndarray((data.size - 7,), "<u8", data, strides=(1,))

    def at(self, positions: npt.NDArray[np.int64], left: npt.NDArray[np.int64]) -> Hashes:
        """Return the words at these positions, which ascend, and of which `left` bytes (1 or more) belong to the key."""
        inside = positions if positions[-1] <= self.last else np.minimum(positions, self.last)
        words: Hashes = self.words[inside].astype(np.uint64, copy=False)
        if inside is not positions:
            words >>= ((positions - inside) * 8).astype(np.uint64)
        if left.min() < 8:
            unused = ((8 - np.minimum(left, 8)) * 8).astype(np.uint64)
            words <<= unused
            words >>= unused
        return words


def _add_words(
    sums: Hashes, rows: npt.NDArray[np.int64], words: _Words, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> None:
    """Add the mixed words of each key to its sum: word by word over all keys, then key by key when few long ones are left."""
    positions, left = starts[rows], lengths[rows]
    number = 0
    while rows.size and rows.size * 8 >= left.max():
        number += 1
        mixed = _mix(words.at(positions, left) + np.uint64(number * _GOLDEN & _ALL))
        if rows.size == sums.size:
            sums += mixed
        else:
            sums[rows] += mixed
        more = np.flatnonzero(left > 8)
        if more.size == rows.size:
            positions, left = positions + 8, left - 8
        else:
            rows, positions, left = rows[more], positions[more] + 8, left[more] - 8
    for row, position, size in zip(rows.tolist(), positions.tolist(), left.tolist(), strict=True):
        steps = np.arange(0, size, 8, dtype=np.int64)
        numbers = (steps // 8 + (number + 1)).astype(np.uint64)
        mixed = _mix(words.at(position + steps, size - steps) + numbers * np.uint64(_GOLDEN))
        sums[row : row + 1] += np.sum(mixed, dtype=np.uint64)
