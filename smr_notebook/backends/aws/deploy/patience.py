"""How long, and how often, AWS is asked whether it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from smr_notebook.ports import Clock


@dataclass(frozen=True, slots=True)
class Patience:
    """How the end of something is waited for.

    Attributes:
        clock: The time.
        seconds: Longest wait.
        shortest: Seconds between the first two looks; each further pause is half as long again.
        longest: Seconds between two looks, at most.
    """

    clock: Clock
    seconds: float = 1800.0
    shortest: float = 0.1
    longest: float = 5.0

    def until(self, done: Callable[[], bool]) -> bool:
        """Wait until `done` says so, and return whether it did in time."""
        end, pause = self.clock.now() + self.seconds, self.shortest
        while not done():
            if self.clock.now() >= end:
                return False
            self.clock.sleep(pause)
            pause = min(pause * 1.5, self.longest)
        return True
