"""How much a function service runs at once. Rules of this module: those of `model`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many invocations a service runs at once, and how fast it gets there.

    Attributes:
        concurrency: How many run at once, at most.
        queue_seconds: How long it lets a call wait for its turn; 0 if it refuses instead.
        burst: How many can start at once where none ran before.
        ramp: How many more it can run with each second that follows.
        step: Seconds between two times at which it grows; 0 if it does so all the time.
    """

    concurrency: int
    queue_seconds: float = 0.0
    burst: float = math.inf
    ramp: float = math.inf
    step: float = 0.0

    def within(self, most: int) -> Capacity:
        """Return what there is for who wants no more than so many invocations at once; 0 for who takes all there is.

        Such a one has no call wait for its turn: it would get it as soon as any worker is free.
        """
        return replace(self, concurrency=min(self.concurrency, most), queue_seconds=0.0) if 0 < most < self.concurrency else self

    def grown(self, seconds: float) -> float:
        """Return how many it can run so long after it was first asked for any, the account's limit aside."""
        steps = seconds // self.step * self.step if self.step else seconds
        return math.inf if math.isinf(self.ramp) else self.burst + self.ramp * steps
