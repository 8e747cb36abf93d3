"""How often whoever watches a job looks, and how often it shows what it saw. Pure.

Rules of this module:

* A look costs one row read, and a paint none: nobody looks because something is to be painted.
* Looks become rarer as long as the job runs, from the shortest pause of its platform to the longest, and that is at most `LONGEST_PAUSE`:
  so a short job is not held up, and a long one costs some reads a minute.
* A change is painted at most once an interval, and after a minute at most once a second: by then nobody sees more.
* Without a change there is a paint a second, so that a clock beside the numbers goes on.
"""

from __future__ import annotations

from typing import Final

LONGEST_PAUSE: Final = 2.0
"""Longest time between two looks of a watcher, in seconds, whatever the platform says."""

TICK: Final = 1.0
"""Time between two paints, in seconds, where nothing changed or where a job has run for long."""

LONG: Final = 60.0
"""Seconds after which a job has been watched for long."""


def next_pause(pause: float, longest: float) -> float:
    """Return how long to wait for the next look, in seconds.

    Args:
        pause: How long was waited for this one.
        longest: Longest time between two looks that the platform asks for.
    """
    return min(longest, LONGEST_PAUSE, pause * 1.5)


def is_due(*, changed: bool, since_paint: float, watched: float, interval: float) -> bool:
    """Whether what was seen is shown now.

    Args:
        changed: Whether it differs from what is shown.
        since_paint: Seconds since the last paint; infinity before the first.
        watched: Seconds since the watcher's first look.
        interval: Shortest time between two paints, in seconds.
    """
    shortest = interval if changed and watched < LONG else max(interval, TICK)
    return since_paint >= shortest
