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
        self._of_thread = threading.local()

    def now(self) -> float:
        """See `ports.Clock.now`."""
        return time.time()

    def sleep(self, seconds: float, *, least: float = 0.0) -> None:
        """See `ports.Clock.sleep`."""
        end = time.monotonic() + seconds
        if least > 0:
            time.sleep(min(least, max(seconds, 0.0)))
        if not self._own_line().heard(until=end):
            time.sleep(max(end - time.monotonic(), 0.0))

    def _own_line(self) -> _Line:
        """Return this thread's connection, made in this process."""
        line: _Line | None = getattr(self._of_thread, "line", None)
        if line is None or not line.stands:
            line = self._of_thread.line = _Line(self._find())
        return line


class _Line:
    """One connection to the service, if it answers."""

    def __init__(self, path: Path) -> None:
        self._process = os.getpid()
        self._socket: socket.socket | None = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(str(path))
            self._socket.sendall(pack(Kind.WATCH))
        except OSError:
            self._close()

    def __del__(self) -> None:
        self._close()

    @property
    def stands(self) -> bool:
        return self._socket is not None and self._process == os.getpid()

    def heard(self, *, until: float) -> bool:
        """Wait for news up to a time of `time.monotonic`, and return whether there was any, or nothing but time passed."""
        if self._socket is None:
            return False
        ready, _, _ = select.select([self._socket], [], [], max(until - time.monotonic(), 0.0))
        try:
            stands = not ready or bool(self._socket.recv(4096))  # however often it was said
        except OSError:
            stands = False
        if not stands:
            self._close()
        return stands

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
