"""Columns of a database: which type holds each value of an Arrow column exactly, in which database; else there is none.

| column | type |
|---|---|
| integers | `BIGINT`; of more than 64 bits with sign: refused |
| floats | double precision; NaN and infinite ones in PostgreSQL alone |
| text, bytes | of any length |
| booleans, dates, times, times with date | with microseconds |
| times with date and zone | in PostgreSQL alone, which keeps the moment, not the zone |
| decimals | `NUMERIC` of their digits; refused in SQLite, which would make floats of them |
| nothing but missing values | text |

Lists, structs and durations have no such type. MySQL and MariaDB commit each change of tables at once, whatever transaction is open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.dialects import mssql, mysql
from sqlalchemy.types import TypeEngine

from smr_notebook.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a database does to values.

    Attributes:
        types: What holds each sort of values; what it does not name it cannot hold.
        digits: Most digits of a decimal, and most of them behind the point; zeros where it holds none exactly.
        finite: Whether floats must be finite.
        folds: Whether names of columns that differ in case alone are one name.
        staged: Whether it commits changes of tables at once.
    """

    types: Mapping[str, TypeEngine[Any]]
    digits: tuple[int, int] = (0, 0)
    finite: bool = True
    folds: bool = True
    staged: bool = False


_PLAIN: Final[Mapping[str, TypeEngine[Any]]] = MappingProxyType(
    {
        "integer": sa.BigInteger(),
        "float": sa.Double(),
        "text": sa.Text(),
        "binary": sa.LargeBinary(),
        "boolean": sa.Boolean(),
        "date": sa.Date(),
        "time": sa.Time(),
        "timestamp": sa.DateTime(),
        "nothing": sa.Text(),
    }
)
_MYSQL: Final = Dialect(
    {
        **_PLAIN,
        "float": mysql.DOUBLE(asdecimal=False),
        "text": mysql.LONGTEXT(charset="utf8mb4"),
        "binary": mysql.LONGBLOB(),
        "time": mysql.TIME(fsp=6),
        "timestamp": mysql.DATETIME(fsp=6),
        "nothing": mysql.LONGTEXT(charset="utf8mb4"),
    },
    digits=(65, 30),
    staged=True,
)
_MSSQL: Final = {
    **_PLAIN,
    "float": mssql.FLOAT(53),
    "text": mssql.NVARCHAR(),
    "binary": mssql.VARBINARY("max"),  # type: ignore[no-untyped-call]
    "date": sa.DATE(),
    "time": mssql.TIME(6),  # type: ignore[no-untyped-call]
    "timestamp": mssql.DATETIME2(6),  # type: ignore[no-untyped-call]
    "nothing": mssql.NVARCHAR(),
}

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {
        "sqlite": Dialect(_PLAIN),
        "postgresql": Dialect({**_PLAIN, "zoned": sa.DateTime(timezone=True)}, digits=(1000, 1000), finite=False, folds=False),
        "mysql": _MYSQL,
        "mariadb": _MYSQL,
        "mssql": Dialect(_MSSQL, digits=(38, 38)),
    }
)
"""By SQLAlchemy's name of it."""


@dataclass(frozen=True, slots=True)
class SqlColumn:
    """A column of the result, and of the table.

    Attributes:
        name: What it is called.
        sort: What its values are.
        type: What holds them.
        arrow: The type of Arrow whose Python values the database is given.
        finite: Whether its values must be finite.
    """

    name: str
    sort: str
    type: TypeEngine[Any]
    arrow: pa.DataType
    finite: bool = False

    def values(self, column: Any) -> list[Any]:
        """Return the values of an Arrow column as the database is given them. Raises `ConfigError` where one is not held exactly."""
        plain = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        try:
            cast = plain if plain.type.equals(self.arrow) else plain.cast(self.arrow)
        except pa.ArrowInvalid as error:
            reason = str(error).splitlines()[0].rstrip(". ")
            raise ConfigError(f"to_sql: the column {self.name!r} has a value that the database cannot hold exactly: {reason}.") from None
        if self.finite and pc.any(pc.invert(pc.is_finite(cast))).as_py():
            raise ConfigError(
                f"to_sql: the column {self.name!r} has a float that is not finite (NaN or inf), which the database does not hold. "
                "Give None, a missing value, in its place."
            )
        try:
            values: list[Any] = cast.to_pylist()
        except (OverflowError, ValueError):
            raise ConfigError(f"to_sql: the column {self.name!r} has a date or a time beyond the years 1 to 9999.") from None
        return values


def columns_of(schema: pa.Schema, dialect: str) -> list[SqlColumn]:
    """Return the columns of a table for a schema.

    Raises:
        ConfigError: The database does not hold a column exactly, or takes two names for one.
    """
    seen: dict[str, str] = {}
    for name in schema.names if DIALECTS[dialect].folds else ():
        before = seen.setdefault(name.casefold(), name)
        if before != name:
            raise ConfigError(f"to_sql: the columns {before!r} and {name!r} have one name for {dialect}. Rename one in reduce.")
    return [_column(field.name, field.type, dialect) for field in schema]


def _column(name: str, type: Any, dialect: str) -> SqlColumn:
    rules = DIALECTS[dialect]
    if pa.types.is_dictionary(type):
        type = type.value_type
    if pa.types.is_decimal(type):
        return _decimal(name, type, dialect)
    sort, arrow = next((made(type) for known, made in _SORTS if known(type)), ("", type))
    if sort not in rules.types:
        other = " Convert it to UTC without a zone." if sort == "zoned" else " Make columns of it, or text, in reduce."
        raise ConfigError(f"to_sql: the column {name!r} has values of type {type}, which {dialect} does not hold exactly.{other}")
    return SqlColumn(name, sort, rules.types[sort], arrow, finite=sort == "float" and rules.finite)


def _decimal(name: str, type: Any, dialect: str) -> SqlColumn:
    most, behind = DIALECTS[dialect].digits
    if type.precision > most or not 0 <= type.scale <= behind:
        told = f"decimals of {type.precision} digits, {type.scale} behind the point"
        raise ConfigError(
            f"to_sql: the column {name!r} has {told}, which {dialect} does not hold exactly. Give integers, or text, in reduce."
        )
    return SqlColumn(name, "decimal", sa.Numeric(type.precision, type.scale, asdecimal=True), type)


_Known = Callable[[pa.DataType], bool]
_Sorted = Callable[[pa.DataType], tuple[str, pa.DataType]]


def _timestamp(type: Any) -> tuple[str, pa.DataType]:
    return ("zoned" if type.tz else "timestamp"), pa.timestamp("us", type.tz)


_SORTS: Final[tuple[tuple[_Known, _Sorted], ...]] = (
    (pa.types.is_null, lambda arrow: ("nothing", arrow)),
    (pa.types.is_boolean, lambda arrow: ("boolean", arrow)),
    (pa.types.is_integer, lambda _: ("integer", pa.int64())),
    (pa.types.is_floating, lambda _: ("float", pa.float64())),
    (lambda arrow: pa.types.is_string(arrow) or pa.types.is_large_string(arrow), lambda arrow: ("text", arrow)),
    (lambda arrow: pa.types.is_binary(arrow) or pa.types.is_large_binary(arrow), lambda arrow: ("binary", arrow)),
    (pa.types.is_date, lambda _: ("date", pa.date32())),
    (pa.types.is_time, lambda _: ("time", pa.time64("us"))),
    (pa.types.is_timestamp, _timestamp),
)
"""What tells each sort of values, and the type of Arrow whose Python values a database is given."""
