"""Values of columns as Python's own, each as it is or not at all: what JSON, lines of text and items are made of.

Rules of this module:

* pyarrow cuts a time of day behind its microseconds, and says nothing. So that is looked for.
* Python has the years 1 to 9999. What is beyond them is refused in CSV, too, which pyarrow writes without Python, and not always as a date.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from smr_notebook.errors import ConfigError

_EPOCH: Final = date(1970, 1, 1)
_FIRST, _LAST = (date.min - _EPOCH).days, (date.max - _EPOCH).days
_A_DAY: Final = {unit: 86_400 * count for unit, count in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9))}


def python_values(column: Any, name: str) -> list[Any]:
    """Return the values of a column.

    Args:
        column: Of Arrow, in chunks.
        name: What it is called, for the message.

    Raises:
        ConfigError: Python does not hold one of them exactly.
    """
    try:
        for chunk in column.chunks:
            _check_times_of_day(chunk)
    except pa.ArrowInvalid:
        raise ConfigError(
            f"The column {name!r} has a time of day finer than a microsecond. Round it in reduce, or write .parquet."
        ) from None
    try:
        values: list[Any] = column.to_pylist()
    except (OverflowError, ValueError):
        raise beyond(name) from None
    return values


def python_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return rows as dicts. Raises as `python_values` does."""
    names = table.schema.names
    columns = [python_values(column, name) for name, column in zip(names, table.columns, strict=True)]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def check_years(table: pa.Table) -> None:
    """Raise `ConfigError` where a column has a date or a time with date that is beyond the years of Python."""
    for name, column in zip(table.schema.names, table.columns, strict=True):
        found: Any
        if pa.types.is_date32(column.type):
            found, a_day = pc.min_max(column.cast(pa.int32())).as_py(), 1
        elif pa.types.is_timestamp(column.type):
            found, a_day = pc.min_max(column.cast(pa.int64())).as_py(), _A_DAY[column.type.unit]
        else:
            continue
        if found["min"] is not None and not (_FIRST * a_day <= found["min"] and found["max"] < (_LAST + 1) * a_day):
            raise beyond(name)


def beyond(name: str) -> ConfigError:
    """Return the error that a column has what Python has no date for."""
    return ConfigError(f"The column {name!r} has a date or a time beyond the years 1 to 9999. Write .parquet.")


def _check_times_of_day(values: Any) -> None:
    """Raise `pa.ArrowInvalid` where there is a time of day, however deep inside, that is finer than a microsecond."""
    type = values.type
    if type.equals(pa.time64("ns")):
        values.cast(pa.time64("us"))
        return
    inside = next((parts for known, parts in _INSIDE if known(type)), None)
    for part in inside(values) if inside else ():
        _check_times_of_day(part)


_INSIDE: Final[tuple[tuple[Callable[[pa.DataType], bool], Callable[[Any], list[Any]]], ...]] = (
    (pa.types.is_struct, lambda values: list(values.flatten())),
    (pa.types.is_map, lambda values: [values.keys, values.items]),
    (pa.types.is_list, lambda values: [values.flatten()]),
    (pa.types.is_large_list, lambda values: [values.flatten()]),
    (pa.types.is_fixed_size_list, lambda values: [values.flatten()]),
)
"""What values consist of, by their type."""
