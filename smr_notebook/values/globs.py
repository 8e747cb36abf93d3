"""What a glob of keys means.

`*`, `?` and `[…]` match inside one name between two `/`, `**` any number of names, and a name that begins with a dot is matched by one
that does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

WILD: Final = re.compile(r"[*?[]")
"""Where a pattern is no name any more."""


def matches(names: Sequence[str], parts: Sequence[str]) -> bool:
    """Return whether the components of a pattern match those of a key."""
    if not parts or not names:
        return not parts and not names
    part, rest = parts[0], parts[1:]
    if part == "**" and rest and matches(names, rest):
        return True
    if names[0] != part and (not fnmatchcase(names[0], part) or (names[0].startswith(".") and not part.startswith("."))):
        return False
    return matches(names[1:], parts if part == "**" and len(names) > 1 else rest)


def lies_under(key: str, location: str) -> bool:
    """Return whether a key is one of those that a location means to whoever watches it.

    Args:
        key: Of an object.
        location: A glob; without a wildcard a folder, all below it.
    """
    if WILD.search(location):
        return matches(key.split("/"), location.split("/"))
    folder = location.rstrip("/")
    return key.startswith(f"{folder}/") if folder else bool(key)
