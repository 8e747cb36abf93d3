"""Keys: what one key is, how keys come back, and in which order they stand."""

from __future__ import annotations

import collections
import copy
import enum
import itertools
import math
import pickle
import re
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.dataflow.keys import KeyKind, concat_keys, decode_keys, encode_key, key_column, kind_of, split_keys

Point = collections.namedtuple("Point", "x y")  # noqa: PYI024 - the untyped one is what notebooks have


class Colour(enum.Enum):
    RED = "red"
    BLUE = ("b", 1)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Name(str):
    __slots__ = ()


@dataclass(frozen=True)
class Place:
    city: str
    code: int
    note: str = field(default="", compare=False)


class Interval:
    def __init__(self, low: int, high: int) -> None:
        self.low = low
        self.high = high

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Interval) and (self.low, self.high) == (other.low, other.high)

    def __hash__(self) -> int:
        return hash((self.low, self.high))


class Unlike:
    """Compared by identity."""


def told(value: object) -> str:
    """Return a name for a case that is the same in every process: one without addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int": st.one_of(st.integers(), st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, -(2**64)])),
    "float": st.floats(allow_nan=False),
    "str": st.text(),
    "bytes": st.binary(),
    "decimal": st.decimals(allow_nan=False),
    "date": st.dates(),
    "datetime": st.datetimes(),
    "aware": st.datetimes(timezones=OFFSETS),
    "time": st.times(),
    "timedelta": st.timedeltas(),
    "uuid": st.uuids(),
}
OTHERS: list[Any] = [
    *(Colour.RED, Colour.BLUE, Level.LOW, Name("a"), Name("b\0"), Place("a", 1), Interval(1, 2), Point(1, "a"), Point(1.0, "a")),
    *(np.int64(1), np.int32(1), np.float64(1.5), np.float64("nan"), np.str_("a"), np.bool_(True), np.datetime64("2020-01-01")),  # noqa: FBT003
    *(1j, range(3), Fraction(1, 3), PurePosixPath("a/b"), re.compile("a"), int, len, math.sqrt, ..., datetime.min.replace(tzinfo=UTC)),
    *(pd.Timestamp("2020-01-01", tz="Europe/Berlin"), pd.Timestamp("2020-01-01"), pd.Timedelta("1s"), pd.NaT, pd.NA, pd.Period("2020-01")),
    *("\ud800", "\udfff\0x", b"", "", (), frozenset(), None, float("nan"), float("inf"), Decimal("NaN"), Decimal("-0"), Decimal("1.00")),
    *(time(1, tzinfo=UTC), datetime(2020, 1, 1, fold=1), uuid.UUID(int=5)),  # noqa: DTZ001
]
LEAVES = st.one_of(*SCALARS.values(), st.floats(), st.none(), st.sampled_from(OTHERS), st.text(st.characters()))
KEYS = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3), max_leaves=6)


def same(one: object, other: object) -> bool:
    """Equal, of the same exact types, at each depth; NaN is NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, frozenset) and isinstance(other, frozenset):
        return len(one) == len(other) and all(any(same(a, b) for b in other) for a in one)
    if one is other:
        return True
    equal: object = one == other
    return bool(equal) or (one != one and other != other)  # noqa: PLR0124 - NaN


def back(key: object) -> object:
    [(column, rows)] = split_keys([key])
    assert rows is None
    [decoded] = decode_keys(column)
    return decoded


@given(KEYS)
def test_a_key_comes_back_equal_and_of_the_same_type(key: object) -> None:
    assert same(back(key), key)


@pytest.mark.parametrize("key", OTHERS, ids=told)
def test_a_key_of_any_type_comes_back(key: object) -> None:
    assert same(back(key), key)
    assert same(back((key, key)), (key, key))


