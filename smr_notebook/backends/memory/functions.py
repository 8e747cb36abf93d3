"""A function service made of threads of this process, for tests.

It keeps the rules of the local service (`backends.local.pool`): so many slots, a queue, sleepers that give their slot back and are
woken when another invocation ends, one notice for an invocation that raised. What it cannot do is end an invocation by force.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import threading
import time
from collections import deque
from dataclasses import dataclass

from smr_notebook.environment import environment
from smr_notebook.errors import PayloadTooLargeError, ServiceError
from smr_notebook.ports import Context, Handler, ServiceLimits

_PAYLOAD_BYTES = 1 << 20
_MEMORY_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class _Call:
    payload: bytes
    notice: bool = False


class MemoryFunctions:
    """Runs a handler in threads of this process; implements `ports.FunctionService`.

    Args:
        handler: Called with each payload.
        location: What the handler is told in its context.
        workers: How many invocations run at once.
    """

    def __init__(self, handler: Handler, *, location: str = "memory:", workers: int = 4) -> None:
        self._handler = handler
        self._location = location
        self._limits = ServiceLimits(
            payload_bytes=_PAYLOAD_BYTES,
            seconds=86_400.0,
            concurrency=workers,
            queue_seconds=600.0,
            memory_bytes=_MEMORY_BYTES,
            environment=environment(),
        )
        self._changed = threading.Condition()
        self._queue: deque[_Call] = deque()
        self._threads: set[threading.Thread] = set()
        self._numbers = itertools.count(1)
        self._running = 0
        self._ended = 0
        self._closed = False

    @property
    def limits(self) -> ServiceLimits:
        """What this service takes."""
        return self._limits

    def invoke(self, payload: bytes) -> None:
        """Have a thread run the handler once. See `ports.FunctionService.invoke`."""
        if len(payload) > _PAYLOAD_BYTES:
            raise PayloadTooLargeError(
                f"A payload of {len(payload):,} bytes exceeds the {_PAYLOAD_BYTES:,} that this function service takes."
            )
        with self._changed:
            if self._closed:
                raise ServiceError("This function service is closed: make a new one.")
            self._queue.append(_Call(payload))
            self._fill()

    def close(self) -> None:
        """Drop what waits, end what sleeps, and wait for the invocations that run."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._changed.notify_all()
            threads = [thread for thread in self._threads if thread is not threading.current_thread()]
        for thread in threads:
            thread.join()

    def _fill(self) -> None:
        while self._queue and self._running < self._limits.concurrency:
            self._running += 1
            thread = threading.Thread(target=self._run, args=(self._queue.popleft(),), daemon=True)
            self._threads.add(thread)
            thread.start()

    def _run(self, call: _Call) -> None:
        context = Context(
            location=self._location,
            invocation=f"memory-{os.getpid()}-{next(self._numbers)}-{secrets.token_hex(4)}",
            deadline=time.time() + self._limits.seconds,
            memory_bytes=self._limits.memory_bytes,
            clock=_SleeperClock(self),
        )
        try:
            self._handler(call.payload, context)
        except BaseException as error:  # noqa: BLE001 - SystemExit too: this thread has nobody above to tell
            self._end(call, context.invocation, f"{type(error).__name__}: {error}")
        else:
            self._end(call, context.invocation, None)

    def _end(self, call: _Call, invocation: str, reason: str | None) -> None:
        with self._changed:
            self._running -= 1
            self._ended += 1
            self._threads.discard(threading.current_thread())
            if reason is not None and not call.notice and not self._closed:
                notice = {"failed": call.payload.decode("utf-8", "replace"), "invocation": invocation, "reason": reason}
                self._queue.append(_Call(json.dumps(notice).encode(), notice=True))
            self._fill()
            self._changed.notify_all()

    def sleep(self, seconds: float, seen: int, *, slot: bool) -> int:
        """Let the calling thread sleep until an invocation ends that it has not been told of; for the clock of an invocation.

        Args:
            seconds: Longest time to sleep.
            seen: How many ends the thread has been told of.
            slot: Whether it has a slot to give back.

        Returns:
            How many invocations have ended by now.

        Raises:
            SystemExit: The service is closed: the thread ends.
        """
        with self._changed:
            if slot:
                self._running -= 1
                self._fill()
            self._changed.wait_for(lambda: self._closed or (slot and self._ended != seen), timeout=max(seconds, 0.0))
            self._running += slot
            if self._closed:
                raise SystemExit
            return self._ended

    @property
    def ended(self) -> int:
        """How many invocations have ended."""
        return self._ended


class _SleeperClock:
    """The clock of one invocation; threads that the handler started sleep without giving its slot back."""

    def __init__(self, service: MemoryFunctions) -> None:
        self._service = service
        self._seen = service.ended
        self._thread = threading.get_ident()

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float, *, least: float = 0.0) -> None:  # noqa: ARG002 - news within that time may wake it, and does
        own = threading.get_ident() == self._thread
        seen = self._service.sleep(seconds, self._seen, slot=own)
        if own:
            self._seen = seen
