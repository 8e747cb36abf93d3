"""The Arrow type that two have in common: the wider one of the same sort, by the rules that `arrow_kinds` states."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

import pyarrow as pa


def common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the type to which values of both can be brought, if there is one. Whether each value comes back is seen when it is cast."""
    if one.equals(other):
        return one
    sorts = {_sort(one), _sort(other)}
    if sorts == {"integer", "float"}:
        return pa.float64()
    if len(sorts) > 1 and not pa.types.is_null(one) and not pa.types.is_null(other):
        return None
    within = _WITHIN.get(_sort(one)) if len(sorts) == 1 else None
    return _permitted(one, other) if within is None else within(one, other)


def _permitted(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    try:
        pair = [pa.schema([pa.field("x", type)]) for type in (one, other)]
        common = pa.unify_schemas(pair, promote_options="permissive")
    except (pa.ArrowException, TypeError):
        return None
    type: pa.DataType = common.field("x").type
    return type


def _common_list(one: Any, other: Any) -> pa.DataType | None:
    inner = common_type(one.value_type, other.value_type)
    if inner is None:
        return None
    return pa.large_list(inner) if pa.types.is_large_list(one) or pa.types.is_large_list(other) else pa.list_(inner)


def _common_struct(one: Any, other: Any) -> pa.DataType | None:
    sides = [{field.name: field.type for field in side} for side in (one, other)]
    if sides[0].keys() != sides[1].keys() and any(map(is_tuple, (sides[0], sides[1], sides[0] | sides[1]))):
        return None
    fields = []
    for name in sides[0] | sides[1]:
        both = [side[name] for side in sides if name in side]
        type = common_type(both[0], both[-1])
        if type is None:
            return None
        fields.append(pa.field(name, type))
    return pa.struct(fields)


_WITHIN: Final[dict[str, Callable[[Any, Any], pa.DataType | None]]] = {"list": _common_list, "struct": _common_struct}


def is_tuple(names: Collection[str]) -> bool:
    """Whether fields of these names are the places of a tuple."""
    return bool(names) and set(names) == {str(place) for place in range(len(names))}


def _sort(type: pa.DataType) -> str:
    for sort, belongs in _SORTS.items():
        if belongs(type):
            return sort
    return str(type)


_SORTS: Final[dict[str, Callable[[pa.DataType], bool]]] = {
    "integer": pa.types.is_integer,
    "float": pa.types.is_floating,
    "decimal": pa.types.is_decimal,
    "text": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
    "bytes": lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind),
    "timestamp": pa.types.is_timestamp,
    "duration": pa.types.is_duration,
    "time": pa.types.is_time,
    "list": lambda kind: pa.types.is_list(kind) or pa.types.is_large_list(kind),
    "struct": pa.types.is_struct,
}
