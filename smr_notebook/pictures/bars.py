"""Bars and curves of text: block elements of Unicode, one line high."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

_EIGHTHS: Final = "▁▂▃▄▅▆▇█"
_PARTS: Final = " ▏▎▍▌▋▊▉"

CELLS: Final = 48
"""Characters of a bar, at most."""


def spark(values: Sequence[float], cells: int = CELLS) -> str:
    """Return values as one line of columns, each the largest of those that it stands for; a blank stands for nothing."""
    columns = [max(values[start:stop]) for start, stop in _shares(len(values), cells)]
    largest = max(columns, default=0.0)
    return "".join(" " if value <= 0 else _EIGHTHS[max(0, math.ceil(8 * value / largest) - 1)] for value in columns)


def bar(value: float, largest: float, cells: int = CELLS) -> str:
    """Return a bar as long as its share of the largest one; anything above 0 shows."""
    if value <= 0 or largest <= 0:
        return ""
    eighths = max(1, round(8 * cells * min(value / largest, 1.0)))
    return "█" * (eighths // 8) + _PARTS[eighths % 8].strip()


def _shares(count: int, cells: int) -> list[tuple[int, int]]:
    """Return how `count` values are dealt out to at most so many columns, each with one at least."""
    columns = min(count, cells)
    return [(count * column // columns, count * (column + 1) // columns) for column in range(columns)]
