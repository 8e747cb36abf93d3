"""Encodings of text: where a line ends in the bytes of each, and so whether an object can be cut between lines.

Python names an encoding; this module tells its family:

* *One byte a character* (Latin, Cyrillic, EBCDIC, …): one byte is LF, always and only; which one, the codec tells.
* *ASCII within* (UTF-8, Shift JIS, EUC, GBK, Big5, …): 0x0A is LF, and no part of a longer character.
* *Units of two or four bytes* (UTF-16, UTF-32): the unit 0x000A is LF, and no part of a pair. It counts only where a unit begins.
  Without a word of which byte comes first, the byte order mark tells; without one it is the low byte, as in Python here.
* *With a state* (ISO-2022, UTF-7, HZ): only who has read all before knows what a byte means. Such objects are read whole.

Rules:

* What a line is does not depend on an error policy: bytes are cut into lines first, and each line is decoded by itself where a block of
  them is not clean. (Decoders that replace what is broken may swallow a line end otherwise, as Python's of EUC-KR do.)
* Codecs that are no encodings of files (punycode, idna, escapes) and codecs of packages, which no worker need have, are refused.
"""

from __future__ import annotations

import codecs
import sys
from dataclasses import dataclass
from functools import cache
from typing import Final

from smr_notebook.errors import ConfigError

POLICIES: Final = ("strict", "replace", "ignore", "backslashreplace", "surrogateescape")
"""What is done about bytes that are no text, by Python's names."""

WITH_STATE: Final = frozenset(
    {"hz", "iso2022_jp", "iso2022_jp_1", "iso2022_jp_2", "iso2022_jp_2004", "iso2022_jp_3", "iso2022_jp_ext", "iso2022_kr", "utf-7"}
)
ASCII_WITHIN: Final = frozenset(
    {
        "utf-8", "big5", "big5hkscs", "cp932", "cp949", "cp950", "euc_jis_2004", "euc_jisx0213", "euc_jp", "euc_kr", "gb18030", "gb2312",
        "gbk", "johab", "shift_jis", "shift_jis_2004", "shift_jisx0213",
    }
)  # fmt: skip
IN_UNITS: Final = frozenset({"utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"})

_ONE_BYTE = frozenset({"ascii", "iso8859-1"})  # the others of that family have a table
_WITHOUT_ORDER = {"utf-16": codecs.BOM_UTF16_BE, "utf-32": codecs.BOM_UTF32_BE}
_MARKS = {"utf-8": codecs.BOM_UTF8, **{name: "\ufeff".encode(name) for name in IN_UNITS}}

HEAD_BYTES: Final = 4
"""How much of an object tells its byte order."""


@dataclass(frozen=True, slots=True)
class TextEncoding:
    """How text stands in bytes. What is searched here begins where a unit begins.

    Attributes:
        name: Python's.
        newline: The bytes of LF, one unit; empty where a state tells.
        mark: The byte order mark, which is no part of the first line; empty where there is none.
    """

    name: str
    newline: bytes = b"\n"
    mark: bytes = b""

    @property
    def unit(self) -> int:
        """Bytes of the smallest piece of a character."""
        return len(self.newline) or 1

    @property
    def cuttable(self) -> bool:
        """Whether text can be read from the middle."""
        return bool(self.newline)

    def after_first(self, data: bytes, start: int = 0) -> int:
        """Return the place behind the first line end from `start` on; 0 where there is none."""
        unit = len(self.newline)
        at = data.find(self.newline, start)
        while unit > 1 and at >= 0 and at % unit:
            at = data.find(self.newline, at + 1)
        return at + unit if at >= 0 else 0

    def after_last(self, data: bytes) -> int:
        """Return the place behind the last line end; 0 where there is none."""
        unit = len(self.newline)
        at = data.rfind(self.newline)
        while unit > 1 and at >= 0 and at % unit:
            at = data.rfind(self.newline, 0, at + unit - 1)
        return at + unit if at >= 0 else 0

    def ends_line(self, data: bytes) -> bool:
        """Whether the last line has its end."""
        return data.endswith(self.newline) and len(data) % len(self.newline) == 0

    def split(self, data: bytes) -> list[bytes]:
        """Return the lines without their ends, and what follows the last end, as `data.split(newline)` does."""
        if len(self.newline) == 1:
            return data.split(self.newline)
        lines, start = [], 0
        while end := self.after_first(data, start):
            lines.append(data[start : end - self.unit])
            start = end
        return [*lines, data[start:]]

    def aligned(self, offset: int) -> int:
        """Return the first place from an offset on at which a unit can begin."""
        return -(-offset // self.unit) * self.unit


UTF8: Final = TextEncoding("utf-8", mark=codecs.BOM_UTF8)


def check_encoding(name: object, errors: object) -> tuple[str, str]:
    """Return Python's name of an encoding, and the policy.

    Args:
        name: Of an encoding, as a person may write it.
        errors: What is done about bytes that are no text.

    Raises:
        ConfigError: One of them is none, or they do not go together.
    """
    if not isinstance(errors, str) or errors not in POLICIES:
        raise ConfigError(f"errors={errors!r} is no way to treat bytes that are no text. Use {', '.join(POLICIES)}.")
    found = _plain_name(name)
    if found in IN_UNITS | _WITHOUT_ORDER.keys() and errors == "surrogateescape":
        raise ConfigError(f"errors='surrogateescape' keeps single bytes, which {found} has not. Use replace, or backslashreplace.")
    return found, errors


def needs_head(name: str) -> bool:
    """Whether the first `HEAD_BYTES` bytes of an object tell how its text stands there."""
    return name in _WITHOUT_ORDER


def encoding_of(name: str, head: bytes = b"") -> TextEncoding:
    """Return how text stands in an object.

    Args:
        name: Of the encoding, as `check_encoding` gives it.
        head: Its first `HEAD_BYTES` bytes, where they tell.
    """
    if name in _WITHOUT_ORDER:
        name += "-be" if head.startswith(_WITHOUT_ORDER[name]) else "-le"
    return _known(name)


@cache
def _known(name: str) -> TextEncoding:
    if name == UTF8.name:
        return UTF8
    newline = b"" if name in WITH_STATE else b"\n" if name in ASCII_WITHIN else "\n".encode(name)
    return TextEncoding(name, newline, _MARKS.get(name, b""))


def foreign_mark(head: bytes) -> str:
    """Return the encoding whose byte order mark begins what should be UTF-8; empty if none does."""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    return "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else ""


def _plain_name(name: object) -> str:
    try:
        info = codecs.lookup(name) if isinstance(name, str) else None
    except (LookupError, ValueError):  # the second for a name that cannot be one
        info = None
    if info is None:
        raise ConfigError(f"encoding={name!r} is no encoding that Python knows. Use utf-8, utf-16, latin-1, cp1252, shift_jis, …")
    found = "utf-8" if info.name == "utf-8-sig" else info.name
    if found in _WITHOUT_ORDER or found in WITH_STATE | ASCII_WITHIN | IN_UNITS | _ONE_BYTE:
        return found
    home = getattr(info.incrementaldecoder, "__module__", "")
    if home.startswith("encodings.") and hasattr(sys.modules[home], "decoding_table"):
        return found
    raise ConfigError(
        f"encoding={name!r} is no encoding of files that every worker has. Read the object with smr.formats.parse, or its lines as "
        "latin-1, and decode them in your own function."
    )
