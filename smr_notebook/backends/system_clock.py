"""The clock of this machine."""

from __future__ import annotations

import time


class SystemClock:
    """A `Clock` that tells the time of this machine."""

    def now(self) -> float:
        """See `ports.Clock.now`."""
        return time.time()

    def sleep(self, seconds: float, *, least: float = 0.0) -> None:  # noqa: ARG002 - nothing wakes it anyway
        """See `ports.Clock.sleep`. Nothing wakes it early; a time that has passed already is not waited for."""
        time.sleep(max(0.0, seconds))
