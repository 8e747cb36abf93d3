"""How input is read, as values: the formats, and what is said of them besides their names.

The rules are those of `model`, which has these nouns as well, so that whoever works with nouns finds all of them there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Format(StrEnum):
    """How the bytes of an input object become records."""

    TEXT = "text"
    """A `str` for each line, without its line end (LF or CRLF)."""
    JSONL = "jsonl"
    """What the JSON text on each line stands for; empty lines are no records."""
    BINARY = "binary"
    """The whole object as `bytes`: one record."""
    PARQUET = "parquet"
    """A dict for each row, by the names of its columns."""
    FIXED = "fixed"
    """`bytes` of one size."""
    PARSED = "parsed"
    """What a function of the user's makes of each object."""
    CSV = "csv"
    """A dict for each row, by the names in the header (see `Dialect`); a list where there are none."""
    ARROW = "arrow"
    """A dict for each row of Arrow IPC (Feather), by the names of its columns."""
    TABLE = "table"
    """A dict for each item of a table, by the names of its attributes: of DynamoDB, scanned in segments."""
    ITEMS = "items"
    """The items of a Python iterable, stored by the session."""
    FRAME = "frame"
    """The rows of a DataFrame as dicts, stored by the session."""
    RESULT = "result"
    """The rows of the result of a job: a tuple of key and value, or a dict of columns where its functions give frames."""
    SEVERAL = "several"
    """Several inputs, each of a format of its own."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How tables are written as text: CSV and its kin. Where a plan stands, all of it is known.

    Attributes:
        delimiter: What stands between two fields; empty where a sample is to tell.
        quote: What may stand around a field; empty for nothing.
        escape: What makes the sign behind it an ordinary one; empty for nothing.
        doubled: Whether a quote inside quotes is written twice.
        skip: How many rows at the beginning of each object are left out.
        header: Whether the row behind them names the columns.
        names: Of the columns: what the header must be, or what takes its place where there is none. Empty where each object tells its own.
        types: Of columns, by name: what the text of a field stands for (see `formats.csv_types`). Others are text.
        infer: Whether a sample is to tell the types.
        newlines: Whether a field in quotes may hold line ends.
    """

    delimiter: str = ""
    quote: str = '"'
    escape: str = ""
    doubled: bool = True
    skip: int = 0
    header: bool = True
    names: tuple[str, ...] = ()
    types: tuple[tuple[str, str], ...] = ()
    infer: bool = False
    newlines: bool = True


@dataclass(frozen=True, slots=True)
class Reading:
    """What is said of a format besides its name. What does not concern a format is left as it is.

    Attributes:
        tolerant: Whether bytes that should be a record and are none are given in its place (`records.Unreadable`), instead of an error.
        encoding: Of text, by Python's name.
        errors: What is done about bytes that are no text, by Python's name: `strict`, `replace`, `ignore`, …
        record_bytes: Of records of one size, the bytes of each.
        header_bytes: Bytes before the first of them.
        decompress: Whether what looks compressed is, where that is not plain from the format.
        columns: Names of the columns that records have, where they have some; empty for all.
        dialect: How CSV is written.
        inlets: Of several inputs, the format and reading of each.
    """

    tolerant: bool = False
    encoding: str = "utf-8"
    errors: str = "strict"
    record_bytes: int = 0
    header_bytes: int = 0
    decompress: bool = True
    columns: tuple[str, ...] = ()
    dialect: Dialect = Dialect()
    inlets: tuple[InletReading, ...] = ()


@dataclass(frozen=True, slots=True)
class InletReading:
    """How one of several inputs is read: from the split `first` on, until the next one begins."""

    first: int
    format: Format
    reading: Reading


PLAINLY: Final = Reading()
"""Each format as it is read where nothing else is said."""
