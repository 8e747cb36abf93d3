"""A clock for simulations: time passes when somebody sleeps."""

from __future__ import annotations

import threading


class SimulatedClock:
    """A `Clock` whose time goes on by `sleep` alone.

    Args:
        start: The time at first, in seconds since 1970.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> float:
        """See `ports.Clock.now`."""
        return self._now

    def sleep(self, seconds: float, *, least: float = 0.0) -> None:  # noqa: ARG002 - nothing wakes it anyway
        """See `ports.Clock.sleep`. Returns at once, `seconds` later."""
        with self._lock:
            self._now += max(0.0, seconds)
