"""The clock of whoever watches a job from outside the service: its sleep ends when the service has news.

A watcher that only looked now and then would show the end of a short job when it is long over. So a thread that sleeps has a
connection to the service, and is told whenever a call of no tenant has ended: a coordinator's, say. That is a hint and no more: who
wakes looks again, and where no service answers, time passes as usual.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from smr_notebook.backends.local.wire import Kind, pack


class NewsClock:
    """A `Clock` whose sleep may be ended by the service of a workspace.

    Args:
        find: Gives the socket at which the service listens, if it runs.
    """

    def __init__(self, find: Callable[[], Path]) -> None:
        self._find = find
        self._own = threading.local()

    def now(self) -> float:
        """See `ports.Clock.now`."""
        return time.time()

    def sleep(self, seconds: float, *, least: float = 0.0) -> None:
        """See `ports.Clock.sleep`."""
        end = time.monotonic() + seconds
        if least > 0:
            time.sleep(min(least, max(seconds, 0.0)))
        connection = self._connection()
        while connection is not None and (left := end - time.monotonic()) > 0:
            ready, _, _ = select.select([connection], [], [], left)
            if not ready:
                return
            if _heard(connection):
                return
            connection = self._drop()
        time.sleep(max(end - time.monotonic(), 0.0))

    def _connection(self) -> socket.socket | None:
        """Return this thread's connection, made in this process; `None` where nobody answers."""
        process, connection = getattr(self._own, "line", (0, None))
        if process != os.getpid():
            connection = _connect(self._find())
            self._own.line = (os.getpid(), connection) if connection else (0, None)
        return connection

    def _drop(self) -> None:
        _, connection = self._own.line
        connection.close()
        self._own.line = (0, None)


def _connect(path: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(path))
        connection.sendall(pack(Kind.WATCH))
    except OSError:
        connection.close()
        return None
    return connection


def _heard(connection: socket.socket) -> bool:
    """Take what came in, however often it was said, and return whether the connection still stands."""
    try:
        return bool(connection.recv(4096))
    except OSError:
        return False
