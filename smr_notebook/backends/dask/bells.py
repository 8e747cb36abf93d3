"""The clocks of whoever waits for tasks of the cluster: a sleep ends when one ends that this process called.

The scheduler tells whoever submitted a task when it has ended. A coordinator calls its workers itself, so that it hears of each end in a
millisecond; a notebook calls the coordinator. That is a hint and no more: who wakes looks again, and without one, time passes as usual.
"""

from __future__ import annotations

import functools
import threading
import time


class Bell:
    """A `Clock` whose sleepers are woken by `ring`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._rung = 0
        self._seen = threading.local()

    def ring(self) -> None:
        """Wake all sleepers, and whoever falls asleep next without having been woken since."""
        with self._changed:
            self._rung += 1
            self._changed.notify_all()

    def now(self) -> float:
        """See `ports.Clock.now`."""
        return time.time()

    def sleep(self, seconds: float, *, least: float = 0.0) -> None:
        """See `ports.Clock.sleep`."""
        end = time.monotonic() + max(seconds, 0.0)
        if least > 0:
            time.sleep(min(least, max(seconds, 0.0)))
        with self._changed:
            seen = getattr(self._seen, "rung", 0)
            self._changed.wait_for(lambda: self._rung != seen, timeout=max(end - time.monotonic(), 0.0))
            self._seen.rung = self._rung


@functools.lru_cache(maxsize=64)
def bell_of(location: str) -> Bell:  # noqa: ARG001 - one for each
    """Return the bell of this process for what works at a location: of those who call there, and of those who wait."""
    return Bell()
