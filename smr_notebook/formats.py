"""Formats as values: how input is read, with what is to be said of it besides the name of the format.

`format="jsonl"` names a format; `format=smr.formats.jsonl(...)` is one with its options. Both stand wherever `format=` does.

Rules of this module:

* Each function here makes a value and refuses at once what makes no sense; nothing is looked at and nothing is read.
* What is said lands in `model.Reading`, whose fields have the defaults of the format's name alone.
* A name is a row of `NAMES`: a new format is a function and a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType, MappingProxyType
from typing import Any, Final

from smr_notebook.dataflow.code import takes_source
from smr_notebook.dataflow.formats.parsed import ParsedReader
from smr_notebook.dataflow.formats.text_encodings import check_encoding
from smr_notebook.errors import ConfigError, PlanError
from smr_notebook.model import PLAINLY, Format, Reading

__all__ = ["InputFormat", "binary", "fixed", "jsonl", "parquet", "parse", "text"]

AUTO: Final = "auto"
"""The format that the names and beginnings of the objects tell."""


@dataclass(frozen=True, slots=True)
class InputFormat:
    """A format and how it is read: what the functions of this module return.

    Attributes:
        format: Which.
        reading: What is said of it besides its name.
        parser: What reads, where that is a function of the user's own.
    """

    format: Format
    reading: Reading = PLAINLY
    parser: ParsedReader | None = None


def text(*, encoding: str = "utf-8", errors: str = "strict") -> InputFormat:
    """Lines: a `str` for each, without its line end (LF or CRLF).

    Args:
        encoding: By any name that Python has for it: `utf-8`, `latin-1`, `cp1252`, `utf-16`, `shift_jis`, …
        errors: What is done about bytes that are no text: `strict` (an error), `replace`, `ignore`, `backslashreplace`, `surrogateescape`.

    Raises:
        ConfigError: There is no such encoding or policy.
    """
    return InputFormat(Format.TEXT, _text(encoding, errors))


def jsonl(*, encoding: str = "utf-8", errors: str = "strict") -> InputFormat:
    """JSON lines: what the JSON text on each line stands for, as `json.loads` gives it. Arguments and errors as of `text`."""
    return InputFormat(Format.JSONL, _text(encoding, errors))


def binary() -> InputFormat:
    """Whole objects: the stored `bytes` of each are one record."""
    return InputFormat(Format.BINARY)


def fixed(bytes_per_record: int, *, header_bytes: int = 0, decompress: bool = True) -> InputFormat:
    """Records of one size: `bytes` of exactly so many bytes each. A rest at the end of an object is an error.

    Args:
        bytes_per_record: At least 1.
        header_bytes: Bytes at the beginning of each object that are skipped.
        decompress: Whether objects that begin like gzip, bz2, xz or zstd are read as such; records may happen to begin so.

    Raises:
        ConfigError: A size makes no sense.
    """
    _check_size("bytes_per_record", bytes_per_record, least=1)
    _check_size("header_bytes", header_bytes, least=0)
    return InputFormat(
        Format.FIXED, Reading(record_bytes=bytes_per_record, header_bytes=header_bytes, decompress=_flag("decompress", decompress))
    )


def parse(function: Callable[..., Any], *, decompress: bool = True) -> InputFormat:
    """A format of your own: `function(stream)`, or `function(source, stream)`, yields the records of one whole object.

    Args:
        function: Gets a binary file: `read`, `readinto`, `readline`, and `seek` where the object is not compressed. It travels to the
            workers like `map`. The same object must give the same records each time. An object is never cut.
        decompress: Whether objects that begin like gzip, bz2, xz or zstd are read as such.

    Raises:
        PlanError: It cannot be called so.
    """
    if not callable(function):
        raise PlanError(f"parse needs a function that takes a stream; got {function!r}.")
    reader = ParsedReader(function, takes_source(function, name="parse", what="stream"))
    return InputFormat(Format.PARSED, Reading(decompress=_flag("decompress", decompress)), reader)


def parquet() -> InputFormat:
    """Parquet: a dict for each row."""
    return InputFormat(Format.PARQUET)


NAMES: Final[Mapping[str, InputFormat]] = MappingProxyType(
    {
        "text": InputFormat(Format.TEXT),
        "lines": InputFormat(Format.TEXT),
        "jsonl": InputFormat(Format.JSONL),
        "json": InputFormat(Format.JSONL),
        "parquet": InputFormat(Format.PARQUET),
        "binary": InputFormat(Format.BINARY),
        "bytes": InputFormat(Format.BINARY),
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


def _text(encoding: str, errors: str) -> Reading:
    name, policy = check_encoding(encoding, errors)
    return Reading(encoding=name, errors=policy)


def _check_size(name: str, value: object, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} must be a whole number of bytes, {least} or more; got {value!r}.")


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be True or False; got {value!r}.")
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
