"""What a mistyped word may have meant, as a sentence behind an error's: one wording for all of them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


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
