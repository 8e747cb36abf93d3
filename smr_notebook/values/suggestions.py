"""What a mistyped word may have meant, as a sentence behind an error's: one wording for all of them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Final

MOST_FILES: Final = 10_000
"""Files of a folder that are looked at, at most: more take longer to compare than a person wants to wait."""


def near(word: object, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?`, for what is nearest.

    Args:
        word: What was said; nothing is near what is no text.
        known: What could have been.

    Returns:
        The sentence with a space before it; an empty string when nothing known is near.
    """
    close = get_close_matches(word, list(known), n=1) if isinstance(word, str) else []
    return f" Did you mean {close[0]!r}?" if close else ""


def near_file(path: Path) -> str:
    """Return the same for the file or folder that is nearest to one that is not there, beside it."""
    try:
        beside = [found.name for found in islice(path.expanduser().parent.iterdir(), MOST_FILES) if found.name != path.name]
    except (OSError, RuntimeError):  # no such folder, none that may be read, a user that is not known
        return ""
    return near(path.name, beside)
