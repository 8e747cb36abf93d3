"""The SQLite file holds the contract of `Table`, and what only a file can get wrong."""

from __future__ import annotations

import gc
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from smr_notebook.backends.local.table import SqliteTable
from smr_notebook.backends.local.upkeep import LogKeeper
from smr_notebook.errors import FormatVersionError, StoreError
from smr_notebook.ports import Row
from smr_notebook.testing.races import count_up, in_threads
from smr_notebook.testing.table import SharedTableTests


class TestSqliteTable(SharedTableTests):
    @pytest.fixture
    def open_table(self, tmp_path: Path) -> partial[SqliteTable]:
        return partial(SqliteTable, tmp_path / "no" / "such" / "folder" / "table.sqlite")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.sqlite"


@pytest.fixture
def table(path: Path) -> Iterator[SqliteTable]:
    table = SqliteTable(path)
    yield table
    table.close()


def forked(work: Callable[[], object]) -> int:
    """Run in a forked child, and return its process id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def ended_well(child: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_rows_outlive_the_table_object(table: SqliteTable, path: Path) -> None:
    table.put("g", "k", b"x", expect=0)
    table.close()
    with closing(SqliteTable(path)) as again:
        assert again.get("g", "k") == Row("k", 1, b"x")


def test_a_closed_table_opens_again_by_use(table: SqliteTable) -> None:
    table.put("g", "k", b"x", expect=0)
    table.close()
    table.close()
    assert table.put("g", "k", b"y", expect=1) == Row("k", 2, b"y")


def test_a_closed_table_leaves_one_file(table: SqliteTable, path: Path) -> None:
    table.put("g", "k", b"x", expect=0)
    table.close()
    assert list(path.parent.iterdir()) == [path]


def test_a_fork_loses_no_update_when_the_parent_closes_first(table: SqliteTable) -> None:
    """A connection that the child inherits makes SQLite believe in locks that the child does not hold."""
    table.put("g", "k", b"0", expect=0)
    asked, told = os.pipe()

    def work() -> None:
        row = table.get("g", "k")
        os.read(asked, 1)
        assert row is not None
        assert table.put("g", "k", b"child", expect=row.version).value == b"child"

    child = forked(work)
    table.close()
    os.write(told, b"!")
    assert ended_well(child)
    assert table.get("g", "k") == Row("k", 2, b"child")
    os.close(asked)
    os.close(told)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forks_amid_busy_threads_lose_no_update(table: SqliteTable) -> None:
    def work(thread: int) -> list[int]:
        if thread:
            count_up(table, "counter", 100, writer=f"thread {thread}")
            return []
        return [forked(lambda number=number: count_up(table, "counter", 50, writer=f"fork {number}")) for number in range(4)]  # type: ignore[misc]

    for child in in_threads(3, work)[0]:
        assert ended_well(child)
    row = table.get("race", "counter")
    assert row is not None
    assert (row.version, row.value.split()[0]) == (400, b"400")


def test_a_table_that_is_gone_does_not_hinder_a_fork(path: Path) -> None:
    table = SqliteTable(path)
    table.get("g", "k")
    table.close()
    del table
    gc.collect()
    assert ended_well(forked(lambda: None))


def test_another_schema_is_refused_by_its_number(table: SqliteTable, path: Path) -> None:
    table.get("g", "k")
    table.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")
    with pytest.raises(FormatVersionError, match=r"table\.sqlite.* version 7, .*reads 1"):
        table.get("g", "k")


def test_what_is_no_database_is_an_error_that_names_the_file(table: SqliteTable, path: Path) -> None:
    path.write_bytes(b"something else entirely" * 100)
    calls: list[Callable[[], object]] = [
        lambda: table.get("g", "k"),
        lambda: table.put("g", "k", b"", expect=0),
        lambda: table.query("g"),
        lambda: table.delete_group("g"),
    ]
    for call in calls:
        with pytest.raises(StoreError, match=r"table\.sqlite.*not a database.*Check"):
            call()
    assert path.read_bytes() == b"something else entirely" * 100


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"file/table\.sqlite.*Check"):
        SqliteTable(tmp_path / "file" / "table.sqlite").get("g", "k")


def test_a_call_that_fails_leaves_the_table_usable(table: SqliteTable) -> None:
    table.put("g", "k", b"x", expect=0)
    with pytest.raises(StoreError, match="NOT NULL"):
        table.put("g", "k", None, expect=1)  # type: ignore[arg-type]
    assert table.put("g", "k", b"y", expect=1) == Row("k", 2, b"y")


def test_the_log_is_moved_into_the_file_while_the_table_is_open(table: SqliteTable, path: Path) -> None:
    for number in range(300):
        table.put("g", str(number), bytes(1000), expect=0)
    before = path.stat().st_size
    keeper = LogKeeper(path)
    for _ in range(500):
        keeper.wrote()
    keeper.rest()
    assert before < 100_000
    assert path.stat().st_size > 300_000
    assert len(table.query("g")) == 300


def test_a_long_log_begins_anew(table: SqliteTable, path: Path) -> None:
    """Though somebody reads or writes all the time, the file of the log does not grow for ever."""
    table.put("g", "k", b"", expect=0)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")

        def write(rows: int) -> int:
            for number in range(rows):
                writer.execute("UPDATE rows SET value = ?", (bytes([number]) * 4_000_000,))
            return path.with_name(f"{path.name}-wal").stat().st_size

        long = write(6)
        keeper = LogKeeper(path)
        for _ in range(500):
            keeper.wrote()
        keeper.rest()
        assert write(3) == long > 16 << 20


def test_a_log_that_cannot_be_moved_is_left_for_another_time(tmp_path: Path) -> None:
    keeper = LogKeeper(tmp_path / "no" / "such" / "folder" / "table.sqlite")
    for _ in range(500):
        keeper.wrote()
    keeper.rest()
    assert list(tmp_path.iterdir()) == []


def modes(path: Path) -> set[int]:
    """Return the modes of the file and of what SQLite keeps beside it."""
    return {found.stat().st_mode & 0o777 for found in path.parent.glob(f"{path.name}*")}


def test_nobody_else_reads_the_file_whatever_the_umask(path: Path) -> None:
    """The key of the workspace stands in it."""
    before = os.umask(0)
    try:
        table = SqliteTable(path.parent / "new" / path.name)
        table.put("g", "k", b"", expect=0)
        assert modes(path.parent / "new" / path.name) == {0o600}
        assert (path.parent / "new").stat().st_mode & 0o777 == 0o700
        table.close()
    finally:
        os.umask(before)


def test_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    first = SqliteTable(path)
    first.put("g", "k", b"", expect=0)
    for found in path.parent.glob(f"{path.name}*"):
        found.chmod(0o644)
    second = SqliteTable(path)
    second.put("g", "l", b"", expect=0)
    assert modes(path) == {0o600}
    first.close()
    second.close()
