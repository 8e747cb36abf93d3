"""A result as a table of a database: each value exact or refused, all rows or none, no secret in a message."""

from __future__ import annotations

import math
import pickle
import signal
import sqlite3
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import registry
from sqlalchemy.pool import StaticPool
from sqlalchemy.schema import CreateTable

from smr_notebook.backends.sql.dialects import DIALECTS, columns_of
from smr_notebook.backends.sql.engines import name_of, telling
from smr_notebook.backends.sql.sink import WrittenTable, renaming, sql_sink
from smr_notebook.backends.sql.standing import check_columns
from smr_notebook.errors import ConfigError, SmrError, StoreError


def write(
    database: object, table: pa.Table, *, name: str = "t", if_exists: str = "fail", rows: int = 2, schema: str | None = None
) -> WrittenTable:
    with sql_sink(database, name, if_exists=if_exists, schema=schema) as sink:
        sink.check()
        return sink.write(table.schema, (pa.Table.from_batches([batch]) for batch in table.to_batches(max_chunksize=rows)))


def read(url: str, name: str = "t") -> list[dict[str, Any]]:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        table = sa.Table(name, sa.MetaData(), autoload_with=connection)
        return [dict(row._mapping) for row in connection.execute(sa.select(table))]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/some.db"


VALUES = (
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    st.binary(max_size=6),
    st.booleans(),
    st.dates(),
    st.times(),
    st.datetimes(),
)
COLUMNS = st.dictionaries(
    st.sampled_from(["key", "value", "a b", "select", "x:y", "p(q)", "é%s", 'quo"te', "100%"]),
    st.one_of(*(st.lists(st.none() | values, min_size=3, max_size=3) for values in VALUES)),
    min_size=1,
    max_size=4,
)


@settings(max_examples=min(40, settings().max_examples))
@given(COLUMNS)
def test_each_value_is_what_it_was(columns: dict[str, list[Any]]) -> None:
    table = pa.table(columns)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/some.db"
        assert write(url, table).rows == 3
        assert [tuple(row) for row in read(url)] == [tuple(columns)] * 3
        found, expected = read(url), table.to_pylist()
    assert found == expected
    assert [[type(value) for value in row.values()] for row in found] == [[type(value) for value in row.values()] for row in expected]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (pa.array([math.nan]), "not finite"),
        (pa.array([math.inf]), "not finite"),
        (pa.array([2**63], pa.uint64()), "cannot hold exactly"),
        (pa.array([Decimal("0.1")]), "digits, 1 behind the point"),
        (pa.array([datetime(2026, 1, 2, tzinfo=UTC)]), "Convert it to UTC"),
        (pa.array([1], pa.timestamp("ns")), "cannot hold exactly"),
        (pa.array([[1]]), "Make columns of it"),
        (pa.array([{"a": 1}]), "Make columns of it"),
        (pa.array([timedelta(1)]), "Make columns of it"),
    ],
    ids=["nan", "inf", "uint64", "decimal", "zone", "nanosecond", "list", "struct", "duration"],
)
def test_what_a_database_does_not_hold_exactly_is_refused_and_leaves_nothing(url: str, values: Any, told: str) -> None:
    table = pa.table({"key": pa.nulls(3).cast(values.type), "value": pa.concat_arrays([pa.nulls(2, values.type), values])})
    with pytest.raises(ConfigError, match=told):
        write(url, table, rows=1)
    assert tables(url) == []


def tables(url: str) -> list[str]:
    return sa.inspect(sa.create_engine(url)).get_table_names()


def test_what_is_narrow_or_has_categories_goes_into_what_is_wide(url: str) -> None:
    names = pa.array(["x", "y", "x"]).dictionary_encode()
    write(
        url, pa.table({"n": pa.array([1, 2, None], pa.int8()), "f": pa.array([0.5, 1, 2], pa.float32()), "c": names, "none": pa.nulls(3)})
    )
    assert read(url)[1:] == [{"n": 2, "f": 1.0, "c": "y", "none": None}, {"n": None, "f": 2.0, "c": "x", "none": None}]


