"""The ledger: all that is said of a job in the coordinator table, and the verbs that change it.

Theory. Every row changes by compare-and-set only, and `Table.put` answers with the row that stands. Hence the one rule
behind every verb here: *write, look at what stands, and if it is mine, it is done* - also when the reply to an earlier
try was lost. Owner names are unique for each invocation, so "mine" is a comparison of values and never a guess.

Three kinds of rows:

* **Created at most once**: claim, entry, cancel, leg, commit, manifest, outcome. Whoever comes second gets what stands.
* **Handed on**: an attempt goes `LAUNCHED → RUNNING → PAUSED | FAILED | STOPPED`, and nothing leaves a final state. The
  coordinator launches, expires and stops; the worker that claimed it does the rest. One whose commit stands is `DONE`, whatever
  its row says: that follows from the commit. The lease goes from owner to owner with a growing epoch.
* **Overwritten**: progress, by a coordinator whose epoch is not older than the row's.

No write is fenced beyond that, and none needs to be: what a deposed coordinator or a zombie worker still writes meets
one of these rules, and what it cannot undo (a launch, an invocation) is harmless when doubled.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeVar

from smr_notebook.control.row_keys import (
    JOB,
    TASK,
    attempt_row,
    commit_row,
    followers_of,
    group_of,
    groups_of,
    job_row,
    kind_of,
    leg_row,
    manifest_row,
    page_of,
    task_rows,
)
from smr_notebook.control.rows import (
    ATTEMPT,
    CANCEL,
    COMMIT,
    ENTRY,
    LEASE,
    LEG,
    MANIFEST,
    OUTCOME,
    PROGRESS,
    RESERVATION,
    CancelRequest,
    JobEntry,
    ManifestEntry,
    Reservation,
    RowCodec,
    RowReader,
)
from smr_notebook.control.snapshots import snapshot_of, with_done
from smr_notebook.errors import FormatVersionError, JobNotFoundError
from smr_notebook.model import Attempt, AttemptId, AttemptState, Commit, Failure, Leg, Numbers, Phase, TaskId
from smr_notebook.standing import Lease, Outcome, Progress, Snapshot
from smr_notebook.values.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smr_notebook.ports import Row, Table

T = TypeVar("T")

_OUTPUTS: Final[dict[str, RowCodec[Commit] | RowCodec[Leg]]] = {"commit": COMMIT, "leg": LEG}

JOBS: Final = "jobs"
"""Group with one small row for each job."""


@dataclass(frozen=True, slots=True)
class Held:
    """An attempt's row as its owner last wrote it, with the version that its next write expects."""

    attempt: Attempt
    version: int

    def by(self, owner: str) -> bool:
        """Whether `owner` may go on."""
        return self.attempt.owner == owner and self.attempt.state is AttemptState.RUNNING


@dataclass(frozen=True, slots=True)
class Report:
    """What the owner of an attempt tells of it: its counts, what it used, and when it last finished something (0 if it does not say)."""

    numbers: Numbers = field(default_factory=Numbers)
    usage: Usage = field(default_factory=Usage)
    moved: float = 0.0


@dataclass(frozen=True, slots=True)
class Claimed:
    """An attempt that is one's own, the legs of its task that stand already, in order, and how many attempts behind them were in vain."""

    held: Held
    legs: tuple[Leg, ...]
    in_vain: int = 0


def list_jobs(table: Table) -> list[JobEntry]:
    """Return one entry for each job of the table, oldest first. Jobs of another version of this package are passed over."""
    return list(_readable(row for row in table.query(JOBS) if row.value))


def forget_rows(table: Table, job: str) -> None:
    """Delete the rows of a job but its line in the list of jobs."""
    for group in (*groups_of(job), followers_of(job)):
        table.delete_group(group)


def forget_job(table: Table, entry: JobEntry) -> None:
    """Delete the rows of a job. Its line in the list of jobs stays, emptied: rows of a group go all or none."""
    forget_rows(table, entry.job)
    row = table.get(JOBS, _listed(entry))
    if row is not None:
        table.put(JOBS, row.key, b"", expect=row.version)


def _readable(rows: Iterable[Row]) -> Iterator[JobEntry]:
    for row in rows:
        with suppress(FormatVersionError):
            yield ENTRY.decode(row.key, row.value)


