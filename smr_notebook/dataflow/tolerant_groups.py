"""Calling the user's `reduce` and `combine` where a group that fails is left out.

A group is whole where `reduce` meets it, and only there. So that is where it is left out: all its rows or none, with a line that names its
key (`bad_records`). Where `combine` fails, the values of that group stay as they were, and `reduce` decides.

Rules of this module:

* Pairs and checksums count all groups that `reduce` was given, those left out too: the proof still says that nothing was lost on the way.
* What `combine` was given may have been changed by it before it failed. The values that stay are decoded anew.
* What a call counted that failed does not count (`counting`).
* As in `tolerating`: memory that is used up, an exit and an interrupt end the attempt, and so does a group whose rows take too much of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from smr_notebook.dataflow.bad_records import BadRecords
from smr_notebook.dataflow.blocks import GroupBlock
from smr_notebook.dataflow.columns import Column, decode_values
from smr_notebook.dataflow.combining import CombineGroup, FunctionCombiner
from smr_notebook.dataflow.draining import checked_pair
from smr_notebook.dataflow.emitting import PairSink, check_row
from smr_notebook.dataflow.functions import Functions, UserCodeError, short_repr
from smr_notebook.dataflow.merging import Blocks
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.programs import Handed
from smr_notebook.dataflow.reducing import Groups
from smr_notebook.dataflow.row_buffers import RowBuffer
from smr_notebook.dataflow.tolerating import MOST_HELD, MOST_STRETCH, is_fatal, weight_of

_Rows = tuple[list[Any], list[Any]]


def reduce_tolerantly(functions: Functions, blocks: Blocks, sink: PairSink, bad: BadRecords, *, meter: Meter, done: int) -> Handed:
    """Call the user's `reduce` for each group, as `reducing.reduce_groups` does, and leave out the groups that fail.

    Args:
        functions: As of `reduce_groups`; so are `blocks`, `sink`, `meter` and `done`.
        blocks: See above.
        sink: See above.
        bad: Takes what is left out.
        meter: See above.
        done: See above.
    """
    groups = Groups(blocks, meter, done=done)
    rows = RowBuffer(sink, meter)
    if functions.reduce_yields:
        rows.groups = []
    meter.place = lambda: UserCodeError("reduce", short_repr(key))
    for stretch in groups.stretches(lambda: rows.limit):
        for key, values in stretch:
            meter.records_read += 1
            pairs, counted = stretch.offsets[stretch.done + 1] - stretch.offsets[stretch.done], meter.pairs_in
            try:
                found = _rows_of(functions, key, values, meter=meter, limit=rows.limit)
            except BaseException as error:  # noqa: BLE001 - the user's function may raise anything
                groups.check()
                if is_fatal(error):
                    groups.fail(key, error)
                meter.counts.drop()
                if stretch.long is not None:
                    groups.drain()
                    pairs += meter.pairs_in - counted
                meter.records_bad += 1
                meter.pairs_bad += pairs
                bad.add("reduce", key, error, number=done + meter.records_read)
            else:
                groups.check()
                meter.counts.keep()
                meter.records_mapped += 1
                rows.add(key, *found)
            stretch.done += 1
            if len(rows.keys) >= rows.limit:
                rows.flush()
    rows.flush()
    return Handed(groups.checksum, groups.position)


def _rows_of(functions: Functions, key: Any, values: Iterator[Any], *, meter: Meter, limit: int) -> _Rows:
    """Return the rows of one group. Raises what `reduce` raises, and what says that they cannot be stored."""
    reduce = functions.reduce
    assert reduce is not None  # noqa: S101 - a plan without `reduce` has no reduce phase
    given = reduce(key, values)
    keys, found = _held(iter(given), meter, min(limit, MOST_STRETCH)) if functions.reduce_yields else ([key], [given])
    check_row(keys, found)
    return keys, found


def _held(stream: Iterator[Any], meter: Meter, stretch: int) -> _Rows:
    """Return all rows of a group, weighed stretch by stretch; the meter sees them come."""
    keys: list[Any] = []
    values: list[Any] = []
    meter.emitted, held = keys, 0
    while True:
        before = len(keys)
        for item in islice(stream, stretch):
            key, value = checked_pair(item, "reduce")
            keys.append(key)
            values.append(value)
        if len(keys) - before < stretch:
            return keys, values
        held += weight_of(keys[before:], values[before:])
        if held > MOST_HELD:
            raise MemoryError(
                f"reduce gave more than {MOST_HELD:,} bytes of rows for one key, and where failures are left out, the rows of a key are "
                "held until it is done. Yield less for a key, or leave on_error out."
            )


class TolerantCombiner(FunctionCombiner):
    """Combines with the user's function, and leaves the values of a group for which it fails as they are."""

    def _by_group(self, combine: CombineGroup, block: GroupBlock, many: npt.NDArray[np.int64]) -> GroupBlock:
        def stored(key: Any, values: list[Any]) -> list[Any]:
            results = combine(key, values)
            check_row([], results)
            return results

        return super()._by_group(stored, block, many)

    def _without(self, error: BaseException, key: Any, values: Column) -> list[Any]:
        return super()._without(error, key, values) if is_fatal(error) else decode_values(values)
