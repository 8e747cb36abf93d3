"""Numbers as people read them: amounts, times, and the round numbers that an axis is marked with."""

from __future__ import annotations

import math
from collections.abc import Callable


def quantity(count: float, unit: str = "") -> str:
    """Return a number in three digits with a decimal prefix: `1.9 M`, `51.3 G`; with a unit behind it when one is given."""
    for prefix in ("", "k", "M", "G", "T"):
        if count < 999.5:
            digits = f"{count:.0f}" if count >= 99.95 or not prefix else f"{count:.1f}"
            return f"{digits} {'K' if unit and prefix == 'k' else prefix}{unit}".rstrip()
        count /= 1000
    return f"{count:,.0f} P{unit}"


def span(seconds: float) -> str:
    """Return how long something took: `35 ms`, `1.2 s`, `14 min 3 s`, `2 h 5 min`."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    return f"{hours} h {left} min" if hours else f"{minutes} min {rest} s"


def counted(count: int, noun: str) -> str:
    """Return a number of things: `1 task`, `2,000 tasks`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def marks(largest: float, most: int = 6) -> list[float]:
    """Return round numbers from 0 up to `largest`, at most so many, an equal step apart."""
    if not largest > 0:
        return [0.0]
    rough = largest / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    return [step * number for number in range(int(largest / step * (1 + 1e-9)) + 1)]


def time_marks(seconds: float, most: int = 7) -> list[float]:
    """Return the same for a time, in steps that a clock shows."""
    if seconds <= 60:
        return marks(seconds, most)
    steps = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400)
    step = next((step for step in steps if seconds / step < most), math.ceil(seconds / 86400 / (most - 1)) * 86400)
    return [float(step * number) for number in range(int(seconds // step) + 1)]


def time_names(times: list[float]) -> list[str]:
    """Return what the marks of a time axis are called: the same unit for all, as small as the step needs."""
    step = times[1] if len(times) > 1 else 1.0
    return [_namer(step)(time) for time in times]


def _namer(step: float) -> Callable[[float], str]:
    if step < 1:
        digits = max(0, math.ceil(-math.log10(step) - 1e-9))
        return lambda time: f"{time:.{digits}f} s"
    if step < 60:
        return lambda time: f"{time:.0f} s" if time < 60 else f"{time // 60:.0f}:{time % 60:02.0f}"
    if step < 3600:
        return lambda time: f"{time / 60:.0f} min"
    return lambda time: f"{time / 3600:.0f} h"