def _listed(entry: JobEntry) -> str:
    return f"{entry.created:020.6f}-{entry.job}"


class Ledger:
    """The rows of one job. It holds no state of its own, so that threads may share it."""

    def __init__(self, table: Table, job: str) -> None:
        self._table = table
        self._group = job

    # ------------------------------------------------------------ the job

    def reserve(self, token: str) -> bool:
        """Take this identifier for a new job, and return whether it was free. `token` is unique for each submission."""
        return self._create(job_row("claim"), RESERVATION, Reservation(token)).token == token and self.job() is None

    def create_job(self, entry: JobEntry) -> JobEntry:
        """Register a job, and return the entry that stands."""
        standing = self._create(job_row("entry"), ENTRY, entry)
        self._table.put(JOBS, _listed(standing), ENTRY.encode(standing), expect=0)
        return standing

    def job(self) -> JobEntry | None:
        """Return the job's entry, or `None` if it was never submitted, or deleted."""
        return self._read(job_row("entry"), ENTRY)

    def request_cancel(self, reason: str, now: float) -> CancelRequest:
        """Ask for the end of the job, and return the first such request."""
        return self._create(job_row("cancel"), CANCEL, CancelRequest(reason, now))

    def cancelled(self) -> CancelRequest | None:
        """Return the request to end the job, or `None`."""
        return self._read(job_row("cancel"), CANCEL)

    def unwanted(self) -> str | None:
        """Return why nothing of the job is wanted any more: somebody asked for its end, or it has ended; `None` while it goes on."""
        for row in self._table.query(self._group, JOB):
            kind = kind_of(row.key)
            if kind == "cancel":
                return CANCEL.decode(row.key, row.value).reason
            if kind == "outcome":
                return f"the job is {OUTCOME.decode(row.key, row.value).state}"
        return None

    def put_manifest(self, phase: Phase, entry: ManifestEntry) -> ManifestEntry:
        """Declare a phase ended, and return the entry that stands."""
        return self._create(manifest_row(phase), MANIFEST, entry)

    def manifest(self, phase: Phase) -> ManifestEntry | None:
        """Return where the manifest of a phase stands, or `None`."""
        return self._read(manifest_row(phase), MANIFEST)

    def put_outcome(self, outcome: Outcome) -> Outcome:
        """End the job, and return the outcome that stands."""
        return self._create(job_row("outcome"), OUTCOME, outcome)

    def outcome(self) -> Outcome | None:
        """Return how the job ended, or `None`."""
        return self._read(job_row("outcome"), OUTCOME)

    def snapshot(self) -> Snapshot:
        """Return all that stands. What looks again and again does so by `looking`.

        Raises:
            JobNotFoundError: The job was never submitted, or has been deleted.
        """
        reader = RowReader()
        rows = [*self._table.query(self._group, JOB)]
        for group in groups_of(self._group):
            rows += self._table.query(group, TASK)
        found = snapshot_of([(row.key, reader.read(row)) for row in rows])
        if found is None:
            raise self.missing()
        return with_done(found)

    # ------------------------------------------------------------ the lease and the progress

    def lease(self) -> Lease | None:
        """Return who coordinates, or `None` if nobody ever did."""
        return self._read(job_row("lease"), LEASE)

    def take_lease(self, owner: str, *, now: float, seconds: float, usage: Usage | None = None) -> Lease:
        """Take or renew the lease if it is free, expired or one's own, and return the lease that stands.

        The epoch grows by one with each change of owner, and never otherwise. `usage` is what the owner used so far.
        """
        usage = usage or Usage()
        row = self._table.get(self._group, job_row("lease"))
        if row is None:
            wanted, version = Lease(owner, 1, now + seconds, usage), 0
        else:
            held = LEASE.decode(row.key, row.value)
            if held.owner != owner and not held.expired(now):
                return held
            change = held.owner != owner
            before = held.before + held.usage if change else held.before
            wanted = Lease(owner, held.epoch + change, now + seconds, usage, before)
            version = row.version
        standing = self._put(job_row("lease"), LEASE.encode(wanted), expect=version)
        return LEASE.decode(standing.key, standing.value)

    def expire_lease(self, owner: str, now: float, *, usage: Usage | None = None) -> Lease | None:
        """End the lease at once if `owner` holds it, or an invocation whose name begins so up to a `/`; return the lease that stands."""
        row = self._table.get(self._group, job_row("lease"))
        if row is None:
            return None
        held = LEASE.decode(row.key, row.value)
        if not _held_by(held.owner, owner) or held.expired(now):
            return held
        wanted = replace(held, expires=now, usage=usage or held.usage)
        row = self._put(job_row("lease"), LEASE.encode(wanted), expect=row.version)
        return LEASE.decode(row.key, row.value)

    def put_progress(self, progress: Progress) -> Progress:
        """Publish the progress unless a later coordinator published already, and return what stands."""
        row = self._table.get(self._group, job_row("progress"))
        if row is not None:
            published = PROGRESS.decode(row.key, row.value)
            if published.epoch > progress.epoch:
                return published
        row = self._put(job_row("progress"), PROGRESS.encode(progress), expect=row.version if row else 0)
        return PROGRESS.decode(row.key, row.value)

    def progress(self) -> Progress | None:
        """Return what the coordinator published last, or `None`."""
        return self._read(job_row("progress"), PROGRESS)

    # ------------------------------------------------------------ attempts, as the coordinator sees them

    def launch(self, attempt: AttemptId, *, now: float, expires: float, speculative: bool = False, size: int = 0) -> Attempt:
        """Write down that an attempt is about to be invoked, or that it is again if nobody claimed it; return what stands."""
        wanted = Attempt(attempt, AttemptState.LAUNCHED, "", expires, now, now, speculative=speculative, size=size)
        held = self._swap(wanted, expect=0)
        if held.attempt == wanted or held.attempt.state is not AttemptState.LAUNCHED:
            return held.attempt
        return self._swap(replace(held.attempt, expires=expires, changed=now), expect=held.version).attempt

    def expire(self, attempt: AttemptId, failure: Failure, now: float) -> Attempt | None:
        """Fail an attempt whose lease has passed; one that came back to life in the meantime stays. Return what stands."""
        held = self._held(attempt)
        if held is None or not held.attempt.expired(now):
            return held.attempt if held else None
        wanted = replace(held.attempt, state=AttemptState.FAILED, changed=now, failure=failure)
        return self._swap(wanted, expect=held.version).attempt

    def stop(self, attempt: AttemptId, now: float) -> Attempt | None:
        """Stop a live attempt, whoever holds it, and return what stands."""
        held = self._held(attempt)
        while held is not None and held.attempt.live:
            held = self._swap(replace(held.attempt, state=AttemptState.STOPPED, changed=now), expect=held.version)
        return held.attempt if held else None

    def bury(self, attempt: AttemptId, *, owner: str, failure: Failure, now: float) -> Attempt | None:
        """Fail an attempt whose invocation died, if it held the attempt or nobody did; return what stands.

        `owner` is the name of the invocation, or its beginning up to a `/`; an empty one buries what nobody claimed.
        """
        held = self._held(attempt)
        while held is not None and held.attempt.live and _held_by(held.attempt.owner, owner):
            wanted = replace(held.attempt, state=AttemptState.FAILED, owner=held.attempt.owner or owner, changed=now, failure=failure)
            held = self._swap(wanted, expect=held.version)
        return held.attempt if held else None

    # ------------------------------------------------------------ attempts, as their owner sees them

    def claim(self, attempt: AttemptId, *, owner: str, now: float, lease: float) -> Claimed | None:
        """Make a launched attempt one's own. `None`: it was never launched, is another's, has ended, or its task has a commit already."""
        rows = {row.key: row for row in self._table.query(self._group_of(attempt.task), task_rows(attempt.task))}
        row = rows.get(attempt_row(attempt))
        if row is None:
            return None
        held = _held(row)
        committed = commit_row(attempt.task) in rows
        if held.attempt.state is AttemptState.LAUNCHED:
            state = AttemptState.STOPPED if committed else AttemptState.RUNNING
            wanted = replace(held.attempt, state=state, owner=owner, expires=now + lease, changed=now, claimed=now)
            held = self._swap(wanted, expect=held.version)
        if not held.by(owner):
            return None
        legs = tuple(LEG.decode(key, found.value) for key, found in rows.items() if kind_of(key) == "leg")
        after = legs[-1].id.number if legs else 0
        others = [ATTEMPT.decode(key, found.value) for key, found in rows.items() if kind_of(key) == "attempt" and key < row.key]
        before = sum(not other.speculative for other in others if other.id.number > after)
        return Claimed(held, legs, max(before - held.attempt.speculative, 0))

    def heartbeat(self, held: Held, report: Report, *, now: float, lease: float) -> Held:
        """Prolong the lease and report the counts; return the row that stands, and ask it `by(owner)`."""
        wanted = replace(held.attempt, expires=now + lease, changed=now, numbers=report.numbers, usage=report.usage, moved=report.moved)
        return self._swap(wanted, expect=held.version)

    def finish(self, held: Held, state: AttemptState, report: Report, *, now: float, failure: Failure | None = None) -> Attempt:
        """Give an attempt that one holds its final state, unless it has one already; return what stands."""
        owner = held.attempt.owner
        while held.by(owner):
            wanted = replace(held.attempt, state=state, changed=now, numbers=report.numbers, usage=report.usage, failure=failure)
            held = self._swap(wanted, expect=held.version)
        return held.attempt

    def put_leg(self, leg: Leg) -> Leg:
        """Offer a leg of a task, and return the one that stands under its number: `leg` itself, or another attempt's."""
        key, group = leg_row(leg.id.task, leg.number), self._group_of(leg.id.task)
        row = self._put(key, LEG.encode(leg), expect=0, group=group)
        return LEG.decode(row.key, row.value)

    def commit(self, commit: Commit) -> Commit:
        """Offer an output for a task, and return the commit that stands: `commit` itself, or that of another attempt."""
        key, group = commit_row(commit.id.task), self._group_of(commit.id.task)
        row = self._put(key, COMMIT.encode(commit), expect=0, group=group)
        return COMMIT.decode(row.key, row.value)

    def attempts(self, task: TaskId) -> tuple[Attempt, ...]:
        """Return the attempts of a task, by number."""
        rows = self._table.query(self._group_of(task), task_rows(task))
        return tuple(_held(row).attempt for row in rows if kind_of(row.key) == "attempt")

    def committed(self, task: TaskId) -> Commit | None:
        """Return the commit of a task, or `None`."""
        row = self._table.get(self._group_of(task), commit_row(task))
        return COMMIT.decode(row.key, row.value) if row else None

    def outputs(self) -> list[Commit | Leg]:
        """Return all that attempts committed, and the legs that they published, task after task within a group."""
        found: list[Commit | Leg] = []
        for group in groups_of(self._group):
            for row in self._table.query(group, TASK):
                codec = _OUTPUTS.get(kind_of(row.key))
                if codec is not None:
                    found.append(codec.decode(row.key, row.value))
        return found

    # ------------------------------------------------------------ rows

    def _group_of(self, task: TaskId) -> str:
        return group_of(self._group, page_of(task))

    def _create(self, key: str, codec: RowCodec[T], value: T) -> T:
        row = self._put(key, codec.encode(value), expect=0)
        return codec.decode(row.key, row.value)

    def _read(self, key: str, codec: RowCodec[T]) -> T | None:
        row = self._table.get(self._group, key)
        return codec.decode(row.key, row.value) if row else None

    def _held(self, attempt: AttemptId) -> Held | None:
        row = self._table.get(self._group_of(attempt.task), attempt_row(attempt))
        return _held(row) if row else None

    def _swap(self, attempt: Attempt, *, expect: int) -> Held:
        group = self._group_of(attempt.id.task)
        return _held(self._put(attempt_row(attempt.id), ATTEMPT.encode(attempt), expect=expect, group=group))

    def _put(self, key: str, data: bytes, *, expect: int, group: str = "") -> Row:
        row = self._table.put(group or self._group, key, data, expect=expect)
        if row.version == 0:
            raise self.missing()
        return row

    def missing(self) -> JobNotFoundError:
        """Return the error that says that there is no such job."""
        return JobNotFoundError(
            f"There is no job {self._group!r} in the table: it was never submitted, or has been removed since. smr.jobs() lists all."
        )


def _held(row: Row) -> Held:
    return Held(ATTEMPT.decode(row.key, row.value), row.version)


def _held_by(holder: str, owner: str) -> bool:
    return not holder or holder == owner or holder.startswith(f"{owner}/")