@given(st.lists(KEYS, max_size=20))
def test_a_batch_of_mixed_keys_is_split_by_kind_in_rank_order_and_loses_none(keys: list[object]) -> None:
    columns = split_keys(keys)
    assert [column.kind for column, _ in columns] == sorted({kind_of(key) for key in keys})
    found: dict[int, object] = {}
    for column, rows in columns:
        numbers = range(len(keys)) if rows is None else rows.tolist()
        assert list(numbers) == sorted(numbers)
        found.update(zip(numbers, decode_keys(column), strict=True))
    assert [same(found[row], key) for row, key in enumerate(keys)] == [True] * len(keys)


@given(st.lists(KEYS, max_size=20))
def test_the_token_orders_by_kind_first(keys: list[object]) -> None:
    kinds = [kind_of(key) for key in sorted(keys, key=encode_key)]
    assert kinds == sorted(kinds)


@pytest.mark.parametrize("name", SCALARS)
@given(data=st.data())
def test_the_order_of_tokens_is_the_order_of_python_inside_a_type(name: str, data: st.DataObject) -> None:
    values = st.tuples(SCALARS[name], SCALARS[name])
    one, other = data.draw(values), data.draw(values)
    for a, b in ((one, other), (one[0], other[0])):
        assert (encode_key(a) < encode_key(b)) == (a < b)
        assert (encode_key(a) == encode_key(b)) == (a == b)


@given(st.lists(st.floats() | st.integers() | st.text() | st.binary() | st.booleans()))
def test_the_order_of_tokens_is_the_order_of_the_typed_columns(keys: list[object]) -> None:
    for column, _ in split_keys(keys):
        tokens = [encode_key(key) for key in decode_keys(column)]
        order = column.array.sort().to_pylist()
        expected = [key for _, key in sorted(zip(tokens, column.array.to_pylist(), strict=True), key=lambda pair: pair[0])]
        assert [same(a, b) for a, b in zip(order, expected, strict=True)] == [True] * len(order)


@given(KEYS, KEYS)
def test_two_encodings_are_equal_exactly_when_the_keys_are_one(one: object, other: object) -> None:
    assert (encode_key(one) == encode_key(other)) == same(one, other)
    assert encode_key(one) == encode_key(copy.deepcopy(one)) == encode_key(pickle.loads(pickle.dumps(one)))


@given(st.lists(st.sampled_from(["bool", "int", "float", "str", "bytes", "date"]), max_size=3), st.data())
def test_tuples_encoded_together_are_encoded_as_alone(names: list[str], data: st.DataObject) -> None:
    floats = {"float": st.floats()}
    keys = data.draw(st.lists(st.tuples(*((SCALARS | floats)[name] for name in names)), min_size=1, max_size=6))
    assert key_column(KeyKind.OTHER, keys).array.to_pylist() == [encode_key(key) for key in keys]


@pytest.mark.parametrize(
    "keys",
    [
        [1, 1.0, True, "1", b"1", Decimal(1), np.int64(1), Level.LOW, (1,), frozenset([1])],
        [(1,), (1.0,), (True,), (1, None), ((1,),), ("1",)],
        [None, "None", (), frozenset(), "", b""],
        [("a", "b"), ("ab",), ("a\0", "b"), ("a", "\0b"), ("a\0b",), (("a",), "b")],
        [Point(1, 2), (1, 2)],
        [datetime(2020, 1, 1), date(2020, 1, 1), datetime(2020, 1, 1, tzinfo=UTC)],  # noqa: DTZ001
    ],
)
def test_keys_of_other_types_or_other_nesting_are_other_keys(keys: list[object]) -> None:
    assert len({encode_key(key) for key in keys}) == len(keys)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.0, -0.0),
        ((0.0,), (-0.0,)),
        (float("nan"), -float("nan")),
        (Decimal("1.0"), Decimal("1.00")),
        (Decimal("1E+2"), Decimal(100)),
        (Decimal("0.00"), Decimal("-0")),
        (datetime(2020, 1, 1, 12, tzinfo=UTC), datetime(2020, 1, 1, 13, tzinfo=timezone(timedelta(hours=1)))),
        (Place("a", 1, "one"), Place("a", 1, "two")),
        (pd.Timestamp("2020-01-01").as_unit("s"), pd.Timestamp("2020-01-01").as_unit("ns")),
        (np.float64(0.0), np.float64(-0.0)),
        (range(0), range(5, 5)),
        (np.str_("a"), np.array(["a", "bcd"])[0]),
        (PurePosixPath("a", "b"), PurePosixPath("a/b")),
    ],
)
def test_equal_keys_of_one_type_are_one_key(one: object, other: object) -> None:
    assert encode_key(one) == encode_key(other)