def test_a_result_without_rows_is_a_table_with_its_columns(url: str) -> None:
    assert write(url, pa.table({"key": pa.array([], pa.string())})) == WrittenTable(f"sqlite:///{url[10:]}", "t", 0)
    assert (tables(url), read(url)) == (["t"], [])


def test_a_table_that_stands_is_kept_added_to_or_replaced(url: str) -> None:
    one, other = pa.table({"a": [1], "b": ["x"]}), pa.table({"b": ["y"], "a": [2]})
    write(url, one)
    with pytest.raises(ConfigError, match="has a table 't' already"):
        write(url, other)
    write(url, other, if_exists="append")
    assert read(url) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    write(url, pa.table({"c": [3.0]}), if_exists="replace")
    assert read(url) == [{"c": 3.0}]
    for policy in ("append", "replace"):
        write(url, one, name=policy, if_exists=policy)  # none stands
        assert read(url, name=policy) == [{"a": 1, "b": "x"}]


@pytest.mark.parametrize("if_exists", ["fail", "append", "replace"])
def test_what_fails_on_its_way_leaves_what_was_there(url: str, if_exists: str) -> None:
    """After hundreds of rows were sent, also where the table itself was made, or dropped, before them."""
    if if_exists != "fail":
        write(url, pa.table({"n": [7]}))

    def rows() -> Iterator[pa.Table]:
        for number in range(20):
            yield pa.table({"n": [number] * 50})
        raise StoreError("the disk is gone")

    with sql_sink(url, "t", if_exists=if_exists, schema=None) as sink, pytest.raises(StoreError, match="the disk is gone"):
        sink.write(pa.schema({"n": pa.int64()}), rows())
    assert (tables(url) == []) if if_exists == "fail" else (read(url) == [{"n": 7}])


def test_a_row_that_breaks_a_rule_of_the_table_leaves_none(url: str) -> None:
    with sqlite3.connect(url[10:]) as connection:
        connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT NOT NULL DEFAULT 'x')")
    with pytest.raises(ConfigError, match=r"refuses a row: UNIQUE constraint failed: t\.a\. Nothing was written"):
        write(url, pa.table({"a": [1, 2, 3, 1]}), if_exists="append")
    assert read(url) == []
    write(url, pa.table({"a": [1, 2]}), if_exists="append")
    assert read(url) == [{"a": 1, "b": "x"}, {"a": 2, "b": "x"}]


@pytest.mark.parametrize(
    ("column", "values", "told"),
    [
        ("value INTEGER", [1.5], "does not hold values as"),
        ("value VARCHAR(2)", ["abc"], "holds 2 characters, and a value has 3"),
        ("value CHAR(4)", ["abc"], "does not hold values as"),
        ("value TEXT", [1], "does not hold values as"),
        ("valeu INTEGER", [1], r"no column 'value' \(it has 'valeu'\)"),
    ],
    ids=["float", "long", "padded", "integer", "name"],
)
def test_a_table_that_would_change_values_is_refused(url: str, column: str, values: list[Any], told: str) -> None:
    with sqlite3.connect(url[10:]) as connection:
        connection.execute(f"CREATE TABLE t ({column})")
    with pytest.raises(ConfigError, match=told):
        write(url, pa.table({"value": values}), if_exists="append")
    assert read(url) == []


