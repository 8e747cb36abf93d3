"""What the text of a field stands for, where a type is given: exact, or an error.

Rules:

* An empty field of a column that is not text is `None`. Text is as it stands, empty or not.
* What Python's own constructor makes of the text, less what only looks like the type: no `_` between digits, no blanks around, no
  digits of other scripts.
* A date or time is ISO 8601. A `bool` is `true` or `false`, in any case, or `1` or `0`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

Parse = Callable[[str], Any]

_BOOLS: Final = MappingProxyType({"true": True, "false": False, "1": True, "0": False})


def _bool(text: str) -> bool:
    try:
        return _BOOLS[text.lower()]
    except KeyError:
        raise ValueError(text) from None


_PARSERS: Final[Mapping[str, Parse]] = MappingProxyType(
    {"int": int, "float": float, "bool": _bool, "date": date.fromisoformat, "datetime": datetime.fromisoformat, "decimal": Decimal}
)

_BLANKS = frozenset(" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0")


def parse_field(text: str, type_name: str) -> Any:
    """Return what a field stands for.

    Raises:
        ValueError: It is nothing of that type.
    """
    if type_name == "str":
        return text
    if not text:
        return None
    if "_" in text or not text.isascii() or text[0].isspace() or text[-1].isspace():
        raise ValueError(text)
    try:
        return _PARSERS[type_name](text)
    except (ArithmeticError, OverflowError) as error:
        raise ValueError(text) from error


def parse_column(texts: Sequence[str], type_name: str) -> Sequence[Any]:
    """Return what the fields of a column stand for, which takes half as long as one by one. Raises as `parse_field` does."""
    if type_name == "str":
        return texts
    if type_name in _PLAIN and "" not in texts and not _suspicious("\0".join(texts)):
        return list(map(_PARSERS[type_name], texts))
    return [parse_field(text, type_name) for text in texts]


_PLAIN: Final = frozenset({"int", "float"})


def _suspicious(joined: str) -> bool:
    return "_" in joined or not joined.isascii() or not _BLANKS.isdisjoint(joined)


def wrong_column(texts: Sequence[str], type_names: Iterable[str]) -> int:
    """Return which field of a row is not of its type; -1 if all are."""
    for place, (text, type_name) in enumerate(zip(texts, type_names, strict=True)):
        try:
            parse_field(text, type_name)
        except ValueError:
            return place
    return -1
