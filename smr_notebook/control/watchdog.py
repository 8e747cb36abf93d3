"""The alarm of a job: what starts a coordinator when all others who would notice its absence are gone too.

Best effort: a job that is watched by people and workers needs none, so what a service of alarms refuses is nobody's error.
"""

from __future__ import annotations

import math
from contextlib import suppress

from smr_notebook.control.messages import coordinate, encode
from smr_notebook.errors import PlatformError
from smr_notebook.ports import Backend


class Watchdog:
    """The alarm of one job. Without alarms on the platform, nothing happens.

    Args:
        backend: The platform.
        job: Identifier of the job.
        seconds: How long after it was put off last it goes off.
    """

    def __init__(self, backend: Backend, job: str, *, seconds: float) -> None:
        self._alarms = backend.alarms
        self._clock = backend.clock
        self._name = f"job-{job}"
        self._call = encode(coordinate(job))
        self._seconds = seconds
        self._due = -math.inf

    def arm(self) -> None:
        """Put the alarm off, if a third of its time has passed since that was done last."""
        now = self._clock.now()
        if now >= self._due:
            self._due = now + self._seconds / 3
            self.arm_until(now + self._seconds)

    def arm_until(self, at: float) -> None:
        """Let the alarm go off at a time, whenever it would have done so."""
        if self._alarms is not None:
            with suppress(PlatformError):
                self._alarms.set(self._name, at, self._call)

    def call_off(self) -> None:
        """Drop the alarm: the job has ended."""
        if self._alarms is not None:
            with suppress(PlatformError):
                self._alarms.clear(self._name)
