"""Calls that come one by one, collected for a moment, so that a thousand of them are not a thousand jobs.

Theory. A job costs a second of somebody's time where workers are far away, and some milliseconds where they are near. So a batch leaves as
soon as no call has come for a moment, after some moments at the latest, or when it is full; and the more jobs are under way, the longer
a moment is: a stream of calls makes about one job a second, however long each of them takes.

Rules of this module:

* The thread lives while there is something to send. It is a daemon; when the interpreter ends in an orderly way, what waits is sent first.
* What fails to be sent is told by whom it was given to (`send`), and nothing is lost: each call that comes in goes out in one batch.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

MOMENT: Final = 0.01
"""Seconds without a call after which a batch leaves while no job is under way."""

LONGEST: Final = 0.1
"""Seconds after the first call after which it leaves in any case, likewise."""

SLOWEST: Final = 10
"""How many times longer both are at most."""

FULL: Final = 10_000
"""Calls that fill a batch."""


class Batches(Generic[T]):
    """Collects calls, and sends them together.

    Args:
        send: Called with the calls of a batch in the order in which they came, one batch at a time; raises nothing.
        under_way: Returns how many jobs are.
    """

    def __init__(self, send: Callable[[list[T]], None], under_way: Callable[[], int]) -> None:
        self._send = send
        self._under_way = under_way
        self._changed = threading.Condition()
        self._waiting: list[T] = []
        self._thread: threading.Thread | None = None
        self._hurried = False
        self._first = self._last = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, call: T) -> None:
        """Add a call to the batch that leaves next."""
        with self._changed:
            self._last = time.monotonic()
            if not self._waiting:
                self._first = self._last
            self._waiting.append(call)
            if self._thread is None:
                atexit.register(self.flush)
                self._thread = threading.Thread(target=self._run, name="smr-calls-batches", daemon=True)
                self._thread.start()
            elif len(self._waiting) >= FULL:
                self._changed.notify_all()

    def take_back(self) -> list[T]:
        """Return the calls that have not been sent, which nobody will send any more."""
        with self._changed:
            waiting, self._waiting = self._waiting, []
            self._changed.notify_all()
        return waiting

    def hurry(self) -> None:
        """Let what waits leave now."""
        with self._changed:
            self._hurried = self._thread is not None
            self._changed.notify_all()

    def flush(self) -> None:
        """Let what waits leave now, and block until it has been sent; not in the thread that sends it."""
        self.hurry()
        with self._changed:
            self._changed.wait_for(lambda: self._thread in {None, threading.current_thread()})

    def _run(self) -> None:
        while batch := self._next():
            self._send(batch)

    def _next(self) -> list[T]:
        """Wait for the next batch, and return it; an empty one where nothing is left, and then the thread has ended."""
        with self._changed:
            self._wait_until_due()
            batch, self._waiting = self._waiting, []
            if not batch:
                self._thread, self._hurried = None, False
                atexit.unregister(self.flush)
                self._changed.notify_all()
            return batch

    def _wait_until_due(self) -> None:
        """Wait until the batch should leave; at once where there is none."""
        while self._waiting and len(self._waiting) < FULL and not self._hurried:
            slower = min(1 + self._under_way(), SLOWEST)
            left = min(self._first + slower * LONGEST, self._last + slower * MOMENT) - time.monotonic()
            if left <= 0:
                return
            self._changed.wait(left)
