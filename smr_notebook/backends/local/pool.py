"""Who runs, who waits, who sleeps: the bookkeeping of the local service, without a clock, a process or a socket.

Rules of this module:

* The service tells the pool what happened (`submit`, `slept`, `awoke`, `ended`, `died`) and then asks `decide` what to do. `decide`
  looks at the state alone, not at what has just happened, and changes it as if its actions were already carried out.
* A *slot* is the right to use a processor. At most `slots` invocations start running; one that sleeps gives its slot back, and
  takes one when it wakes without waiting, so that more than `slots` may run for a while.
* A worker runs calls of one *tenant* only, so that what somebody's code does to its process (the current folder, a patched module, the
  precision of decimals) reaches nobody else. *Spares* are workers that nobody's code has run in yet, made while nothing else is to be
  done, so that a new tenant does not wait for a process to begin.
* A worker whose last call was short is *handed* further calls of its tenant before it asks, some milliseconds of work, so that it never
  waits for the next one. It runs them one after the other. Those behind a call that takes longer than that go back to the queue, and run
  elsewhere: a call may so be made twice, as the port allows. Calls of no tenant (`""`) may be long, and are never handed ahead.
* A call may take several slots, because it asks for the memory of several workers. It waits for them at the head of the queue, where only
  calls of no tenant pass it, so that it is not kept waiting by those behind it; it is never handed ahead.
* A sleeper is woken when another invocation ended since it was last told so, even if that was before it fell asleep: otherwise an
  end between its look at the world and its sleep would be missed. One that wants to rest for a while is woken after that.
* An invocation that ends without an answer is reported once, by a *notice* with the same handler; a notice is not reported again. It is
  short, and who died is known by it alone: so it runs before all others, and one at a time beyond the slots.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

_AHEAD_SECONDS: Final = 0.01
"""Work that a worker is handed before it asks."""

_MOST_AHEAD: Final = 64
"""Calls that a worker has at most."""

_STUCK_SECONDS: Final = 0.03
"""A call that takes longer holds up those behind it: they go elsewhere."""


@dataclass(frozen=True, slots=True)
class Call:
    """An accepted call of the handler: whose it is, whether it reports a failed one, and which size of memory it asks for."""

    payload: bytes
    tenant: str = ""
    notice: bool = False
    size: int = 0


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
    started: float
    asleep: bool = False
    woken: bool = False
    overdue: bool = False
    evicted: bool = False
    """Whether nobody wants it any more, nor to know how it ended."""
    rests_until: float = 0.0
    taken: bool = False
    """Whether it was handed ahead, and then given to somebody else as well."""


@dataclass(slots=True)
class _Worker:
    tenant: str
    handed: deque[_Invocation] = field(default_factory=deque)
    """What it was given and has not ended, in order; the first one runs."""
    seconds: float = math.inf
    """How long its last call took."""
    leaving: bool = False

    @property
    def load(self) -> float:
        """Seconds of work that it has, if its calls take as long as the last one."""
        return self.seconds * len(self.handed)

    def stuck_at(self) -> float:
        """When what waits behind the running call is to go back to the queue."""
        waits = any(not behind.taken for behind in islice(self.handed, 1, None))
        return self.handed[0].started + _STUCK_SECONDS if waits else math.inf


class Pool:
    """The state of a service's queue and workers.

    Args:
        slots: How many invocations may run at once.
        seconds: Longest time that one may run.
        names: Gives each invocation its name.
        spares: How many workers are kept ready for tenants to come.
        weights: How many slots a call takes, for each size of memory.

    Attributes:
        queue: Calls that wait, in order of arrival.
        notices: Notices that wait.
        ended: Invocations that ended, in whatever way.
        ended_of_nobody: Those of no tenant.
        failed: Those that raised.
        died: Those whose process ended.
    """

    def __init__(self, slots: int, seconds: float, names: Iterator[str], *, spares: int = 0, weights: Sequence[int] = (1,)) -> None:
        self._slots = slots
        self._seconds = seconds
        self._names = names
        self._wanted_spares = spares
        self._weights = weights
        self._spares: list[int] = []
        self._idle: dict[int, _Worker] = {}  # the longest idle first
        self._busy: dict[int, _Worker] = {}
        self._last_worker = 0
        self.queue: deque[Call] = deque()
        self.notices: deque[Call] = deque()
        self.ended = 0
        self.ended_of_nobody = 0
        self.failed = 0
        self.died = 0

    @property
    def sleeping(self) -> int:
        """Invocations that gave their slot back."""
        return sum(worker.handed[0].asleep for worker in self._busy.values())

    @property
    def running(self) -> int:
        """Invocations that hold a slot."""
        return len(self._busy) - self.sleeping

    @property
    def taken(self) -> int:
        """Slots that are taken by those."""
        return sum(self._weights[worker.handed[0].call.size] for worker in self._busy.values() if not worker.handed[0].asleep)

    @property
    def _tells(self) -> bool:
        """Whether a notice runs."""
        return any(worker.handed[0].call.notice for worker in self._busy.values())

    def working(self) -> Iterator[tuple[int, int]]:
        """Yield the workers that run a tenant's call, each with the size of memory that it asks for."""
        for number, worker in self._busy.items():
            if worker.handed[0].call.tenant:
                yield number, worker.handed[0].call.size

    @property
    def handed(self) -> int:
        """Calls that wait in a worker."""
        return sum(not behind.taken for worker in self._busy.values() for behind in islice(worker.handed, 1, None))

    @property
    def empty(self) -> bool:
        """Whether no call waits and none runs or sleeps."""
        return not (self._busy or self.queue or self.notices)

    @property
    def next_time(self) -> float | None:
        """When there is something to be decided although nothing happened: an invocation has run too long, rested, or holds others up."""
        times = [math.inf]
        for worker in self._busy.values():
            first = worker.handed[0]
            if not first.overdue:
                times.append(first.expires)
            if len(worker.handed) > 1:
                times.append(worker.stuck_at())
            if first.asleep and not first.woken and first.seen != self.ended:
                times.append(first.rests_until)
        soonest = min(times)
        return None if math.isinf(soonest) else soonest

    def submit(self, payload: bytes, tenant: str = "", *, size: int = 0) -> None:
        """Take a call of a tenant, which asks for a size of memory; for the largest, where there is none so large."""
        self.queue.append(Call(payload, tenant, size=min(size, len(self._weights) - 1)))

    def slept(self, worker: int, *, until: float = 0.0) -> None:
        """Note that a worker's invocation sleeps, and wants no news until a time."""
        if worker in self._busy:
            first = self._busy[worker].handed[0]
            first.asleep = True
            first.rests_until = until

    def awoke(self, worker: int) -> None:
        """Note that a worker's invocation goes on."""
        if worker in self._busy:
            first = self._busy[worker].handed[0]
            first.asleep = False
            first.woken = False

    def finished(self, worker: int, now: float, *, reason: str | None = None, retires: bool = False) -> None:
        """Note that a worker's invocation came to its end.

        Args:
            worker: Whose.
            now: The time.
            reason: Why there is no answer; `None` when there is one.
            retires: Whether the worker ends itself.
        """
        if worker not in self._busy:
            return
        self.failed += reason is not None
        held = self._busy[worker]
        held.seconds = now - held.handed[0].started
        self._end(held, reason)
        if retires:
            self._take_back(held.handed)
            held.handed.clear()
        if held.handed:
            following = held.handed[0]
            following.started, following.seen = now, self.ended
            following.expires = min(following.expires, now + self._seconds) if following.evicted else now + self._seconds
            return
        del self._busy[worker]
        if not retires:
            self._idle[worker] = held

    def leaves(self, worker: int) -> None:
        """Note that a worker closed its connection: it takes no more calls. `lost` follows."""
        self._idle.pop(worker, None)
        if worker in self._spares:
            self._spares.remove(worker)
        if worker in self._busy:
            self._busy[worker].leaving = True

    def lost(self, worker: int, reason: str, facts: Mapping[str, object] | None = None) -> None:
        """Note that a worker's process ended, and with it the invocation, if it ran one. What was only handed to it runs elsewhere.

        Args:
            worker: Whose.
            reason: Why, for people.
            facts: What the notice says besides, as `ports.FunctionService.invoke` names it.
        """
        self.leaves(worker)
        held = self._busy.pop(worker, None)
        if held is not None:
            self.died += 1
            overdue = held.handed[0].overdue
            if overdue:
                reason, facts = f"ran longer than {self._seconds:g} seconds", {**(facts or {}), "late": True}
            self._end(held, reason, facts)
            self._take_back(held.handed)

    def evict(self, tenant: str, until: float) -> None:
        """Let nothing of a tenant run beyond a time: what waits is dropped, and what runs is overdue then. Nobody is told of it."""
        self.queue = deque(call for call in self.queue if call.tenant != tenant)
        for held in self._busy.values():
            if held.tenant == tenant:
                for invocation in held.handed:
                    invocation.evicted = True
                    invocation.expires = min(invocation.expires, until)

    def overdue(self, now: float) -> list[int]:
        """Return the workers whose invocations have newly run too long: they are to be killed."""
        firsts = [(number, worker.handed[0]) for number, worker in self._busy.items()]
        late = [(number, first) for number, first in firsts if first.expires <= now and not first.overdue]
        for _, first in late:
            first.overdue = True
        return [number for number, _ in late]

    def decide(self, now: float) -> list[Action]:
        """Return what is to be done now, in order."""
        actions: list[Action] = []
        for held in self._busy.values():
            if len(held.handed) > 1 and held.stuck_at() <= now:
                self._take_back(islice(held.handed, 1, None))
        while (call := self._next_call()) is not None:
            actions += self._start(call, now)
        actions += self._hand_ahead(now)
        for number, held in self._busy.items():
            first = held.handed[0]
            if first.asleep and not first.woken and first.seen != self.ended and first.rests_until <= now:
                first.woken = True
                first.seen = self.ended
                actions.append(Wake(number))
        while len(self._idle) > self._slots + 1:  # one for each slot, and one for an invocation that sleeps
            longest = next(iter(self._idle))
            del self._idle[longest]
            actions.append(Retire(longest))
        while self.empty and len(self._spares) < self._wanted_spares:
            self._last_worker += 1
            self._spares.append(self._last_worker)
            actions.append(Fork(self._last_worker))
        return actions

    def _next_call(self) -> Call | None:
        """Take the call that is to run next from those that wait, if there are slots for it."""
        free = self._slots - self.taken
        if self.notices and (free > 0 or not self._tells):
            return self.notices.popleft()
        if not self.queue or free <= 0:
            return None
        if self._weights[self.queue[0].size] <= free or not self.taken:
            return self.queue.popleft()
        passing = next((place for place, call in enumerate(self.queue) if not call.tenant), None)
        if passing is None:
            return None
        call = self.queue[passing]
        del self.queue[passing]
        return call

    def _start(self, call: Call, now: float) -> list[Action]:
        actions: list[Action] = []
        number = next((number for number, idle in reversed(self._idle.items()) if idle.tenant == call.tenant), None)
        if number is not None:
            held = self._idle.pop(number)
        else:
            held = _Worker(call.tenant)
            if self._spares:
                number = self._spares.pop(0)
            else:
                self._last_worker += 1
                number = self._last_worker
                actions.append(Fork(number))
        self._busy[number] = held
        return [*actions, self._hand(number, held, call, now)]

    def _hand_ahead(self, now: float) -> Iterator[Action]:
        while self.queue and self.queue[0].tenant and self._weights[self.queue[0].size] == 1:
            call = self.queue[0]
            fit = [(held.load, number) for number, held in self._busy.items() if held.tenant == call.tenant and _has_room(held, now)]
            if not fit:
                return
            _, number = min(fit)
            yield self._hand(number, self._busy[number], self.queue.popleft(), now)

    def _hand(self, number: int, held: _Worker, call: Call, now: float) -> Run:
        name = next(self._names)
        held.handed.append(_Invocation(name, call, now + self._seconds, self.ended, now))
        return Run(number, name, call)

    def _take_back(self, waiting: Iterable[_Invocation]) -> None:
        """Queue again, at its head, what was handed ahead."""
        again = [behind for behind in waiting if not (behind.taken or behind.evicted)]
        for behind in reversed(again):
            behind.taken = True
            self.queue.appendleft(behind.call)

    def _end(self, held: _Worker, reason: str | None, facts: Mapping[str, object] | None = None) -> None:
        """Note that the running invocation of a worker ended."""
        invocation = held.handed.popleft()
        self.ended += 1
        self.ended_of_nobody += not held.tenant
        if reason is not None and not (invocation.call.notice or invocation.evicted):
            self.notices.append(Call(death_notice(invocation.call.payload, invocation.name, reason, facts), notice=True))


def _has_room(held: _Worker, now: float) -> bool:
    first = held.handed[0]
    ready = not (held.leaving or first.asleep or first.overdue) and now - first.started < _STUCK_SECONDS
    return ready and held.load < _AHEAD_SECONDS and len(held.handed) < _MOST_AHEAD


def death_notice(payload: bytes, invocation: str, reason: str, facts: Mapping[str, object] | None = None) -> bytes:
    """Return what a service sends to the handler about an invocation that ended without an answer."""
    notice = {"failed": payload.decode("utf-8", "replace"), "invocation": invocation, "reason": reason, **(facts or {})}
    return json.dumps(notice, ensure_ascii=False).encode("utf-8", "replace")
