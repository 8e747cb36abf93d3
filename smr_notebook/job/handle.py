"""A job, as a notebook holds it: a name for rows and objects that live elsewhere.

The job owns nothing of the work. Any number of `Job` objects, in any kernel, may stand for the same job; losing them loses
nothing. Watching costs one row read a look. Whoever watches also keeps the job alive: when the coordinator's lease has passed
before the job ended, the watcher starts another one.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from smr_notebook.config import read_setting
from smr_notebook.control.coordinator import revive
from smr_notebook.control.deriving import Wish, derive
from smr_notebook.control.keys import keys_of
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.manifests import read_manifest
from smr_notebook.control.plans import read_plan
from smr_notebook.control.registering import is_of
from smr_notebook.control.replaying import Replay, Replayed, failure_of_bad
from smr_notebook.control.rows import JobEntry
from smr_notebook.control.skews import read_skew
from smr_notebook.control.timelines import read_timeline
from smr_notebook.control.troubles import sentences
from smr_notebook.control.verdicts import failures_so_far
from smr_notebook.dataflow.bad_records import BadRecord
from smr_notebook.dataflow.mending import Mended
from smr_notebook.errors import (
    ConfigError,
    JobNotFoundError,
    ObjectNotFoundError,
    PlatformError,
    SmrError,
    ThrottledError,
)
from smr_notebook.job.counters import Counters, counters_of
from smr_notebook.job.errors import JobErrors
from smr_notebook.job.futures import AwaitedJob
from smr_notebook.job.held_warnings import Place, Warned, caller, hold_back
from smr_notebook.job.left_out import LeftOutWarning, bad_records, commits_of, frame_of, sentence
from smr_notebook.job.logs import JobLogs
from smr_notebook.job.outcome_errors import error_of
from smr_notebook.job.results import ReadableJob
from smr_notebook.job.watching import looks
from smr_notebook.labels import cell_label
from smr_notebook.model import JobState, Manifest, Part, Plan, TaskId
from smr_notebook.pictures.skew import Skew
from smr_notebook.pictures.timeline import Timeline
from smr_notebook.ports import Backend
from smr_notebook.standing import Outcome, PhaseProgress, Progress
from smr_notebook.values.pacing import is_due
from smr_notebook.values.spellings import read_dollars

if TYPE_CHECKING:
    import pandas as pd

    from smr_notebook.job.so_far import SoFar

_LOG_SECONDS: Final = 1.0
"""Longest time between two looks for lines of a log."""


class PlanWarning(UserWarning):
    """Something about a submitted job should be known: a large captured value, objects that are empty, too little that may run at once."""


@dataclass(frozen=True, slots=True)
class JobInfo:
    """One line of a list of jobs."""

    id: str
    name: str
    created: float
    state: JobState
    user: str = ""


class Job(ReadableJob, AwaitedJob):
    """A submitted job. Made by `Session.map_reduce` and `Session.attach`.

    Args:
        backend: Where it runs.
        entry: Its entry.
        result_limit: Bytes that its result may take in memory.
        warned: What the user was warned of at submission, where the plan may warn of more; `None` where nobody is to be warned.

    Attributes:
        id: Its identifier; any unambiguous beginning of it attaches to it.
        name: What it was called at submission, or an empty string.
        user: Who submitted it; empty for nobody in particular.
        foreign: Whether that is somebody else.
    """

    def __init__(self, backend: Backend, entry: JobEntry, *, result_limit: int, warned: Collection[str] | None = None) -> None:
        self.id = entry.job
        self.name = entry.name
        self.user = entry.user
        self.foreign = not is_of(entry, backend.user)
        self._backend = backend
        self._created = entry.created
        self._read_plan: Plan | None = None
        self._result_limit = result_limit
        self._ledger = Ledger(backend.table, entry.job)
        self._revived = entry.created
        self._warned = warned

    # ------------------------------------------------------------ watching

    def stands_in(self, backend: Backend) -> bool:
        """Whether it is a job of this platform: of the same workspace, or deployment."""
        return self._backend.location == backend.location and self._backend.name == backend.name

    def status(self) -> Progress:
        """Return how far the job is: one row read, and nothing else."""
        return self._ledger.progress() or Progress(
            JobState.SUBMITTED, PhaseProgress(), PhaseProgress(), self._created, self._created, epoch=0, lease_expires=0.0
        )

    def done(self) -> bool:
        """Whether the job has ended, well or not.

        Raises:
            JobNotFoundError: It was removed meanwhile.
        """
        progress = self.status()
        if self._removed(progress):
            raise self._gone()
        return progress.state.ended

    def watch(
        self, paint: Callable[[Progress], None], *, interval: float = 0.2, timeout: float | None = None, warns: bool = True
    ) -> Progress:
        """Block until the job has ended, and show its progress on the way.

        Args:
            paint: Called in this thread with the progress when it changed, once a second when it did not, and with the last.
            interval: Shortest time between two calls of `paint`, in seconds; after a minute a second is.
            timeout: Give up after so many seconds.
            warns: Whether to warn of what a plan that was made elsewhere warns of: not from a thread, where nobody would see it.

        Returns:
            The last progress seen; its state has not ended if `timeout` came first.

        Raises:
            JobNotFoundError: The job was removed meanwhile.
            StoreError, ServiceError: The platform could not be reached for a minute. The job goes on.
        """
        clock = self._backend.clock
        painted, started = float("-inf"), clock.now()
        shown: Progress | None = None
        for progress, last in looks(self._backend, self.status, self._keep_alive, timeout=timeout):
            now = clock.now()
            if warns:
                self._warn(progress)
            due = is_due(changed=progress != shown, since_paint=now - painted, watched=now - started, interval=interval)
            if last or due:
                paint(progress)
                shown, painted = progress, now
        return progress

    def _watch_quietly(self, stopped: Callable[[], bool]) -> bool:
        return any(last for _, last in looks(self._backend, self.status, self._keep_alive, stopped=stopped))

    def _warn(self, progress: Progress) -> None:
        """Tell what a plan that was made elsewhere warns of, as soon as there is one, and once."""
        if self._warned is None or not progress.map.tasks:
            return
        warned, self._warned = self._warned, None
        with suppress(PlatformError):  # how the job ends says more
            for warning in self.warnings:
                if warning not in warned:
                    warn(warning, PlanWarning)

    def wait(self, timeout: float | None = None) -> Job:
        """Block until the job has ended.

        Raises:
            TimeoutError: It had not ended after `timeout` seconds; it goes on.
            JobError: It failed, or was cancelled.
            JobNotFoundError: It was removed meanwhile.
        """
        if not self.watch(lambda _: None, timeout=timeout).state.ended:
            raise TimeoutError(f"The job {self.id} had not ended after {timeout} seconds. It goes on; wait again, or cancel it.")
        error = self.exception()
        if error is not None:
            raise error
        return self

    def _keep_alive(self, progress: Progress, now: float) -> None:
        """Start another coordinator when the last one has fallen silent; at most once in the time that it may be silent."""
        if now >= max(progress.lease_expires, self._revived + self._backend.policy.coordinator_lease):
            self._revived = now
            with suppress(ThrottledError):  # a later look tries again
                if not revive(self._backend, self.id) and self._ledger.job() is None:
                    raise self._gone()

    # ------------------------------------------------------------ the end

    def _outcome(self) -> Outcome:
        outcome = self._ledger.outcome()
        if outcome is None:
            self.watch(lambda _: None)
            outcome = self._ledger.outcome()
        if outcome is None:
            raise self._gone()
        return outcome

    def _removed(self, progress: Progress) -> bool:
        """Whether nothing is told of the job because there is none any more."""
        return progress.state is JobState.SUBMITTED and self._ledger.job() is None

    def _gone(self) -> JobNotFoundError:
        return JobNotFoundError(f"The job {self.id} is gone: it was removed with all that it stored. Submit it again.")

    def exception(self) -> SmrError | None:
        """Wait for the end, and return the error of a failed or cancelled job, or `None`."""
        return error_of(self.id, self._outcome())

    @property
    def proof(self) -> str:
        """The proof line of a job that is done: what was read, mapped and reduced. Empty as long as it is not."""
        return self.status().proof

    @property
    def counters(self) -> Counters:
        """What the job's functions counted by `smr.count_up`, a number for each name; also while it runs, and then `final` is false."""
        return counters_of(self.status())

    @property
    def troubles(self) -> tuple[str, ...]:
        """What befell the job on its way and does not show in its result, a sentence each: workers that died, memory that ran out.

        Empty for a job without troubles; also while it runs.
        """
        return sentences(self.status().troubles)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the plan warns of, a sentence each: empty objects, large captured values. Empty as long as there is no plan."""
        try:
            return self._plan().warnings
        except ObjectNotFoundError:
            return ()

    @property
    def max_cost(self) -> float:
        """US dollars that the job may cost; 0 for any, and as long as there is no plan."""
        with suppress(ObjectNotFoundError):
            return self._plan().max_cost
        return 0.0

    def cancel(self) -> bool:
        """Ask the job to end: its attempts stop within a heartbeat, and what they had committed stays for `resume`.

        Returns:
            Whether there was anything to end: a job that has ended stays as it is.

        Raises:
            JobNotFoundError: The job was removed.
        """
        if self._ledger.outcome() is not None:
            return False
        if self._ledger.job() is None:
            raise self._gone()
        now = self._backend.clock.now()
        who = f"{self._backend.user}, who did not submit it" if self.foreign else "the user"
        self._ledger.request_cancel(f"cancelled by {who}", now)
        progress = self.status()
        if progress.waits:
            self._revived = -math.inf  # nobody is at work who would notice
        self._keep_alive(progress, now)
        return True

    def resume(self, *, max_cost: float | None = None, record_timeout: float | None = None) -> Job:
        """Submit a job that does what this one left undone when it failed or was cancelled, and return it at once.

        What this job's tasks had committed counts as done, and its checksums and sums are proved anew. The input must be what it was.
        This job must not be removed as long as the other is wanted, and is not where we remove jobs.

        Args:
            max_cost: US dollars that the rest may cost where it costs anything; as before if not given.
            record_timeout: Seconds that one record, or one group, may take, 0 for any time; as before if not given.

        Raises:
            PlanError: This job has not ended, or is done, or what it made is in doubt: the message says what to do.
            EnvironmentMismatchError: The workers have other packages than they had.
        """
        return self._derive(Mended(), max_cost, record_timeout, again=False)

    def retry_failed(
        self,
        *,
        map: Callable[..., Any] | None = None,
        reduce: Callable[..., Any] | None = None,
        combine: Callable[..., Any] | None = None,
        max_cost: float | None = None,
        record_timeout: float | None = None,
    ) -> Job:
        """Submit a job that does what this one left undone, with mended functions where they are given, and return it at once.

        Tasks that had ended are not done again: what they gave came from the functions of before. But those that left out records, or
        groups, are, as a whole: also of a job that is done.

        Args:
            map: In place of the job's `map`.
            reduce: In place of its `reduce`.
            combine: In place of its `combine`: only where no map task had ended.
            max_cost: As of `resume`.
            record_timeout: As of `resume`.

        Raises:
            PlanError: As of `resume`; or a function has no place in this job, or would change what lies between its phases.
            UnpicklableError: A function cannot travel.
            EnvironmentMismatchError: As of `resume`.
        """
        return self._derive(Mended(map, reduce, combine), max_cost, record_timeout, again=True)

    def _derive(self, mended: Mended, max_cost: float | None, record_timeout: float | None, *, again: bool) -> Job:
        money = None if max_cost is None else read_dollars(max_cost)
        timeout = None if record_timeout is None else read_setting("record_timeout", record_timeout)
        entry = derive(self._backend, self.id, Wish(mended, again, money, cell_label, timeout))
        return Job(self._backend, entry, result_limit=self._result_limit)

    def logs(self, *, phase: str | None = None, task: int | None = None, follow: bool = False) -> JobLogs:
        """Return what the functions wrote to standard output and error, also while they run: `print`, `warnings`, `logging`, compiled code.

        Args:
            phase: `map` or `reduce`; both if not given.
            task: Only of the tasks with this number.
            follow: Whether iterating waits for further lines until the job has ended.

        Raises:
            ConfigError: There is no such phase.
        """
        return JobLogs(self._backend, self.id, looks=self._looks if follow else None, phase=phase, task=task)

    def _looks(self) -> Iterator[Progress]:
        """Yield the progress from time to time, and once after the end."""
        clock, pause = self._backend.clock, self._backend.poll[0]
        while True:
            progress = self.status()
            yield progress
            if progress.state.ended:
                return
            self._keep_alive(progress, clock.now())
            clock.sleep(pause)
            pause = min(max(self._backend.poll[1], _LOG_SECONDS), pause * 1.5)

    def errors(self) -> JobErrors:
        """Return a sample of each kind of failure so far, with the number of tasks that failed alike; also while the job runs."""
        outcome = self._ledger.outcome()
        told = outcome is not None and outcome.failures
        found = told or failures_so_far(self._ledger.snapshot())
        if found:
            return JobErrors(self.id, found)
        failed = outcome is not None and outcome.state is JobState.FAILED
        why = f"{outcome.error}: {outcome.message}" if outcome is not None and failed else ""
        return JobErrors(self.id, (), left_out=self._count_left_out(), why=why)

    def timeline(self) -> Timeline:
        """Return when each attempt ran, and what became of it: as the value of a cell, a picture; also while the job runs."""
        return read_timeline(self._backend, self.id)

    def skew(self) -> Skew:
        """Return how unevenly the pairs lie, by partition, and the heaviest keys before the job is done: a picture, likewise.

        Raises:
            CorruptObjectError: What a task wrote is not what it should be.
        """
        return read_skew(self._backend, self.id)

    def debug(
        self,
        error: int = 0,
        *,
        bad: int | None = None,
        map: Callable[..., Any] | None = None,
        reduce: Callable[..., Any] | None = None,
        combine: Callable[..., Any] | None = None,
    ) -> Replayed:
        """Run what failed again, in this kernel: the function's exception is raised here, and `%debug` looks into it.

        The record is read from the input again, or the group from what the map tasks wrote, and the job's own function is called
        with it. Where nobody knows a single one (in a combiner, an aggregation, a function of frames), the whole task is run, until it
        fails. Nothing is stored.

        Args:
            error: Which of `errors()`, counted from 0.
            bad: Which row of `bad` instead, counted from 0: a record or a group that the job left out.
            map: A mended function to try in place of the job's own.
            reduce: Likewise.
            combine: Likewise.

        Returns:
            What it gave, if it does not fail here.

        Raises:
            BaseException: What the function raises.
            ConfigError: There is no such error or row, or nothing to be run.
            PlanError: A mended function has no place in this job.
            InputError: The input has changed since, or is gone, or what the job stored is.
            EnvironmentMismatchError: The functions were made by another Python.
        """
        __tracebackhide__ = True
        return self._replay(error, bad, Mended(map, reduce, combine)).run()

    def failing_record(self, error: int = 0, *, bad: int | None = None) -> Any:
        """Return the record that `map` failed on; of a failure of `reduce`, the key and an iterator of its values.

        Args:
            error: Which of `errors()`, counted from 0.
            bad: Which row of `bad` instead, counted from 0.

        Raises:
            ConfigError: There is no such error or row, or nobody knows its record.
            InputError: The input has changed since, or is gone, or what the job stored is.
        """
        return self._replay(error, bad, Mended()).record()

    def _replay(self, error: int, bad: int | None, mended: Mended) -> Replay:
        __tracebackhide__ = True
        if bad is not None:
            left_out = next(islice(self._left_out(), bad, None), None) if bad >= 0 else None
            if left_out is None:
                raise ConfigError(f"{self.id} has no row {bad} of what it left out: job.bad shows all, counted from 0.")
            return Replay(self._backend, self.id, failure_of_bad(*left_out), given=mended)
        found = self.errors()
        if not found:
            hint = "; job.debug(bad=0) runs the first record or group that was left out" if self._count_left_out() else ""
            raise ConfigError(f"{self.id}: no task has failed, so there is nothing to debug{hint}.")
        if not 0 <= error < len(found):
            raise ConfigError(f"{self.id} has no error {error}: job.errors() shows {len(found)}, counted from 0.")
        return Replay(self._backend, self.id, found[error], given=mended)

    # ------------------------------------------------------------ what was left out

    def _count_left_out(self) -> int:
        progress = self.status()
        return progress.map.bad + progress.reduce.bad

    @property
    def bad(self) -> pd.DataFrame:
        """Wait for the end, and return what the job left out, as `on_error` asked for: a row for each record and each group.

        Columns: `object`, `offset` (in bytes), `record` (the line itself, or a `repr`; of a group, its key), `error`, `number` (of the
        record in its task's split, or of the group in its partition, from 1), `function` (`read`, `map` or `reduce`), `task`, `line`
        (of the code).
        With `on_error="skip"`, some of each task; of a failed job, what the tasks that ended have left out.

        Raises:
            CorruptObjectError: What was told is not what was written.
        """
        self._outcome()
        return frame_of(self._left_out())

    def _left_out(self) -> Iterator[tuple[TaskId, BadRecord]]:
        plan = self._told_plan()
        return bad_records(commits_of(plan, self._backend.objects, self._ledger), self._backend.objects) if plan else iter(())

    def _plan(self) -> Plan:
        """Return the plan, which never changes: read once. Raises `ObjectNotFoundError` as long as there is none."""
        if self._read_plan is None:
            self._read_plan = read_plan(self._backend.objects, self.id, keys_of(self._backend.table))
        return self._read_plan

    def _told_plan(self) -> Plan | None:
        """Return the plan of a job that may have left something out; `None` if it cannot, or was never planned."""
        try:
            plan = self._plan()
        except ObjectNotFoundError:
            return None
        return plan if plan.tolerance.tolerant else None

    def _warn_of_left_out(self) -> None:
        plan = self._told_plan()
        told = sentence(plan, commits_of(plan, self._backend.objects, self._ledger)) if plan else ""
        if told:
            warn(told, LeftOutWarning)

    # ------------------------------------------------------------ the result

    def so_far(self) -> SoFar:
        """Return what the map tasks that are done would give if they were all, with the share of the input; also while the job runs.

        Their runs are read and reduced in this process. That means something for built-in aggregations, and for a `reduce` with `combine`.
        Of a job that is done it is the result.

        Raises:
            ConfigError: The job has another kind of `reduce`, or none.
            ResultTooLargeError: It exceeds the session's `result_limit`.
            CorruptObjectError: What the tasks stored is not what was written.
        """
        from smr_notebook.job.so_far import so_far  # noqa: PLC0415 - workers import this module, and must not import pandas

        return so_far(self._backend, self.id, self._plan, self.result, limit_bytes=self._result_limit)

    def _manifest(self) -> Manifest:
        self.wait()
        last = self._plan().phases[-1]
        return read_manifest(self._backend.objects, self._ledger, last, job=self.id)

    def parts(self) -> tuple[Part, ...]:
        """Wait, and return the parts of the result: one for each partition, each a list of Parquet objects."""
        return tuple(commit.part for commit in self._manifest().commits if commit.part is not None)

    def _finished(self) -> tuple[Part, ...]:
        parts = self.parts()
        self._warn_of_left_out()
        return parts

    def _tell(self, warned: list[Warned], place: Place | None = None) -> None:
        for message, category in warned:
            warn(message, category, place=place)

    def __repr__(self) -> str:
        progress = self.status()
        name = f" {self.name!r}" if self.name else ""
        counts = "".join(f" {label} {phase.done}/{phase.tasks}" for label, phase in progress.phases)
        seconds = int(progress.updated - progress.started)
        running = f"waits for {', '.join(progress.waits)}" if progress.waits else "running"
        word = "removed" if self._removed(progress) else progress.state.value if progress.state.ended else running
        return f"<Job {self.id}{name}{counts} {word} {seconds // 60:02d}:{seconds % 60:02d}>"


def cancel_and_tell(job: Job) -> str:
    """Cancel a job, and return what a person who said so is told."""
    whose = f" ({job.user}'s)" if job.foreign else ""
    if job.cancel():
        return f"{job.id}{whose} is being cancelled"
    return f"{job.id}{whose} has ended already: {job.status().state}"


def warn(message: str, category: type[Warning], *, place: Place | None = None) -> None:
    """Warn of something, at a place, or else at the line that called into this package, each time.

    Python shows a warning once for each text and line: whoever runs a cell, or a function, again would not be told again that something is
    missing.
    """
    if hold_back(message, category):
        return
    file, line, module = place or caller()
    warnings.warn_explicit(message, category, file, line, module=module)