def test_the_original_of_equal_keys_is_kept_as_it_was_written() -> None:
    keys = [Decimal("1.00"), Decimal("1.0"), None]
    [(column, _)] = split_keys(keys)
    assert [str(key) for key in decode_keys(column)] == ["1.00", "1.0", "None"]
    assert column.originals is not None
    assert column.originals.null_count == 1


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ([1], r"type list .* Use tuple\(key\)"),
        ({"a": 1}, r"type dict .* Use tuple\(sorted\(key.items\(\)\)\)"),
        ({1}, r"Use frozenset\(key\)"),
        ((1, [2]), "type tuple cannot be grouped: unhashable type: 'list'"),
        (Unlike(), "Unlike defines no __eq__"),
        ((1, object()), "object defines no __eq__"),
        (lambda: 0, "has no name of its own"),
        (np.longdouble(1), "differ between machines"),
        (iter([]), "list_iterator"),
        (sys.stdout.write, "type builtin_function_or_method|type method|cannot be"),
    ],
    ids=told,
)
def test_a_key_without_a_value_that_travels_is_refused_with_what_to_use(key: object, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        encode_key(key)


def test_a_key_that_is_nested_without_end_is_refused() -> None:
    key: object = ()
    for _ in range(150):
        key = (key,)
    with pytest.raises(TypeError, match="nested too deeply"):
        encode_key(key)


def test_the_kinds_are_ranked() -> None:
    keys = [False, -(2**70), -(2**63), 2**63, float("-inf"), "", b"", None]
    assert [kind_of(key) for key in keys] == list(KeyKind)


def test_columns_are_joined_taken_and_sliced() -> None:
    one = key_column(KeyKind.OTHER, [None, (1,)])
    other = key_column(KeyKind.OTHER, [Decimal("1.0")])
    both = concat_keys([one, other])
    assert decode_keys(both) == [None, (1,), Decimal(1)]
    assert decode_keys(both.take(np.array([2, 0]))) == [Decimal(1), None]
    assert decode_keys(both.slice(1, 3)) == [(1,), Decimal(1)]
    assert decode_keys(concat_keys([one, one])) == [None, (1,)] * 2
    with pytest.raises(TypeError, match="split_keys"):
        key_column(KeyKind.INT, [2**70])


def test_encodings_and_hashes_are_the_same_in_another_process_with_another_hash_seed() -> None:
    script = (
        "import collections, datetime, decimal, enum, uuid\n"
        "from smr_notebook.dataflow.hashing import hash_keys\n"
        "from smr_notebook.dataflow.keys import encode_key, split_keys\n"
        "keys = ['a', 'ä' * 50, 1, 2**70, 1.5, True, b'x', None, frozenset('abcdefgh'), (frozenset('xyz'), 1), uuid.UUID(int=7),\n"
        "        decimal.Decimal('1.5'), datetime.date(2020, 1, 1), 1j, slice]\n"
        "print([encode_key(key).hex() for key in keys], [hash_keys(column).tolist() for column, _ in split_keys(keys)])\n"
    )
    environments = [{"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)} for seed in ("1", "2")]
    one, other = (subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, check=True).stdout for env in environments)
    assert one == other


def test_all_pairs_of_kinds_have_an_order() -> None:
    tokens = [encode_key(key) for key in OTHERS]
    assert all((a < b) + (b < a) + (a == b) == 1 for a, b in itertools.combinations(tokens, 2))
