"""The built-in aggregations: vectorised, over groups cut anywhere, against their definition in plain Python."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook.dataflow.columns import Column, concat_columns, decode_values, encode_values
from smr_notebook.dataflow.folds import digests
from smr_notebook.dataflow.folds.float_sums import round_sums, sum_parts
from smr_notebook.dataflow.folds.segments import GroupError, Segments, offsets_of
from smr_notebook.dataflow.folds.steps import Collect, CountRows, CountValues, Distinct, Fold, Mean, One, Quantiles, Sum, Top

NUMBERS: list[Fold] = [Sum(), Mean(), Quantiles((0.0, 0.3, 0.5, 1.0))]
ORDERED: list[Fold] = [One("min"), One("max"), Top(1), Top(3)]
ANY: list[Fold] = [CountRows(), CountValues(), One("first"), Collect(), Distinct()]

integers = st.integers(-5, 5) | st.integers(-(1 << 63), (1 << 63) - 1)
floats = st.floats() | st.sampled_from([0.1, 0.2, -0.0, 0.0, 1e16, -1e16, 1e-300, 1.5, math.nan])
typed = st.one_of(
    *(
        st.lists(st.none() | values, max_size=30)
        for values in (
            integers,
            floats,
            st.booleans(),
            st.text(max_size=3),
            st.binary(max_size=3),
            st.dates(),
            st.datetimes(),
            st.uuids(),
        )
    )
)
numbers = st.one_of(st.none(), integers, floats, st.booleans(), st.integers(), st.fractions())
plain_numbers = st.one_of(
    *(
        st.lists(st.none() | values, max_size=30)
        for values in (integers, floats, st.booleans(), st.integers(), st.one_of(integers, floats), numbers)
    )
)


def exactly(value: Any) -> Any:
    """What tells values apart that are equal but not the same."""
    if isinstance(value, list):
        return [exactly(item) for item in value]
    return type(value), repr(value)


@st.composite
def cuts(draw: st.DrawFn, length: int) -> list[int]:
    return [0, *sorted(draw(st.lists(st.integers(0, length), max_size=5))), length]


def groups_of(values: list[Any], bounds: list[int]) -> list[list[Any]]:
    return [values[start:stop] for start, stop in pairwise(bounds)]


def state_of(fold: Fold, groups: list[list[Any]], *, at: list[int]) -> Column:
    """The states of groups of which each is cut at these places, and merged by twos."""
    parts = []
    for start, stop in pairwise([0, *at, max(map(len, groups), default=0)]):
        pieces = [group[start:stop] for group in groups]
        prepared = fold.prepare(encode_values([value for piece in pieces for value in piece]))
        parts.append(fold.begin(Segments(prepared, offsets_of(np.array(list(map(len, pieces)), np.int64)))))
    while len(parts) > 1:
        one, other, *rest = parts
        order = np.arange(2 * len(groups)).reshape(2, -1).T.reshape(-1)  # the states of a group side by side
        both = concat_columns([one, other]).take(order)
        parts = [fold.merge(both, np.arange(len(groups) + 1, dtype=np.int64) * 2), *rest]
    return parts[0]


def check(fold: Fold, groups: list[list[Any]], at: list[int]) -> None:
    state = state_of(fold, groups, at=at)
    travelled = pa.concat_arrays([state.array, state.array]).slice(len(state), len(state))
    found = fold.finish(Column(state.kind, travelled))
    assert len(found) == len(groups)
    assert exactly(decode_values(found)) == [exactly(fold.reference(list(group))) for group in groups]


places = st.lists(st.integers(0, 10), max_size=4).map(sorted)


@settings(deadline=None)
@given(st.data(), st.sampled_from(NUMBERS), plain_numbers, places)
def test_numbers_are_aggregated_as_defined_however_groups_are_cut(
    data: st.DataObject, fold: Fold, values: list[Any], at: list[int]
) -> None:
    check(fold, groups_of(values, data.draw(cuts(len(values)))), at)


@settings(deadline=None)
@given(st.data(), st.sampled_from(ORDERED), typed | plain_numbers, places)
def test_what_compares_is_chosen_as_defined_however_groups_are_cut(
    data: st.DataObject, fold: Fold, values: list[Any], at: list[int]
) -> None:
    check(fold, groups_of(values, data.draw(cuts(len(values)))), at)


@settings(deadline=None)
@given(st.data(), st.sampled_from(ANY), st.lists(numbers | st.text(max_size=2) | st.tuples(integers), max_size=20) | typed, places)
def test_anything_is_counted_and_collected_as_defined(data: st.DataObject, fold: Fold, values: list[Any], at: list[int]) -> None:
    check(fold, groups_of(values, data.draw(cuts(len(values)))), at)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=50), st.data())
def test_a_sum_of_floats_is_the_exact_sum_rounded_once(values: list[float], data: st.DataObject) -> None:
    bounds = data.draw(cuts(len(values)))
    offsets = np.array(bounds, np.int64)
    parts, at = sum_parts(np.array(values, np.float64), offsets)
    sums = round_sums(np.array(values, np.float64), offsets)
    for group, piece in enumerate(groups_of(values, bounds)):
        exact = sum(map(Fraction, piece), Fraction(0))
        assert sum(map(Fraction, parts[at[group] : at[group + 1]].tolist()), Fraction(0)) == exact
        try:
            assert repr(float(sums[group])) == repr(float(exact))
        except OverflowError:
            assert sums[group] == (math.inf if exact > 0 else -math.inf)


@pytest.mark.parametrize("spread", [0, 10, 250])
def test_many_floats_are_summed_as_fsum_does(spread: int) -> None:
    chance = np.random.default_rng(spread)
    values = chance.normal(size=20_000) * 10.0 ** chance.integers(-spread, spread + 1, 20_000)
    offsets = offsets_of(np.full(20, 1000))
    assert round_sums(values, offsets).tolist() == [math.fsum(piece) for piece in values.reshape(20, 1000).tolist()]


def test_means_are_rounded_once_and_not_twice() -> None:
    chance = np.random.default_rng(0)
    values = np.concatenate(
        [chance.normal(size=3000), chance.integers(0, 1 << 60, 3000).astype(np.float64), np.round(chance.random(3000), 2)]
    )
    groups = [values[at : at + 3].tolist() for at in range(0, 9000, 3)]
    check(Mean(), groups, [1, 2])
    check(Mean(), [[int(value) for value in group] for group in groups], [2])


@pytest.mark.parametrize(
    ("fold", "values", "expected"),
    [
        (Sum(), [Decimal("0.1"), Decimal("1E+30"), Decimal("-1E+30"), 1], Decimal("1.1")),
        (Sum(), [timedelta(1), timedelta(2)], timedelta(3)),
        (Sum(), [True, 2], 3),
        (Sum(), [1 << 62] * 4, 1 << 64),
        (Sum(), [np.int64(1), np.float64(0.5)], 1.5),
        (Sum(), [1e308, 1e308, -1e308], 1e308),
        (Sum(), [1e308, 1e308], math.inf),
        (Sum(), [Fraction(1, 3), Fraction(1, 3)], Fraction(2, 3)),
        (Mean(), [Decimal(1), Decimal(2)], Decimal("1.5")),
        (Mean(), [timedelta(1), timedelta(2)], timedelta(1.5)),
        (Mean(), [1, 2], 1.5),
        (Mean(), [None], None),
        (One("max"), [date(2026, 1, 2), date(2025, 1, 1)], date(2026, 1, 2)),
        (One("min"), [(1, "b"), (1, "a")], (1, "a")),
        (One("max"), [1, 1.0, True], 1),
        (One("first"), [None, datetime(2026, 1, 1)], datetime(2026, 1, 1)),  # noqa: DTZ001 - naive on purpose
        (Top(2), ["b", "a", "c"], ["c", "b"]),
        (Distinct(), ["b", "a", "b", None], ["a", "b"]),
        (Distinct(), [1, 1.0, True], [True, 1, 1.0]),
        (Collect(), [None, 2, "a"], [None, 2, "a"]),
    ],
)
def test_examples(fold: Fold, values: list[Any], expected: Any) -> None:
    check(fold, [values, values[:1], []], [1])
    assert exactly(fold.reference(values)) == exactly(expected)


@pytest.mark.parametrize("at", [[], [1]])
@pytest.mark.parametrize(
    ("fold", "values"),
    [
        (Sum(), ["a", "b"]),
        (Sum(), [Decimal(1), 0.5]),
        (Mean(), [b"a"]),
        (One("max"), [1, "a"]),
        (Top(1), [None, 1, "a"]),
        (Distinct(), [[1], [2]]),
        (Quantiles((0.5,)), ["a"]),
    ],
)
def test_what_cannot_be_aggregated_names_the_group(fold: Fold, values: list[Any], at: list[int]) -> None:
    with pytest.raises(GroupError) as caught:
        fold.finish(state_of(fold, [values[:1] * 2 if isinstance(fold, One | Top) else [], values], at=at))
    assert caught.value.group == 1
    assert isinstance(caught.value.__cause__, TypeError)


@pytest.mark.parametrize("fold", [*NUMBERS, *ORDERED, *ANY])
def test_folds_travel(fold: Fold) -> None:
    assert pickle.loads(pickle.dumps(fold)) == fold


@given(st.lists(st.floats(-1e300, 1e300), min_size=1), st.lists(st.floats(0, 1), min_size=1))
def test_quantiles_of_few_values_are_those_of_numpy(values: list[float], shares: list[float]) -> None:
    found = Quantiles(tuple(shares)).reference(values)
    assert found == np.quantile(np.array(values), shares).tolist()


@pytest.mark.parametrize("make", [np.random.default_rng(1).random, np.random.default_rng(2).lognormal])
def test_quantiles_of_many_values_are_near(make: Callable[..., Any]) -> None:
    values = make(size=200_000)
    shares = (0.01, 0.1, 0.5, 0.9, 0.99)
    fold = Quantiles(shares)
    parts = [fold.begin(Segments(Column("float", pa.array(part)), np.array([0, len(part)]))) for part in np.array_split(values, 60)]
    state = fold.merge(concat_columns(parts), np.array([0, len(parts)]))
    lists: Any = state.array
    assert len(lists.field(0)[0]) < digests.EXACT
    found = decode_values(fold.finish(state))[0]
    for share, value in zip(shares, found, strict=True):
        assert abs(np.mean(values <= value) - share) < 0.002
    assert found == decode_values(fold.finish(fold.merge(concat_columns(parts), np.array([0, len(parts)]))))[0]
