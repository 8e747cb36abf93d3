"""A result as a table of a database: all of it or nothing, in one transaction.

Rules of this module:

* What the table is to be is known, and checked, before the first row is sent. Rows are sent in batches: one is in memory at a time.
* A database that commits changes of tables at once (`Dialect.staged`) is given the rows under a name that nobody knows, and the name in one
  step when all are there. Where rows are added to a table that stands, nothing of tables changes, and one transaction is enough.
* SQLite begins a transaction by itself only with the first row, behind the table: so it is told to.
* Whether a commit went through whose reply was lost nobody knows, and the error says so. To add rows twice is to have them twice.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateTable, DropTable
from sqlalchemy.types import TypeEngine

from smr_notebook.backends.sql.dialects import DIALECTS, SqlColumn, columns_of
from smr_notebook.backends.sql.engines import name_of, opened, telling
from smr_notebook.backends.sql.standing import check_columns, check_lengths
from smr_notebook.errors import ConfigError, StoreError

_POLICIES: Final = ("fail", "append", "replace")


@dataclass(frozen=True, slots=True)
class WrittenTable:
    """What `Job.to_sql` wrote.

    Attributes:
        database: Which one, without user and password.
        table: The table.
        rows: How many rows were written.
    """

    database: str
    table: str
    rows: int


@contextmanager
def sql_sink(database: object, table: object, *, if_exists: object, schema: object) -> Iterator[SqlSink]:
    """Give what writes to a table.

    Args:
        database: A URL of SQLAlchemy, or an engine.
        table: Name of the table.
        if_exists: What becomes of one that stands: `fail`, `append` or `replace`.
        schema: Where it stands in the database; `None` for where the database puts it.

    Raises:
        ConfigError: One of these makes no sense.
    """
    if if_exists not in _POLICIES:
        raise ConfigError(f"to_sql: if_exists={if_exists!r} is not known. Use {', '.join(map(repr, _POLICIES))}.")
    if not isinstance(table, str) or not table:
        raise ConfigError(f"to_sql: the table is {table!r}. Give its name, as text.")
    place = schema if isinstance(schema, str) else None
    if schema is not None and not place:
        raise ConfigError(f"to_sql: the schema is {schema!r}. Give its name, as text, or leave it out.")
    with opened(database) as engine:
        _check_lasts(engine, table, place or "")
        yield SqlSink(engine, table, str(if_exists), place)


@dataclass(frozen=True, slots=True)
class SqlSink:
    """Writes to one table."""

    engine: sa.Engine
    table: str
    if_exists: str
    schema: str | None

    def check(self) -> None:
        """Raise `ConfigError` where a table stands that must not, and `StoreError` where the database cannot be asked."""
        _check_name(self.table, self.engine)
        with telling(self.engine, f"to_sql: looking for the table {self.table!r}"), self.engine.connect() as connection:
            self._standing(connection)

    def write(self, arrow: pa.Schema, batches: Iterable[pa.Table]) -> WrittenTable:
        """Write all rows, or none.

        Args:
            arrow: The columns.
            batches: The rows, some at a time.

        Raises:
            ConfigError: The database does not hold a value exactly, a table stands that must not, or one that lacks a column.
            StoreError: The database failed.
        """
        columns = columns_of(arrow, self.engine.dialect.name)
        for column in columns:
            _check_name(column.name, self.engine)
        doing = f"to_sql: writing the table {self.table!r}"
        with telling(self.engine, doing), self.engine.connect() as connection:
            _begin(connection)
            standing = self._standing(connection)
            if standing is not None and self.if_exists == "append":
                check_columns(standing, columns, table=self.table, dialect=self.engine.dialect.name)
                rows = self._insert(connection, self._made(self.table, columns), columns, batches, standing)
                self._commit(connection)
            elif DIALECTS[self.engine.dialect.name].staged:
                rows = self._write_staged(connection, columns, batches, replaces=standing is not None)
            else:
                made = self._made(self.table, columns)
                if standing is not None:
                    connection.execute(DropTable(made))
                connection.execute(CreateTable(made))
                rows = self._insert(connection, made, columns, batches)
                self._commit(connection)
        return WrittenTable(name_of(self.engine), self.table, rows)

    def _standing(self, connection: sa.Connection) -> dict[str, TypeEngine[Any]] | None:
        """Return the columns of the table that stands, if one does. Raises `ConfigError` if it must not."""
        look = sa.inspect(connection)
        if not look.has_table(self.table, schema=self.schema):
            return None
        if self.if_exists == "fail":
            raise ConfigError(
                f"to_sql: {name_of(self.engine)} has a table {self.table!r} already. Give another name, or say what becomes of it: "
                'if_exists="append" or "replace".'
            )
        return {column["name"]: column["type"] for column in look.get_columns(self.table, schema=self.schema)}

    def _made(self, name: str, columns: Sequence[SqlColumn]) -> sa.Table:
        made = [sa.Column(column.name, column.type, key=f"c{place}") for place, column in enumerate(columns)]
        return sa.Table(name, sa.MetaData(), *made, schema=self.schema)

    def _insert(
        self,
        connection: sa.Connection,
        made: sa.Table,
        columns: Sequence[SqlColumn],
        batches: Iterable[pa.Table],
        standing: Mapping[str, TypeEngine[Any]] | None = None,
    ) -> int:
        count, insert, keys = 0, sa.insert(made), [f"c{place}" for place in range(len(columns))]
        for batch in batches:
            if standing is not None:
                check_lengths(standing, columns, batch, table=self.table)
            values = [column.values(found) for column, found in zip(columns, batch.columns, strict=True)]
            rows = [dict(zip(keys, row, strict=True)) for row in zip(*values, strict=True)]
            if rows:
                connection.execute(insert, rows)
                count += len(rows)
        return count

    def _write_staged(self, connection: sa.Connection, columns: Sequence[SqlColumn], batches: Iterable[pa.Table], *, replaces: bool) -> int:
        staging, before = (f"smr_{secrets.token_hex(8)}" for _ in range(2))
        made = self._made(staging, columns)
        try:
            connection.execute(CreateTable(made))
            rows = self._insert(connection, made, columns, batches)
            self._commit(connection)
            connection.exec_driver_sql(renaming(connection.dialect, self.schema, staging, self.table, before if replaces else None))
        except BaseException:
            with suppress(SQLAlchemyError):
                connection.rollback()
                connection.execute(DropTable(made, if_exists=True))
            raise
        if replaces:
            with suppress(SQLAlchemyError):  # the new table stands; what is left over is called smr_…
                connection.execute(DropTable(self._made(before, columns)))
        return rows

    def _commit(self, connection: sa.Connection) -> None:
        try:
            connection.commit()
        except SQLAlchemyError:
            raise StoreError(
                f"to_sql: {name_of(self.engine)} did not answer to the commit of the table {self.table!r}. Look whether all rows stand, or "
                "none: there is nothing between."
            ) from None


def renaming(dialect: sa.Dialect, schema: str | None, staging: str, table: str, before: str | None) -> str:
    """Return the statement of MySQL that gives a table its name in one step, and another name to the one that had it."""
    names = [(table, before), (staging, table)] if before else [(staging, table)]
    place, quoted = (f"{dialect.identifier_preparer.quote(schema)}." if schema else ""), dialect.identifier_preparer.quote
    return "RENAME TABLE " + ", ".join(f"{place}{quoted(one)} TO {place}{quoted(other)}" for one, other in names)


def _begin(connection: sa.Connection) -> None:
    _check_transactions(connection)
    connection.begin()  # in which an engine may have told SQLite so already
    name = connection.dialect.name
    if name == "sqlite":
        if not getattr(connection.connection.dbapi_connection, "in_transaction", True):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif name in {"mysql", "mariadb"}:  # else it cuts what is too long, and says nothing
        connection.exec_driver_sql("SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')")


def _check_transactions(connection: sa.Connection) -> None:
    """Raise `ConfigError` where an engine commits each statement. SQLite is told where a transaction begins, whatever the engine does.

    But for a connection of Python 3.12 with `autocommit=True`: it is deaf to a commit, and would take all back when it is closed.
    """
    held: Any = connection.connection.dbapi_connection
    if connection.dialect.name == "sqlite":
        if getattr(held, "autocommit", False) is True:
            raise ConfigError("to_sql: a SQLite connection with autocommit=True commits nothing that is told to. Give one without it.")
        return
    try:
        commits = connection.dialect.detect_autocommit_setting(held)
    except (RuntimeError, AttributeError):  # it does not know, or SQLAlchemy is older
        commits = connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
    if commits:
        raise ConfigError(
            "to_sql: the engine commits each statement by itself, so that nothing could be taken back. Give one without "
            'isolation_level="AUTOCOMMIT".'
        )


def _check_lasts(engine: sa.Engine, table: str, schema: str) -> None:
    """Raise `ConfigError` for a table that is gone with its connection."""
    fleeting = {"sqlite": schema.lower() == "temp", "postgresql": schema.lower().startswith("pg_temp"), "mssql": table.startswith("#")}
    if fleeting.get(engine.dialect.name):
        raise ConfigError(f"to_sql: the table {f'{schema}.' if schema else ''}{table} is gone with its connection. Give another name.")


def _check_name(name: str, engine: sa.Engine) -> None:
    longest, size = engine.dialect.max_identifier_length, len(name.encode(errors="ignore"))
    if not 0 < size <= longest or "\0" in name or name != name.encode(errors="ignore").decode():
        raise ConfigError(
            f"to_sql: {name!r} cannot name a table or column of {name_of(engine)}: names have 1 to {longest} bytes. Give another one."
        )
