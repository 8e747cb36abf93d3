"""A whole job in simulated time, with the real control plane and every kind of trouble that platforms make.

Theory. Each invocation is a thread that gives up control where it waits for a port, or for time to pass (`fibers`): between any two of its
reads and writes anything may happen. Real code runs - a coordinator's step, a worker's claim, beat or commit - against a memory backend
through ports that fail, with a clock that is its own. So attempts span time, zombies commit late, coordinators stand still with an old look
in their hands, die between two writes, and two of them work at once.
The data plane is real where the control plane looks at it (runs, the gathered index), and tiny elsewhere.

After each event the laws of `invariants.py` are checked. A story that fails repeats from its seed.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from smr_notebook.backends.memory.alarms import MemoryAlarms
from smr_notebook.backends.memory.carrier import MemoryCarrier
from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.control.attempts import Claim, claim
from smr_notebook.control.coordinator import looks, revive
from smr_notebook.control.keys import keys_of
from smr_notebook.control.launching import launch_rest
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.messages import DeathNotice, Message, Role, coordinate, decode, encode
from smr_notebook.control.plans import write_plan
from smr_notebook.control.rows import JobEntry
from smr_notebook.control.worker import deliver, drop, handle_death
from smr_notebook.errors import PlatformError, SmrError, StoreError, ThrottledError
from smr_notebook.model import AttemptState, Failure, FailureKind, Plan
from smr_notebook.ports import Backend, Context, Row, ServiceLimits
from smr_notebook.standing import Outcome
from smr_notebook.testing.fates import BURST_SECONDS, Death, Fate, Fates
from smr_notebook.testing.faults import Died, FaultyCarrier, FaultyStore, FaultyTable, Mischief
from smr_notebook.testing.fibers import Fibers
from smr_notebook.testing.invariants import Laws
from smr_notebook.testing.tinyplane import Pairs, Reach, map_pairs, merge_runs, numbers_so_far, reduce_pairs, result_of

_WORK = {Role.MAP: map_pairs, Role.MERGE: merge_runs, Role.REDUCE: reduce_pairs}

CARRIED = "memory"
"""Name of the exchange whose pairs travel by a carrier in memory."""

_WATCH_EVERY = 3.0
_ALARM = "alarm"
_CALM = {"driver", _ALARM}
"""Callers whose calls are taken; one of an alarm is never lost, because it is the last hope."""
_TICK = 1e-6
"""Seconds that any sleep takes at least, so that nobody waits for ever for what rounding ate."""

_MEDDLES = 3600.0
"""Seconds for which somebody calls coordinators that nobody needs."""

_LONGEST = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Story:
    """How a simulated job ended.

    Attributes:
        outcome: Its outcome row.
        result: What the manifests lead to, when it is done.
        events: How many things happened.
        seconds: Simulated time until its outcome stood.
    """

    outcome: Outcome
    result: dict[str, int] | None
    events: int
    seconds: float


class Simulation:
    """One job, from its submission to its end.

    Args:
        plan: The plan; its times are simulated seconds.
        pairs: What `map` gives for each split.
        fates: What happens to whom.
        limits: What the simulated service takes.
        branching: How many calls a worker makes for others, when many are launched.
        watched: Whether somebody watches the job all the time. Else that is only until its first alarm is set.
        on: A job whose table and objects this one has, too: it stands on that one.

    Attributes:
        coordinators_died: How many of them died so far.
    """

    def __init__(
        self,
        plan: Plan,
        pairs: Sequence[Pairs],
        fates: Fates,
        limits: ServiceLimits,
        *,
        branching: int = 0,
        watched: bool = True,
        on: Simulation | None = None,
    ) -> None:
        self.plan = plan
        self.clock = SimulatedClock(plan.created)
        self.table: _Watched = on.table if on else _Watched()
        self.objects: MemoryStore = on.objects if on else MemoryStore()
        self.carrier: MemoryCarrier = on.carrier if on else MemoryCarrier()
        self.pairs = pairs
        self._fates = fates
        self._limits = limits
        self._branching = branching
        self._alarms = None if watched else _Alarms(self)
        self._queue: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self._calls = itertools.count(1)
        self._fibers = Fibers(self.at)
        self._running = 0
        self._waiting: deque[Callable[[], None]] = deque()
        self.coordinators_died = 0
        self._laws = Laws(self.table, plan)
        self._checked = -1

    def run(self) -> Story:
        """Let the job happen.

        Raises:
            AssertionError: A law was broken, or the job did not end.
        """
        try:
            return self._run()
        finally:
            self._fibers.end()

    def _run(self) -> Story:
        backend = self._backend("driver", Fate(), calm=True)
        write_plan(backend.objects, self.plan, [], keys_of(self.table))
        ledger = Ledger(self.table, self.plan.job)
        ledger.create_job(JobEntry(self.plan.job, self.plan.name, self.plan.created, Layout(self.plan.job).plan))
        self.invoke(encode(coordinate(self.plan.job)), "driver")
        self.at(_WATCH_EVERY, lambda: self._watch(backend))
        self.at(BURST_SECONDS, self._meddle)
        events = 0
        while self._queue:
            when, _, event = heapq.heappop(self._queue)
            self.clock.sleep(when - self.clock.now())
            event()
            if self.table.changes != self._checked:
                self._checked = self.table.changes
                self._laws.check(self.clock.now())
            events += 1
            assert self.clock.now() - self.plan.created < _LONGEST, f"{self._fates} did not end"
        outcome = ledger.outcome()
        assert outcome is not None, f"{self._fates} ended without an outcome"
        progress = ledger.progress()
        assert progress is not None
        assert progress.state is outcome.state
        result = result_of(self.plan, self.objects, ledger) if outcome.manifest else None
        return Story(outcome, result, events, self._laws.ended_at - self.plan.created)

    # ------------------------------------------------------------ the service

    @property
    def limits(self) -> ServiceLimits:
        """What the simulated service takes."""
        return self._limits

    def invoke(self, payload: bytes, caller: str) -> None:
        """Accept a call: it arrives as often, and as late, as its fate says."""
        call = f"call {next(self._calls)}"
        if caller not in _CALM and self._fates.happens(f"{call} is refused", self._fates.odds.throttled):
            raise ThrottledError("The simulated service takes no more calls.")
        fate = self._fates.of(call)
        for copy in range(max(fate.copies, caller == _ALARM)):
            self.at(fate.delay * (copy + 1), partial(self._arrive, payload, f"{call}.{copy}", fate))

    def _arrive(self, payload: bytes, name: str, fate: Fate) -> None:
        message = decode(payload)
        assert isinstance(message, Message)
        if message.role is Role.COORDINATOR:
            self._fibers.start(lambda: self._coordinate(message, name, fate))
        else:
            self._waiting.append(lambda: self._live(message, name, fate))
            self._fill()

    def _fill(self) -> None:
        while self._waiting and self._running < self._limits.concurrency:
            self._running += 1
            self._fibers.start(self._waiting.popleft())

    def _die(self, message: Message, name: str, fate: Fate) -> None:
        if fate.noticed:
            self._tell_death(message, name, 0.2)

    def _tell_death(self, message: Message, name: str, seconds: float) -> None:
        """Let the service tell of a death, true or not, in so many seconds."""
        notice = DeathNotice(message, name, "the simulated process died")
        backend = self._backend(f"notice of {name}", Fate())
        self.at(seconds, lambda: self._fibers.start(lambda: self._attempt(lambda: handle_death(backend, notice))))

    def _watch(self, backend: Backend) -> None:
        """A notebook that watches: it looks whether the job needs a coordinator."""
        gone = self._alarms is not None and self._alarms.next_at is not None
        if gone or (Ledger(self.table, self.plan.job).outcome() is not None and self._laws.told):
            return
        self._attempt(lambda: revive(backend, self.plan.job))
        self.at(_WATCH_EVERY, lambda: self._watch(backend))

    def _meddle(self) -> None:
        """Call a coordinator that nobody needs, or say of the one that works that it died."""
        if self._laws.told or self.clock.now() > self.plan.created + _MEDDLES:
            return
        now, lease = self.clock.now(), Ledger(self.table, self.plan.job).lease()
        if self._fates.happens(f"a rival comes at {now}", self._fates.odds.rivals):
            self.invoke(encode(coordinate(self.plan.job)), "driver")
        if lease is not None and self._fates.happens(f"the coordinator is slandered at {now}", self._fates.odds.slander):
            self._tell_death(coordinate(self.plan.job), lease.owner, 0.0)
        self.at(BURST_SECONDS, self._meddle)

    # ------------------------------------------------------------ a coordinator

    def _coordinate(self, message: Message, name: str, fate: Fate) -> None:
        backend = self._backend(name, fate)
        try:
            for wake_at in looks(backend, message, self._context(name, backend)):
                backend.clock.sleep(wake_at - backend.clock.now())
        except Died:
            self.coordinators_died += 1
            self._die(message, name, fate)

    # ------------------------------------------------------------ a worker

    def _live(self, message: Message, name: str, fate: Fate) -> None:
        """Let a worker live, and then let the next one in."""
        with suppress(Died, StoreError):
            self._work(message, name, fate)
        self._running -= 1
        self.at(0.0, self._fill)

    def _work(self, message: Message, name: str, fate: Fate) -> None:
        """The life of a worker: claim, launch others, work with heartbeats, commit."""
        backend = self._backend(name, replace(fate, operations=0))
        if fate.dies is Death.BEFORE_CLAIM:
            self._die(message, name, fate)
            return
        ledger = Ledger(backend.table, message.job)
        mine = claim(ledger, message.attempt_id, owner=name, clock=backend.clock, lease=self.plan.policy.lease)
        if mine is None:
            return
        if fate.dies is Death.AFTER_CLAIM:
            self._die(message, name, fate)
            return
        launch_rest(backend, ledger, message)
        most = self._limits.seconds * 3 / 4  # then its time is up
        seconds = fate.seconds * fate.slow
        fate = replace(fate, seconds=min(seconds, most), pauses=fate.pauses or seconds > most)
        if fate.slandered:
            self._tell_death(message, name, fate.seconds / 2)
        stopped = self._beats(mine, fate, backend)
        if stopped and not fate.deaf:
            mine.end(AttemptState.STOPPED, numbers_so_far(self.plan, mine.id, self.pairs))
            drop(backend, message.job, mine.id)
        elif fate.raises:
            raised = Failure(FailureKind.USER, "ValueError", "the simulated function raised", record=name)
            mine.end(AttemptState.FAILED, numbers_so_far(self.plan, mine.id, self.pairs), raised)
        else:
            self._finish(backend, message, mine, fate)

    def _beats(self, mine: Claim, fate: Fate, backend: Backend) -> bool:
        """Let the work take its time, with a heartbeat beside it; return whether the attempt was told to stop."""
        every, rest, stopped = self.plan.policy.heartbeat, fate.seconds, False
        stalls, mute = fate.stalls, fate.mute
        while rest > 0 and (fate.deaf or not stopped):
            if stalls and rest <= fate.seconds / 2:
                self._fibers.pause(stalls)
                stalls = 0.0
            stretch = min(every, rest)
            backend.clock.sleep(stretch)
            rest -= stretch
            if mute > 0 and rest <= fate.seconds / 2:
                mute -= stretch
                continue
            with suppress(StoreError):
                counted = numbers_so_far(self.plan, mine.id, self.pairs)
                stopped = mine.beat(counted, lease=self.plan.policy.lease) is not None or stopped
        return stopped

    def _finish(self, backend: Backend, message: Message, mine: Claim, fate: Fate) -> None:
        try:
            work = _WORK[message.role]
            output, numbers = work(self.plan, backend, mine.id, self.pairs, Reach(mine.after, fate.pauses))
        except SmrError as error:
            failure = Failure(FailureKind.SYSTEM, type(error).__name__, str(error))
            mine.end(AttemptState.FAILED, numbers_so_far(self.plan, mine.id, self.pairs), failure)
            return
        if fate.dies is Death.BEFORE_COMMIT:
            self._die(message, mine.owner, fate)
        elif fate.dies is Death.AFTER_COMMIT:
            if output.position is None:
                mine.commit(output, numbers)
            else:
                mine.publish(output, output.position, numbers)
            self._die(message, mine.owner, fate)
        else:
            deliver(backend, message.job, mine, output, numbers=numbers)

    # ------------------------------------------------------------ time, and ports

    def at(self, seconds: float, event: Callable[[], object]) -> None:
        """Let something happen in so many seconds."""
        heapq.heappush(self._queue, (self.clock.now() + max(seconds, 0.0), next(self._order), event))

    def _attempt(self, action: Callable[[], object]) -> None:
        with suppress(PlatformError, Died):
            action()

    def _context(self, name: str, backend: Backend) -> Context:
        deadline = backend.clock.now() + self._limits.seconds
        return Context("simulated:", name, deadline, self._limits.memory_bytes, backend.clock)

    def _backend(self, name: str, fate: Fate, *, calm: bool = False) -> Backend:
        mischief = Mischief(self._fates, name, operations=fate.operations, pause=self._fibers.pause, now=self.clock.now)
        return Backend(
            name="simulated",
            location="simulated:",
            objects=self.objects if calm else FaultyStore(self.objects, mischief),
            table=self.table if calm else FaultyTable(self.table, mischief),
            functions=_Service(self, name),
            clock=_OwnClock(self.clock, self._fibers, fate, self.plan.created),
            sources={},
            policy=self.plan.policy,
            poll=(0.1, 4.0),
            branching=self._branching,
            alarms=self._alarms,
            carriers={CARRIED: lambda _: self.carrier if calm else FaultyCarrier(self.carrier, mischief)},
        )


class _Watched(MemoryTable):
    """A table that counts its changes."""

    changes = 0

    def put(self, group: str, key: str, value: bytes, *, expect: int) -> Row:
        """See `ports.Table.put`."""
        self.changes += 1
        return super().put(group, key, value, expect=expect)


@dataclass(frozen=True, slots=True)
class _OwnClock:
    """The clock of one invocation, which is not quite that of another."""

    true: SimulatedClock
    fibers: Fibers
    fate: Fate
    since: float

    def now(self) -> float:
        return self.since + (self.true.now() - self.since) * self.fate.rate + self.fate.offset

    def sleep(self, seconds: float, *, least: float = 0.0) -> None:
        del least  # nothing wakes it anyway
        self.fibers.pause(max(seconds / self.fate.rate, _TICK))


@dataclass(frozen=True, slots=True)
class _Service:
    """The simulated service as one invocation calls it."""

    simulation: Simulation
    caller: str

    @property
    def limits(self) -> ServiceLimits:
        return self.simulation.limits

    def invoke(self, payload: bytes) -> None:
        self.simulation.invoke(payload, self.caller)


class _Alarms(MemoryAlarms):
    """The alarms of a simulated job: they ring as the time comes."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation.clock, lambda payload: simulation.invoke(payload, _ALARM))
        self._simulation = simulation

    def set(self, name: str, at: float, payload: bytes) -> None:
        """See `ports.Alarms.set`."""
        super().set(name, at, payload)
        self._simulation.at(at - self._simulation.clock.now(), self.ring)
