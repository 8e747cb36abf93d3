"""The combiner of frames: the user's function run on the map side over rows that are not all of their groups, to shuffle less.

It gets a frame of rows, groups in key order, and returns a frame of the same columns with the same keys, or fewer. Its law is that of any
combiner: `reduce` of combined parts equals `reduce` of all rows, however the rows are cut, and also when a part is combined twice.
`check_frame_combiner` tries that on a sample before a job starts. A combiner that does not shrink the data is let rest, as by
`dataflow.combining`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc

from smr_notebook.counting import uncounted
from smr_notebook.dataflow.arrow_kinds import Rows, concat_rows, rows_of_struct
from smr_notebook.dataflow.blocks import GroupBlock
from smr_notebook.dataflow.columns import Column
from smr_notebook.dataflow.combining import alike
from smr_notebook.dataflow.frames.mapping import pairs_of
from smr_notebook.dataflow.frames.reducing import FrameCall
from smr_notebook.dataflow.functions import UserCodeError, short_repr
from smr_notebook.dataflow.grouping import Pairs, drop_empty, group_pairs
from smr_notebook.dataflow.keys import KeyColumn
from smr_notebook.errors import CombinerLawError, PairShapeError

_TRIALS: Final = 2
_WORTHWHILE: Final = 0.8
_CUTS: Final = 4


class FrameCombiner:
    """Implements `combining.Combiner` with the user's function.

    Args:
        combine: The user's.
    """

    def __init__(self, combine: FrameCall) -> None:
        self._combine = combine
        self._trials = 0
        self._before = 0
        self._after = 0

    @property
    def present(self) -> bool:
        """Always."""
        return True

    @property
    def worthwhile(self) -> bool:
        """Whether it shrank what it was given so far, or was given too little to tell."""
        return self._trials < _TRIALS or self._after <= _WORTHWHILE * self._before

    def combine_batch(self, keys: KeyColumn, values: Column) -> Pairs:
        """Return the batch as it is: `map` has just made it of one frame."""
        return keys, values

    def begin(self, block: GroupBlock) -> GroupBlock:
        """Combine what is worth it."""
        return self.combine(block) if self.worthwhile else block

    def combine(self, block: GroupBlock) -> GroupBlock:
        """Return the block with its rows combined.

        Raises:
            UserCodeError: The combiner raised, or gave other columns or keys.
        """
        if len(block.values) == len(block.keys):
            return block
        rows = rows_of_struct(block.values.kind, block.values.array)
        try:
            with uncounted():
                given = self._combine(rows)
            combined = regrouped(block, _same_columns(rows, given), self._combine.by)
        except PairShapeError as error:
            raise UserCodeError("combine", self._combine.told(rows)) from error
        self._trials += 1
        self._before += len(block.values)
        self._after += len(combined.values)
        return combined


def _same_columns(rows: Rows, combined: Rows | None) -> Rows:
    names = rows.schema.names
    if combined is None or set(combined.schema.names) != set(names):
        found = "None" if combined is None else "the columns " + ", ".join(map(repr, combined.schema.names))
        raise PairShapeError(f"combine must return a frame with the columns that it got ({', '.join(map(repr, names))}); got {found}")
    return combined


def regrouped(block: GroupBlock, rows: Rows, by: Sequence[str]) -> GroupBlock:
    """Return rows that a combiner made of a block, grouped by the keys of the block, in their order.

    Raises:
        PairShapeError: A row has a key that is none of the block's.
    """
    pairs = pairs_of(rows, by, "combine")
    if not pairs:
        return drop_empty(GroupBlock(block.keys, block.values.slice(0, 0), np.zeros(len(block.keys) + 1, np.int64)))
    found: Any = pc.index_in(pairs[0][0].array, block.keys.array) if pairs[0][0].kind is block.keys.kind else None
    if len(pairs) > 1 or found is None or found.null_count:
        raise PairShapeError(f"combine must leave {', '.join(map(repr, by))} as it is: it returned a row of a group that it was not given")
    codes = found.to_numpy().astype(np.int64)
    values = pairs[0][1].take(np.argsort(codes, kind="stable"))
    offsets = np.zeros(len(block.keys) + 1, np.int64)
    np.cumsum(np.bincount(codes, minlength=len(block.keys)), out=offsets[1:])
    return drop_empty(GroupBlock(block.keys, values, offsets))


# ---------------------------------------------------------------- the law


def check_frame_combiner(reduce: FrameCall, combine: FrameCall, sample: Sequence[Rows]) -> None:
    """Try the combiner's law on a sample of mapped rows.

    What fails without the combiner is not its fault: the job will tell.

    Args:
        reduce: The user's `reduce`.
        combine: The user's `combine`.
        sample: Rows that `map` gave, at least one piece of them.

    Raises:
        CombinerLawError: `reduce` of combined parts differs from `reduce` of all, or raises. The message shows the first difference.
    """
    try:
        rows = concat_rows(sample)
        expected = _listed(reduce(_in_key_order(rows, reduce.by)), reduce.by)
    except (UserCodeError, PairShapeError):
        return
    chance = random.Random(0)  # noqa: S311 - where a sample is cut is no secret
    for _ in range(_CUTS):
        places = sorted(chance.choices(range(rows.count + 1), k=2))
        parts = [_sliced(rows, start, stop) for start, stop in pairwise([0, *places, rows.count]) if start < stop]
        try:
            combined = [_same_columns(part, combine(_in_key_order(part, combine.by))) for part in parts]
            again = _same_columns(rows, combine(_in_key_order(concat_rows(combined), combine.by)))
            found = [_listed(reduce(_in_key_order(some, reduce.by)), reduce.by) for some in (concat_rows(combined), again)]
        except (UserCodeError, PairShapeError) as error:
            cause = error.__cause__ or error
            raise _law_error(f"with combined rows, {type(cause).__name__} is raised: {cause}") from error
        for rows_found in found:
            if not alike(expected, rows_found):
                raise _law_error(_first_difference(expected, rows_found))


def _law_error(told: str) -> CombinerLawError:
    return CombinerLawError(
        f"The combiner would change the answer, on a sample of the mapped rows: {told}. Leave `combine` out, or combine to rows that "
        "`reduce` can go on with (for a mean: columns of the sum and the count)."
    )


def _first_difference(expected: list[dict[str, Any]], found: list[dict[str, Any]]) -> str:
    for one, other in zip(expected, found, strict=False):
        if not alike(one, other):
            return f"reduce of all rows gives {short_repr(one)}, of combined rows {short_repr(other)}"
    return f"reduce of all rows gives {len(expected):,} rows, of combined rows {len(found):,}"


def _in_key_order(rows: Rows, by: Sequence[str]) -> Rows:
    blocks = [group_pairs([pair]) for pair in sorted(pairs_of(rows, by, "map"), key=lambda pair: pair[0].kind)]
    return concat_rows([rows_of_struct(block.values.kind, block.values.array) for block in blocks]) if blocks else rows


def _listed(rows: Rows | None, by: Sequence[str]) -> list[dict[str, Any]]:
    """Return rows as dicts, in key order where they have the keys."""
    if rows is None:
        return []
    if set(by) <= set(rows.schema.names):
        rows = _in_key_order(rows, by)
    columns = [column.to_pylist() for column in rows.columns]
    return [dict(zip(rows.schema.names, values, strict=True)) for values in zip(*columns, strict=True)]


def _sliced(rows: Rows, start: int, stop: int) -> Rows:
    return Rows(rows.schema, [column.slice(start, stop - start) for column in rows.columns], stop - start)
