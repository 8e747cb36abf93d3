"""Text that somebody else made, as it may be shown: in a terminal, in HTML and in XML. Pure.

A control character could move the cursor of a terminal, and none but a few may stand in XML; a lone surrogate can be encoded nowhere. They
are told by their numbers instead. Line ends and tabs stay.
"""

from __future__ import annotations

from typing import Final

_KEPT: Final = "\t\n"
_CONTROLS: Final = {number: f"\\x{number:02x}" for number in (*range(0x20), *range(0x7F, 0xA0)) if chr(number) not in _KEPT}
_NO_CHARACTERS: Final = {number: f"\\u{number:04x}" for number in (*range(0xD800, 0xE000), 0xFFFE, 0xFFFF)}
_ESCAPES: Final = _CONTROLS | _NO_CHARACTERS


def visible(text: str) -> str:
    r"""Return a text with what cannot be shown told by its number: `\x1b`, `\ud800`."""
    return text if text.isprintable() else text.translate(_ESCAPES)
