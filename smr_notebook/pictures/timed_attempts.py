"""What is known of one attempt on the axis of time."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from smr_notebook.showing.amounts import span
from smr_notebook.values.stragglers import USUAL

LEAST_DONE: Final = 3
"""Attempts of a phase that must be done before another one can be said to take long."""


class Fate(StrEnum):
    """What is known of an attempt."""

    WAITING = "waiting"
    """Launched, and not begun."""
    RUNNING = "running"
    DONE = "done"
    """Its output counts."""
    PAUSED = "paused"
    """It published a part of its task when its time was up, and another attempt went on."""
    FAILED = "failed"
    LOST = "lost"
    """Nobody claimed it, or it fell silent."""
    STOPPED = "stopped"
    """Nobody wanted it any more."""
    SILENT = "silent"
    """It gave no sign of life for longer than it may, and nobody has said yet what became of it."""

    @property
    def bad(self) -> bool:
        """Whether it came to nothing, and should not have."""
        return self in {Fate.FAILED, Fate.LOST, Fate.SILENT}


@dataclass(frozen=True, slots=True)
class TimedAttempt:
    """One attempt of a task. Times are seconds since 1970, by the clocks of those who wrote them.

    Attributes:
        phase: `map` or `reduce`.
        task: Number of the task.
        number: Of the attempt, from 1.
        fate: What became of it.
        launched: When the coordinator wrote down that it was to be.
        started: When a worker claimed it; `None` if none did.
        ended: When it committed, paused or failed, or somebody wrote that it had ended; its last sign of life if it fell silent; `None`
            while it waits or runs.
        speculative: Whether it is a backup beside another attempt that took long.
        straggler: Whether it ran far longer than is usual in its phase.
        worker: The name under which it was claimed; empty if it was not.
        error: Type of the error that it failed with; empty if it did not.
    """

    phase: str
    task: int
    number: int
    fate: Fate
    launched: float
    started: float | None = None
    ended: float | None = None
    speculative: bool = False
    straggler: bool = False
    worker: str = ""
    error: str = ""

    @property
    def name(self) -> str:
        """What it is called: `map 3`, or `map 3 #2` for a second attempt."""
        return f"{self.phase} {self.task}" + (f" #{self.number}" if self.number > 1 else "")

    @property
    def notable(self) -> bool:
        """Whether it is one of those that somebody looks for."""
        return self.fate.bad or self.speculative or self.straggler

    def begin(self) -> float:
        """Return when its bar begins: with its start, or its launch if it never started."""
        return self.launched if self.started is None else self.started

    def end(self, until: float) -> float:
        """Return when its bar ends, at this time."""
        return max(self.begin(), until if self.ended is None else self.ended)

    def waited(self, until: float) -> float:
        """Return how many seconds it waited for a worker, until this time."""
        return max(0.0, (self.end(until) if self.started is None else self.started) - self.launched)

    def ran(self, until: float) -> float:
        """Return how many seconds it ran, until this time; 0 if it never started."""
        return 0.0 if self.started is None else self.end(until) - self.started

    def told(self, until: float) -> str:
        """Return how long it ran, and what became of it."""
        took = span(self.ran(until) if self.started is not None else self.waited(until))
        if self.started is None and self.fate is not Fate.WAITING:
            took = f"waited {took},"
        words = [f"{self.fate} ({self.error})" if self.error else self.fate.value]
        words += ["backup"] * self.speculative + ["straggler"] * self.straggler
        return f"{took} {', '.join(words)}"


def with_stragglers(attempts: Sequence[TimedAttempt], until: float) -> tuple[TimedAttempt, ...]:
    """Return the attempts in order, and mark those that took long by the rule that gives an attempt a backup (`stragglers.USUAL`)."""
    limits = {}
    for phase in {attempt.phase for attempt in attempts}:
        took = [attempt.ran(until) for attempt in attempts if attempt.phase == phase and attempt.fate is Fate.DONE]
        if len(took) >= LEAST_DONE:
            limits[phase] = max(USUAL.factor * statistics.median(took), USUAL.seconds)
    marked = (
        replace(attempt, straggler=True) if attempt.ran(until) > limits.get(attempt.phase, float("inf")) else attempt
        for attempt in attempts
    )
    return tuple(sorted(marked, key=lambda attempt: (attempt.phase, attempt.task, attempt.number)))


def bars_of(attempts: Iterable[TimedAttempt], until: float) -> list[tuple[float, float]]:
    """Return where the bars of attempts begin and end."""
    return [(attempt.begin(), attempt.end(until)) for attempt in attempts]
