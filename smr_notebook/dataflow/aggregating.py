"""Built-in aggregations in a job: folds run over the blocks of the map side and of the reduce side.

On the map side, grouped values become states at once, one for each group; from there on everything that travels is a state. On the
reduce side, the states of a group are merged, and whole blocks of them become rows, as columns.

Rules of this module:

* A group may go on from block to block: its state is carried over, and finished when another key comes.
* Pairs, checksum and position are those of groups that were finished: as where a function reduces them.
* What a fold refuses is the failure of `reduce` for that key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa

from smr_notebook.dataflow.blocks import GroupBlock
from smr_notebook.dataflow.columns import Column, concat_columns, encode_values
from smr_notebook.dataflow.folds.segments import GroupError, Indices, Segments
from smr_notebook.dataflow.folds.steps import Fold
from smr_notebook.dataflow.functions import UserCodeError, short_repr
from smr_notebook.dataflow.grouping import Pairs, slice_groups
from smr_notebook.dataflow.hashing import checksum, hash_keys
from smr_notebook.dataflow.keys import KeyColumn, concat_keys, decode_keys
from smr_notebook.dataflow.merging import Blocks
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.passing import ColumnSink, key_values
from smr_notebook.dataflow.programs import Handed
from smr_notebook.dataflow.reducing import behind, goes_on
from smr_notebook.model import Position

R = TypeVar("R")
WriteResults = Callable[[KeyColumn, Column], None]
"""Takes keys in order, and the result of each."""

_WORTHWHILE: Final = 0.8
_EXACT: Final = 1 << 53
_NUMBERS: Final = frozenset({bool, int, float, type(None)})


def write_columns(sink: ColumnSink, keys: KeyColumn, results: Column) -> None:
    """Write finished groups as rows of key and value."""
    sink.add_columns(key_values(keys), results, ordered=True)


def check_values_for(fold: Fold, values: list[Any]) -> None:
    """Refuse values that cannot be aggregated, each by itself, quickly where all are numbers.

    Raises:
        Exception: What is wrong with one of them.
    """
    if set(map(type, values)) <= _NUMBERS:
        return
    prepared = fold.prepare(encode_values(values))
    try:
        fold.finish(fold.begin(Segments(prepared, np.arange(len(prepared) + 1, dtype=np.int64))))
    except GroupError as error:
        raise error.__cause__ or error from None


class FoldCombiner:
    """Implements `combining.Combiner` for a fold: values become states, and states of a group one.

    Args:
        fold: What is computed.
    """

    present = True
    worthwhile = True

    def __init__(self, fold: Fold) -> None:
        self._fold = fold

    def combine_batch(self, keys: KeyColumn, values: Column) -> Pairs:
        """Return the batch as the fold wants it; where integers can be added, on the codes of their keys, if that makes it shorter."""
        prepared = self._fold.prepare(values)
        summed = _sum_by_code(keys, prepared) if self._fold.additive else None
        return summed or (keys, prepared)

    def begin(self, block: GroupBlock) -> GroupBlock:
        """Return the groups with one state each."""
        states = _named(block.keys, lambda: self._fold.begin(Segments(block.values, block.offsets)))
        return _single(block.keys, states)

    def combine(self, block: GroupBlock) -> GroupBlock:
        """Return the groups with their states merged."""
        if len(block.values) == len(block.keys):
            return block
        return _single(block.keys, _named(block.keys, lambda: self._fold.merge(block.values, block.offsets)))


def _single(keys: KeyColumn, states: Column) -> GroupBlock:
    return GroupBlock(keys, states, np.arange(len(keys) + 1, dtype=np.int64))


def _named(keys: KeyColumn, compute: Callable[[], R]) -> R:
    """Compute, and name the key of the group that was refused."""
    try:
        return compute()
    except GroupError as error:
        key = decode_keys(keys.slice(error.group, error.group + 1))[0]
        raise UserCodeError("reduce", short_repr(key)) from error.__cause__


def _sum_by_code(keys: KeyColumn, values: Column) -> Pairs | None:
    """Return each key once, with the sum of its values; `None` unless all are integers and every sum is exact as a double."""
    array: Any = values.array
    if values.kind != "int" or array.null_count or keys.originals is not None or not len(array):
        return None
    numbers = array.to_numpy()
    if max(-int(numbers.min()), int(numbers.max())) * len(numbers) >= _EXACT:
        return None
    encoded: Any = keys.array.dictionary_encode()
    if len(encoded.dictionary) > _WORTHWHILE * len(numbers):
        return None
    sums = np.bincount(encoded.indices.to_numpy(), weights=numbers, minlength=len(encoded.dictionary)).astype(np.int64)
    return KeyColumn(keys.kind, encoded.dictionary), Column("int", pa.array(sums))


# ---------------------------------------------------------------- reduce


@dataclass(frozen=True, slots=True, eq=False)
class _Merged:
    """Groups with one state each, and how many pairs each was made of."""

    keys: KeyColumn
    states: Column
    pairs: Indices

    def behind(self, first: _Merged | None) -> list[_Merged]:
        """Return these groups behind another one, as few pieces as kinds of keys allow."""
        if first is None:
            return [self]
        if first.keys.kind is not self.keys.kind:
            return [first, self]
        both = (
            concat_keys([first.keys, self.keys]),
            concat_columns([first.states, self.states]),
            np.concatenate([first.pairs, self.pairs]),
        )
        return [_Merged(*both)]


class _Open:
    """The last group in view, which may go on in the next block.

    Its states are merged when those that came since the last time are as large as what there was: so each is moved a few times only,
    however long the group is.
    """

    def __init__(self, fold: Fold, group: GroupBlock) -> None:
        self._fold = fold
        self.group = GroupBlock(group.keys, group.values.slice(0, 0), np.zeros(2, np.int64))
        self._states: list[Column] = []
        self._merged_bytes = self._new_bytes = self._pairs = 0
        self.add(group)

    def add(self, group: GroupBlock) -> None:
        """Take what a block holds of the group."""
        self._states.append(group.values)
        self._pairs += len(group.values)
        self._new_bytes += group.values.array.nbytes
        if self._new_bytes > self._merged_bytes:
            self._merge()

    def _merge(self) -> None:
        states = concat_columns(self._states)
        merged = _named(self.group.keys, lambda: self._fold.merge(states, np.array([0, len(states)])))
        self._states, self._merged_bytes, self._new_bytes = [merged], merged.array.nbytes, 0

    def close(self) -> _Merged:
        """Return the group, now that it is whole."""
        if sum(map(len, self._states)) > 1:  # states of nothing take no bytes, and so have never been merged
            self._merge()
        return _Merged(self.group.keys, self._states[0], np.array([self._pairs]))


def aggregate_groups(fold: Fold, blocks: Blocks, write: WriteResults, *, meter: Meter, done: int) -> Handed:
    """Merge and finish the states of a partition.

    Args:
        fold: What is computed.
        blocks: As of `programs.Program.reduce`; so are `meter`, `done` and the errors.
        write: Takes finished groups.
        meter: See above.
        done: See above.
    """
    rows = _Rows(fold, write, meter)
    last: _Open | None = None
    for block in behind(blocks, done, meter):
        meter.check()
        following = block
        if last is not None and goes_on(last.group, block):
            last.add(slice_groups(block, 0, 1))
            following = slice_groups(block, 1, len(block.keys))
        elif meter.ending:
            if last is not None:
                rows.write(last.close())
            return Handed(rows.checksum, Position(done=done + meter.records_mapped))
        if len(following.keys):
            whole = _merged(fold, slice_groups(following, 0, len(following.keys) - 1))
            for groups in whole.behind(None if last is None else last.close()):
                rows.write(groups)
            last = _Open(fold, slice_groups(following, len(following.keys) - 1, len(following.keys)))
    if last is not None:
        rows.write(last.close())
    return Handed(rows.checksum, None)


def _merged(fold: Fold, block: GroupBlock) -> _Merged:
    return _Merged(block.keys, _named(block.keys, lambda: fold.merge(block.values, block.offsets)), np.diff(block.offsets))


class _Rows:
    """Finishes groups, writes them as rows and counts them."""

    def __init__(self, fold: Fold, write: WriteResults, meter: Meter) -> None:
        self._fold = fold
        self._write = write
        self._meter = meter
        self.checksum = 0

    def write(self, groups: _Merged) -> None:
        """Write some groups that are whole."""
        if not len(groups.keys):
            return
        results = _named(groups.keys, lambda: self._fold.finish(groups.states))
        self._write(groups.keys, results)
        self.checksum = (self.checksum + checksum(hash_keys(groups.keys), groups.pairs)) % 2**64
        self._meter.pairs_in += int(groups.pairs.sum())
        self._meter.pairs_out += len(groups.keys)
        self._meter.records_read += len(groups.keys)
        self._meter.records_mapped += len(groups.keys)
