"""Formats as values: how input is read, with what is to be said of it besides the name of the format.

`format="jsonl"` names a format; `format=smr.formats.jsonl(...)` is one with its options. Both stand wherever `format=` does.

Rules of this module:

* Each function here makes a value and refuses at once what makes no sense; nothing is looked at and nothing is read.
* What is said lands in `model.Reading`, whose fields have the defaults of the format's name alone.
* A name is a row of `NAMES`: a new format is a function and a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from types import FunctionType, MappingProxyType
from typing import Any, Final

from smr_notebook.dataflow.code import takes_source
from smr_notebook.dataflow.formats.parsed import ParsedReader
from smr_notebook.dataflow.formats.passages import PassageReader
from smr_notebook.dataflow.formats.text_encodings import check_encoding
from smr_notebook.dataflow.parsed_programs import OwnReader
from smr_notebook.errors import ConfigError, PlanError
from smr_notebook.model import PLAINLY, Dialect, Format, Reading
from smr_notebook.values.spellings import parse_size

__all__ = ["InputFormat", "arrow", "binary", "csv", "fixed", "jsonl", "parquet", "parse", "passages", "text", "tsv"]

AUTO: Final = "auto"
"""The format that the names and beginnings of the objects tell."""


@dataclass(frozen=True, slots=True)
class InputFormat:
    """A format and how it is read: what the functions of this module return.

    Attributes:
        format: Which.
        reading: What is said of it besides its name.
        parser: What reads, where that travels with the functions: one of the user's own, or what makes passages.
    """

    format: Format
    reading: Reading = PLAINLY
    parser: OwnReader | None = None


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
        Format.FIXED, Reading(record_bytes=bytes_per_record, header_bytes=header_bytes, decompress=_switch("decompress", decompress))
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
    return InputFormat(Format.PARSED, Reading(decompress=_switch("decompress", decompress)), reader)


def passages(size: int | str = "8MB", *, encoding: str = "utf-8", errors: str = "strict") -> InputFormat:
    """Passages of text: a `str` for each, which is a whole object, or so many bytes of a longer one, cut between lines.

    The same objects give the same passages each time, however they are cut into splits.

    Args:
        size: About how many bytes a passage has at most, as a number or as text (`64MB`); one longer line makes a longer one.
        encoding: As of `text`.
        errors: As of `text`.

    Raises:
        ConfigError: `size` is none, or there is no such encoding or policy.
    """
    bytes_ = parse_size(size)
    _check_size("size", bytes_, least=1)
    return InputFormat(Format.TEXT, _text(encoding, errors), PassageReader(bytes_))


def parquet(*, columns: Sequence[str] | None = None) -> InputFormat:
    """Parquet: a dict for each row.

    Args:
        columns: Names of those that are read, and that records have; all that an object has if not given.

    Raises:
        ConfigError: `columns` is no list of distinct names.
    """
    return InputFormat(Format.PARQUET, Reading(columns=_names("columns", columns)))


def arrow(*, columns: Sequence[str] | None = None) -> InputFormat:
    """Arrow IPC, files (Feather) and streams: a dict for each row. Arguments and errors as of `parquet`."""
    return InputFormat(Format.ARROW, Reading(columns=_names("columns", columns)))


def csv(
    *,
    delimiter: str | None = None,
    quotechar: str = '"',
    escapechar: str = "",
    doublequote: bool = True,
    header: bool = True,
    skip: int = 0,
    names: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    types: Mapping[str, type] | None = None,
    infer: bool = False,
    newlines: bool = True,
    encoding: str = "utf-8",
    errors: str = "strict",
) -> InputFormat:
    """CSV: a dict for each row, of text unless types are given; a list for each row where columns have no names.

    Args:
        delimiter: What stands between fields; told by a sample (and shown in the plan) if not given.
        quotechar: What stands around a field that holds delimiters, quotes or line ends; empty for nothing.
        escapechar: What makes the sign behind it an ordinary one; empty for nothing.
        doublequote: Whether a quote inside quotes is written twice.
        header: Whether each object begins with the names of its columns.
        skip: How many rows of each object stand before that, and are left out.
        names: What the header must be, or with `header=False` what the columns are called.
        columns: Names of those that are read, and that records have; all if not given. Objects may have others besides, in any order.
        types: Of columns, by name: `int`, `float`, `bool`, `str`, `datetime.date`, `datetime.datetime` or `decimal.Decimal`. An empty
            field is `None` then, except of `str`. A field that is nothing of its type is an error.
        infer: Whether a sample is to tell the types of all columns that `types` does not name. The plan shows them.
        newlines: Whether a field in quotes may hold line ends. `False` lets each line stand alone: an object can be cut anywhere, and a
            line with a broken quote passed over.
        encoding: As of `text`.
        errors: As of `text`.

    Raises:
        ConfigError: An argument makes no sense, or two do not together.
    """
    named = _names("names", names)
    dialect = Dialect(
        "" if delimiter is None else _sign("delimiter", delimiter),
        _sign("quotechar", quotechar) if quotechar else "",
        _sign("escapechar", escapechar) if escapechar else "",
        _switch("doublequote", doublequote),
        _skipped(skip),
        _switch("header", header),
        named,
        _types(types),
        _switch("infer", infer),
        _switch("newlines", newlines) and bool(quotechar or escapechar),
    )
    signs = [sign for sign in (dialect.delimiter, dialect.quote, dialect.escape) if sign]
    if len(set(signs)) < len(signs):
        raise ConfigError(f"delimiter, quotechar and escapechar must differ; given are {', '.join(map(repr, signs))}.")
    if not header and not named and (columns or types or infer):
        raise ConfigError(
            "Without a header, columns have names only where names=[…] gives them. Give them, or leave columns, types and infer out."
        )
    return InputFormat(Format.CSV, replace(_text(encoding, errors), columns=_names("columns", columns), dialect=dialect))


def tsv(
    *,
    header: bool = True,
    names: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    types: Mapping[str, type] | None = None,
    infer: bool = False,
    newlines: bool = True,
) -> InputFormat:
    """CSV whose fields stand between tabs. Arguments and errors as of `csv`, which takes more."""
    return csv(delimiter="\t", header=header, names=names, columns=columns, types=types, infer=infer, newlines=newlines)


def _sign(name: str, sign: object) -> str:
    if not isinstance(sign, str) or len(sign) != 1 or sign in "\r\n\0":
        raise ConfigError(f"{name} is {sign!r}: it must be one sign, and no line end.")
    return sign


def _skipped(skip: object) -> int:
    if isinstance(skip, bool) or not isinstance(skip, int) or skip < 0:
        raise ConfigError(f"skip is {skip!r}: it counts rows, from 0.")
    return skip


def _names(name: str, names: Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return ()
    found = () if isinstance(names, str) else tuple(names)
    if not found or not all(name and isinstance(name, str) for name in found) or len(set(found)) < len(found):
        raise ConfigError(f"{name} is {names!r}: give a list of distinct names, or leave it out.")
    return found


def _types(types: Mapping[str, type] | None) -> tuple[tuple[str, str], ...]:
    known = {str: "str", int: "int", float: "float", bool: "bool", date: "date", datetime: "datetime", Decimal: "decimal"}
    for name, type_ in (types or {}).items():
        if type_ not in known:
            raise ConfigError(f"types says {type_!r} of {name!r}. Use {', '.join(item.__name__ for item in known)}.")
    return tuple((name, known[type_]) for name, type_ in (types or {}).items())


NAMES: Final[Mapping[str, InputFormat]] = MappingProxyType(
    {
        "text": InputFormat(Format.TEXT),
        "lines": InputFormat(Format.TEXT),
        "jsonl": InputFormat(Format.JSONL),
        "json": InputFormat(Format.JSONL),
        "csv": InputFormat(Format.CSV),
        "tsv": InputFormat(Format.CSV, Reading(dialect=Dialect(delimiter="\t"))),
        "parquet": InputFormat(Format.PARQUET),
        "arrow": InputFormat(Format.ARROW),
        "feather": InputFormat(Format.ARROW),
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


def _switch(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be True or False; got {value!r}.")
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
