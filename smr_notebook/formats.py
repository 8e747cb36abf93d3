"""Formats as values: how input is read, with what is to be said of it besides the name of the format.

`format="jsonl"` names a format; `format=smr.formats.jsonl(...)` is one with its options. Both stand wherever `format=` does.

Rules of this module:

* Each function here makes a value and refuses at once what makes no sense; nothing is looked at and nothing is read.
* What is said lands in `model.Reading`, whose fields have the defaults of the format's name alone.
* A name is a row of `NAMES`: a new format is a function and a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import FunctionType, MappingProxyType
from typing import Final

from smr_notebook.errors import ConfigError
from smr_notebook.model import PLAINLY, Format, Reading

__all__ = ["InputFormat", "binary", "jsonl", "parquet", "text"]

AUTO: Final = "auto"
"""The format that the names and beginnings of the objects tell."""


@dataclass(frozen=True, slots=True)
class InputFormat:
    """A format and how it is read: what the functions of this module return.

    Attributes:
        format: Which.
        reading: What is said of it besides its name.
    """

    format: Format
    reading: Reading = PLAINLY


def text() -> InputFormat:
    """Lines: a `str` for each, without its line end."""
    return InputFormat(Format.TEXT)


def jsonl() -> InputFormat:
    """JSON lines: what the JSON text on each line stands for."""
    return InputFormat(Format.JSONL)


def binary() -> InputFormat:
    """Whole objects: the stored `bytes` of each are one record."""
    return InputFormat(Format.BINARY)


def parquet() -> InputFormat:
    """Parquet: a dict for each row."""
    return InputFormat(Format.PARQUET)


NAMES: Final[Mapping[str, InputFormat]] = MappingProxyType(
    {
        "text": text(),
        "lines": text(),
        "jsonl": jsonl(),
        "json": jsonl(),
        "parquet": parquet(),
        "binary": binary(),
        "bytes": binary(),
    }
)
"""The formats that a name alone tells, by all names that they have."""


def format_of(format: object) -> InputFormat | None:
    """Return what `format=` means; `None` for `auto`.

    Raises:
        ConfigError: It is no format.
    """
    if isinstance(format, InputFormat):
        return format
    if format == AUTO:
        return None
    if isinstance(format, FunctionType) and format.__module__ == __name__:
        raise ConfigError(f"format={format.__name__} is the function itself. Call it: format=smr.formats.{format.__name__}().")
    if not isinstance(format, str) or format not in NAMES:
        raise ConfigError(
            f"format {format!r} is not known. Use {AUTO}, {', '.join(dict.fromkeys(told.format for told in NAMES.values()))}, "
            f"or one with options: smr.formats.{', smr.formats.'.join(name for name in __all__ if name != InputFormat.__name__)}."
        )
    return NAMES[format]


def __dir__() -> list[str]:
    return sorted(__all__)
