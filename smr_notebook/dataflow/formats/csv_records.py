"""The CSV reader: a dict for each row by the names of its columns, or a list where there are no names.

Rules:

* Fields are text, exactly as `csv.reader` gives them (see `csv_rows`), unless `Dialect.types` says what a column holds.
* Names come from the header of each object, which must be the one that was planned; or, where columns are picked by name, any that
  has these.
* A row has as many fields as there are names. One that has not is an error: what its fields mean is not known.
* Names are distinct and not empty, since a dict would silently lose one.
* Nothing here works field by field: rows are counted, turned and named a block at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from smr_notebook.dataflow.formats.arrow_objects import wanted_columns
from smr_notebook.dataflow.formats.csv_rows import Row, RowBlock, rows_of, shortened
from smr_notebook.dataflow.formats.csv_types import parse_column, parse_field, wrong_column
from smr_notebook.dataflow.formats.lines import BLOCK_BYTES, read_lines
from smr_notebook.dataflow.formats.text_encodings import UTF8
from smr_notebook.dataflow.records import Offsets, RecordBlock, Unreadable
from smr_notebook.errors import InputFormatError, InputMixedError
from smr_notebook.model import PLAINLY, Dialect, Reading, Span
from smr_notebook.ports import InputSource


@dataclass(frozen=True, slots=True)
class NamedRows:
    """Rows of an object behind its header.

    Attributes:
        block: The rows as they stand; of the first block of an object, those that its header takes are among them.
        skipped: How many of its rows are the header, or before it.
        names: Of all columns; none where rows have no names.
    """

    block: RowBlock
    skipped: int
    names: tuple[str, ...]

    @property
    def rows(self) -> list[Row]:
        """The rows behind the header."""
        return self.block.rows[self.skipped :] if self.skipped else self.block.rows


def read_csv(span: Span, source: InputSource, reading: Reading = PLAINLY, *, block_bytes: int = BLOCK_BYTES) -> Iterator[RecordBlock]:
    """Yield the rows that start in a span.

    Args:
        span: What to read. It begins where a row does (see `csv_cuts`), unless every line is a row.
        source: Where to read it.
        reading: How it is written, as the plan says, and whether rows that are none are given in their place.
        block_bytes: About how many bytes are read and decoded at a time.

    Raises:
        InputChangedError: The object is not the one that was planned.
        InputFormatError: A row is none; or the object is not text, an archive, or damaged compressed data.
        InputMissingError: It is gone.
        InputMixedError: Its header is another one than was planned.
        InputReadError: It cannot be read.
    """
    for found in named_rows(span, source, reading, block_bytes=block_bytes):
        records = records_of(found, span, reading)
        block, skipped = found.block, found.skipped
        offsets = Offsets(partial(_offsets, block, reading.dialect, skipped))
        yield RecordBlock(span.key, records, block.lines.size, offsets, block.lines.begin)


def named_rows(
    span: Span,
    source: InputSource,
    reading: Reading,
    *,
    block_bytes: int,
    passes: Callable[[bytes, Dialect], bool] | None = None,
) -> Iterator[NamedRows]:
    """Yield the rows of a span, and what their columns are called. Arguments and errors as of `read_csv`.

    `passes` says of lines behind the header whether they are whole rows, which somebody else parses.
    """
    dialect = reading.dialect
    names = dialect.names
    if 0 < span.start < span.stop and dialect.header and not names:
        names = header_of(span, source, reading)
    left = dialect.skip + dialect.header if span.start == 0 else 0
    some = False
    lines = read_lines(span, source, reading, block_bytes=block_bytes)
    apart = None if passes is None else lambda block: left == 0 and block.encoding is UTF8 and passes(block.data, dialect)
    for block in rows_of(lines, span, dialect, tolerant=reading.tolerant, passes=apart):
        some = some or bool(block.rows)
        skipped = min(left, len(block.rows))
        left -= skipped
        if skipped and not left and dialect.header:
            names = _names_of(block.rows[skipped - 1], span, dialect)
        yield NamedRows(block, skipped, names)
    if left and some:
        raise InputFormatError(
            f"{span.key} ends in the rows that are its header, or before it: skip={dialect.skip}, header={dialect.header}. "
            "Say how many rows to skip, or leave the object out."
        )


def header_of(span: Span, source: InputSource, reading: Reading) -> tuple[str, ...]:
    """Return the names that the header of an object tells, whichever part of it a span is. Raises as `read_csv` does."""
    whole = replace(span, start=0, stop=span.size)
    for found in named_rows(whole, source, reading, block_bytes=BLOCK_BYTES // 4):
        if found.names:
            return found.names
    raise InputFormatError(f"{span.key} has no header: it holds no rows. Leave it out.")


def _names_of(row: Row, span: Span, dialect: Dialect) -> tuple[str, ...]:
    if isinstance(row, Unreadable):
        raise row.error
    names = tuple(row)
    refuse_names(names, span.key)
    if dialect.names and names != dialect.names:
        raise InputMixedError(
            f"{span.key} has another header than was planned: {', '.join(names)} instead of {', '.join(dialect.names)}. "
            "If its first row is no header, read it in a job of its own; if it has the same columns in another order, name those that are "
            "wanted: columns=[…]."
        )
    return names


def refuse_names(names: Sequence[str], key: str) -> None:
    """Refuse names that no dict can tell apart. Raises `InputFormatError`."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if "" in names or twice is not None:
        wrong = f"the column {twice!r} more than once" if twice else f"a column without a name, number {names.index('') + 1}"
        raise InputFormatError(
            f"The header of {key} has {wrong}: {shortened(', '.join(names))}. Give names, and leave the header out: "
            "smr.formats.csv(names=[…], header=False, skip=1)."
        )


