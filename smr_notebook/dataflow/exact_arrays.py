"""Python values as Arrow arrays that hold each of them as it was, or none at all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any, Final

import numpy as np
import pyarrow as pa


def exact_array(values: list[Any]) -> pa.Array[Any]:
    """Return Python values as an Arrow array in which each is what it was; integers beside floats become floats of the same value.

    What Arrow infers drops nanoseconds, the hours of a time beside dates, the zone of a time beside one without, and makes bytes of text
    beside bytes.

    Raises:
        pa.ArrowException, TypeError, ValueError, OverflowError: There is no such array.
    """
    found = set(map(type, values)) - {type(None)}
    if found <= {int, float} or (len(found) == 1 and found <= _EXACT):
        array: pa.Array[Any] = pa.array(values)
        return array
    inferred: pa.Array[Any] = pa.array(values)
    for tried in (inferred, *_finer(values, inferred.type)):
        if all(map(_same, values, tried.to_pylist())):
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
    return bool(value == back) or bool(back != back and value != value)  # noqa: PLR0124 - NaN
