"""Who runs, who waits, who sleeps: the bookkeeping of the local service, without a clock, a process or a socket.

Rules of this module:

* The service tells the pool what happened (`submit`, `slept`, `awoke`, `ended`, `died`) and then asks `decide` what to do. `decide`
  looks at the state alone, not at what has just happened, and changes it as if its actions were already carried out.
* A *slot* is the right to use a processor. At most `slots` invocations start running; one that sleeps gives its slot back, and
  takes one when it wakes without waiting, so that more than `slots` may run for a while.
* A worker runs calls of one *tenant* only, so that what somebody's code does to its process (the current folder, a patched module, the
  precision of decimals) reaches nobody else.
* A sleeper is woken when another invocation ended since it was last told so, even if that was before it fell asleep: otherwise an
  end between its look at the world and its sleep would be missed.
* An invocation that ends without an answer is reported once, by a *notice* with the same handler; a notice is not reported again.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Call:
    """An accepted call of the handler: whose it is, and whether it reports a failed one."""

    payload: bytes
    tenant: str = ""
    notice: bool = False


@dataclass(frozen=True, slots=True)
class Fork:
    """Make the process of a new worker."""

    worker: int


@dataclass(frozen=True, slots=True)
class Run:
    """Have a worker run a call under a name."""

    worker: int
    name: str
    call: Call


@dataclass(frozen=True, slots=True)
class Wake:
    """Tell a sleeper that something ended."""

    worker: int


@dataclass(frozen=True, slots=True)
class Retire:
    """Let an idle worker go."""

    worker: int


Action = Fork | Run | Wake | Retire


@dataclass(slots=True)
class _Invocation:
    name: str
    call: Call
    expires: float
    seen: int
    """How many invocations had ended when this one was last told."""
    asleep: bool = False
    woken: bool = False
    overdue: bool = False


class Pool:
    """The state of a service's queue and workers.

    Args:
        slots: How many invocations may run at once.
        seconds: Longest time that one may run.
        names: Gives each invocation its name.

    Attributes:
        queue: Calls that wait, in order of arrival.
        ended: Invocations that ended, in whatever way.
        failed: Those that raised.
        died: Those whose process ended.
    """

    def __init__(self, slots: int, seconds: float, names: Iterator[str]) -> None:
        self._slots = slots
        self._seconds = seconds
        self._names = names
        self._idle: dict[int, str] = {}  # of which tenant; the longest idle first
        self._busy: dict[int, _Invocation] = {}
        self._last_worker = 0
        self.queue: deque[Call] = deque()
        self.ended = 0
        self.failed = 0
        self.died = 0

    @property
    def sleeping(self) -> int:
        """Invocations that gave their slot back."""
        return sum(invocation.asleep for invocation in self._busy.values())

    @property
    def running(self) -> int:
        """Invocations that hold a slot."""
        return len(self._busy) - self.sleeping

    @property
    def empty(self) -> bool:
        """Whether no call waits and none runs or sleeps."""
        return not self._busy and not self.queue

    @property
    def next_expiry(self) -> float | None:
        """When the next invocation will have run too long."""
        return min((invocation.expires for invocation in self._busy.values() if not invocation.overdue), default=None)

    def submit(self, payload: bytes, tenant: str = "") -> None:
        """Take a call of a tenant."""
        self.queue.append(Call(payload, tenant))

    def slept(self, worker: int) -> None:
        """Note that a worker's invocation sleeps."""
        if worker in self._busy:
            self._busy[worker].asleep = True

    def awoke(self, worker: int) -> None:
        """Note that a worker's invocation goes on."""
        if worker in self._busy:
            self._busy[worker].asleep = False
            self._busy[worker].woken = False

    def finished(self, worker: int, *, reason: str | None = None, retires: bool = False) -> None:
        """Note that a worker's invocation came to its end.

        Args:
            worker: Whose.
            reason: Why there is no answer; `None` when there is one.
            retires: Whether the worker ends itself.
        """
        if worker in self._busy:
            self.failed += reason is not None
            tenant = self._end(worker, reason)
            if not retires:
                self._idle[worker] = tenant

    def leaves(self, worker: int) -> None:
        """Note that a worker closed its connection: it takes no more calls. `lost` follows."""
        self._idle.pop(worker, None)

    def lost(self, worker: int, reason: str) -> None:
        """Note that a worker's process ended, and with it the invocation, if it ran one."""
        self.leaves(worker)
        if worker in self._busy:
            self.died += 1
            overdue = self._busy[worker].overdue
            self._end(worker, f"ran longer than {self._seconds:g} seconds" if overdue else reason)

    def overdue(self, now: float) -> list[int]:
        """Return the workers whose invocations have newly run too long: they are to be killed."""
        late = [worker for worker, invocation in self._busy.items() if invocation.expires <= now and not invocation.overdue]
        for worker in late:
            self._busy[worker].overdue = True
        return late

    def decide(self, now: float) -> list[Action]:
        """Return what is to be done now, in order."""
        actions: list[Action] = []
        free = self._slots - self.running
        while self.queue and free > 0:
            free -= 1
            actions += self._start(self.queue.popleft(), now)
        for worker, invocation in self._busy.items():
            if invocation.asleep and not invocation.woken and invocation.seen != self.ended:
                invocation.woken = True
                invocation.seen = self.ended
                actions.append(Wake(worker))
        while len(self._idle) > self._slots + 1:  # one for each slot, and one for an invocation that sleeps
            longest = next(iter(self._idle))
            del self._idle[longest]
            actions.append(Retire(longest))
        return actions

    def _start(self, call: Call, now: float) -> list[Action]:
        actions: list[Action] = []
        worker = next((worker for worker, tenant in reversed(self._idle.items()) if tenant == call.tenant), None)
        if worker is None:
            self._last_worker += 1
            worker = self._last_worker
            actions.append(Fork(worker))
        self._idle.pop(worker, None)
        name = next(self._names)
        self._busy[worker] = _Invocation(name, call, now + self._seconds, self.ended)
        return [*actions, Run(worker, name, call)]

    def _end(self, worker: int, reason: str | None) -> str:
        """Note that an invocation ended, and return whose it was."""
        invocation = self._busy.pop(worker)
        self.ended += 1
        if reason is not None and not invocation.call.notice:
            self.queue.append(Call(death_notice(invocation.call.payload, invocation.name, reason), notice=True))
        return invocation.call.tenant


def death_notice(payload: bytes, invocation: str, reason: str) -> bytes:
    """Return what a service sends to the handler about an invocation that ended without an answer."""
    notice = {"failed": payload.decode("utf-8", "replace"), "invocation": invocation, "reason": reason}
    return json.dumps(notice, ensure_ascii=False).encode("utf-8", "replace")
