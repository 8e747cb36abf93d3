"""Which partition a key belongs to: that of its hash, or the range of keys in which it lies.

Ranges are cut at *bounds*: encodings of keys (`keys.encode_key`), ascending, each the first key of a range. So partition `n` holds only
keys that come before those of partition `n + 1`, and the parts of a job, one after another, are in total order. The bounds are taken from
a sample of the input: what they are decides how evenly the work is shared, and never what the answer is.

Rules of this module:

* A partitioner is a value. It is stored in the plan as its bounds, so that every attempt of every task cuts alike.
* A key's partition follows from its encoding alone, on any machine.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from smr_notebook.dataflow.decoding import decode
from smr_notebook.dataflow.encoding import Tag
from smr_notebook.dataflow.hashing import hash_keys, partition_of
from smr_notebook.dataflow.keys import KeyColumn, KeyKind

Owners = npt.NDArray[np.int64]
"""The partition of each key."""

_KINDS: Final = {
    Tag.BOOL: KeyKind.BOOL,
    Tag.INT_LOW: KeyKind.INT_LOW,
    Tag.INT: KeyKind.INT,
    Tag.INT_HIGH: KeyKind.INT_HIGH,
    Tag.FLOAT: KeyKind.FLOAT,
    Tag.STR: KeyKind.STR,
    Tag.BYTES: KeyKind.BYTES,
}
_DECODED: Final = frozenset({KeyKind.BOOL, KeyKind.INT, KeyKind.FLOAT, KeyKind.STR, KeyKind.BYTES})


class Partitioner(Protocol):
    """Says which partition a key belongs to."""

    @property
    def count(self) -> int:
        """How many partitions there are, at least 1."""
        ...

    @property
    def keeps_order(self) -> bool:
        """Whether keys in key order are in the order of their partitions, too."""
        ...

    def of(self, keys: KeyColumn) -> Owners:
        """Return the partition of each key. Where the partitioner keeps the order, the keys must ascend."""
        ...


@dataclass(frozen=True, slots=True)
class HashPartitioner:
    """Deals keys out by their hash."""

    count: int

    @property
    def keeps_order(self) -> bool:
        """Whether keys in key order are in the order of their partitions, too."""
        return self.count == 1

    def of(self, keys: KeyColumn) -> Owners:
        """Return the partition of each key."""
        return np.zeros(len(keys), np.int64) if self.count == 1 else partition_of(hash_keys(keys), self.count)


@dataclass(frozen=True, slots=True)
class RangePartitioner:
    """Deals keys out by ranges.

    Attributes:
        bounds: Encodings of keys, ascending: the first key of each range but the first.
    """

    bounds: tuple[bytes, ...]

    @property
    def count(self) -> int:
        """How many ranges there are."""
        return len(self.bounds) + 1

    @property
    def keeps_order(self) -> bool:
        """Whether keys in key order are in the order of their partitions, too."""
        return True

    def of(self, keys: KeyColumn) -> Owners:
        """Return the partition of each of these keys, which ascend: a binary search for each bound, not for each key."""
        kinds = [kind_of_token(bound) for bound in self.bounds]
        first, last = bisect_left(kinds, keys.kind), bisect_left(kinds, keys.kind + 1)
        starts = [_position(keys, bound) for bound in self.bounds[first:last]]
        edges = np.array([0, *starts, len(keys)], np.int64)
        return np.repeat(np.arange(first, last + 1, dtype=np.int64), edges[1:] - edges[:-1])


def partitioner_of(partitions: int, bounds: Sequence[bytes] | None) -> Partitioner:
    """Return the partitioner of a plan: by ranges where it has bounds, else by hash.

    Args:
        partitions: How many there are.
        bounds: Encodings of keys, one less than partitions; `None` for none.
    """
    return HashPartitioner(partitions) if bounds is None else RangePartitioner(tuple(bounds))


def choose_bounds(tokens: Iterable[bytes], partitions: int) -> tuple[bytes, ...]:
    """Return bounds that share a sample of keys out evenly.

    A key that is heavier than a range should be gets a range of its own; so there may be fewer ranges than asked for.

    Args:
        tokens: Encodings of the keys, as often as they occur.
        partitions: Ranges, at most.
    """
    weights = [(token, sum(1 for _ in same)) for token, same in groupby(sorted(tokens))]
    bounds: list[bytes] = []
    left, filled = sum(weight for _, weight in weights), 0  # weight behind the ranges that are closed, and in the open one
    for token, weight in weights:
        share = left / (partitions - len(bounds))
        if filled and len(bounds) + 1 < partitions and filled + weight / 2 > share:
            bounds.append(token)
            left, filled = left - filled, 0
        filled += weight
    return tuple(bounds)


def kind_of_token(token: bytes) -> KeyKind:
    """Return the kind of the key that an encoding is of."""
    return _KINDS.get(Tag(token[0]), KeyKind.OTHER)


def _position(keys: KeyColumn, bound: bytes) -> int:
    """Return how many of the keys, which ascend, come before a bound of their kind."""
    key: Any = decode(bound) if keys.kind in _DECODED else bound
    if keys.kind is KeyKind.FLOAT:
        return int(np.searchsorted(keys.array.to_numpy(), key))  # NumPy, too, has NaN last
    return bisect_left(range(len(keys)), key, key=lambda row: keys.array[row].as_py())
