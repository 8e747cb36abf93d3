"""Tables as text files: CSV, JSON lines, and lines of text as Hadoop writes them.

Rules of this module:

* A value is written so that its reader can tell it, or not at all: a missing value is an empty field of CSV and `null` in JSON, text stands
  in quotes; NaN and infinite numbers are written as Python's `json` writes and reads them.
* Durations and bytes have no form of their own in text: they are refused, in CSV too.
* A line of text is the fields of a row with tabs between them: text as it is, numbers as Python writes them, times in ISO 8601, `true` and
  `false`, and nothing for what is missing. A text that would read as something else than one field is refused.
* One batch is in memory at a time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pacsv

from smr_notebook.dataflow.export_values import check_years, python_rows, python_values
from smr_notebook.errors import ConfigError


def write_csv(tables: Iterable[pa.Table], schema: pa.Schema, file: Path) -> None:
    """Write tables of one schema as CSV with a header. Raises `ConfigError` where a column has values that CSV cannot hold."""
    for field in schema:
        if any(known(field.type) for known in _UNTOLD):
            raise ConfigError(f"The result has a column that CSV cannot hold: {field.name!r} is {field.type}. Write .parquet.")
    try:
        with pacsv.CSVWriter(file, schema) as writer:
            for table in tables:
                check_years(table)
                writer.write_table(table)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        reason = str(error).splitlines()[0].rstrip(". ")
        raise ConfigError(f"The result has a column that CSV cannot hold: {reason}. Write .jsonl or .parquet.") from error


def write_jsonl(tables: Iterable[pa.Table], schema: pa.Schema, file: Path) -> None:  # noqa: ARG001 - the face of a writer
    """Write tables as JSON lines, an object for each row. Raises `ConfigError` where a value has no form in JSON."""
    with file.open("w", encoding="utf-8", newline="\n") as sink:
        for table in tables:
            for row in python_rows(table):
                sink.write(json.dumps(row, ensure_ascii=False, default=_plain))
                sink.write("\n")


def write_text(tables: Iterable[pa.Table], schema: pa.Schema, file: Path) -> None:
    """Write tables as lines, their fields with tabs between them. Raises `ConfigError` where a value does not go into a field."""
    with file.open("w", encoding="utf-8", newline="\n") as sink:
        for table in tables:
            columns = [
                [_field(value, name) for value in python_values(column, name)]
                for name, column in zip(schema.names, table.columns, strict=True)
            ]
            sink.writelines("\t".join(row) + "\n" for row in zip(*columns, strict=True))


WRITERS: Final[Mapping[str, Callable[[Iterable[pa.Table], pa.Schema, Path], None]]] = MappingProxyType(
    {".csv": write_csv, ".jsonl": write_jsonl, ".txt": write_text}
)
"""By how a name ends."""

_UNTOLD: Final = (pa.types.is_duration, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
"""What pyarrow writes as numbers without a unit, and as text; a reader could not tell that it was none."""

_BREAKS: Final = re.compile(r"[\t\r\n]")


def _field(value: Any, name: str) -> str:
    """Return a value as a field of a line."""
    if isinstance(value, str):
        if _BREAKS.search(value):
            raise ConfigError(
                f"The column {name!r} has a text with a tab or a line end in it, which would break its line. Write .csv or .jsonl."
            )
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return str(value)
    if isinstance(value, date | time):
        return value.isoformat()
    raise ConfigError(f"The column {name!r} has a value that a line of text cannot hold: {type(value).__name__}. Write .jsonl or .parquet.")


def _plain(value: Any) -> str:
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise ConfigError(f"The result has a value that JSON cannot hold: {type(value).__name__}. Write .parquet.")
