"""The merge of sorted streams of blocks, by ranges and not by pairs.

The smallest of the last places in view is the *bound*; all that comes before it is complete in view, is cut out of every block, and is
merged in one vectorised step. What is at the bound may go on behind the view, so it is handed on stream by stream.

A stream is sorted by key, or by key and value where a job wants the values of a group in order. In the first case a place is a group,
however long it goes on; in the second it is a pair.

Rules of this module:

* Of equal keys (and values) those of the earlier stream come first.
* A key may go on in the next block, of the streams and of the result.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Protocol

import numpy as np

from smr_notebook.dataflow.blocks import GroupBlock
from smr_notebook.dataflow.grouping import merge_blocks, order_key, slice_groups, slice_values
from smr_notebook.dataflow.partitioning import HashPartitioner, Partitioner
from smr_notebook.dataflow.value_order import sort_values, value_token

Blocks = Iterator[GroupBlock]
_WHOLE: Final = HashPartitioner(1)


class BlockOrder(Protocol):
    """By what blocks are sorted: how to look at the places of a block, and how to cut and merge."""

    @property
    def of_values(self) -> bool:
        """Whether the values of a group are in order, too."""
        ...

    @property
    def held_share(self) -> int:
        """Which part of a budget may be held, so that the rest is enough for merging it: one in so many."""
        ...

    def size(self, block: GroupBlock) -> int:
        """Return how many places there are in a block."""
        ...

    def at(self, block: GroupBlock, place: int) -> Any:
        """Return what compares like this place among those of blocks of the same key kind."""
        ...

    def cut(self, block: GroupBlock, start: int, stop: int) -> GroupBlock:
        """Return places `[start, stop)`, not none, without copying."""
        ...

    def arrange(self, block: GroupBlock, *, function: str = "map") -> GroupBlock:
        """Return a block, of groups in order, in this order; `function` made the values."""
        ...

    def merge(self, blocks: Sequence[GroupBlock], partitioner: Partitioner = _WHOLE) -> GroupBlock:
        """Merge blocks of one key kind, each in this order within a partition."""
        ...


class KeyOrder:
    """Groups in the order of their keys; values as they came."""

    of_values: Final = False
    held_share: Final = 4

    def size(self, block: GroupBlock) -> int:
        """Return the number of groups."""
        return len(block.keys)

    def at(self, block: GroupBlock, place: int) -> Any:
        """Return what compares like the key of a group."""
        return order_key(block.keys, place)

    def cut(self, block: GroupBlock, start: int, stop: int) -> GroupBlock:
        """Return groups `[start, stop)`."""
        return slice_groups(block, start, stop)

    def arrange(self, block: GroupBlock, *, function: str = "map") -> GroupBlock:  # noqa: ARG002 - the values stay as they are
        """Return the block."""
        return block

    def merge(self, blocks: Sequence[GroupBlock], partitioner: Partitioner = _WHOLE) -> GroupBlock:
        """Merge the groups; of one key the values of earlier blocks come first."""
        return merge_blocks(blocks, partitioner)


class PairOrder:
    """Groups in the order of their keys, and the values of each in theirs."""

    of_values: Final = True
    held_share: Final = 6  # merged and then sorted: it is there once more

    def size(self, block: GroupBlock) -> int:
        """Return the number of pairs."""
        return len(block.values)

    def at(self, block: GroupBlock, place: int) -> Any:
        """Return what compares like a pair."""
        group = int(np.searchsorted(block.offsets, place, "right")) - 1
        return order_key(block.keys, group), value_token(block.values, place)

    def cut(self, block: GroupBlock, start: int, stop: int) -> GroupBlock:
        """Return pairs `[start, stop)`; the first and the last group may be cut."""
        return slice_values(block, start, stop)

    def arrange(self, block: GroupBlock, *, function: str = "map") -> GroupBlock:
        """Return the block with the values of each group in order."""
        return sort_values(block, function=function)

    def merge(self, blocks: Sequence[GroupBlock], partitioner: Partitioner = _WHOLE) -> GroupBlock:
        """Merge the groups, and put the values of each in order; of equal values those of earlier blocks come first."""
        return blocks[0] if len(blocks) == 1 else sort_values(merge_blocks(blocks, partitioner))


BY_KEY: Final[BlockOrder] = KeyOrder()
BY_PAIR: Final[BlockOrder] = PairOrder()
ORDERS: Final[Mapping[bool, BlockOrder]] = MappingProxyType({False: BY_KEY, True: BY_PAIR})
"""The order of blocks, by whether values are sorted."""


class _Head:
    """The block in view of one stream. `block` is `None` at the end."""

    __slots__ = ("_blocks", "_order", "block")

    def __init__(self, blocks: Blocks, order: BlockOrder) -> None:
        self._blocks = blocks
        self._order = order
        self.block: GroupBlock | None = None
        self.advance()

    def advance(self) -> None:
        self.block = next(self._blocks, None)

    def cut(self, places: int) -> GroupBlock | None:
        """Take the first places out of view, and return them."""
        block = self.block
        if block is None or places == 0:
            return None
        size = self._order.size(block)
        if places == size:
            self.advance()
            return block
        self.block = self._order.cut(block, places, size)
        return self._order.cut(block, 0, places)

    def position(self, bound: Any) -> int:
        """Return how many places of the block in view come before the bound."""
        return self._bisect(bisect_left, bound)

    def through(self, bound: Any) -> int:
        """Return how many places, of a block in view that begins at the bound or behind it, are at the bound."""
        block = self.block
        return 0 if block is None or self._order.at(block, 0) != bound else self._bisect(bisect_right, bound)

    def _bisect(self, bisect: Any, bound: Any) -> int:
        block, order = self.block, self._order
        if block is None:
            return 0
        return int(bisect(range(order.size(block)), bound, key=lambda place: order.at(block, place)))


def merge_streams(streams: Sequence[Blocks], order: BlockOrder) -> Blocks:
    """Merge streams whose blocks stand in the order of kind and place.

    Args:
        streams: The streams.
        order: By what they are sorted, and the result is.
    """
    if len(streams) == 1:
        yield from streams[0]
        return
    heads = [_Head(stream, order) for stream in streams]
    while seen := [(head, head.block) for head in heads if head.block is not None]:
        kind = min(block.keys.kind for _, block in seen)
        current = [(head, block) for head, block in seen if block.keys.kind is kind]
        bound = min(order.at(block, order.size(block) - 1) for _, block in current)
        before = [head.cut(head.position(bound)) for head, _ in current]
        complete = [block for block in before if block is not None]
        if complete:
            yield order.merge(complete)
        for head, _ in current:
            while head.block is not None and head.block.keys.kind is kind and (places := head.through(bound)):
                piece = head.cut(places)
                if piece is not None:
                    yield piece
