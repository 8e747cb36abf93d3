"""Upkeep of the table's file: its write-ahead log is moved into it by a thread of its own, so that no writer waits for the disk.

Theory. SQLite lets whoever commits move the log once it is a thousand pages long, and flush the disk twice for that: milliseconds to
tens of them. While one process does so, others write on; the log is never moved as a whole then, never begins anew, and from there on
*each* commit tries again. A thousand tasks paid for eighty flushes.

Rules of this module:

* A process moves the log each time it has written some, in a thread that ends when that is done. A log that became long although it
  was moved is made to begin anew, for which writers wait, but only for what the first pass left.
* The thread has a connection of its own. Before a fork it has ended: see `table`.
* Where no process writes enough for that, many small jobs say, a commit still moves the log, when it is long.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

LONGEST_LOG: Final = 8_192
"""Pages of the log at which a commit moves it after all: 32 MB."""

_WRITES: Final = 500
"""Writes of one process after which it moves the log: some four megabytes of it."""

_LONG_LOG: Final = 4_096
"""Pages of the log above which it is made to begin anew."""

_BUSY_SECONDS: Final = 1.0


class LogKeeper:
    """Keeps the log of one file short. Used under the lock of the table.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writes = 0
        self._thread: threading.Thread | None = None

    def wrote(self) -> None:
        """Note one write, and have the log moved now and then."""
        self._writes += 1
        if self._writes >= _WRITES and (self._thread is None or not self._thread.is_alive()):
            self._writes = 0
            self._thread = threading.Thread(target=self._move, name="log keeper", daemon=True)
            self._thread.start()

    def rest(self) -> None:
        """Wait until nothing is under way."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def _move(self) -> None:
        with (
            suppress(sqlite3.Error),  # the next one may; nothing depends on it
            closing(sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)) as connection,
        ):
            _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if pages > _LONG_LOG:
                connection.execute("PRAGMA wal_checkpoint(RESTART)")