def test_an_engine_stays_open_and_its_transactions_are_its_own() -> None:
    engine = sa.create_engine("sqlite://", poolclass=StaticPool)
    write(engine, pa.table({"a": [1, 2, 3]}))
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM t")).scalar() == 3

    explicit = sa.create_engine("sqlite://", poolclass=StaticPool)  # as SQLAlchemy's papers advise

    @sa.event.listens_for(explicit, "connect")
    def no_implicit_begin(connection: Any, _: object) -> None:
        connection.isolation_level = None

    @sa.event.listens_for(explicit, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    write(explicit, pa.table({"a": [1]}))
    with pytest.raises(ConfigError):
        write(explicit, pa.table({"b": [math.nan]}), if_exists="replace")
    with explicit.connect() as connection:
        assert connection.execute(sa.text("SELECT a FROM t")).scalar() == 1


class Deaf(sqlite3.Connection):
    """A connection as Python 3.12 makes it with `autocommit=True`."""

    autocommit = True  # type: ignore[assignment,unused-ignore]

    def commit(self) -> None:
        """Do nothing."""

    def rollback(self) -> None:
        """Do nothing."""


def test_a_connection_that_is_deaf_to_commits_is_refused(url: str) -> None:
    """Else what was written is taken back when it is closed, and nobody is told."""
    engine = sa.create_engine(url, connect_args={"factory": Deaf})
    with pytest.raises(ConfigError, match="autocommit=True commits nothing"):
        write(engine, pa.table({"x": [1]}))
    engine.dispose()


@pytest.mark.parametrize("told", ["file:m?mode=memory&cache=shared&uri=true", "file::memory:?uri=true", "?x=1", "file:?uri=true"])
def test_a_database_that_is_gone_at_the_end_is_refused(told: str) -> None:
    with pytest.raises(ConfigError, match="in memory is gone when this returns"):
        write(f"sqlite:///{told}", pa.table({"x": [1]}))


@pytest.mark.parametrize(
    ("schema", "name", "told"),
    [
        ("temp", "t", r"the table temp\.t is gone with its connection"),
        (5, "t", "the schema is 5"),
        ("", "t", "the schema is ''"),
        (None, "\ud800", "cannot name a table"),
    ],
    ids=["temp", "number", "empty", "surrogate"],
)
def test_tables_that_do_not_last_or_have_no_name_are_refused(url: str, schema: Any, name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        write(url, pa.table({"x": [1]}), schema=schema, name=name)
    assert tables(url) == []


def test_two_columns_that_are_one_for_the_database_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="'Key' and 'key' have one name for sqlite"):
        write(url, pa.table({"Key": [1], "key": [2]}))
    assert tables(url) == []
    assert [column.name for column in columns_of(pa.schema({"Key": pa.int64(), "key": pa.int64()}), "postgresql")] == ["Key", "key"]


@pytest.mark.parametrize("values", [pa.array([10**18], pa.timestamp("us")), pa.array([10**7], pa.date32())], ids=["time", "date"])
def test_what_no_calendar_has_is_refused(url: str, values: Any) -> None:
    with pytest.raises(ConfigError, match="'x' has a date or a time beyond the years 1 to 9999"):
        write(url, pa.table({"x": values}))
    assert tables(url) == []


def test_an_engine_that_commits_each_statement_is_refused_where_nothing_could_be_taken_back(url: str) -> None:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with pytest.raises(ConfigError, match="not finite"):  # SQLite is told where a transaction begins
        write(engine, pa.table({"x": [1.0, 2.0, math.nan]}), rows=1)
    assert tables(url) == []

    class Autocommits(type(engine.dialect)):  # type: ignore[misc]
        name = "postgresql"

    engine.dialect.__class__ = Autocommits
    with pytest.raises(ConfigError, match="commits each statement by itself"):
        write(engine, pa.table({"x": [1.0]}))


def test_a_process_that_is_killed_on_its_way_leaves_nothing(url: str) -> None:
    write(url, pa.table({"n": [7]}))
    script = f"""
import os, signal
import pyarrow as pa
from smr_notebook.backends.sql.sink import sql_sink

def rows():
    yield pa.table({{"n": list(range(100_000))}})
    os.kill(os.getpid(), signal.SIGKILL)

with sql_sink({url!r}, "t", if_exists="replace", schema=None) as sink:
    sink.write(pa.schema([("n", pa.int64())]), rows())
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    assert (tables(url), read(url)) == (["t"], [{"n": 7}])


@pytest.mark.parametrize(
    ("database", "told"),
    [
        ("sqllite:///x.db", "Did you mean 'sqlite'"),
        ("oracle://u:pa55@h/d", "'oracle' does to values is not known"),
        ("postgresql+nothing://u:pa55@h/d", "no driver 'postgresql\\+nothing'"),
        ("mysql+aiomysql://u:pa55@h/d", "mysql"),
        ("u:pa55@h/d", "no URL that can be read"),
        ("sqlite://", "in memory is gone"),
        (5, "a int is no database"),
    ],
    ids=["dialect", "oracle", "driver", "package", "no-url", "memory", "number"],
)
def test_what_is_no_database_is_refused_without_its_secrets(database: object, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as raised:
        write(database, pa.table({"a": [1]}))
    assert "pa55" not in "".join(traceback.format_exception(raised.value))


def test_no_message_has_a_secret(tmp_path: Path) -> None:
    """Neither of the URL nor of what a driver repeats, whichever way it is written there; and every error pickles."""
    engine = sa.create_engine(f"sqlite:///{tmp_path}/some.db")
    secret = sa.engine.make_url("postgresql://me:p%40ss%2Fword@host:5432/sales?sslpassword=hush&x=a")
    engine.url = secret
    assert name_of(engine) == "postgresql://host:5432/sales"
    for said in ("FATAL: p@ss/word", "dsn me:p%40ss%2Fword@host", "sslpassword=hush"):
        with pytest.raises(SmrError) as raised, telling(engine, "writing"):
            raise sa.exc.OperationalError("INSERT INTO t VALUES (?)", {"v": "private"}, Exception(said))
        text = "".join(traceback.format_exception(raised.value)) + str(pickle.loads(pickle.dumps(raised.value)))
        assert not [word for word in ("p@ss", "p%40ss", "hush", "private") if word in text]


def test_names_that_a_database_would_cut_are_refused(url: str) -> None:
    engine = sa.create_engine(url)
    engine.dialect.max_identifier_length = 63
    for name, column in (("t" * 64, "a"), ("t", "é" * 32), ("t", "")):
        with pytest.raises(ConfigError, match="names have 1 to 63 bytes"):
            write(engine, pa.table({column: [1]}), name=name)
    with pytest.raises(ConfigError, match="if_exists='add'"):
        write(url, pa.table({"a": [1]}), if_exists="add")
    with pytest.raises(ConfigError, match="the table is None"), sql_sink(url, None, if_exists="fail", schema=None):
        pass


FIELDS: dict[str, pa.DataType] = {
    "integer": pa.int64(),
    "float": pa.float64(),
    "text": pa.string(),
    "binary": pa.binary(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "decimal": pa.decimal128(20, 5),
}
EVERYTHING = pa.schema(FIELDS)


@pytest.mark.parametrize(
    ("dialect", "types"),
    [
        (
            registry.load("postgresql")(),
            "BIGINT DOUBLE PRECISION TEXT BYTEA BOOLEAN DATE TIME WITHOUT TIME ZONE TIMESTAMP WITHOUT TIME ZONE NUMERIC(20, 5)",
        ),
        (registry.load("mysql")(), "BIGINT DOUBLE LONGTEXT CHARACTER SET utf8mb4 LONGBLOB BOOL DATE TIME(6) DATETIME(6) NUMERIC(20, 5)"),
        (registry.load("mssql")(), "BIGINT FLOAT(53) NVARCHAR(max) VARBINARY(max) BIT DATE TIME(6) DATETIME2(6) NUMERIC(20, 5)"),
    ],
    ids=["postgresql", "mysql", "mssql"],
)
def test_each_database_has_the_types_that_hold_all(dialect: Any, types: str) -> None:
    columns = columns_of(EVERYTHING, dialect.name)
    made = sa.Table("t", sa.MetaData(), *(sa.Column(column.name, column.type) for column in columns))
    lines = str(CreateTable(made).compile(dialect=dialect)).splitlines()
    found = [line.strip().rstrip(", ").removesuffix(" NULL").split(" ", 1)[1] for line in lines if line.startswith("\t")]
    assert " ".join(found) == types
    if dialect.name != "mysql":  # which tells a boolean as a small integer
        check_columns({column.name: column.type for column in columns}, columns, table="t", dialect=dialect.name)
    assert dialect.name in DIALECTS


def test_postgresql_keeps_moments_and_floats_that_are_not_finite() -> None:
    types: dict[str, pa.DataType] = {"at": pa.timestamp("us", "UTC"), "x": pa.float64()}
    (zoned, number) = columns_of(pa.schema(types), "postgresql")
    assert zoned.type.compile(dialect=registry.load("postgresql")()) == "TIMESTAMP WITH TIME ZONE"
    assert repr(number.values(pa.array([math.nan, -math.inf]))) == "[nan, -inf]"


def test_mysql_gives_a_table_its_name_in_one_step() -> None:
    dialect = registry.load("mysql")()
    assert renaming(dialect, None, "smr_1", "t", None) == "RENAME TABLE smr_1 TO t"
    expected = "RENAME TABLE `my schema`.`select` TO `my schema`.smr_2, `my schema`.smr_1 TO `my schema`.`select`"
    assert renaming(dialect, "my schema", "smr_1", "select", "smr_2") == expected


def like_mysql(url: str) -> sa.Engine:
    """SQLite in the manner of MySQL: it commits each change of tables at once, renames in one statement, and has a mode of SQL to set."""
    engine = sa.create_engine(url)

    class CommitsTables(type(engine.dialect)):  # type: ignore[misc]
        name = "mysql"
        supports_statement_cache = True

    engine.dialect.__class__ = CommitsTables

    @sa.event.listens_for(engine, "before_cursor_execute", retval=True)
    def translate(_: object, cursor: Any, statement: str, parameters: Any, *_others: object) -> tuple[str, Any]:
        if statement.startswith("SET SESSION"):
            return "SELECT 1", ()
        if not statement.startswith("RENAME TABLE "):
            return statement, parameters
        *first, last = (f"ALTER TABLE {pair.replace(' TO ', ' RENAME TO ')}" for pair in statement[13:].split(", "))
        for one in first:
            cursor.execute(one)
        return last, ()

    return engine


def test_where_changes_of_tables_are_committed_at_once_the_name_is_given_at_the_end(url: str) -> None:
    engine = like_mysql(url)
    assert write(engine, pa.table({"n": [1, 2, 3]})).rows == 3
    write(engine, pa.table({"n": [4]}), if_exists="append")
    assert [row["n"] for row in read(url)] == [1, 2, 3, 4]
    write(engine, pa.table({"m": [5]}), if_exists="replace")
    assert (tables(url), read(url)) == (["t"], [{"m": 5}])
    with pytest.raises(ConfigError, match="has a table 't' already"):
        write(engine, pa.table({"n": [1]}))


@pytest.mark.parametrize("if_exists", ["fail", "append", "replace"])
def test_and_what_fails_on_its_way_leaves_what_was_there_too(url: str, if_exists: str) -> None:
    engine = like_mysql(url)
    if if_exists != "fail":
        write(engine, pa.table({"n": [7]}))

    def rows() -> Iterator[pa.Table]:
        yield pa.table({"n": [1] * 50})
        raise StoreError("the disk is gone")

    with sql_sink(engine, "t", if_exists=if_exists, schema=None) as sink, pytest.raises(StoreError, match="the disk is gone"):
        sink.write(pa.schema({"n": pa.int64()}), rows())
    assert (tables(url) == []) if if_exists == "fail" else ((tables(url), read(url)) == (["t"], [{"n": 7}]))


def test_a_name_that_was_taken_meanwhile_stays_somebody_elses(url: str) -> None:
    engine = like_mysql(url)

    def rows() -> Iterator[pa.Table]:
        with sqlite3.connect(url[10:]) as connection:
            connection.execute("CREATE TABLE t (other TEXT)")
        yield pa.table({"n": [1]})

    with sql_sink(engine, "t", if_exists="fail", schema=None) as sink, pytest.raises(StoreError, match="already another table"):
        sink.write(pa.schema({"n": pa.int64()}), rows())
    assert (tables(url), read(url)) == (["t"], [])


def test_times_are_exact_to_the_microsecond(url: str) -> None:
    row = {"d": date(1, 1, 1), "t": time(23, 59, 59, 999_999), "at": datetime(9999, 12, 31, 23, 59, 59, 999_999)}  # noqa: DTZ001
    write(url, pa.Table.from_pylist([row]))
    assert read(url) == [row]