def types_of(names: Sequence[str], dialect: Dialect) -> list[str]:
    """Return the type of each column, by its name."""
    types = dict(dialect.types)
    return [types.get(name, "str") for name in names]


def records_of(found: NamedRows, span: Span, reading: Reading) -> list[Any]:
    """Return the records of a block."""
    rows: list[Any] = found.rows
    if not found.names:
        return rows
    wanted = wanted_columns(found.names, reading.columns, span.key)
    types = types_of(wanted, reading.dialect)
    plain = tuple(wanted) == found.names and not any(type_name != "str" for type_name in types)
    width = len(found.names)
    clean = not reading.tolerant or not any(type(row) is Unreadable for row in rows)
    if not clean or set(map(len, rows)) - {width}:
        return [_record(found, index, span, reading) for index in range(len(rows))]
    if plain:
        return [dict(zip(wanted, row, strict=True)) for row in rows]
    columns = dict(zip(found.names, zip(*rows, strict=True), strict=True)) if rows else {}
    try:
        values = [parse_column(columns[name], type_name) for name, type_name in zip(wanted, types, strict=True)] if rows else []
    except (ValueError, ArithmeticError):
        return [_record(found, index, span, reading) for index in range(len(rows))]
    return [dict(zip(wanted, row, strict=True)) for row in zip(*values, strict=True)]


def _record(found: NamedRows, index: int, span: Span, reading: Reading) -> object:
    """Return one record, or what stands in its place."""
    row = found.rows[index]
    if isinstance(row, Unreadable):
        return row
    wrong = _wrong(found, row, reading)
    if not wrong:
        wanted = wanted_columns(found.names, reading.columns, span.key)
        fields = dict(zip(found.names, row, strict=True))
        types = types_of(wanted, reading.dialect)
        return {name: parse_field(fields[name], type_name) for name, type_name in zip(wanted, types, strict=True)}
    place, text = found.block.told(span, reading.dialect, found.skipped + index)
    error = InputFormatError(f"{place} {wrong} It reads {shortened(text)}. Mend the row, or pass over such rows: on_error='skip'.")
    if not reading.tolerant:
        raise error
    return Unreadable(text, error)


def _wrong(found: NamedRows, row: list[str], reading: Reading) -> str:
    """Return what is wrong with a row; empty if nothing is."""
    if len(row) != len(found.names):
        return f"has {len(row):,} fields where the header has {len(found.names):,} ({shortened(', '.join(found.names))})."
    wanted = reading.columns or found.names
    fields = dict(zip(found.names, row, strict=True))
    types = types_of(wanted, reading.dialect)
    wrong = wrong_column([fields[name] for name in wanted], types)
    return f"has {shortened(fields[wanted[wrong]])} in the column {wanted[wrong]!r}, which is no {types[wrong]}." if wrong >= 0 else ""


def _offsets(block: RowBlock, dialect: Dialect, skipped: int) -> list[int]:
    """Return the byte offset of each record."""
    starts = [offset for offset, _ in block.lines.starts()]
    return [starts[start] for start, _ in block.places(dialect)[skipped:]]
