"""Waits that double: how the control plane treats a port that refuses, or cannot be reached."""

from __future__ import annotations

from typing import Final

from smr_notebook.errors import ObjectNotFoundError, ServiceError, StoreError, ThrottledError

PASSING: Final = (StoreError, ServiceError, ThrottledError)
"""What a port raises when it cannot be reached, or wants fewer calls. All but `ObjectNotFoundError` may pass: see `passes`."""


def passes(error: Exception) -> bool:
    """Whether trying again later may help."""
    return isinstance(error, PASSING) and not isinstance(error, ObjectNotFoundError)


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
