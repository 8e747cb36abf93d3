"""The pulse: one thread in a process that beats for every attempt at work in it.

A thread for each attempt would cost more than a small task does. So there is one, and in a stream of short attempts it sleeps
through all of them: it wakes when a heart is due, and at most once in a heartbeat's time.

Rules of this module:

* `leave` returns when no beat of that heart is under way, and none will be.
* The watchdog is armed before a heart that joins may be needed, is put off at each beat, and is called off when nobody is left. It
  acts below Python, because one call in C may let no thread run, this one neither.
"""

from __future__ import annotations

import functools
import math
import os
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

Watch = Callable[[float], object]
"""Ends the process unless it is called again within so many seconds; 0 calls it off."""

_RESTS: Final = 3600.0


class Beating(Protocol):
    """What the pulse beats for."""

    @property
    def patience(self) -> float:
        """How long the beats may stay out before the watchdog ends the process, in seconds; 0 for ever."""
        ...

    @property
    def watch(self) -> Watch | None:
        """The watchdog of the process, if it has one."""
        ...

    def beat(self) -> float:
        """Do what is due, and return in how many seconds the next beat is; infinity for never."""
        ...


class Pulse:
    """The thread and the hearts that it beats for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[Beating, float] = {}
        self._beating: Beating | None = None
        self._wakes = math.inf
        self._armed: Watch | None = None
        self._running = False

    def join(self, heart: Beating, *, first: float) -> None:
        """Beat for a heart from now on, for the first time in `first` seconds."""
        with self._changed:
            due = time.monotonic() + first
            self._due[heart] = due
            if self._armed is None:
                self._arm(heart)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="pulse", daemon=True).start()
            elif due < self._wakes:
                self._changed.notify_all()

    def leave(self, heart: Beating) -> None:
        """Beat for a heart no more; a beat that is under way ends first."""
        with self._changed:
            self._due.pop(heart, None)
            while self._beating is heart:
                self._changed.wait()

    def rest(self) -> None:
        """Call the watchdog off now, if nobody is left."""
        with self._changed:
            if not self._due and self._armed is not None:
                self._armed(0)
                self._armed = None

    def _arm(self, heart: Beating) -> None:
        if heart.watch is not None and heart.patience:
            heart.watch(heart.patience)
            self._armed = heart.watch

    def _run(self) -> None:
        with self._changed:
            while True:
                heart = min(self._due, key=self._due.__getitem__, default=None)
                if heart is None and self._armed is not None:
                    self._armed(0)
                    self._armed = None
                self._wakes = self._due[heart] if heart is not None else time.monotonic() + _RESTS
                pause = self._wakes - time.monotonic()
                if pause > 0 or heart is None:
                    self._changed.wait(min(pause, _RESTS))
                else:
                    self._beat(heart)

    def _beat(self, heart: Beating) -> None:
        """Beat once; the lock, which is held, is let go meanwhile."""
        self._arm(heart)
        self._beating = heart
        self._changed.release()
        try:
            pause = heart.beat()
        finally:
            self._changed.acquire()
            self._beating = None
            self._changed.notify_all()
        if heart in self._due:
            self._due[heart] = time.monotonic() + pause


@functools.lru_cache(maxsize=1)
def pulse_of(process: int) -> Pulse:
    """Return the pulse of this process, which `process` is the number of: after a fork there is another one."""
    del process
    return Pulse()


def rest_pulse() -> None:
    """Call the watchdog of this process off if no heart is left: before something freezes the process, which looks like a long wait."""
    pulse_of(os.getpid()).rest()
