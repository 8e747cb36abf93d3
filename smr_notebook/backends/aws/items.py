"""Items of DynamoDB as Python values, and back, exactly.

| DynamoDB | Python |
|---|---|
| `S`, `B`, `BOOL`, `NULL` | `str`, `bytes`, `bool`, `None` |
| `N` | `Decimal`, with each of its digits |
| `SS`, `NS`, `BS` | `set` |
| `L`, `M` | `list`, `dict` |

On the way back, integers and decimals are numbers of at most 38 digits. A float is the shortest decimal that gives the same float again;
NaN and infinite ones have none. Dates and times are text in ISO 8601.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Context, Decimal
from types import MappingProxyType
from typing import Any, Final

Item = Mapping[str, Any]
"""An item, or a key, in the words of the API: `{"name": {"S": "…"}}`."""

MOST_DIGITS: Final = 38
_EXACT: Final = Context(prec=MOST_DIGITS)
_LARGEST, _SMALLEST = 125, -130
"""Powers of ten of the largest number and of the smallest."""


def decoded(item: Item) -> dict[str, Any]:
    """Return an item as Python values."""
    return {name: _decoded(value) for name, value in item.items()}


def _decoded(value: Mapping[str, Any]) -> Any:
    ((kind, held),) = value.items()
    return _DECODERS[kind](held)


_DECODERS: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {
        "S": str,
        "N": Decimal,
        "B": bytes,
        "BOOL": bool,
        "NULL": lambda _: None,
        "SS": set,
        "NS": lambda held: set(map(Decimal, held)),
        "BS": lambda held: set(map(bytes, held)),
        "L": lambda held: list(map(_decoded, held)),
        "M": decoded,
    }
)


def encoded(value: object) -> dict[str, Any]:
    """Return a value in the words of the API.

    Raises:
        ValueError: DynamoDB does not hold it as it is; the message says why.
    """
    encode = _ENCODERS.get(datetime if isinstance(value, datetime) else type(value))  # those of pandas know nanoseconds, too
    if encode is None:
        raise ValueError(f"a {type(value).__name__} is none of its types")
    return encode(value)


def _number(value: int | Decimal) -> dict[str, Any]:
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError(f"{value} is no number of its")
    digits = number.as_tuple().digits
    significant = "".join(map(str, digits)).strip("0")
    if len(significant) > MOST_DIGITS:
        raise ValueError(f"{value} has {len(significant)} digits, and its numbers have {MOST_DIGITS}")
    if number and not _SMALLEST <= number.adjusted() <= _LARGEST:
        raise ValueError(f"{value} is beyond its numbers, which go from 1E{_SMALLEST} to 9.9E+{_LARGEST}")
    return {"N": str(number)}


def _float(value: float) -> dict[str, Any]:
    if not math.isfinite(value):
        raise ValueError(f"{value} is no number of its")
    return _number(Decimal(repr(value)))


_ENCODERS: Final[Mapping[type, Callable[[Any], dict[str, Any]]]] = MappingProxyType(
    {
        str: lambda value: {"S": value},
        bytes: lambda value: {"B": value},
        bool: lambda value: {"BOOL": value},
        type(None): lambda _: {"NULL": True},
        int: _number,
        Decimal: _number,
        float: _float,
        list: lambda value: {"L": [encoded(item) for item in value]},
        dict: lambda value: {"M": {name: encoded(item) for name, item in value.items()}},
        **dict.fromkeys((date, datetime, time), lambda value: {"S": value.isoformat()}),
    }
)


def same_number(held: str) -> str:
    """Return a number as the one text that stands for it and for all that DynamoDB takes for the same: 1, 1.0 and 1E+0; 0 and -0."""
    number = Decimal(held)
    return str(number.normalize(_EXACT)) if number else "0"


def size_of(value: Mapping[str, Any]) -> int:
    """Return about how many bytes a value takes, as DynamoDB counts them; of a number no less than it does."""
    ((kind, held),) = value.items()
    if kind == "S":
        return len(held.encode())
    if kind == "N":
        return min(21, len(held) // 2 + 2)
    if kind == "B":
        return len(held)
    if kind == "L":
        return 3 + sum(1 + size_of(item) for item in held)
    if kind == "M":
        return 3 + sum(1 + len(name.encode()) + size_of(item) for name, item in held.items())
    return 1


def packed(key: Item) -> str:
    """Return a key as text."""
    return json.dumps({name: [kind, _text(kind, held)] for name, value in key.items() for kind, held in value.items()})


def unpacked(text: str) -> dict[str, Any]:
    """Return the key that such text is of."""
    return {name: {kind: base64.b64decode(held) if kind == "B" else held} for name, (kind, held) in json.loads(text).items()}


def _text(kind: str, held: Any) -> str:
    return base64.b64encode(held).decode() if kind == "B" else str(held)
