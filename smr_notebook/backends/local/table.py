"""The table as one SQLite file, for the threads and processes of one machine.

* **Compare-and-set** is one transaction that holds the write lock of the file from its start: the conditional write, and
  when it changed nothing, the reading of the row that stands. Nothing is tried twice after the write began.
* **A new file appears complete.** It is made under another name and linked to its own: nobody ever opens a file without
  its schema, and no two processes ever set up the same one.
* **One connection per process,** behind a lock: the file takes one writer at a time anyway. SQLite keeps locks per process
  in memory, where a fork copies them: a child that inherits an open connection, and even one that opens its own
  beside it, believes to hold locks that it does not hold, and loses updates. So the connection is closed before a fork,
  and both sides open a new one.
* **The file is its owner's alone**, for the key of the workspace stands in it.
* Keys are stored as their UTF-8 bytes, which SQLite compares as bytes; `0xff` occurs in none of them and so ends a prefix.
* **Writers queue in the kernel.** SQLite lets a writer that comes second sleep for a millisecond or more and try again, while a write
  takes twenty microseconds. So writers take turns by a lock on the folder, where the kernel wakes the next one. SQLite's own locks
  remain what keeps the file whole; the queue only orders those who would poll.
* The journal is a write-ahead log with `synchronous=NORMAL`: no process that dies loses a committed row. A power cut
  can lose the last ones, never the file. Moving the log into the file flushes the disk, for which no writer waits (`upkeep`).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from smr_notebook.backends.local.files import make_private
from smr_notebook.backends.local.upkeep import LONGEST_LOG, LogKeeper
from smr_notebook.errors import FormatVersionError, StoreError
from smr_notebook.ports import Row

_SCHEMA_VERSION = 1
_BUSY_SECONDS = 60.0
_CREATE = f"""
PRAGMA journal_mode = WAL;
CREATE TABLE rows (owner TEXT, key BLOB, version INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (owner, key)) WITHOUT ROWID;
PRAGMA user_version = {_SCHEMA_VERSION};
"""
_INSERT = "INSERT INTO rows VALUES (?, ?, 1, ?) ON CONFLICT DO NOTHING"
_UPDATE = "UPDATE rows SET version = version + 1, value = ? WHERE owner = ? AND key = ? AND version = ?"
_SELECT = "SELECT version, value FROM rows WHERE owner = ? AND key = ?"
_QUERY = "SELECT key, version, value FROM rows WHERE owner = ? AND key >= ? AND key < ? ORDER BY key"


def open_table(place: str) -> SqliteTable:
    """Return the table of a file, by its path as text: for whoever opens it by name."""
    return SqliteTable(Path(place))


class SqliteTable:
    """A `Table` in one file. It may be used by any thread, and on both sides of a fork; it is not picklable.

    Args:
        path: The file. It is made at the first use, with its folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._queue = -1
        self._keeper = LogKeeper(self._path)
        self._forking = False
        # A hook cannot be taken back, so it must not keep the table alive.
        before, after = weakref.WeakMethod(self._before_fork), weakref.WeakMethod(self._after_fork)
        os.register_at_fork(before=lambda: _call(before), after_in_parent=lambda: _call(after), after_in_child=lambda: _call(after))

    def close(self) -> None:
        """Let go of the file. A later call opens it again."""
        with self._lock:
            self._disconnect()

    def get(self, group: str, key: str) -> Row | None:
        """See `ports.Table.get`."""
        with self._connected() as connection:
            return _standing(connection, group, key)

    def put(self, group: str, key: str, value: bytes, *, expect: int) -> Row:
        """See `ports.Table.put`."""
        name = key.encode()
        with self._connected() as connection, self._turn(), connection:
            connection.execute("BEGIN IMMEDIATE")
            if expect:
                changed = connection.execute(_UPDATE, (value, group, name, expect)).rowcount
            else:
                changed = connection.execute(_INSERT, (group, name, value)).rowcount
            return Row(key, expect + 1, value) if changed else _standing(connection, group, key) or Row(key, 0, b"")

    def query(self, group: str, prefix: str = "") -> list[Row]:
        """See `ports.Table.query`."""
        first = prefix.encode()
        with self._connected() as connection:
            found = connection.execute(_QUERY, (group, first, first + b"\xff")).fetchall()
        return [Row(key.decode(), version, value) for key, version, value in found]

    def delete_group(self, group: str) -> None:
        """See `ports.Table.delete_group`."""
        with self._connected() as connection, self._turn():
            connection.execute("DELETE FROM rows WHERE owner = ?", (group,))

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = _open(self._path)
                    self._queue = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
                yield self._connection
            except (sqlite3.Error, OSError) as error:
                advice = "Check that the folder may be written, that its disk is local and not full, and that nothing else locks the file."
                raise StoreError(f"Cannot use the table in {str(self._path)!r}: {error}. {advice}") from error

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Write when it is this process' turn. The lock is given back by name: a copy of its descriptor in a child would keep it."""
        fcntl.flock(self._queue, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._queue, fcntl.LOCK_UN)
        self._keeper.wrote()

    def _disconnect(self) -> None:
        self._keeper.rest()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        queue, self._queue = self._queue, -1
        if queue >= 0:
            os.close(queue)

    def _before_fork(self) -> None:
        self._lock.acquire()
        self._forking = True
        self._disconnect()

    def _after_fork(self) -> None:
        if self._forking:  # not so for a table made while another thread forks
            self._forking = False
            self._lock.release()


def _call(hook: weakref.WeakMethod[Callable[[], None]]) -> None:
    method = hook()
    if method is not None:
        method()


def _standing(connection: sqlite3.Connection, group: str, key: str) -> Row | None:
    found = connection.execute(_SELECT, (group, key.encode())).fetchone()
    return Row(key, *found) if found else None


def _open(path: Path) -> sqlite3.Connection:
    if not path.exists():
        _create(path)
    _keep_private(path)
    connection = _connect(path)
    try:
        _check_version(connection, path)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {LONGEST_LOG}")
    except BaseException:
        connection.close()
        raise
    return connection


def _keep_private(path: Path) -> None:
    """Let nobody but its owner read a file that was made when others might. SQLite gives what it makes beside it the same mode."""
    for file in (path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))):
        with suppress(FileNotFoundError):
            found = file.stat()
            if found.st_mode & 0o077 and found.st_uid == os.getuid():
                file.chmod(0o600)


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != _SCHEMA_VERSION:
        versions = f"has schema version {version}, and this version of the package reads {_SCHEMA_VERSION}"
        advice = "Use the version that wrote it, or move the file away and begin anew."
        raise FormatVersionError(f"The table in {str(path)!r} {versions}. {advice}")


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)


def _create(path: Path) -> None:
    make_private(path.parent)
    unnamed = path.with_name(f"{path.name}.{uuid4().hex}")
    os.close(os.open(unnamed, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        with closing(_connect(unnamed)) as connection:
            connection.executescript(_CREATE)
        with suppress(FileExistsError):  # another process was faster
            os.link(unnamed, path)
    finally:
        unnamed.unlink(missing_ok=True)
