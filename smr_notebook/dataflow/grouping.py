"""Grouping without a loop over pairs: a batch of keys and values becomes sorted groups, and groups become larger groups.

How a batch is grouped: Arrow encodes the keys as a dictionary (each distinct key once) and codes; only the dictionary is
sorted; the codes are then ranks, small integers that a radix sort orders in linear time. Partitions come in the same
step: the hash is taken of the distinct keys, and rank means (partition, key). Where most keys are distinct, they are
sorted at once (`key_sorting`).

Rules of this module:

* The values of a key keep the order in which they came: every sort of pairs is stable, and of several blocks the values of the
  earlier one come first.
* Of equal keys the one that came first stands for all (its pickled original, where there is one).
* Blocks of different key kinds never mix.
* A group may be cut between two of its values, so that a block can be made as small as one wants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from smr_notebook.dataflow.blocks import GroupBlock
from smr_notebook.dataflow.columns import Column, concat_columns
from smr_notebook.dataflow.hashing import checksum, hash_keys
from smr_notebook.dataflow.key_sorting import SortedRows, mostly_distinct, sort_keys
from smr_notebook.dataflow.keys import KeyColumn, KeyKind, concat_keys
from smr_notebook.dataflow.partitioning import HashPartitioner, Partitioner

Indices = npt.NDArray[np.int64]
Pairs = tuple[KeyColumn, Column]
"""Keys of one kind and their values, row by row."""

_WHOLE = HashPartitioner(1)


@dataclass(frozen=True, slots=True, eq=False)
class PartitionedBlock:
    """Groups sorted by (partition, key). Those of partition `p` are `[bounds[p], bounds[p + 1])` of the block."""

    block: GroupBlock
    bounds: Indices

    def partition(self, number: int) -> GroupBlock:
        """Return the groups of one partition, without copying."""
        return slice_groups(self.block, int(self.bounds[number]), int(self.bounds[number + 1]))


def partition_block(block: GroupBlock, partitioner: Partitioner) -> PartitionedBlock:
    """Find the partitions in a block whose groups stand in the order of (partition, key)."""
    return PartitionedBlock(block, _offsets(np.bincount(partitioner.of(block.keys), minlength=partitioner.count)))


def group_pairs(batches: Sequence[Pairs], partitioner: Partitioner = _WHOLE) -> GroupBlock:
    """Group pairs of one key kind.

    Args:
        batches: At least one batch; all keys of one kind.
        partitioner: The groups stand in the order of (partition, key).
    """
    keys = concat_keys([keys for keys, _ in batches])
    values = concat_columns([values for _, values in batches])
    rows = _in_key_order(keys, partitioner)
    return GroupBlock(_take_keys(keys, rows.order[rows.starts]), _take(values, rows.order), np.append(rows.starts, len(keys)))


def merge_blocks(blocks: Sequence[GroupBlock], partitioner: Partitioner = _WHOLE) -> GroupBlock:
    """Merge groups of one key kind; where a key is in several blocks, its values follow in the order of the blocks.

    Args:
        blocks: At least one block, all of one key kind, in the order of (partition, key).
        partitioner: Says what the partitions are.
    """
    if len(blocks) == 1:
        return blocks[0]
    keys = concat_keys([block.keys for block in blocks])
    values = concat_columns([block.values for block in blocks])
    counts = np.concatenate([np.diff(block.offsets) for block in blocks])
    rows = _in_key_order(keys, partitioner)
    ordered = counts[rows.order]
    single = len(values) == len(counts)
    order = rows.order if single else _ranges(_offsets(counts)[:-1][rows.order], ordered)
    return GroupBlock(_take_keys(keys, rows.order[rows.starts]), _take(values, order), _offsets(np.add.reduceat(ordered, rows.starts)))


def slice_groups(block: GroupBlock, start: int, stop: int) -> GroupBlock:
    """Return groups `[start, stop)` without copying."""
    if start == 0 and stop == len(block.keys):
        return block
    first, last = int(block.offsets[start]), int(block.offsets[stop])
    return GroupBlock(block.keys.slice(start, stop), block.values.slice(first, last), block.offsets[start : stop + 1] - first)


def slice_values(block: GroupBlock, start: int, stop: int) -> GroupBlock:
    """Return the groups of values `[start, stop)`, not empty, without copying; the first and the last group may be cut."""
    first = int(np.searchsorted(block.offsets, start, "right")) - 1
    last = int(np.searchsorted(block.offsets, stop, "left"))
    offsets = np.clip(block.offsets[first : last + 1], start, stop) - start
    return GroupBlock(block.keys.slice(first, last), block.values.slice(start, stop), offsets)


def cut_block(block: GroupBlock, size: int) -> Iterator[GroupBlock]:
    """Yield a block as blocks of about `size` bytes, cutting large groups; a value larger than that stands alone."""
    values = len(block.values)
    if values <= 1 or block_bytes(block) <= size:
        if values:
            yield block
        return
    yield from cut_block(slice_values(block, 0, values // 2), size)
    yield from cut_block(slice_values(block, values // 2, values), size)


def block_bytes(block: GroupBlock) -> int:
    """Return the bytes of memory that a block takes."""
    return key_bytes(block.keys) + block.values.array.nbytes + int(block.offsets.nbytes)


def key_bytes(keys: KeyColumn) -> int:
    """Return the bytes of memory that keys take."""
    return int(keys.array.nbytes) + (0 if keys.originals is None else int(keys.originals.nbytes))


def pair_bytes(keys: KeyColumn, values: Column) -> int:
    """Return the bytes of memory that pairs take."""
    return key_bytes(keys) + int(values.array.nbytes)


def block_checksum(block: GroupBlock) -> int:
    """Return the sum of the hashes of the pairs in a block, modulo 2**64."""
    return checksum(hash_keys(block.keys), np.diff(block.offsets))


def drop_empty(block: GroupBlock) -> GroupBlock:
    """Return the block without the groups that have no values."""
    counts = np.diff(block.offsets)
    kept = np.flatnonzero(counts)
    if len(kept) == len(counts):
        return block
    return GroupBlock(block.keys.take(kept), block.values, _offsets(counts[kept]))


def order_key(keys: KeyColumn, row: int) -> Any:
    """Return what compares like the key at this row among keys of the same kind: NaN is the last and equals itself."""
    value = keys.array[row].as_py()
    return (value != value, 0.0 if value != value else value) if keys.kind is KeyKind.FLOAT else value  # noqa: PLR0124 - NaN


def _in_key_order(keys: KeyColumn, partitioner: Partitioner) -> SortedRows:
    """Return the rows in the order of (partition, key)."""
    if not len(keys):
        return SortedRows(np.zeros(0, np.int64), np.zeros(0, np.int64))
    if mostly_distinct(keys):
        rows = sort_keys(keys)
        return rows if partitioner.keeps_order else _by_partition(rows, keys, partitioner)
    encoded: Any = keys.array.dictionary_encode()
    distinct = KeyColumn(keys.kind, encoded.dictionary)
    order = _sorted_distinct(distinct)
    if not partitioner.keeps_order:
        order = order[stable_order(partitioner.of(distinct)[order], partitioner.count)]
    ranks = np.empty(len(order), np.int32)
    ranks[order] = np.arange(len(order), dtype=np.int32)
    codes = ranks[encoded.indices.to_numpy()]
    return SortedRows(stable_order(codes, len(order)), _offsets(np.bincount(codes, minlength=len(order)))[:-1])


def _sorted_distinct(keys: KeyColumn) -> Indices:
    if keys.kind is KeyKind.BOOL:
        few: Indices = pc.sort_indices(keys.array).to_numpy().astype(np.int64)
        return few
    return sort_keys(keys).order


def _by_partition(rows: SortedRows, keys: KeyColumn, partitioner: Partitioner) -> SortedRows:
    """Return rows in the order of (partition, key) that are in that of the keys."""
    sizes = np.diff(np.append(rows.starts, len(keys)))
    groups = stable_order(partitioner.of(keys.take(rows.order[rows.starts])), partitioner.count)
    return SortedRows(rows.order[_ranges(rows.starts[groups], sizes[groups])], _offsets(sizes[groups])[:-1])


def stable_order(codes: npt.NDArray[Any], count: int) -> Indices:
    """Return the rows in the order of their codes `[0, count)`: NumPy sorts 16-bit integers by radix, so larger ones go in two rounds."""
    low = np.argsort(codes.astype(np.uint16), kind="stable")
    if count <= 1 << 16:
        return low
    high = (codes >> 16).astype(np.uint16)
    return low[np.argsort(high[low], kind="stable")]


def _offsets(counts: npt.NDArray[Any]) -> Indices:
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def _ranges(starts: Indices, lengths: Indices) -> Indices:
    """Return the numbers of all ranges `[start, start + length)`, one after the other."""
    ends = _offsets(lengths)
    return np.repeat(starts - ends[:-1], lengths) + np.arange(ends[-1], dtype=np.int64)


def _take(values: Column, order: Indices) -> Column:
    in_order = bool((order[1:] > order[:-1]).all())
    return values if in_order else values.take(order)


def _take_keys(keys: KeyColumn, rows: Indices) -> KeyColumn:
    in_order = len(rows) == len(keys) and bool((rows[1:] > rows[:-1]).all())
    return keys if in_order else keys.take(rows)
