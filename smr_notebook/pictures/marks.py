"""The round numbers that an axis is marked with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

_MOST_TIMES: Final = 7


def marks(largest: float, most: int) -> list[float]:
    """Return round numbers from 0 up to `largest`, at most so many, an equal step apart."""
    if not largest > 0:
        return [0.0]
    rough = largest / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    return [step * number for number in range(int(largest / step * (1 + 1e-9)) + 1)]


def time_marks(seconds: float) -> list[float]:
    """Return the same for a time, in steps that a clock shows."""
    if seconds <= 60:
        return marks(seconds, _MOST_TIMES)
    steps = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400)
    step = next((step for step in steps if seconds / step < _MOST_TIMES), math.ceil(seconds / 86400 / (_MOST_TIMES - 1)) * 86400)
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
