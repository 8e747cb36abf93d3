"""Intervals into lanes: no two of a lane overlap, and there are no more lanes than intervals at one time."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

Interval = tuple[float, float]
"""Where something begins and ends."""


def pack(intervals: Sequence[Interval]) -> list[int]:
    """Return the lane of each interval, from 0, in the order given.

    Greedy: in the order of their beginnings, each goes into the lowest lane that is free. What ends when another begins is no overlap.
    """
    lanes = [0] * len(intervals)
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    made = 0
    for number in sorted(range(len(intervals)), key=lambda number: intervals[number]):
        start, stop = intervals[number]
        while busy and busy[0][0] <= start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if free:
            lane = heapq.heappop(free)
        else:
            lane, made = made, made + 1
        lanes[number] = lane
        heapq.heappush(busy, (max(start, stop), lane))
    return lanes


def at_once(intervals: Iterable[Interval]) -> list[tuple[float, int]]:
    """Return how many intervals there are at one time, as steps: a time, and how many there are from then on."""
    changes: dict[float, int] = {}
    for start, stop in intervals:
        if stop > start:
            changes[start] = changes.get(start, 0) + 1
            changes[stop] = changes.get(stop, 0) - 1
    steps, count = [], 0
    for time in sorted(changes):
        if changes[time]:
            count += changes[time]
            steps.append((time, count))
    return steps


def sampled(steps: Sequence[tuple[float, int]], start: float, stop: float, columns: int) -> list[int]:
    """Return the largest count in each of so many equal columns of a stretch of time."""
    width = (stop - start) / columns
    found = [0] * columns
    if width <= 0:
        return found
    for place, (time, count) in enumerate(steps):
        until = steps[place + 1][0] if place + 1 < len(steps) else stop
        first = min(max(int((time - start) / width), 0), columns - 1)
        last = min(max(int(-(-(until - start) // width)), first + 1), columns)
        found[first:last] = [max(here, count) for here in found[first:last]] if last - first > 1 else [max(found[first], count)]
    return found
