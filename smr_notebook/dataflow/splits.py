"""Splits: which bytes each map task reads. Pure.

Rules:

* Input order is kept: reading the splits in number order, and the spans of each in order, reads the objects in order.
* Every byte of every object is in exactly one span. An object without bytes has one span `[0, 0)`.
* An object with `cuts` is cut there and nowhere else.
* A cuttable object larger than `split_bytes` is cut into equal spans (to one byte), none larger than that.
* Neighbours that fit together share a split: at most `split_bytes`, and at most 1,000 spans with bytes. A larger object
  that cannot be cut stands alone.
* Spans without bytes join whatever split stands beside them, so that no task has nothing else to do, unless all have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from smr_notebook.errors import ConfigError
from smr_notebook.model import ObjectInfo, Span, Split

_MIB = 1 << 20
_LARGEST = 128 * _MIB
_SMALLEST = _MIB
_SLACK = 16
_SPANS_PER_SPLIT = 1000


@dataclass(frozen=True, slots=True)
class PlannedObject:
    """An input object and what may be done with it.

    Attributes:
        scheme: Which input source reads it.
        info: Key, size and version as found.
        cuttable: Whether a task may read a part of it (see `compression.cuttable`).
        packable: Whether it, or a piece of it, may share a task with its neighbours.
        cuts: Bytes at which it must be cut, ascending, without its ends.
    """

    scheme: str
    info: ObjectInfo
    cuttable: bool
    packable: bool = True
    cuts: tuple[int, ...] = ()


def choose_split_bytes(total: int, *, slots: int, requested: int | None, per_slot: int = 4) -> int:
    """Return how many bytes a split should have.

    Args:
        total: Bytes of the whole input.
        slots: How many workers run at once.
        requested: What the user asked for, in bytes; obeyed.
        per_slot: How many splits each of them should get at least.

    Returns:
        Bytes: 128 MiB, or less when so many splits a slot need that, but 1 MiB at least. A sixteenth more than their even share, so that
        objects of about one size pack evenly, and not one less into each of many splits.

    Raises:
        ConfigError: `requested` is less than one byte.
    """
    if requested is None:
        return max(_SMALLEST, min(_LARGEST, -(-total * (_SLACK + 1) // (_SLACK * per_slot * max(slots, 1)))))
    if requested < 1:
        raise ConfigError(f"split_size is {requested}: a split has at least 1 byte. Give a size in bytes, or leave it out.")
    return requested


def plan_splits(objects: Iterable[PlannedObject], *, split_bytes: int) -> tuple[Split, ...]:
    """Cut and pack the input.

    Args:
        objects: The input, in order.
        split_bytes: Bytes that a split should have, at least 1.

    Returns:
        The splits, numbered from 0.
    """
    splits: list[Split] = []
    pack: list[Span] = []
    filled = count = 0
    closed = False
    for planned in objects:
        for span in _spans(planned, split_bytes):
            size = span.stop - span.start
            fits = planned.packable and not closed and filled + size <= split_bytes and count < _SPANS_PER_SPLIT
            if size and filled and not fits:
                splits.append(Split(len(splits), tuple(pack)))
                pack = []
                filled = count = 0
                closed = False
            pack.append(span)
            if size:
                filled += size
                count += 1
                closed = not planned.packable
    if pack:
        splits.append(Split(len(splits), tuple(pack)))
    return tuple(splits)


def _spans(planned: PlannedObject, split_bytes: int) -> Iterator[Span]:
    info = planned.info
    pieces = max(1, -(-info.size // split_bytes)) if planned.cuttable else 1
    ends = (*planned.cuts, info.size) if planned.cuts else [info.size * number // pieces for number in range(1, pieces + 1)]
    for start, stop in pairwise((0, *ends)):
        yield Span(planned.scheme, info.key, start, stop, info.size, info.version)
