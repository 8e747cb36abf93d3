"""Which dicts become columns, and what these are called: the rule of everything that shows rows of keys and values as a table."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

_MOST_COLUMNS: Final = 1_000


def label_of(name: str) -> str:
    """Return what the column of a name of the dicts is called."""
    return "value.key" if name == "key" else name


def can_be_columns(names: Collection[str]) -> bool:
    """Whether names of dicts can be columns beside `key`."""
    return 0 < len(names) <= _MOST_COLUMNS and set(map(type, names)) == {str} and not {"key", "value.key"} <= set(names)


def too_many(names: Collection[str]) -> bool:
    """Whether so many names of dicts stay one column, whatever they are."""
    return len(names) > _MOST_COLUMNS


def names_of_dicts(values: list[object]) -> tuple[str, ...]:
    """Return all names of some dicts in the order of their first appearance; none when they are not to become columns."""
    found: dict[str, None] = {}
    for row in values:
        if type(row) is not dict:
            return ()
        found.update(dict.fromkeys(row))
        if too_many(found):
            return ()
    names = tuple(found)
    return names if can_be_columns(names) else ()
