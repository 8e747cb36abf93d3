"""Waits that double: how the control plane treats a port that refuses, or cannot be reached."""

from __future__ import annotations


class Backoff:
    """A row of waits, each twice the one before, up to a longest one.

    Args:
        shortest: The first wait, in seconds.
        longest: The longest wait, in seconds.
    """

    def __init__(self, shortest: float, longest: float) -> None:
        self._shortest = shortest
        self._longest = longest
        self._wait = shortest

    def next(self) -> float:
        """Return how long to wait now, in seconds."""
        wait = self._wait
        self._wait = min(2 * wait, self._longest)
        return wait

    def reset(self) -> None:
        """Begin again at the shortest wait."""
        self._wait = self._shortest
