"""The combiner: the user's function run on parts of groups, on the map side, to shuffle less.

Its law: `reduce` of combined parts equals `reduce` of all values, however the group is cut, and also when a part is
combined twice. `check_combiner` tries that on a sample before a job starts.

Rules of this module:

* A group of one value is left as it is.
* A plain function gives one value for the key; a generator function yields pairs, all of the same key, none or many.
* A combiner that does not shrink the data is let rest, since it costs more than it saves; at the end it is asked once more.
* Where the values of a group are sorted for `reduce`, so are those of each part: `reduce` may be the combiner, and count on it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from smr_notebook.counting import uncounted
from smr_notebook.dataflow.blocks import GroupBlock
from smr_notebook.dataflow.columns import Column, decode_values, encode_values
from smr_notebook.dataflow.draining import checked_pair
from smr_notebook.dataflow.functions import Functions, UserCodeError, short_repr
from smr_notebook.dataflow.grouping import Pairs, drop_empty
from smr_notebook.dataflow.keys import KeyColumn, decode_keys, encode_key
from smr_notebook.errors import CombinerLawError, PairShapeError

_TRIALS = 2
"""How many consolidations show whether the combiner is worth its time."""
_WORTHWHILE = 0.8
_CUTS = 4
_TOLERANCE = 1e-9

CombineGroup = Callable[[Any, list[Any]], list[Any]]


def combiner_of(functions: Functions) -> CombineGroup | None:
    """Return the function that combines the values of one key, or `None` when there is no combiner."""
    combine = functions.combine
    if combine is None:
        return None
    if not functions.combine_yields:
        return lambda key, values: [combine(key, iter(values))]

    def collect(key: Any, values: list[Any]) -> list[Any]:
        results = []
        for item in combine(key, iter(values)):
            other, value = checked_pair(item, "combine")
            if other is not key and encode_key(other) != encode_key(key):
                raise PairShapeError(f"combine must yield pairs of its own key {short_repr(key)}; got the key {short_repr(other)}")
            results.append(value)
        return results

    return collect


class Combiner(Protocol):
    """Combines the pairs of one map attempt, and watches whether that is worth it."""

    @property
    def present(self) -> bool:
        """Whether there is anything to combine with."""
        ...

    @property
    def worthwhile(self) -> bool:
        """Whether there is, and it shrank what it was given so far (or was given too little to tell)."""
        ...

    def combine_batch(self, keys: KeyColumn, values: Column) -> Pairs:
        """Return a batch of pairs combined, where that costs less than it saves; else as it is."""
        ...

    def begin(self, block: GroupBlock) -> GroupBlock:
        """Return a block of pairs that were not combined before, combined if `worthwhile`; errors as of `combine`."""
        ...

    def combine(self, block: GroupBlock) -> GroupBlock:
        """Return the block, which `begin` or `combine` gave, with the values of each group combined.

        Raises:
            UserCodeError: The combiner raised, or gave something else than it should.
        """
        ...


class FunctionCombiner:
    """Combines with the user's function.

    Args:
        functions: The user's.
    """

    def __init__(self, functions: Functions) -> None:
        self._combine = combiner_of(functions)
        self._trials = 0
        self._before = 0
        self._after = 0

    @property
    def present(self) -> bool:
        """Whether there is a combiner at all."""
        return self._combine is not None

    @property
    def worthwhile(self) -> bool:
        """Whether there is a combiner, and it shrank what it was given so far (or was given too little to tell)."""
        return self.present and (self._trials < _TRIALS or self._after <= _WORTHWHILE * self._before)

    def combine_batch(self, keys: KeyColumn, values: Column) -> Pairs:
        """Return the batch as it is: a function is called for groups, not for rows."""
        return keys, values

    def begin(self, block: GroupBlock) -> GroupBlock:
        """Combine what is worth it."""
        return self.combine(block) if self.worthwhile else block

    def combine(self, block: GroupBlock) -> GroupBlock:
        """Return the block with the values of each group combined.

        Raises:
            UserCodeError: The combiner raised, or gave something else than it should.
        """
        combine = self._combine
        if combine is None:
            return block
        many = np.flatnonzero(np.diff(block.offsets) > 1)
        if not len(many):
            return block
        with uncounted():
            combined = self._by_group(combine, block, many)
        self._trials += 1
        self._before += len(block.values)
        self._after += len(combined.values)
        return combined

    def _by_group(self, combine: CombineGroup, block: GroupBlock, many: npt.NDArray[np.int64]) -> GroupBlock:
        offsets = block.offsets.tolist()
        keys = decode_keys(block.keys.take(many))
        values = decode_values(block.values)
        combined: list[Any] = []
        counts = np.diff(block.offsets)
        copied = 0
        for key, row in zip(keys, many.tolist(), strict=True):
            start, stop = offsets[row], offsets[row + 1]
            combined += values[copied:start]
            try:
                results = combine(key, values[start:stop])
            except BaseException as error:  # noqa: BLE001 - the user's function may raise anything
                results = self._without(error, key, block.values.slice(start, stop))
            combined += results
            counts[row] = len(results)
            copied = stop
        combined += values[copied:]
        bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        return drop_empty(GroupBlock(block.keys, encode_values(combined), bounds))

    def _without(self, error: BaseException, key: Any, values: Column) -> list[Any]:
        """Return what stands for a group that could not be combined, from its values. Raises `UserCodeError`: nothing does."""
        raise UserCodeError("combine", short_repr(key), value_count=len(values)) from error


# ---------------------------------------------------------------- the law


def check_combiner(functions: Functions, pairs: Sequence[tuple[Any, Any]], *, ordered: bool = False) -> None:
    """Try the combiner's law on a sample of mapped pairs.

    What fails without the combiner (a key that cannot be grouped, a `reduce` that raises) is not its fault: the job will tell.

    Args:
        functions: The user's, with `reduce` and `combine`.
        pairs: The sample.
        ordered: Whether `reduce`, and `combine`, get the values in ascending order.

    Raises:
        CombinerLawError: `reduce` of combined parts differs from `reduce` of all, or raises. The message shows the counter-example.
    """
    combine = combiner_of(functions)
    if combine is None or functions.reduce is None:
        return
    groups: dict[bytes, tuple[Any, list[Any]]] = {}
    for key, value in pairs:
        with suppress(TypeError):
            groups.setdefault(encode_key(key), (key, []))[1].append(value)
    arrange: Callable[[list[Any]], list[Any]] = _in_order if ordered else list
    chance = random.Random(0)  # noqa: S311 - where a sample is cut is no secret
    for key, values in groups.values():
        if len(values) > 1:
            try:
                expected = _reduced(functions, key, arrange(values))
            except (Exception, SystemExit):  # noqa: BLE001, S112 - the job will tell, with the record
                continue
            for parts in _cuts(values, chance):
                _check_cut(functions, key, list(map(arrange, parts)), expected=expected, combine=combine, arrange=arrange)


def _in_order(values: list[Any]) -> list[Any]:
    """Return values in ascending order; as they are where one has none, since the job will tell."""
    with suppress(TypeError):
        return sorted(values, key=encode_key)
    return values


def _cuts(values: list[Any], chance: random.Random) -> Iterator[list[list[Any]]]:
    """Yield ways to cut a group: whole, in the middle, and somewhere."""
    yield [values]
    yield [values[: len(values) // 2], values[len(values) // 2 :]]
    for _ in range(_CUTS):
        places = sorted(chance.choices(range(len(values) + 1), k=2))
        yield [values[start:stop] for start, stop in pairwise([0, *places, len(values)]) if start < stop]


def _check_cut(
    functions: Functions,
    key: Any,
    parts: list[list[Any]],
    *,
    expected: list[Any],
    combine: CombineGroup,
    arrange: Callable[[list[Any]], list[Any]],
) -> None:
    combined: list[Any] = []
    try:
        combined = arrange([value for part in parts for value in (combine(key, part) if len(part) > 1 else part)])
        found = _reduced(functions, key, combined) if combined else []
        if alike(expected, found) and len(combined) > 1:
            combined = arrange(combine(key, combined))
            found = _reduced(functions, key, combined) if combined else []
    except (Exception, SystemExit) as error:
        told = f"reduce of the combined parts {short_repr(combined)}" if combined else f"combine of the parts {short_repr(parts)}"
        raise _law_error(functions, key, parts, expected=expected, found=f"{told} raises {type(error).__name__}: {error}") from error
    if not alike(expected, found):
        told = f"reduce of the combined parts {short_repr(combined)} gives {_shown(functions, found)}"
        raise _law_error(functions, key, parts, expected=expected, found=told)


def _law_error(functions: Functions, key: Any, parts: list[list[Any]], *, expected: list[Any], found: str) -> CombinerLawError:
    everything = [value for part in parts for value in part]
    return CombinerLawError(
        f"The combiner would change the answer. For the key {short_repr(key)} with the values {short_repr(everything)}, "
        f"reduce of all gives {_shown(functions, expected)}; {found}. Leave `combine` out, or combine to something that "
        "`reduce` can go on with (for a mean: the sum and the count)."
    )


def _shown(functions: Functions, rows: list[Any]) -> str:
    return short_repr(rows if functions.reduce_yields or not rows else rows[0])


def _reduced(functions: Functions, key: Any, values: list[Any]) -> list[Any]:
    reduce = functions.reduce
    assert reduce is not None  # noqa: S101 - the caller has looked
    result = reduce(key, iter(values))
    return list(result) if functions.reduce_yields else [result]


def alike(one: Any, other: Any) -> bool:
    """Whether two results are equal, floats up to what another order of additions rounds."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        both_nan = math.isnan(one) and math.isnan(other)
        return both_nan or math.isclose(one, other, rel_tol=_TOLERANCE)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(value, other[key]) for key, value in one.items())
    return _alike_arrays(one, other)


def _alike_arrays(one: Any, other: Any) -> bool:
    """Compare what may have no single truth: arrays, series and frames."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and alike(one.tolist(), other.tolist())
    if hasattr(one, "axes") and hasattr(one, "to_numpy"):  # of pandas, which is not imported for this
        return all(map(_same_labels, one.axes, other.axes)) and alike(one.to_numpy(), other.to_numpy())
    return bool(one == other)


def _same_labels(one: Any, other: Any) -> bool:
    return bool(one.equals(other))
