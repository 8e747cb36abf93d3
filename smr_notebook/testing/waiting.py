"""Waiting for what another thread or process will do, with an end to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def wait_until(predicate: Callable[[], object], seconds: float = 20.0) -> None:
    """Return as soon as `predicate()` is true.

    Args:
        predicate: Asked again and again; it should be cheap.
        seconds: How long to wait at most.

    Raises:
        TimeoutError: It did not become true in time.
    """
    pause = threading.Event()
    end = time.monotonic() + seconds
    while not predicate():
        if time.monotonic() > end:
            raise TimeoutError(f"{predicate} was not true within {seconds:g} seconds")
        pause.wait(0.002)
