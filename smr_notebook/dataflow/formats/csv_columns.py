"""Columns of CSV: Arrow arrays of the columns that are asked for, with the values that the records have.

Theory. `pyarrow.csv` parses eight times as fast as `csv.reader`, and reads most text alike; what is broken or unusual it reads somehow.
So a look at the quotes alone, as numbers, tells which lines are plainly whole rows; it parses those, and `csv.reader` all others.

Rules:

* Lines are plain when each quote stands where strict CSV has one, each carriage return before a line feed, and nothing is escaped. Then
  both parsers agree, up to rows of another width, which pyarrow refuses and `csv.reader` tells.
* A column is text, `int64`, `double`, `bool` or `date32`, by its type; of other types, and where a number is too large, a list of exact
  Python values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from smr_notebook.dataflow.formats.arrow_objects import wanted_columns
from smr_notebook.dataflow.formats.csv_records import NamedRows, named_rows, records_of, types_of
from smr_notebook.dataflow.formats.csv_rows import parsed
from smr_notebook.dataflow.formats.csv_types import parse_column
from smr_notebook.dataflow.formats.lines import LineBlock
from smr_notebook.errors import InputFormatError
from smr_notebook.model import Dialect, Reading, Span
from smr_notebook.ports import InputSource

BLOCK_BYTES: Final = 1 << 20

Column = Any
"""A `pa.Array`, or a list."""

_ARROW: Final[Mapping[str, pa.DataType]] = MappingProxyType(
    {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "date": pa.date32()}
)
_LF, _CR = b"\n\r"


@dataclass(frozen=True, slots=True)
class CsvColumns:
    """Some rows as columns.

    Attributes:
        lines: The lines that they stand on.
        columns: By name.
        rows: How many there are.
    """

    lines: LineBlock
    columns: dict[str, Column]
    rows: int


def read_csv_columns(
    span: Span, source: InputSource, reading: Reading, columns: Sequence[str] | None, *, block_bytes: int = BLOCK_BYTES
) -> Iterator[CsvColumns]:
    """Yield the rows that start in a span, as columns.

    Args:
        span: What to read, as of `csv_records.read_csv`.
        source: Where to read it.
        reading: How it is written, as the plan says.
        columns: Names of those that are read, in this order; `None` for all.
        block_bytes: About how many bytes are read and decoded at a time.

    Raises:
        InputError: As of `csv_records.read_csv`; the rows have no names, or not these.
    """
    refuse_unnamed(reading, span.key)
    strict = replace(reading, tolerant=False)
    for found in named_rows(span, source, strict, block_bytes=block_bytes, passes=well_formed):
        if not found.names:  # the header is still to come
            yield CsvColumns(found.block.lines, {}, 0)
            continue
        wanted = () if columns == () else wanted_columns(found.names, reading.columns if columns is None else columns, span.key)
        yield _fast(found, wanted, strict) or _slow(found, wanted, span, strict)


def refuse_unnamed(reading: Reading, key: str) -> None:
    """Refuse columns that nobody names. Raises `InputFormatError`."""
    if not (reading.dialect.header or reading.dialect.names):
        raise InputFormatError(f"{key} is CSV without names for its columns. Give them: smr.formats.csv(names=[…], header=False).")


def well_formed(data: bytes, dialect: Dialect) -> bool:
    """Whether lines are plainly whole rows, which every parser reads alike.

    Args:
        data: The lines.
        dialect: How they are written.
    """
    if dialect.escape or not (dialect.delimiter + dialect.quote).isascii() or b"\0" in data:
        return False
    if b"\r" in data and data.count(b"\r") != data.count(b"\r\n"):
        return False
    quote = dialect.quote.encode()
    if not quote or quote not in data:
        return True
    octets = np.frombuffer(b"\n" + data + b"\n", np.uint8)
    places = np.flatnonzero(octets == quote[0])
    if not dialect.doubled or len(places) % 2:
        return False
    opens, closes = places[0::2], places[1::2]
    before, behind, delimiter = octets[opens - 1], octets[closes + 1], ord(dialect.delimiter)
    begins = (before == delimiter) | (before == _LF)
    ends = (behind == delimiter) | (behind == _LF) | (behind == _CR)
    doubled = opens[1:] == closes[:-1] + 1
    begins[1:] |= doubled
    ends[:-1] |= doubled
    inside = np.searchsorted(places, np.flatnonzero(octets == _LF)) % 2
    return bool(begins.all() and ends.all() and (dialect.newlines or not inside.any()))


def _fast(found: NamedRows, wanted: Sequence[str], reading: Reading) -> CsvColumns | None:
    """Return columns as pyarrow parses them; `None` where `csv.reader` must look."""
    data = found.block.lines.data
    if found.block.parsed or not data.strip(b"\r\n"):
        return None
    dialect = reading.dialect
    try:
        table = pacsv.read_csv(
            pa.BufferReader(data),  # type: ignore[arg-type]
            read_options=pacsv.ReadOptions(column_names=list(found.names), use_threads=False, block_size=len(data) + 1),
            parse_options=pacsv.ParseOptions(
                delimiter=dialect.delimiter, quote_char=dialect.quote or False, escape_char=False, newlines_in_values=True
            ),
            convert_options=pacsv.ConvertOptions(column_types=dict.fromkeys(wanted, pa.string()), include_columns=list(wanted)),
        )
        types = types_of(wanted, dialect)
        columns = {name: _typed(column, type_name) for name, column, type_name in zip(wanted, table.columns, types, strict=True)}
    except (pa.ArrowException, ValueError, ArithmeticError):
        return None
    return CsvColumns(found.block.lines, columns, table.num_rows)


def _typed(column: Any, type_name: str) -> Column:
    if type_name == "str":
        combined = column.combine_chunks()
        return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)
    return _column(parse_column(column.to_pylist(), type_name), type_name)


def _column(values: Sequence[Any], type_name: str) -> Column:
    if type_name not in _ARROW:
        return list(values)
    try:
        return pa.array(values, _ARROW[type_name])
    except (pa.ArrowException, OverflowError):
        return list(values)


def _slow(found: NamedRows, wanted: Sequence[str], span: Span, reading: Reading) -> CsvColumns:
    """Return columns of the records that `csv_records` gives."""
    block = found.block if found.block.parsed else parsed(found.block, span, reading.dialect)
    records = records_of(replace(found, block=block), span, replace(reading, columns=tuple(wanted)))
    types = types_of(wanted, reading.dialect)
    columns = {name: _column([record[name] for record in records], type_name) for name, type_name in zip(wanted, types, strict=True)}
    return CsvColumns(block.lines, columns, len(records))
