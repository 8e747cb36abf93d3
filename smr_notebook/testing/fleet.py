"""A cloud in simulated time: a job of any size under the quotas and latencies of AWS, with the real control plane.

Theory. `simulation` asks whether a job comes out right, whatever happens; this asks how long it takes, what it costs, and whether any
quota is met on the way. Coordinators and workers are real, and so are all rows; what `map` would do is replaced by a time, and runs by
one and the same run. Each invocation has a clock of its own, which goes on while it waits for a port: by the latency of the call, shared
by as many as may be under way at once, but not by less than what a call takes of a processor.

An attempt whose invocation has not enough time publishes a leg when a worker would, and what is left of its time is that of the next one.
Nothing here fails: that is the other simulation's. What a call takes is data (`Latencies`), and so is what a service allows (`Quotas`).
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from random import Random

from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.control.attempts import Claim, Output, claim
from smr_notebook.control.coordinator import looks, revive
from smr_notebook.control.heart import ends_of
from smr_notebook.control.keys import keys_of
from smr_notebook.control.launching import launch_rest
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.messages import Message, Role, coordinate, decode, encode
from smr_notebook.control.metering import metered
from smr_notebook.control.plans import write_plan
from smr_notebook.control.rows import JobEntry
from smr_notebook.control.worker import deliver
from smr_notebook.errors import PlatformError
from smr_notebook.model import Numbers, Plan, Position, TaskId
from smr_notebook.ports import Backend, Context, Row, ServiceLimits
from smr_notebook.standing import Outcome
from smr_notebook.testing.fleet_work import SameRuns, gets_of, share_of, work_of
from smr_notebook.values.usage import Cost, Usage, read_units, write_units

_WATCH_EVERY = 20.0
_LONGEST = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class Latencies:
    """What calls take, in seconds.

    Attributes:
        row: One request to the table.
        call: One asynchronous call of a function.
        processor: What any of them takes of a processor, so what they cannot share.
        cold: From an accepted call to the first line of the handler, in a new environment: with its imports and clients.
        warm: The same, in one that ran before.
        retry: First wait of an accepted call that finds no room; it doubles up to five minutes.
    """

    row: float = 0.005
    call: float = 0.020
    processor: float = 0.002
    cold: float = 1.5
    warm: float = 0.010
    retry: float = 1.0


@dataclass(frozen=True, slots=True)
class Quotas:
    """What the services allow.

    Attributes:
        writes: Units that one key of the table takes a second.
        reads: Units that it gives a second.
    """

    writes: int = 1000
    reads: int = 3000


@dataclass(slots=True)
class Report:
    """What was seen of a job.

    Attributes:
        outcome: How it ended.
        seconds: Simulated time from its submission to its end.
        cost: What it cost, as its last progress says.
        running: Attempts at work over time: (seconds since submission, how many), at each change.
        looks: Looks of the coordinators.
        coordinator_reads: Units that coordinators read, by second.
        coordinator_writes: Units that they wrote, by second.
        most_writes: Units written to one key of the table in one second, at most.
        most_reads: Units read of one key in one second, at most.
        calls: Calls of the function service.
        waited: Calls that found no room.
    """

    outcome: Outcome
    seconds: float
    cost: Cost | None
    running: list[tuple[float, int]]
    looks: int
    coordinator_reads: Counter[int]
    coordinator_writes: Counter[int]
    most_writes: int
    most_reads: int
    calls: int
    waited: int

    def until_running(self, attempts: int) -> float:
        """Return how many seconds after its submission so many attempts were at work for the first time; infinity for never."""
        return next((when for when, count in self.running if count >= attempts), float("inf"))


@dataclass(slots=True)
class _Meters:
    writes: Counter[tuple[str, int]] = field(default_factory=Counter)
    reads: Counter[tuple[str, int]] = field(default_factory=Counter)
    coordinator_reads: Counter[int] = field(default_factory=Counter)
    coordinator_writes: Counter[int] = field(default_factory=Counter)
    looks: int = 0
    calls: int = 0
    waited: int = 0


class Fleet:
    """One job on a simulated cloud.

    Args:
        plan: The plan; its times are simulated seconds.
        limits: What the function service takes.
        seconds: How long `map` or `reduce` of one attempt takes: a number drawn for each attempt.
        parallel: Calls that one invocation has under way at once.
        branching: Calls that a worker makes for others at most; 0 for none.
    """

    def __init__(
        self,
        plan: Plan,
        limits: ServiceLimits,
        *,
        seconds: Callable[[Random], float],
        parallel: int,
        branching: int,
    ) -> None:
        self.plan = plan
        self.table = MemoryTable()
        self.objects = SameRuns(plan)
        self.latencies = Latencies()
        self.parallel = parallel
        self.branching = branching
        self.limits = limits
        self.meters = _Meters()
        self._seconds = seconds
        self._random = Random(0)
        self._queue: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self._names = itertools.count(1)
        self.now = plan.created
        self._busy: Counter[Role] = Counter()
        self._warm: Counter[Role] = Counter()
        self._first: dict[Role, float] = {}
        self._running: list[tuple[float, int]] = []
        self._at_work = 0
        self._left: dict[TaskId, float] = {}

    def run(self) -> Report:
        """Let the job happen.

        Raises:
            AssertionError: It did not end.
        """
        calm = self.backend(_Clock(self))
        write_plan(calm.objects, self.plan, [], keys_of(self.table))
        ledger = Ledger(self.table, self.plan.job)
        ledger.create_job(JobEntry(self.plan.job, self.plan.name, self.plan.created, Layout(self.plan.job).plan))
        self.accept(encode(coordinate(self.plan.job)), self.now)
        self.at(self.now + _WATCH_EVERY, self._watch)
        while self._queue:
            self.now, _, event = heapq.heappop(self._queue)
            event()
            assert self.now - self.plan.created < _LONGEST, "the job did not end"
        outcome, progress = ledger.outcome(), ledger.progress()
        assert outcome is not None, "the job ended without an outcome"
        meters = self.meters
        return Report(
            outcome,
            outcome.at - self.plan.created,
            progress.cost if progress else None,
            self._running,
            meters.looks,
            meters.coordinator_reads,
            meters.coordinator_writes,
            max(meters.writes.values()),
            max(meters.reads.values()),
            meters.calls,
            meters.waited,
        )

    def at(self, when: float, event: Callable[[], object]) -> None:
        """Let something happen at a time."""
        heapq.heappush(self._queue, (max(when, self.now), next(self._order), event))

    # ------------------------------------------------------------ the function service

    def accept(self, payload: bytes, when: float) -> None:
        """Take a call that is made at a time."""
        self.meters.calls += 1
        self.at(when, partial(self._start, payload, self.latencies.retry))

    def _start(self, payload: bytes, wait: float) -> None:
        message = decode(payload)
        assert isinstance(message, Message)
        role = message.role
        if self._busy[role] >= self._allowed(role):
            self.meters.waited += 1
            self.at(self.now + wait, partial(self._start, payload, min(2 * wait, 300.0)))
            return
        self._busy[role] += 1
        warm = self._warm[role] > 0
        self._warm[role] -= warm
        begins = self.now + (self.latencies.warm if warm else self.latencies.cold)
        self.at(begins, partial(self._begin, message, f"invocation-{next(self._names)}"))

    def _allowed(self, role: Role) -> float:
        if role in {Role.COORDINATOR, Role.DRIVER}:
            return float("inf")
        first = self._first.setdefault(role, self.now)
        return min(self.limits.concurrency, self.limits.capacity.grown(self.now - first))

    def _begin(self, message: Message, name: str) -> None:
        life = self._coordinate(message, name) if message.role is Role.COORDINATOR else self._work(message, name)
        self._live(life, message.role)

    def _live(self, life: Iterator[float], role: Role) -> None:
        when = next(life, None)
        if when is None:
            self._busy[role] -= 1
            self._warm[role] += 1
        else:
            self.at(when, partial(self._live, life, role))

    # ------------------------------------------------------------ invocations: generators that yield when they go on

    def _coordinate(self, message: Message, name: str) -> Iterator[float]:
        clock = _Clock(self)
        backend = self.backend(clock, coordinator=True)
        for wake_at in looks(backend, message, self._context(name, clock)):
            self.meters.looks += 1
            yield max(wake_at, clock.now())
            clock.awake()

    def _work(self, message: Message, name: str) -> Iterator[float]:
        clock = _Clock(self)
        backend = self.backend(clock)
        ledger, policy = Ledger(backend.table, message.job), self.plan.policy
        mine = claim(ledger, message.attempt_id, owner=name, clock=clock, lease=policy.lease, tally=backend.tally)
        yield clock.now()
        clock.awake()
        if mine is None:
            return
        launch_rest(backend, ledger, message)
        yield clock.now()
        clock.awake()
        output, numbers, ends = self._worked(mine, clock, invocation=name)
        self._count(1)
        while self.now + policy.heartbeat < ends:
            yield self.now + policy.heartbeat
            clock.awake()
            mine.beat(numbers, lease=policy.lease)
        yield ends
        clock.awake()
        if backend.tally is not None:
            backend.tally.add(Usage(puts=1, gets=gets_of(self.plan, message.attempt_id)))
        deliver(backend, message.job, mine, output, numbers=numbers)
        with suppress(PlatformError):
            revive(backend, message.job)
        yield clock.now()
        self._count(-1)

    def _worked(self, mine: Claim, clock: _Clock, *, invocation: str) -> tuple[Output, Numbers, float]:
        """Return what an attempt that begins now gives, and when: all that is left of its task, or a leg of nothing but time."""
        task, after = mine.id.task, mine.after
        ends = self.now + (self._seconds(self._random) * share_of(mine.id) if after is None else self._left[task])
        stops = ends_of(self._context(invocation, clock), self.plan.policy, now=self.now, in_vain=mine.in_vain, abandon=int).winds_up
        if ends <= stops:
            return *work_of(self.plan, mine.id), ends
        self._left[task] = ends - stops
        return Output(position=Position((after.done if after else 0) + 1)), Numbers(), stops

    def _count(self, change: int) -> None:
        self._at_work += change
        self._running.append((self.now - self.plan.created, self._at_work))

    def _watch(self) -> None:
        backend = self.backend(_Clock(self))
        progress = Ledger(self.table, self.plan.job).progress()
        if progress is None or not progress.state.ended:
            with suppress(PlatformError):
                revive(backend, self.plan.job)
            self.at(self.now + _WATCH_EVERY, self._watch)

    # ------------------------------------------------------------ ports

    def _context(self, name: str, clock: _Clock) -> Context:
        return Context("fleet:", name, clock.now() + self.limits.seconds, self.limits.memory_bytes, clock)

    def backend(self, clock: _Clock, *, coordinator: bool = False) -> Backend:
        """Return the platform as one invocation sees it."""
        return metered(
            Backend(
                name="fleet",
                location="fleet:",
                objects=self.objects,
                table=_Rows(self, clock, coordinator=coordinator),
                functions=_Functions(self, clock),
                clock=clock,
                sources={},
                policy=self.plan.policy,
                poll=(0.2, 3.0),
                branching=self.branching,
                expires=True,
                tariff="aws/us-east-1/x86_64",
            )
        )


class _Clock:
    """The clock of one invocation: ahead of the world by what its calls took since it last let others go on."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._ahead = 0.0

    def now(self) -> float:
        return self._fleet.now + self._ahead

    def sleep(self, seconds: float, *, least: float = 0.0) -> None:  # noqa: ARG002 - nothing wakes it anyway
        self._ahead += max(seconds, 0.0)

    def awake(self) -> None:
        """The world has caught up."""
        self._ahead = 0.0

    def wait_for(self, latency: float) -> None:
        """Make a call, one of several that are under way."""
        self._ahead += max(latency / self._fleet.parallel, self._fleet.latencies.processor)


