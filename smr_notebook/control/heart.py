"""The heartbeat of an attempt: it reports, brings back whether the attempt still stands, and ends it in time.

Rules of this module:

* The heartbeat comes from a thread (`pulse`): it lives while the process does, also when the user's function is one long call. It brings
  back whether the attempt still stands; if not, the record stream is asked to end, and a process that does not end in
  time is abandoned, so that its slot is not lost to work that nobody wants.
* One call in C (a regular expression that backtracks, say) may let no other thread run, the heart neither. Then a watchdog below
  Python ends the process, some time after the attempt has expired.
* Near the end of its invocation an attempt is asked to wind up: it publishes what it has, and a continuation goes on from there. That is
  while there is still as much time as its longest record, or group, took. Where attempts before it came to nothing, it is sooner.
* An attempt that has done nothing for most of its time when that is up tells so, before it is ended without a word; so does one that
  finishes nothing for as long as its policy allows.
"""

from __future__ import annotations

import functools
import math
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

import psutil

from smr_notebook.control.attempts import Claim
from smr_notebook.control.logs import Outlet
from smr_notebook.control.pulse import Watch, pulse_of
from smr_notebook.control.stalls import Worked, late_failure, stall_failure
from smr_notebook.dataflow.code import Sources
from smr_notebook.dataflow.meter import Meter
from smr_notebook.errors import PlatformError, StoreError
from smr_notebook.model import AttemptState, Failure, Policy
from smr_notebook.ports import Clock, Context

ABANDONED = 75
"""Exit status of a process that was asked to end its attempt and did not."""

GRACE = 2.0
"""Seconds that the record stream has to end after it was asked to."""

PATIENCE = 1.5
"""How many leases a heart may be held up before the watchdog ends its process."""

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

Abandon = Callable[[int], object]
"""Ends the process with an exit status. For a worker that shares its process, something that does not."""


@dataclass(frozen=True, slots=True)
class Ends:
    """What may end an attempt.

    Attributes:
        winds_up: When it should publish what it has, at the latest.
        last: When it is too late for that.
        abandon: Ends the process of one that was asked to end and has not.
        watch: The watchdog below Python, if there is one.
    """

    winds_up: float
    last: float
    abandon: Abandon
    watch: Watch | None


def ends_of(context: Context, policy: Policy, *, now: float, in_vain: int, abandon: Abandon, watch: Watch | None = None) -> Ends:
    """Return what may end an attempt that begins now.

    Args:
        context: Of its invocation.
        policy: Says how much time it has to publish.
        now: The time.
        in_vain: How many attempts before it brought the task no further: with each of them, there is half as much time.
        abandon: As in `Ends`.
        watch: As in `Ends`.
    """
    time = context.deadline - now
    margin = min(policy.margin, time / 4)
    return Ends(now + min(time - margin, time / 2**in_vain), context.deadline - margin / 4, abandon, watch)


class Heart:
    """The heartbeat of one attempt, as a context: it beats while the block runs.

    Args:
        claim: The attempt.
        meter: Whose counts to report, and whom to stop.
        policy: How often, and for how long a lease.
        ends: What may end it besides.
        clock: What time it is.
        grace: How much time a block has that was asked to end, in seconds.
        output: What it writes.
        sources: Labels and texts of the files that travelled with the code, as far as they are known by then.
    """

    def __init__(
        self,
        claim: Claim,
        meter: Meter,
        policy: Policy,
        *,
        ends: Ends,
        clock: Clock,
        grace: float = GRACE,
        output: Outlet | None = None,
        sources: Sources | None = None,
    ) -> None:
        self._claim = claim
        self._output = output
        self._meter = meter
        self._policy = policy
        self._ends = ends
        self._clock = clock
        self._grace = grace
        self.watch = ends.watch
        self.patience = PATIENCE * policy.lease
        self._began = self._since = clock.now()
        self._reached = meter.reached
        self._longest = 0.0
        self._moved, self._mark = self._began, meter.moved
        self._work = Worked(meter, threading.get_ident(), claim.id.task.phase, sources if sources is not None else {})

    def __enter__(self) -> Self:
        pulse_of(os.getpid()).join(self, first=self._pause())
        return self

    def __exit__(self, *_: object) -> None:
        pulse_of(os.getpid()).leave(self)

    def beat(self) -> float:
        """Report, or abandon a block that was asked to end and has not."""
        if self._meter.stopped is not None:
            self._ends.abandon(ABANDONED)
            return math.inf
        winds_up = self._winds_up()
        if self._meter.moved != self._mark:
            self._moved, self._mark = self._clock.now(), self._meter.moved
        reason = self._look() or self._too_late() or self._hangs()
        if reason is not None:
            self._meter.stop(reason)
        if self._output is not None:
            self._output.beat()
        if reason is not None:
            return self._grace
        if self._clock.now() >= winds_up:
            self._meter.wind_up()
        return self._pause()

    def _pause(self) -> float:
        """Return in how many seconds the next beat is: sooner than usual when something is to be done then."""
        now = self._clock.now()
        return min([self._policy.heartbeat, *(when - now for when in (self._winds_up(), self._ends.last) if when > now)])

    def _winds_up(self) -> float:
        """Return when the attempt should wind up: while there is still as much time as its longest record, or group, took."""
        now = self._clock.now()
        if self._meter.reached != self._reached:
            self._longest = max(self._longest, now - self._since)
            self._reached, self._since = self._meter.reached, now
        return self._ends.winds_up - max(self._longest, now - self._since)

    def _too_late(self) -> str | None:
        """Fail an attempt that is about to be ended, and has done nothing for most of its time; return why."""
        now, took = self._clock.now(), self._clock.now() - self._since
        if now < self._ends.last or took < (now - self._began) / 2:
            return None
        return self._fail(late_failure(self._work, took))

    def _hangs(self) -> str | None:
        """Fail an attempt that has finished nothing for longer than it may; return why."""
        took = self._clock.now() - self._moved
        return self._fail(stall_failure(self._work, took)) if 0 < self._policy.stall <= took else None

    def _fail(self, failure: Failure) -> str:
        with suppress(PlatformError):
            self._claim.end(AttemptState.FAILED, self._meter.numbers(resident_bytes()), failure)
        return failure.message

    def _look(self) -> str | None:
        try:
            return self._claim.beat(self._meter.numbers(resident_bytes()), lease=self._policy.lease, moved=self._moved)
        except StoreError:
            return None
        except Exception as error:  # noqa: BLE001 - the pulse must go on, and an attempt that cannot report must not
            return str(error)


def resident_bytes() -> int:
    """Return the resident memory of this process; 0 where the system does not tell. It costs some microseconds."""
    try:
        file = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return _told_by_psutil(os.getpid())
    try:
        return int(os.read(file, 256).split()[1]) * _PAGE_BYTES
    finally:
        os.close(file)


def _told_by_psutil(pid: int) -> int:
    try:
        return int(_process(pid).memory_info().rss)
    except psutil.Error:
        return 0


@functools.lru_cache(maxsize=1)
def _process(pid: int) -> psutil.Process:
    return psutil.Process(pid)
