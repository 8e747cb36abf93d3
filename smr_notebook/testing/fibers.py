"""Invocations that take turns: each runs in a thread of its own, and exactly one of them runs at a time.

Theory. Code that is written as straight lines - a coordinator's step, a worker's attempt - is interrupted by nothing in a simulation that
runs it as one event. Here it gives up control wherever it waits for a port, so that anything may happen between two of its reads or
writes; and since nobody else runs meanwhile, a story is the same each time that it is told.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Ended(BaseException):
    """The story is over: whoever still waits goes away. No `Exception`, because nothing that treats errors may treat it."""


class Fibers:
    """The invocations of one simulation.

    Args:
        at: Lets an event happen in so many seconds.
    """

    def __init__(self, at: Callable[[float, Callable[[], object]], None]) -> None:
        self._at = at
        self._fibers: set[_Fiber] = set()
        self._running: _Fiber | None = None

    def start(self, work: Callable[[], object]) -> None:
        """Run `work` until it pauses for the first time. Called from an event, like what follows it. Raises what `work` raises."""
        fiber = _Fiber(work)
        self._fibers.add(fiber)
        self._go_on(fiber)

    def pause(self, seconds: float) -> None:
        """Let so many seconds pass for whoever calls, if that is one of these invocations; at once for anybody else."""
        fiber = self._running
        if fiber is None or not fiber.is_current:
            return
        self._at(seconds, lambda: self._go_on(fiber))
        fiber.wait()

    def end(self) -> None:
        """Send all away that still wait."""
        for fiber in list(self._fibers):
            fiber.end()
        self._fibers.clear()

    def _go_on(self, fiber: _Fiber) -> None:
        before, self._running = self._running, fiber
        try:
            if fiber.go_on():
                self._fibers.discard(fiber)
        finally:
            self._running = before


class _Fiber:
    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._turn = threading.Lock()
        self._back = threading.Lock()
        self._turn.acquire()
        self._back.acquire()
        self._over = False
        self._sent_away = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def is_current(self) -> bool:
        """Whether the calling thread is this one."""
        return threading.current_thread() is self._thread

    def go_on(self) -> bool:
        """Let it run until it waits again, and return whether it came to its end. Raises what it raised."""
        self._turn.release()
        self._back.acquire()
        if self._error is not None:
            raise self._error
        return self._over

    def wait(self) -> None:
        """Give up control until it is one's turn again."""
        self._back.release()
        self._turn.acquire()
        if self._sent_away:
            raise Ended

    def end(self) -> None:
        """Send it away, and wait until it has gone."""
        if not self._over:
            self._sent_away = True
            self._turn.release()
            self._thread.join()

    def _run(self) -> None:
        self._turn.acquire()
        try:
            if not self._sent_away:
                self._work()
        except Ended:
            pass
        except BaseException as error:  # noqa: BLE001 - whoever let it run gets it
            self._error = error
        self._over = True
        self._back.release()
