"""How sizes are distributed: ten bins of equal width, and a line of text that shows them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

BINS: Final = 10

_ALIKE: Final = 100
"""Sizes that differ by less than such a part of the largest are told as equal."""

_BARS: Final = "▁▂▃▄▅▆▇█"
_NONE: Final = "·"


@dataclass(frozen=True, slots=True)
class Bin:
    """How many sizes lie in `[start, stop)`; in the last bin, in `[start, stop]`."""

    start: float
    stop: float
    count: int


def distribution(sizes: Sequence[int]) -> tuple[Bin, ...]:
    """Return the bins between the smallest and the largest size; one where all are about equal, none where there are none."""
    if not sizes:
        return ()
    least, most = min(sizes), max(sizes)
    if most - least <= most // _ALIKE:
        return (Bin(least, most, len(sizes)),)
    width = (most - least) / BINS
    counts = [0] * BINS
    for size in sizes:
        counts[min((size - least) * BINS // (most - least), BINS - 1)] += 1
    return tuple(Bin(least + width * place, least + width * (place + 1), count) for place, count in enumerate(counts))


def bars(found: Sequence[Bin]) -> str:
    """Return one character for each bin: the taller, the more sizes lie in it; a dot where none does."""
    most = max((one.count for one in found), default=0)
    return "".join(_BARS[(one.count * len(_BARS) - 1) // most] if one.count else _NONE for one in found)


def median(sizes: Sequence[int]) -> int:
    """Return the size in the middle, the lower one of two; there is at least one."""
    return sorted(sizes)[(len(sizes) - 1) // 2]
