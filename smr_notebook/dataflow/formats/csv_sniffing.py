"""What a sample tells of a CSV dialect that nobody said: the delimiter, the names of the columns, and their types where they are asked for.

Rules:

* What was said is never doubted, and what is not sure is not guessed: it is an error that says what to give.
* A delimiter is sure when it alone makes all rows of the sample equally wide, with at least two fields; where none does, when it alone
  stands in the first row, so that the rows that are not as wide are told; or when none of the usual ones occurs, and it does not matter.
  A name that ends in `.tsv` or `.tab` tells a tab.
* Types are told by all fields of the sample: pyarrow says what they look like, and each must parse. Numbers with zeros in front are text.
* All that is told stands in the plan, so that every split is read alike.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final

from smr_notebook.dataflow.formats.arrow_objects import wanted_columns
from smr_notebook.dataflow.formats.csv_records import refuse_names
from smr_notebook.dataflow.formats.csv_rows import parser, shortened, text_of
from smr_notebook.dataflow.formats.csv_types import wrong_column
from smr_notebook.dataflow.formats.lines import read_lines
from smr_notebook.errors import InputFormatError
from smr_notebook.model import Dialect, Reading, Span
from smr_notebook.ports import InputSource

SAMPLE_BYTES: Final = 64 << 10

_USUAL: Final = (",", "\t", ";", "|")
_TABS: Final = frozenset({".tsv", ".tab"})
_LOOKS_LIKE: Final[Mapping[str, str]] = MappingProxyType(
    {"int64": "int", "double": "float", "bool": "bool", "date32[day]": "date", "timestamp[s]": "datetime", "timestamp[ns]": "datetime"}
)
_ZEROS: Final = re.compile(r"[+-]?0\d")

Rows = list[list[str]]


def settle(reading: Reading, span: Span, source: InputSource) -> Reading:
    """Return how an input is read, with all that a sample tells of it.

    Args:
        reading: What was said.
        span: An object of the input as a whole: the first one that holds something.
        source: Where to read it.

    Raises:
        InputFormatError: The sample does not tell; its header names no columns, or not those that are wanted.
        InputError: As of `csv_records.read_csv`.
    """
    dialect = reading.dialect
    text, ended = _sample(span, source, reading)
    if not dialect.delimiter:
        dialect = replace(dialect, delimiter=_delimiter(text, dialect, span.key, ended=ended))
    rows = _rows(text, dialect, ended=ended)[0][dialect.skip :]
    names = dialect.names
    if dialect.header and rows:
        refuse_names(tuple(rows[0]), span.key)
        names = names or (() if reading.columns else tuple(rows[0]))
        wanted_columns(rows[0], (*reading.columns, *(name for name, _ in dialect.types)), span.key)
    if dialect.infer and rows:
        dialect = replace(dialect, types=(*dialect.types, *_types(rows, dialect)))
    return replace(reading, dialect=replace(dialect, names=names, infer=False))


def described(reading: Reading) -> str:
    """Return how CSV is read, as the line of a plan."""
    dialect = reading.dialect
    types = dict(dialect.types)
    names = [
        (name if name.isprintable() else repr(name)) + (f" ({types[name]})" if name in types else "")
        for name in reading.columns or dialect.names
    ]
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20:,} more" if len(names) > 20 else "")
    quote = f"quote {dialect.quote!r}" if dialect.quote else "no quotes"
    lines = "fields may hold line ends" if dialect.newlines else "no field holds line ends"
    return f"delimiter {dialect.delimiter!r} · {quote} · {lines} · " + (f"columns {shown}" if shown else "no names")


def _sample(span: Span, source: InputSource, reading: Reading) -> tuple[str, bool]:
    """Return the first lines of an object, and whether they are all."""
    texts: list[str] = []
    size = 0
    for block in read_lines(span, source, reading, block_bytes=SAMPLE_BYTES):
        if size >= SAMPLE_BYTES:
            return "".join(texts), False
        texts.append(text_of(block, span, before=0, tolerant=True))
        size += len(block.data)
    return "".join(texts), True


def _rows(text: str, dialect: Dialect, *, ended: bool) -> tuple[Rows, bool]:
    """Return the rows of a sample, up to one that is broken where those behind it cannot be known, and whether none is."""
    rows: Rows = []
    clean = True
    lines = io.StringIO(text, newline="\n")
    for piece in [lines] if dialect.newlines else ([line] for line in lines):
        try:
            rows.extend(row for row in parser(piece, dialect) if row)
        except csv.Error as error:
            clean = not ended and str(error).startswith("unexpected end of data")
    return rows, clean


def _delimiter(text: str, dialect: Dialect, key: str, *, ended: bool) -> str:
    if any(suffix in _TABS for suffix in PurePosixPath(key.lower()).suffixes[-2:]):
        return "\t"
    read = {delimiter: _rows(text, replace(dialect, delimiter=delimiter), ended=ended) for delimiter in _USUAL}
    widths = {delimiter: [len(row) for row in rows[dialect.skip :]] for delimiter, (rows, _) in read.items()}
    fits = [delimiter for delimiter, found in widths.items() if read[delimiter][1] and len(set(found)) == 1 and found[0] > 1]
    begins = fits or [delimiter for delimiter, found in widths.items() if found and found[0] > 1]
    if len(begins) == 1:
        return begins[0]
    if not any(delimiter in text for delimiter in _USUAL):
        return _USUAL[0]
    what = f"{' and '.join(map(repr, fits))} fit" if fits else "no usual one makes all rows equally wide"
    first = shortened(text.partition("\n")[0].rstrip("\r"))
    raise InputFormatError(
        f"The delimiter of {key} is not sure: {what}. It begins with {first}. Say which it is: format=smr.formats.csv(delimiter=',')."
    )


def _types(rows: Rows, dialect: Dialect) -> list[tuple[str, str]]:
    """Return the types of the columns that are not text, by all rows of a sample."""
    import pyarrow.csv as pacsv  # noqa: PLC0415 - only where types are to be told

    names, body = (rows[0], rows[1:]) if dialect.header else (list(dialect.names), rows)
    known = dict(dialect.types)
    found = []
    for place, name in enumerate(names):
        fields = [row[place] for row in body if len(row) == len(names)]
        if name in known or not any(fields) or any(map(_ZEROS.match, fields)):
            continue
        written = io.StringIO(newline="")
        csv.writer(written).writerows([field or "NULL"] for field in fields)
        table = pacsv.read_csv(io.BytesIO(written.getvalue().encode()), read_options=pacsv.ReadOptions(column_names=["c"]))
        looks = _LOOKS_LIKE.get(str(table.schema.field(0).type))
        if looks and wrong_column(fields, [looks] * len(fields)) < 0:
            found.append((name, looks))
    return found
