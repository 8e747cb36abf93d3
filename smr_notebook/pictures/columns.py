"""Columns side by side: what the pictures of skew and of split sizes are drawn with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from smr_notebook.pictures import svg
from smr_notebook.pictures.marks import marks

LEFT: Final = 76
WIDE: Final = svg.WIDTH - LEFT - 16
MOST_COLUMNS: Final = 180
"""Columns that are drawn; of more values, each column shows the largest of some neighbours."""


def columns(
    values: Sequence[float], *, top: float, height: float, name: Callable[[float], str], colours: Callable[[float], str]
) -> list[str]:
    """Return columns above a line, with an axis at their left.

    Args:
        values: How high each is.
        top: Upper end of the highest.
        height: Pixels of the highest.
        name: What a mark of the axis is called.
        colours: The colour of a column of this height.
    """
    shown = gathered(values)
    largest = max([*shown, 0.0])
    low = top + height
    width = WIDE / max(len(shown), 1)
    parts = []
    for mark in marks(largest, 4):
        y = low - height * mark / largest if largest else low
        parts += [svg.text(LEFT - 6, y + 4, name(mark), anchor="end"), svg.line(LEFT, y, LEFT + WIDE, y, width=0.3)]
    gap = min(1.0, width * 0.2)
    for place, value in enumerate(shown):
        tall = max(height * value / largest, 0.8) if value > 0 else 0.0
        if tall:
            parts.append(svg.box(LEFT + place * width, low - tall, width - gap, tall, colour=colours(value)))
    return parts


def gathered(values: Sequence[float]) -> list[float]:
    """Return at most `MOST_COLUMNS` values, each the largest of its neighbours."""
    count = min(len(values), MOST_COLUMNS)
    return [max(values[len(values) * place // count : len(values) * (place + 1) // count]) for place in range(count)]
