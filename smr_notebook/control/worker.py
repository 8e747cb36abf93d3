"""The worker's invocation: claim → launch others, if asked to → work → commit, with a heartbeat beside it.

Rules of this module:

* Whatever ends an attempt is told in its row before the invocation answers: done, failed and why, or stopped.
* The heartbeat comes from a thread (`pulse`): it lives while the process does, also when the user's function is one long call. It brings
  back whether the attempt still stands; if not, the record stream is asked to end, and a process that does not end in
  time is abandoned, so that its slot is not lost to work that nobody wants.
* One call in C (a regular expression that backtracks, say) may let no other thread run, the heart neither. Then a watchdog below
  Python ends the process, some time after the attempt has expired.
* Near the end of its invocation an attempt is asked to wind up: it publishes what it has, and a continuation goes on from there. That is
  while there is still as much time as its longest record, or group, took. Where attempts before it came to nothing, it is sooner.
* An attempt that has done nothing for most of its time when that is up tells so, before it is ended without a word; so does one that
  finishes nothing for as long as its policy allows.
* What the user's functions write to standard output and error goes into the logs of the job before the attempt's end is told (`logs`).
* Who ends an attempt also looks whether the job still has a coordinator.
"""

from __future__ import annotations

import faulthandler
import functools
import math
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import gettempdir
from typing import Final, Self

import psutil

from smr_notebook.control.attempts import Claim, Output, claim, rests_on
from smr_notebook.control.carrying import drop_carried
from smr_notebook.control.coordinator import end_is_told, revive
from smr_notebook.control.deaths import bury_attempt
from smr_notebook.control.driving import tell_end
from smr_notebook.control.failures import describe
from smr_notebook.control.launching import launch_rest
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.logs import Caught, Outlet, Uncaught
from smr_notebook.control.messages import DeathNotice, Message, encode
from smr_notebook.control.pulse import Watch, pulse_of
from smr_notebook.control.stalls import Worked, late_failure, stall_failure
from smr_notebook.control.work import Errand, load_job, perform
from smr_notebook.dataflow.code import Sources, load_program
from smr_notebook.dataflow.memory import room_of
from smr_notebook.dataflow.meter import AttemptStopped, Meter
from smr_notebook.environment import environment
from smr_notebook.errors import EnvironmentMismatchError, PlatformError, StoreError, WorkerLostError
from smr_notebook.model import AttemptId, AttemptState, Environment, Failure, JobState, Numbers, Plan, Policy
from smr_notebook.ports import Backend, Clock, Context
from smr_notebook.standing import Outcome
from smr_notebook.streams import streams_of

ABANDONED = 75
"""Exit status of a process that was asked to end its attempt and did not."""

GRACE = 2.0
"""Seconds that the record stream has to end after it was asked to."""

PATIENCE = 1.5
"""How many leases a heart may be held up before the watchdog ends its process."""

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

Abandon = Callable[[int], object]
"""Ends the process with an exit status. For a worker that shares its process, something that does not."""


def end_unless_alive(seconds: float) -> None:
    """End this process, with its stacks on stderr, unless called again within so many seconds; 0 calls it off."""
    if seconds:
        faulthandler.dump_traceback_later(seconds, file=2, exit=True)
    else:
        faulthandler.cancel_dump_traceback_later()


def run_attempt(
    backend: Backend,
    message: Message,
    context: Context,
    *,
    abandon: Abandon = os._exit,
    watch: Watch | None = None,
    alone: bool = False,
) -> None:
    """Make one attempt, unless another invocation does or did.

    Args:
        backend: The platform.
        message: Names the attempt.
        context: Name and clock of the invocation.
        abandon: Called when the attempt should end and does not.
        watch: Called at each beat of the heart; ends the process when the beats stay out.
        alone: Whether nothing else is done in this process meanwhile, so that all that it writes is the attempt's.

    Raises:
        StoreError: The table cannot be reached, in spite of repetition. The attempt will expire.
    """
    backend = replace(backend, clock=context.clock)
    ledger, clock = Ledger(backend.table, message.job), context.clock
    mine = claim(ledger, message.attempt_id, owner=context.invocation, clock=clock, lease=backend.policy.lease, tally=backend.tally)
    if mine is None:
        return
    meter, sources = Meter(), Sources()
    ends = ends_of(context, backend.policy, now=clock.now(), in_vain=mine.in_vain, abandon=abandon, watch=watch)
    streams = streams_of(os.getpid()) if alone else None
    output = Caught(streams, backend, message.job, mine.id, invocation=context.invocation, meter=meter) if streams else Uncaught()
    try:
        launch_rest(backend, ledger, message)
        _work(backend, message.job, mine, meter=meter, sources=sources, ends=ends, output=output)
    except AttemptStopped:
        mine.end(AttemptState.STOPPED, meter.numbers(resident_bytes()))
        _drop_all(backend, message.job, mine.id)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the row must tell it
        resident = resident_bytes()
        told = describe(error, sources, resident=resident, limit=context.memory_bytes)
        mine.end(AttemptState.FAILED, meter.numbers(resident), told)
    with suppress(PlatformError):
        revive(backend, message.job)


