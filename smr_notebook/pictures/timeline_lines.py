"""The timeline as text: a curve of workers, and a bar for each attempt as far as they are few, or stand out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from smr_notebook.pictures.bars import CELLS, spark
from smr_notebook.pictures.packing import sampled
from smr_notebook.pictures.timed_attempts import TimedAttempt
from smr_notebook.showing.amounts import counted

MOST_LINES: Final = 24
"""Attempts that have a line of their own."""


def lines_of(attempts: Sequence[TimedAttempt], start: float, until: float, *, steps: Sequence[tuple[float, int]]) -> list[str]:
    """Return the timeline as lines.

    Args:
        attempts: The attempts.
        start: When the picture begins.
        until: When it ends.
        steps: How many ran at once.
    """
    if not attempts:
        return []
    shown = _chosen(attempts, until)
    width = max(len("at once"), *(len(attempt.name) for attempt in shown))
    lines = [f"{'at once':<{width}} {spark([*sampled(steps, start, until, CELLS)]):<{CELLS}} {max((n for _, n in steps), default=0):,}"]
    lines += [f"{attempt.name:<{width}} {_bar(attempt, start, until)} {attempt.told(until)}" for attempt in shown]
    left = len(attempts) - len(shown)
    return [*lines, f"and {counted(left, 'attempt')} more: to_frame() has all"] if left else lines


def _chosen(attempts: Sequence[TimedAttempt], until: float) -> list[TimedAttempt]:
    """Return all attempts, or those that stand out and the longest, in the order given."""
    if len(attempts) <= MOST_LINES:
        return list(attempts)
    places = sorted(range(len(attempts)), key=lambda place: (not attempts[place].notable, -attempts[place].ran(until)))
    return [attempts[place] for place in sorted(places[: MOST_LINES // 2])]


def _bar(attempt: TimedAttempt, start: float, until: float) -> str:
    """Return a line of cells: light while it waited, full while it ran, crossed if that came to nothing."""
    cell = max(until - start, 1e-9) / CELLS
    launched, begin, end = (
        min(max(int((time - start) / cell), 0), CELLS - 1) for time in (attempt.launched, attempt.begin(), attempt.end(until))
    )
    ran = "░" if attempt.started is None else "▒" if attempt.fate.bad else "█"
    last = "×" if attempt.fate.bad else ran
    return (" " * launched + "░" * (begin - launched) + ran * (end - begin) + last).ljust(CELLS)