class _Rows:
    """The table, whose every key counts the units that it takes and gives in each second."""

    def __init__(self, fleet: Fleet, clock: _Clock, *, coordinator: bool) -> None:
        self._fleet = fleet
        self._clock = clock
        self._coordinator = coordinator

    def get(self, group: str, key: str) -> Row | None:
        row = self._fleet.table.get(group, key)
        self._read(group, read_units(len(row.value) if row else 0))
        return row

    def put(self, group: str, key: str, value: bytes, *, expect: int) -> Row:
        units, second = write_units(len(value)), int(self._clock.now())
        self._fleet.meters.writes[group, second] += units
        if self._coordinator:
            self._fleet.meters.coordinator_writes[second] += units
        self._clock.wait_for(self._fleet.latencies.row)
        return self._fleet.table.put(group, key, value, expect=expect)

    def query(self, group: str, prefix: str = "") -> list[Row]:
        rows = self._fleet.table.query(group, prefix)
        self._read(group, read_units(sum(len(row.value) for row in rows), len(rows)))
        return rows

    def delete_group(self, group: str) -> None:
        self._fleet.table.delete_group(group)

    def _read(self, group: str, units: int) -> None:
        second = int(self._clock.now())
        self._fleet.meters.reads[group, second] += units
        if self._coordinator:
            self._fleet.meters.coordinator_reads[second] += units
        self._clock.wait_for(self._fleet.latencies.row)


class _Functions:
    """The function service, as one invocation calls it."""

    def __init__(self, fleet: Fleet, clock: _Clock) -> None:
        self._fleet = fleet
        self._clock = clock

    @property
    def limits(self) -> ServiceLimits:
        return self._fleet.limits

    def invoke(self, payload: bytes) -> None:
        self._clock.wait_for(self._fleet.latencies.call)
        self._fleet.accept(payload, self._clock.now())
