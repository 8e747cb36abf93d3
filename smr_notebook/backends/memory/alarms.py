"""Alarms on a clock: the reference for what the port means, for simulations and tests."""

from __future__ import annotations

import threading
from collections.abc import Callable

from smr_notebook.ports import Clock


class MemoryAlarms:
    """`Alarms` that go off when whoever drives the clock lets them `ring`.

    Args:
        clock: Tells what time it is.
        call: Called with the payload of each alarm that goes off. It may set and clear alarms.
    """

    def __init__(self, clock: Clock, call: Callable[[bytes], object]) -> None:
        self._clock = clock
        self._call = call
        self._alarms: dict[str, tuple[float, bytes]] = {}
        self._lock = threading.Lock()

    def set(self, name: str, at: float, payload: bytes) -> None:
        """See `ports.Alarms.set`."""
        with self._lock:
            self._alarms[name] = (at, payload)

    def clear(self, name: str) -> None:
        """See `ports.Alarms.clear`."""
        with self._lock:
            self._alarms.pop(name, None)

    @property
    def next_at(self) -> float | None:
        """When the next alarm goes off, in seconds since 1970; `None` if none is set."""
        with self._lock:
            return min((at for at, _ in self._alarms.values()), default=None)

    def ring(self) -> None:
        """Let all alarms go off whose time has come, in order of their times. What their calls set anew waits for the next time."""
        now = self._clock.now()
        with self._lock:
            due = sorted((alarm, name) for name, alarm in self._alarms.items() if alarm[0] <= now)
        for alarm, name in due:
            with self._lock:
                if self._alarms.get(name) is not alarm:
                    continue
                del self._alarms[name]
            self._call(alarm[1])
