"""The worker's invocation: claim → launch others, if asked to → work → commit, with a heartbeat beside it.

Rules of this module:

* Whatever ends an attempt is told in its row before the invocation answers: done, failed and why, or stopped.
* What the user's functions write to standard output and error goes into the logs of the job before the attempt's end is told (`logs`).
* Who ends an attempt also looks whether the job still has a coordinator.
"""

from __future__ import annotations

import faulthandler
import functools
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir

from smr_notebook.control.attempts import Claim, Output, claim, rests_on
from smr_notebook.control.carrying import drop_carried
from smr_notebook.control.coordinator import end_is_told, revive
from smr_notebook.control.deaths import bury_attempt
from smr_notebook.control.driving import tell_end
from smr_notebook.control.failures import describe
from smr_notebook.control.heart import Abandon, Ends, Heart, ends_of, resident_bytes
from smr_notebook.control.launching import launch_rest
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.logs import Caught, Outlet, Uncaught
from smr_notebook.control.messages import DeathNotice, Message, encode
from smr_notebook.control.pulse import Watch
from smr_notebook.control.work import Errand, load_job, perform
from smr_notebook.dataflow.code import Sources, load_program
from smr_notebook.dataflow.memory import room_of
from smr_notebook.dataflow.meter import AttemptStopped, Meter
from smr_notebook.environment import environment
from smr_notebook.errors import EnvironmentMismatchError, PlatformError, WorkerLostError
from smr_notebook.model import AttemptId, AttemptState, Environment, JobState, Numbers, Plan
from smr_notebook.ports import Backend, Context
from smr_notebook.standing import Outcome
from smr_notebook.streams import streams_of


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
