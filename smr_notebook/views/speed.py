"""How fast a job goes, and how long its phase may still take: pure functions of two looks.

Theory. The rows say how far a phase is, not since when. So speed is measured from the first look that saw the phase at work, and what was
done before it, by whomever, is left out. Of the tasks that were at work at that look nobody knows since when: where it came early in the
job, they had just begun; where a phase was joined in its middle, so many tasks may end without saying anything, and are left out, too.
Tasks at work count as not done: they end in waves, so that half of one tells little.

Rules of this module:

* What is not known is not told: as long as no task was seen to end there is no time left, and none when the time that was left is over.
* What is left is left of one phase. How long reduce takes nobody knows while map runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from smr_notebook.model import JobState
from smr_notebook.standing import PhaseProgress, Progress

_SHORTEST = 0.5
"""Seconds below which a speed says nothing."""

_EARLY = 2.0
"""Seconds since the submission in which a task that is at work has just begun."""


@dataclass(frozen=True, slots=True)
class Start:
    """What the first look saw that found a phase at work.

    Attributes:
        state: Which phase that was.
        at: Time of the look.
        phase: How far the phase was.
        unknown: How many tasks were at work for nobody knows how long.
    """

    state: JobState
    at: float
    phase: PhaseProgress
    unknown: int = 0


def phase_at_work(progress: Progress) -> PhaseProgress | None:
    """Return the phase whose tasks run now; `None` before the first and after the last."""
    at_work = {JobState.MAPPING: progress.map, JobState.MERGING: progress.merge, JobState.REDUCING: progress.reduce}
    return at_work.get(progress.state)


def started(progress: Progress, before: Start | None = None) -> Start | None:
    """Return where speeds are measured from.

    Args:
        progress: The latest look.
        before: What this function returned for the look before.
    """
    if before is not None and before.state is progress.state:
        return before
    phase = phase_at_work(progress)
    if phase is None:
        return None
    joined = before is None and progress.updated - progress.started > _EARLY
    return Start(progress.state, progress.updated, phase, phase.running if joined else 0)


def speed(progress: Progress, start: Start | None) -> float | None:
    """Return how many records, or groups, the phase at work gets done in a second; `None` when that is not known."""
    phase = phase_at_work(progress)
    if phase is None or start is None or progress.updated - start.at < _SHORTEST:
        return None
    records = phase.numbers.records_mapped - start.phase.numbers.records_mapped
    return records / (progress.updated - start.at) if records > 0 else None


def seconds_left(progress: Progress, start: Start | None, now: float) -> float | None:
    """Return how long the phase at work may still take, in seconds; `None` when that is not known.

    Args:
        progress: The latest look.
        start: Where its speed is measured from.
        now: Time of the question, in seconds since 1970.
    """
    phase = phase_at_work(progress)
    if phase is None or start is None or progress.updated - start.at < _SHORTEST:
        return None
    ended = phase.done - start.phase.done - start.unknown
    if ended <= 0:
        return None
    left = (phase.tasks - phase.done) * (progress.updated - start.at) / ended - max(0.0, now - progress.updated)
    return left if left > 0 else None
