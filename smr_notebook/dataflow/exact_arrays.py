"""Python values as Arrow arrays that hold each of them as it was, or none at all.

`exact_array` is for columns of frames. `exact_column` is for values of a result, whose types must not depend on how its rows were dealt to
tasks: it takes two values only if arrays of either alone can be brought together, by the rules of `arrow_kinds`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa

from smr_notebook.dataflow.common_types import is_tuple


def exact_array(values: list[Any]) -> pa.Array[Any]:
    """Return Python values as an Arrow array in which each is what it was; integers beside floats become floats of the same value.

    What Arrow infers drops nanoseconds, the hours of a time beside dates, the zone of a time beside one without, and makes bytes of text
    beside bytes, and numbers of booleans beside floats.

    Raises:
        pa.ArrowException, TypeError, ValueError, OverflowError: There is no such array.
    """
    return _exact(values, list, _same)


def exact_column(values: list[Any]) -> pa.Array[Any]:
    """Return values of a result as `exact_array` does, with a tuple as a struct whose fields are called `0`, `1` and so on.

    Refused besides are tuples of several lengths, a `Decimal` beside integers, and times with several distances from UTC.

    Raises:
        pa.ArrowException, TypeError, ValueError, OverflowError: There is no such array.
    """
    return _exact(values, _all_named, _same_alone)


def _exact(values: list[Any], giving: Callable[[list[Any]], list[Any]], same: Callable[[Any, Any], bool]) -> pa.Array[Any]:
    """Return values as an array, made of what is given for them, that holds the same."""
    found = set(map(type, values)) - {type(None)}
    if found <= {int, float} or (len(found) == 1 and found <= _EXACT):
        array: pa.Array[Any] = pa.array(values)
        return array
    given = giving(values)
    inferred: pa.Array[Any] = pa.array(given)
    for tried in (inferred, *_finer(given, inferred.type)):
        if all(map(same, values, tried.to_pylist())):
            return tried
    raise TypeError(f"{inferred.type} would change some of them")


_EXACT: Final = frozenset({bool, int, float, str, bytes, date})
"""Types of which Arrow holds each value as it is, or refuses it."""


def _finer(values: list[Any], type: pa.DataType) -> Iterator[pa.Array[Any]]:
    """Yield the values with nanoseconds."""
    inner = type.value_type if pa.types.is_list(type) else type
    if pa.types.is_timestamp(inner) or pa.types.is_duration(inner):
        finer: pa.DataType = pa.timestamp("ns", inner.tz) if pa.types.is_timestamp(inner) else pa.duration("ns")
        try:
            yield pa.array(values, finer if inner is type else pa.list_(finer))
        except (pa.ArrowException, ValueError, OverflowError):  # a time that nanoseconds cannot count
            return


def _all_named(values: list[Any]) -> list[Any]:
    return list(map(_named, values))


def _named(value: Any) -> Any:
    """Return a value with its tuples as dicts of their places."""
    if isinstance(value, tuple):
        return {str(place): _named(item) for place, item in enumerate(value)}
    if isinstance(value, list):
        return _all_named(value)
    return {name: _named(item) for name, item in value.items()} if isinstance(value, dict) else value


def _same_alone(value: Any, back: Any) -> bool:
    """Whether a value came back as it was, and as it would have alone."""
    if isinstance(value, tuple) and isinstance(back, dict):
        return len(value) == len(back) and all(map(_same_alone, value, back.values()))
    if isinstance(value, dict) and isinstance(back, dict):
        if value.keys() != back.keys() and (is_tuple(value) or is_tuple(back)):
            return False
        return all(_same_alone(value.get(name), item) for name, item in back.items())
    if isinstance(value, list | np.ndarray | set | frozenset) and isinstance(back, list):
        return len(value) == len(back) and all(map(_same_alone, value, back))
    if isinstance(value, datetime) and isinstance(back, datetime) and value.utcoffset() != back.utcoffset():
        return False
    return isinstance(value, Decimal) == isinstance(back, Decimal) and _same(value, back)


def _same(value: Any, back: Any) -> bool:
    """Whether a value came back as it was. Sequences come back as lists, dicts with a `None` for what they lack, no time as `None`."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple | set | frozenset) and isinstance(back, list):
        return len(value) == len(back) and all(map(_same, value, back))
    if isinstance(value, dict) and isinstance(back, dict):
        return all(_same(value.get(name), item) for name, item in back.items())
    if back is None:
        return value is None or type(value).__name__ == "NaTType"
    if isinstance(value, bool | np.bool_) != isinstance(back, bool):
        return False
    return bool(value == back) or bool(back != back and value != value)  # noqa: PLR0124 - NaN
