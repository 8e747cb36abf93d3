"""Columns of values: exact types or pickles, and equal values back."""

from __future__ import annotations

import math
import struct
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.dataflow.columns import Column, concat_columns, decode_values, encode_values
from smr_notebook.dataflow.kinds import arrow_type, parse_kind

FLAT: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(),
    "str": st.text(),
    "bytes": st.binary(),
    "date": st.dates(),
    "datetime": st.datetimes().map(lambda value: value.replace(fold=0)),
    "uuid": st.uuids(),
}
SCALARS = st.one_of(
    *FLAT.values(),
    st.none(),
    st.integers(),
    st.text(st.characters()),
    st.decimals(),
    st.datetimes(timezones=st.just(UTC)),
    st.sampled_from([np.int64(1), 1j, datetime(2020, 1, 1, fold=1), int]),  # noqa: DTZ001
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=2) | st.sampled_from(["a", "b)", '"', "key"]), inner, max_size=3),
        st.sets(st.integers(), max_size=2),
    ),
    max_leaves=6,
)


def in_order(parts: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(parts).map(lambda value: dict(sorted(value.items())))


def uniform(depth: int = 3) -> st.SearchStrategy[st.SearchStrategy[Any]]:
    """Strategies whose values share one typed shape."""
    flat: st.SearchStrategy[st.SearchStrategy[Any]] = st.sampled_from(list(FLAT.values()))
    if not depth:
        return flat
    inner = uniform(depth - 1)
    optional = inner.map(lambda values: values | st.none())
    return st.one_of(
        flat,
        st.lists(optional, min_size=1, max_size=3).map(lambda parts: st.tuples(*parts)),
        optional.map(lambda part: st.lists(part, max_size=3)),
        st.dictionaries(st.sampled_from(["a", "b c", 'd"],(', "ä"]), optional, min_size=1).map(in_order),
    )


def same(one: Any, other: Any) -> bool:  # noqa: PLR0911 - one line for each shape
    """Equal, of the same exact types, at each depth; floats bit by bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other) or (math.isnan(one) and math.isnan(other))
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[name], other[name]) for name in one)
    if isinstance(one, Decimal):
        return str(one) == str(other)
    if isinstance(one, datetime):
        return (one, one.fold, one.tzinfo) == (other, other.fold, other.tzinfo)
    return bool(one == other)


@given(st.lists(VALUES, max_size=8))
def test_values_come_back_equal_and_of_the_same_types(values: list[object]) -> None:
    assert same(decode_values(encode_values(values)), values)


@given(st.data())
def test_values_of_one_shape_are_typed_and_come_back(data: st.DataObject) -> None:
    values = data.draw(st.lists(data.draw(uniform()) | st.none(), max_size=8))
    column = encode_values(values)
    assert "pickle" not in column.kind
    assert column.array.type == arrow_type(column.kind)
    assert str(parse_kind(column.kind)) == column.kind
    assert same(decode_values(column), values)
    assert same(decode_values(column.slice(1, len(values))) if values else [], values[1:])
    assert same(decode_values(column.take(np.arange(len(values))[::-1])), values[::-1])


@pytest.mark.parametrize("kind", FLAT)
@given(data=st.data())
def test_flat_types_have_their_kind(kind: str, data: st.DataObject) -> None:
    values = data.draw(st.lists(FLAT[kind], min_size=1))
    assert encode_values(values).kind == kind
    assert encode_values([*values, None]).kind == kind


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([], "null"),
        ([None], "null"),
        ([(1, "a"), None], "tuple(int,str)"),
        ([[(1,)], []], "list(tuple(int))"),
        ([[]], "list(null)"),
        ([{"a": 1, "b,": [True]}], 'dict(["a", "b,"],int,list(bool))'),
        ([1, True], "pickle"),
        ([1, 1.0], "pickle"),
        ([2**63], "pickle"),
        ([(1,), (1, 2)], "pickle"),
        ([(1, "a"), ("a", 1)], "pickle"),
        ([()], "pickle"),
        ([{}], "pickle"),
        ([{"a": 1, "b": 2}, {"b": 1, "a": 2}], "pickle"),
        ([{1: 1}], "pickle"),
        ([{"": 1}], "pickle"),
        (["\ud800"], "pickle"),
        ([datetime(2020, 1, 1, tzinfo=UTC)], "pickle"),
        ([datetime(2020, 1, 1, fold=1)], "pickle"),  # noqa: DTZ001
        ([date(2020, 1, 1), datetime(2020, 1, 1)], "pickle"),  # noqa: DTZ001
        ([uuid.UUID(int=1, is_safe=uuid.SafeUUID.safe)], "pickle"),
        ([np.float64(1)], "pickle"),
        ([{1, 2}], "pickle"),
    ],
)
def test_what_is_exact_is_typed_and_what_is_not_is_pickled(values: list[object], kind: str) -> None:
    column = encode_values(values)
    assert column.kind == kind
    assert same(decode_values(column), values)


def test_deep_nesting_is_pickled() -> None:
    value: object = 1
    for _ in range(20):
        value = [value]
    assert encode_values([value]).kind == "pickle"
    assert decode_values(encode_values([value])) == [value]


@given(st.lists(st.lists(VALUES, max_size=4), min_size=1, max_size=4))
def test_joined_columns_hold_the_values_of_all(batches: list[list[object]]) -> None:
    joined = concat_columns([encode_values(batch) for batch in batches])
    assert same(decode_values(joined), [value for batch in batches for value in batch])


@pytest.mark.parametrize(
    ("batches", "kind"),
    [
        ([[1], [2]], "int"),
        ([[1], [None], []], "int"),
        ([[1], ["a"]], "pickle"),
        ([[[1]], [[]]], "list(int)"),
        ([[(1, None)], [(2, "a")]], "tuple(int,str)"),
        ([[2**70, 1], [1]], "pickle"),
    ],
)
def test_joined_columns_are_typed_where_that_is_exact(batches: list[list[object]], kind: str) -> None:
    assert concat_columns([encode_values(batch) for batch in batches]).kind == kind


@pytest.mark.parametrize("kind", ["", "nothing", "tuple(int", "list", "int)", "int,int", 'dict(["a"],int'])
def test_what_is_no_kind_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="no kind of column"):
        parse_kind(kind)


def test_a_value_that_cannot_be_pickled_is_named() -> None:
    with pytest.raises(TypeError, match="A value of type generator cannot be pickled"):
        encode_values([(letter for letter in "a")])


def test_values_whose_class_is_in_main_travel_by_value() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("class Thing:\n    def __init__(self): self.at = 1", namespace)  # noqa: S102 - a notebook's cell
    column = encode_values([namespace["Thing"]()])
    assert isinstance(column, Column)
    [thing] = decode_values(column)
    assert thing.at == 1


_nested = st.recursive(
    st.none() | st.integers(0, 3) | st.floats(0, 1), lambda inner: st.lists(inner, max_size=2) | st.tuples(inner, inner), max_leaves=4
)


@given(st.lists(st.lists(_nested, max_size=4), min_size=1, max_size=4))
def test_columns_of_differing_parts_are_joined_part_by_part(batches: list[list[Any]]) -> None:
    joined = concat_columns([encode_values(batch) for batch in batches])
    assert repr(decode_values(joined)) == repr([value for batch in batches for value in batch])


def test_what_differs_in_a_part_alone_leaves_the_others_typed() -> None:
    pairs = [
        encode_values([("a", [1], {"x": None})]),
        encode_values([("b", [], {"x": 0.5}), None]),
        encode_values([("c", [2.5], {"x": 1.5})]),
    ]
    joined = concat_columns(pairs)
    assert joined.kind == 'tuple(str,list(pickle),dict(["x"],float))'
    assert decode_values(joined) == [("a", [1], {"x": None}), ("b", [], {"x": 0.5}), None, ("c", [2.5], {"x": 1.5})]
    assert decode_values(concat_columns([column.slice(0, 1) for column in pairs])) == [decode_values(column)[0] for column in pairs]
