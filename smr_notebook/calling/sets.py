"""The calls of an executor, found again: in another kernel, after a restart, on another day.

A call set is what stands of some calls: the jobs that were made of them, and what has come of each call so far. It holds nothing that the
jobs do not hold, so that any number of them may stand for the same calls.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from smr_notebook.calling.following import Following
from smr_notebook.control.keys import keys_of
from smr_notebook.control.ledger import list_jobs
from smr_notebook.control.plans import read_code, read_plan
from smr_notebook.control.registering import is_of
from smr_notebook.control.rows import JobEntry
from smr_notebook.dataflow.calls import CallProgram
from smr_notebook.dataflow.code import load_program
from smr_notebook.errors import ConfigError, ObjectNotFoundError, SmrError
from smr_notebook.job.handle import Job
from smr_notebook.model import Plan
from smr_notebook.sessions.face import current_session
from smr_notebook.sessions.session import Session


@dataclass(frozen=True, slots=True)
class _Calls:
    """The calls of one job: how many outcomes there are, and whether that is one for all."""

    job: Job
    count: int
    reduces: bool


class CallSet:
    """Calls that an executor sent, here or elsewhere: what `smr.calls` returns.

    Calls whose arguments could not travel were never sent, and are none of them.

    Args:
        session: Where the calls are.
        jobs: The jobs that were made of them, in order.

    Attributes:
        jobs: See above.
    """

    def __init__(self, session: Session, jobs: tuple[Job, ...]) -> None:
        self.jobs = jobs
        self._backend = session.backend
        self._found: tuple[_Calls, ...] | None = None

    def __len__(self) -> int:
        return sum(calls.count for calls in self._calls())

    def __repr__(self) -> str:
        return f"<CallSet {len(self):,} calls in {len(self.jobs)} job{'s' * (len(self.jobs) != 1)}: {', '.join(map(repr, self.jobs))}>"

    def futures(self) -> list[Future[Any]]:
        """Return a future for each call, in the order in which they were sent. They are running, or done: cancel the jobs instead.

        Raises:
            ConfigError: A job was not made by an executor.
            JobError: A job could not be planned.
        """
        made: list[Future[Any]] = []
        for calls in self._calls():
            futures: list[Future[Any]] = [Future() for _ in range(calls.count)]
            for future in futures:
                future.set_running_or_notify_cancel()
            Following(self._backend, calls.job, count=calls.count, reduces=calls.reduces, futures=futures)
            made += futures
        return made

    def results(self, timeout: float | None = None) -> Iterator[Any]:
        """Yield what the calls returned, in the order in which they were sent, and raise what one of them raised, as `Executor.map` does.

        They are read task by task, so that they need not fit in memory.

        Args:
            timeout: Seconds from now after which asking for a result that is not there raises `TimeoutError`.

        Raises:
            ConfigError, JobError: As of `futures`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        return self._results(self._calls(), deadline)

    def _results(self, found: tuple[_Calls, ...], deadline: float | None) -> Iterator[Any]:
        for calls in found:
            followed = Following(self._backend, calls.job, count=calls.count, reduces=calls.reduces)
            for outcome in followed.outcomes(deadline):
                if outcome.error is not None:
                    raise outcome.error
                yield outcome.value

    def _calls(self) -> tuple[_Calls, ...]:
        if self._found is None:
            self._found = tuple(map(self._look, self.jobs))
        return self._found

    def _look(self, job: Job) -> _Calls:
        keys = keys_of(self._backend.table)
        program: object = None
        try:
            program = load_program(read_code(self._backend.objects, job.id, keys))[0]
        except SmrError:
            raise
        except Exception:  # noqa: BLE001 - what the functions need may be missing here, and nobody calls them here
            program = None
        plan = self._plan(job)
        if not (program is None or isinstance(program, CallProgram)) or plan.input_records is None:
            raise ConfigError(
                f"The job {job.id} was not made by an Executor: smr.attach({job.id!r}) finds it, and result() is what it gives."
            )
        return _Calls(job, 1 if plan.reducers else plan.input_records, bool(plan.reducers))

    def _plan(self, job: Job) -> Plan:
        """Return the plan of a job, once there is one."""
        while True:
            try:
                return read_plan(self._backend.objects, job.id, keys_of(self._backend.table))
            except ObjectNotFoundError:
                if job.watch(lambda _: None, timeout=self._backend.poll[1]).state.ended:
                    job.wait()  # which raises why it was never planned
                    raise


def calls(which: str, *, session: Session | None = None) -> CallSet:
    """Return calls that an executor sent before, here or elsewhere.

    Args:
        which: The name of the executor, for all its calls; or the identifier of one of its jobs, or an unambiguous beginning of it.
        session: Where they are; the session in use if not given.

    Raises:
        JobNotFoundError: There is no such executor, and no job, or more than one, is meant.
    """
    chosen = session or current_session()
    named = _jobs_of(chosen, which)
    return CallSet(chosen, tuple(chosen.attach(job) for job in named) if named else (chosen.attach(which),))


def next_number(session: Session, name: str) -> int:
    """Return the number of the next job of an executor of this name."""
    return 1 + max((_number(entry, name) for entry in _entries_of(session, name)), default=0)


def _jobs_of(session: Session, name: str) -> list[str]:
    """Return the jobs that are named after an executor, in the order of their numbers: the one that goes on from another in its place."""
    entries = _entries_of(session, name)
    gone_on_from = {entry.base for entry in entries}
    standing = [entry for entry in entries if entry.job not in gone_on_from]
    return [entry.job for entry in sorted(standing, key=lambda entry: _number(entry, name))]


def _entries_of(session: Session, name: str) -> list[JobEntry]:
    own = [entry for entry in list_jobs(session.backend.table) if is_of(entry, session.backend.user)]
    return [entry for entry in own if _number(entry, name)]


def _number(entry: JobEntry, name: str) -> int:
    """Return the number of a job of an executor, counted from 1; 0 where it is none."""
    before, _, number = entry.name.rpartition("/")
    return int(number) if before == name and number.isascii() and number.isdecimal() else 0