def handle_death(backend: Backend, notice: DeathNotice) -> None:
    """Write down that an invocation died: its attempt has failed, or the job needs another coordinator.

    Args:
        backend: The platform.
        notice: Who died, and why, as the service saw it.

    Raises:
        PlatformError: The table or the service cannot be reached, or refuses. Leases will expire.
    """
    if notice.message.works:
        committed = bury_attempt(backend, notice)
        if committed is not None and not rests_on(committed, notice.message.attempt_id, job=notice.message.job):
            drop(backend, notice.message.job, notice.message.attempt_id)
        return
    ledger = Ledger(backend.table, notice.message.job)
    now = backend.clock.now()
    lease = ledger.expire_lease(notice.invocation, now)
    entry = ledger.job()
    if entry is None or end_is_told(ledger) or (lease is not None and not lease.expired(now)):
        return
    restarts = notice.message.restarts + 1
    if restarts > backend.policy.lost_launches:
        text = f"The {notice.message.role} of job {entry.job} failed {restarts} times one after the other; the last time: {notice.reason}"
        tell_end(backend, entry, Outcome(JobState.FAILED, now, error=WorkerLostError.__name__, message=text), now=now)
        return
    backend.functions.invoke(encode(replace(notice.message, restarts=restarts)))


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


@functools.lru_cache(maxsize=2)
def _bare_bytes(job: str) -> int:  # noqa: ARG001 - remembered by it
    """Return the resident memory of this process when it had loaded the code of a job for the first time, and no data."""
    return resident_bytes()


def _work(backend: Backend, job: str, mine: Claim, *, meter: Meter, sources: Sources, ends: Ends, output: Outlet) -> None:
    loaded = load_job(backend.objects, backend.table, job)  # type: ignore[arg-type]  # hashed by identity
    here = environment()
    if here != loaded.plan.environment:  # it may name further packages, which take a moment to look for
        here = environment(tuple(name for name, _ in loaded.plan.environment.packages))
    _check_environment(loaded.plan, here)
    with output, Heart(mine, meter, loaded.plan.policy, ends=ends, clock=backend.clock, output=output, sources=sources):
        program, texts = load_program(loaded.code)
        sources.update(texts)
        room = room_of(loaded.plan.budget, bare=_bare_bytes(job), resident=resident_bytes)
        done = perform(Errand(backend, loaded.plan, program, mine.id, meter, Path(gettempdir()), room, mine.after, sources))
    deliver(backend, job, mine, done, numbers=meter.numbers(resident_bytes()))


def deliver(backend: Backend, job: str, mine: Claim, output: Output, *, numbers: Numbers) -> None:
    """Commit the output of an attempt, or publish it as a leg; drop it if another attempt's stands. Either way the attempt ends.

    That an attempt is done follows from its commit, and is not written down: a small task would pay for one more row.

    Raises:
        StoreError: The table cannot be reached; whether it stands is unknown.
    """
    if output.position is None:
        if mine.commit(output, numbers):
            return
        state = AttemptState.STOPPED
    else:
        state = AttemptState.PAUSED if mine.publish(output, output.position, numbers) else AttemptState.STOPPED
    mine.end(state, numbers)
    if state is AttemptState.STOPPED:
        _drop_all(backend, job, mine.id)


def drop(backend: Backend, job: str, attempt: AttemptId) -> None:
    """Delete what an attempt wrote that was stopped and has ended: nobody will read it. Where objects expire, they do so by themselves."""
    if not backend.expires:
        with suppress(PlatformError):
            backend.objects.delete_prefix(Layout(job).attempt(attempt) + "/")
            backend.objects.delete_prefix(Layout(job).bad(attempt))


def _drop_all(backend: Backend, job: str, attempt: AttemptId) -> None:
    """Delete what an attempt of this process wrote, and what it sent by a carrier."""
    drop(backend, job, attempt)
    with suppress(PlatformError):
        drop_carried(backend, load_job(backend.objects, backend.table, job).plan, attempt)  # type: ignore[arg-type]  # hashed by identity


def _check_environment(plan: Plan, here: Environment) -> None:
    if here != plan.environment:
        raise EnvironmentMismatchError(
            f"The job was planned for {_stamp(plan.environment)}, and this worker has {_stamp(here)}. "
            "Submit the job again, so that it is planned for the workers as they are now."
        )


def _stamp(environment: Environment) -> str:
    return ", ".join([f"Python {environment.python}", *(f"{name} {version}" for name, version in environment.packages)])
