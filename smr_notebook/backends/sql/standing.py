"""Tables that stand already, and to which rows are added: whether they hold the rows exactly.

A database that rounds floats to a column of integers, cuts text at the length of a column or fills it up with spaces says nothing of it. So
columns of a table must be of the sort of the result's, and as wide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from smr_notebook.backends.sql.dialects import SqlColumn
from smr_notebook.errors import ConfigError


def check_columns(standing: Mapping[str, TypeEngine[Any]], columns: Sequence[SqlColumn], *, table: str, dialect: str) -> None:
    """Refuse a table that lacks a column, or has one of another sort.

    Args:
        standing: Types of the columns that the table has.
        columns: Those of the result.
        table: Its name, for messages.
        dialect: Of the database.

    Raises:
        ConfigError: So it is.
    """
    for column in columns:
        if column.name not in standing:
            close = get_close_matches(column.name, standing, n=1)
            meant = f" (it has {close[0]!r})" if close else ""
            raise ConfigError(
                f"to_sql: the table {table!r} has no column {column.name!r}{meant}. Rename it in reduce, or add it to the table."
            )
        type = standing[column.name]
        if column.sort != "nothing" and not _HOLDS[column.sort](type, column, dialect):
            raise ConfigError(
                f"to_sql: the column {column.name!r} of the table {table!r} is {type!r}, which does not hold values as "
                f"{column.type!r} does. Change the column, or write to another table."
            )


def check_lengths(standing: Mapping[str, TypeEngine[Any]], columns: Sequence[SqlColumn], batch: pa.Table, *, table: str) -> None:
    """Refuse texts and bytes that are longer than their columns. Raises `ConfigError`."""
    for column, values in zip(columns, batch.columns, strict=True):
        length = getattr(standing[column.name], "length", None)
        if column.sort not in _LENGTHS or not isinstance(length, int):
            continue
        longest = pc.max(_LENGTHS[column.sort](values)).as_py() or 0
        if longest > length:
            raise ConfigError(
                f"to_sql: the column {column.name!r} of the table {table!r} holds {length:,} characters, and a value has {longest:,}. "
                "Make the column wider."
            )


_LENGTHS: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {
        "text": lambda values: pc.utf8_length(values.cast(pa.large_string())),
        "binary": lambda values: pc.binary_length(values.cast(pa.large_binary())),
    }
)


def _float(type: TypeEngine[Any], _: SqlColumn, dialect: str) -> bool:
    if dialect == "sqlite":
        return isinstance(type, sa.Float | sa.REAL)
    return isinstance(type, sa.Double) or (dialect == "mssql" and isinstance(type, sa.Float) and type.precision in {None, 53})


def _text(type: TypeEngine[Any], _: SqlColumn, dialect: str) -> bool:
    wide = isinstance(type, sa.Unicode | sa.UnicodeText) or dialect != "mssql"
    return wide and isinstance(type, sa.String) and not isinstance(type, sa.CHAR | sa.NCHAR | sa.Enum)


def _boolean(type: TypeEngine[Any], _: SqlColumn, dialect: str) -> bool:
    return isinstance(type, sa.Boolean) or (dialect in {"mysql", "mariadb"} and isinstance(type, mysql.TINYINT))


def _decimal(type: TypeEngine[Any], column: SqlColumn, _: str) -> bool:
    wanted = column.type
    if not isinstance(type, sa.Numeric) or isinstance(type, sa.Float) or not isinstance(wanted, sa.Numeric):
        return False
    if type.precision is None:
        return True
    scale, ours = type.scale or 0, wanted.scale or 0
    return scale >= ours and type.precision - scale >= (wanted.precision or 0) - ours


def _moment(type: TypeEngine[Any], column: SqlColumn, dialect: str) -> bool:
    kind = sa.Time if column.sort == "time" else sa.DateTime
    if not isinstance(type, kind) or bool(getattr(type, "timezone", False)) != (column.sort == "zoned"):
        return False
    digits = getattr(type, "fsp", None) if dialect in {"mysql", "mariadb"} else getattr(type, "precision", 6)
    return digits in ({6} if dialect in {"mysql", "mariadb"} else {None, 6, 7})


_HOLDS: Final[Mapping[str, Callable[[TypeEngine[Any], SqlColumn, str], bool]]] = MappingProxyType(
    {
        "integer": lambda held, _column, _dialect: isinstance(held, sa.Integer),
        "float": _float,
        "text": _text,
        "binary": lambda held, _column, _dialect: isinstance(held, sa.LargeBinary | sa.VARBINARY),
        "boolean": _boolean,
        "date": lambda held, _column, _dialect: isinstance(held, sa.Date),
        "time": _moment,
        "timestamp": _moment,
        "zoned": _moment,
        "decimal": _decimal,
    }
)
"""Whether a type of a database holds what a column has, by the sort of its values."""
