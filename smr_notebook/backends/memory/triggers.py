"""Triggers that go off when whoever holds them says so: the reference for what the port means, for simulations and tests."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

from smr_notebook.values.globs import lies_under


class MemoryTriggers:
    """`Triggers` that fire when whoever drives them says that it is time, or that an object appeared.

    Args:
        call: Called with the payload of each call.
    """

    def __init__(self, call: Callable[[bytes], object]) -> None:
        self._call = call
        self._times: dict[str, str] = {}
        self._watched: dict[str, str] = {}
        self._lock = threading.Lock()

    def at_times(self, name: str, times: str, timezone: str) -> None:
        """See `ports.Triggers.at_times`."""
        with self._lock:
            self._times[name] = f"{times} {timezone}"

    def on_objects(self, name: str, location: str) -> None:
        """See `ports.Triggers.on_objects`."""
        with self._lock:
            self._watched[name] = location

    def stands(self, name: str, location: str = "") -> bool:
        """See `ports.Triggers.stands`."""
        with self._lock:
            return self._watched.get(name) == location if location else name in self._times

    def remove(self, name: str, location: str = "") -> None:
        """See `ports.Triggers.remove`."""
        with self._lock:
            (self._watched if location else self._times).pop(name, None)

    def due(self, at: str) -> None:
        """Call for all that stand for times, as if each were due at this one."""
        with self._lock:
            names = sorted(self._times)
        for name in names:
            self._call(json.dumps({"fire": name, "occurrence": at}).encode())

    def appeared(self, object: str, *, version: str, size: int, sequence: str) -> None:
        """Call for all that watch where an object appeared.

        Args:
            object: `bucket/key`.
            version: Of its content.
            size: In bytes.
            sequence: Tells one upload of the key from another.
        """
        with self._lock:
            names = sorted(name for name, location in self._watched.items() if lies_under(object, location))
        for name in names:
            told = {"fire": name, "occurrence": f"{sequence}/{version}", "object": object, "version": version, "bytes": size}
            self._call(json.dumps(told).encode())
