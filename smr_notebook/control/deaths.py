"""An invocation died: what is written down of its attempt, from what the service saw and from what the attempt last told.

Rules of this module:

* What the service saw is said first, in its words. Then how far the attempt was at its last heartbeat, and the user's line, when the
  process left its stack.
* A call that the service dropped says nothing of its task.
* Whoever handles a death runs none of the user's code: the lines come from the sources that travel beside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from smr_notebook.control.failures import told_frames
from smr_notebook.control.keys import keys_of
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.logs import bury_output
from smr_notebook.control.messages import DeathNotice
from smr_notebook.control.plans import read_code, read_plan
from smr_notebook.control.verdicts import MEMORY
from smr_notebook.dataflow.code import Sources, load_sources
from smr_notebook.errors import CorruptObjectError, PlatformError, TaskTimeoutError
from smr_notebook.model import Attempt, Commit, Failure, FailureKind, Frame, Phase
from smr_notebook.ports import Backend

_STEP: Final = re.compile(r'^  File "(.*)", line (\d+) in (.*)$', re.MULTILINE)
"""A line of a stack, as `faulthandler` writes it, innermost first."""

_UNITS: Final = {Phase.MAP: "records", Phase.MERGE: "runs", Phase.REDUCE: "groups"}


def bury_attempt(backend: Backend, notice: DeathNotice) -> Commit | None:
    """Write down that the invocation of an attempt died, unless it had done its work.

    Returns:
        The commit of its task, if that is another attempt's.

    Raises:
        PlatformError: The table cannot be reached. The lease will expire.
    """
    ledger, attempt = Ledger(backend.table, notice.message.job), notice.message.attempt_id
    committed = ledger.committed(attempt.task)
    if committed is not None and committed.id == attempt:
        return None
    attempts = ledger.attempts(attempt.task)
    limit = _limit(backend, notice) if notice.memory else 0
    sources = _sources(backend, notice) if notice.stack else {}
    words = bury_output(backend, notice)
    failure = death_failure(notice, attempts, sources, limit=limit, words=words)
    ledger.bury(attempt, owner=notice.invocation, failure=failure, now=backend.clock.now())
    return committed


def death_failure(notice: DeathNotice, attempts: Sequence[Attempt], sources: Sources, *, limit: int, words: str = "") -> Failure:
    """Return what is said of an attempt whose invocation died. Pure.

    Args:
        notice: What the service saw.
        attempts: All attempts of the task.
        sources: Labels and texts of the files that travelled with the code.
        limit: Bytes of memory that it might take; 0 if unknown.
        words: What the functions wrote last; empty for nothing.
    """
    if not notice.invocation:
        return Failure(FailureKind.LOST, "LaunchDropped", notice.reason)
    here = next((attempt for attempt in attempts if attempt.id == notice.message.attempt_id), None)
    frames = stack_frames(notice.stack, sources)
    said = notice.reason + _how_far(here)
    wrote = f". Its last words were:\n{words}" if words else ""
    if notice.memory:
        resident = notice.resident or (here.numbers.resident_bytes if here else 0)
        return Failure(FailureKind.CRASH, MEMORY, said + wrote, frames=frames, resident_bytes=resident, limit_bytes=limit)
    if notice.late:
        return Failure(FailureKind.SYSTEM, TaskTimeoutError.__name__, said + wrote, frames=frames)
    failure = Failure(FailureKind.CRASH, "WorkerDied", said + wrote, frames=frames)
    before = next((attempt for attempt in attempts if _alike(attempt, here, failure)), None)
    if before is None:
        return failure
    return Failure(FailureKind.CRASH, "WorkerDied", f"{said}, as attempt {before.id.number} did at the same place{wrote}", frames=frames)


def stack_frames(stack: str, sources: Sources) -> tuple[Frame, ...]:
    """Return the frames of a stack that are told, outermost first. Pure.

    Args:
        stack: As `faulthandler` writes it.
        sources: Labels and texts of the files that travelled with the code.
    """
    steps = [(file, int(line), function) for file, line, function in _STEP.findall(stack)]
    return told_frames(steps[::-1], sources)


def _how_far(attempt: Attempt | None) -> str:
    if attempt is None or not attempt.numbers.records_read:
        return ""
    read, task = attempt.numbers.records_read, attempt.id.task
    return f", after {read:,} {_UNITS[task.phase]} of {task.phase} task {task.number} at its last heartbeat"


def _alike(attempt: Attempt, here: Attempt | None, failure: Failure) -> bool:
    """Whether another attempt crashed at the same place: on the same line, or, when no line is known, as far."""
    other = attempt.failure
    if here is None or attempt.id == here.id or other is None or other.kind is not FailureKind.CRASH or other.type != failure.type:
        return False
    if failure.frames or other.frames:
        return other.where == failure.where
    return attempt.numbers.records_read == here.numbers.records_read > 0


def _limit(backend: Backend, notice: DeathNotice) -> int:
    with suppress(PlatformError, CorruptObjectError):
        plan = read_plan(backend.objects, notice.message.job, keys_of(backend.table))
        return plan.memory_sizes[notice.message.size] if notice.message.size < len(plan.memory_sizes) else plan.memory_bytes
    return 0


def _sources(backend: Backend, notice: DeathNotice) -> Sources:
    with suppress(PlatformError, CorruptObjectError):
        return load_sources(read_code(backend.objects, notice.message.job, keys_of(backend.table)))
    return {}
