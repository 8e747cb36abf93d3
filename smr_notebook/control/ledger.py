"""The ledger: all that is said of a job in the coordinator table, and the only module that knows its rows.

Theory. Every row changes by compare-and-set only, and `Table.put` answers with the row that stands. Hence the one rule
behind every verb here: *write, look at what stands, and if it is mine, it is done* - also when the reply to an earlier
try was lost. Owner names are unique for each invocation, so "mine" is a comparison of values and never a guess.

Three kinds of rows:

* **Created at most once**: job, cancel, commit, manifest, outcome. Whoever comes second gets what stands.
* **Handed on**: an attempt goes `LAUNCHED → RUNNING → DONE | FAILED | STOPPED`, and nothing leaves a final state. The
  coordinator launches, expires and stops; the worker that claimed it does the rest. The lease goes from owner to owner
  with a growing epoch.
* **Overwritten**: progress, by a coordinator whose epoch is not older than the row's.

No write is fenced beyond that, and none needs to be: what a deposed coordinator or a zombie worker still writes meets
one of these rules, and what it cannot undo (a launch, an invocation) is harmless when doubled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from smr_notebook.control.rows import CancelRequest, Codec, JobEntry, ManifestEntry
from smr_notebook.errors import JobNotFoundError
from smr_notebook.model import (
    Attempt,
    AttemptId,
    AttemptState,
    Commit,
    Failure,
    Lease,
    Numbers,
    Outcome,
    Phase,
    Progress,
    Snapshot,
    TaskId,
)

if TYPE_CHECKING:
    from smr_notebook.ports import Row, Table

T = TypeVar("T")

JOBS: Final = "jobs"
"""Group with one small row for each job."""

_JOB: Final = Codec(JobEntry)
_LEASE: Final = Codec(Lease)
_PROGRESS: Final = Codec(Progress)
_CANCEL: Final = Codec(CancelRequest)
_ATTEMPT: Final = Codec(Attempt)
_COMMIT: Final = Codec(Commit)
_MANIFEST: Final = Codec(ManifestEntry)
_OUTCOME: Final = Codec(Outcome)
_CODECS: Final[dict[str, Codec[Any]]] = {
    "job": _JOB,
    "lease": _LEASE,
    "progress": _PROGRESS,
    "cancel": _CANCEL,
    "attempt": _ATTEMPT,
    "commit": _COMMIT,
    "manifest": _MANIFEST,
    "outcome": _OUTCOME,
}


@dataclass(frozen=True, slots=True)
class Held:
    """An attempt's row as its owner last wrote it, with the version that its next write expects."""

    attempt: Attempt
    version: int

    def by(self, owner: str) -> bool:
        """Whether `owner` may go on."""
        return self.attempt.owner == owner and self.attempt.state is AttemptState.RUNNING


def list_jobs(table: Table) -> list[JobEntry]:
    """Return one entry for each job of the table, oldest first."""
    return [_JOB.decode(row.key, row.value) for row in table.query(JOBS) if row.value]


def forget_job(table: Table, entry: JobEntry) -> None:
    """Delete the rows of a job. Its line in the list of jobs stays, emptied: rows of a group go all or none."""
    table.delete_group(entry.job)
    row = table.get(JOBS, _listed(entry))
    if row is not None:
        table.put(JOBS, row.key, b"", expect=row.version)


def _listed(entry: JobEntry) -> str:
    return f"{entry.created:020.6f}-{entry.job}"


class Ledger:
    """The rows of one job. Not for use by two threads at once, except for the verbs of one attempt."""

    def __init__(self, table: Table, job: str) -> None:
        self._table = table
        self._group = job
        self._seen: dict[str, tuple[int, Any]] = {}

    # ------------------------------------------------------------ the job

    def create_job(self, entry: JobEntry) -> JobEntry:
        """Register a job, and return the entry that stands."""
        standing = self._create("job", _JOB, entry)
        self._table.put(JOBS, _listed(standing), _JOB.encode(standing), expect=0)
        return standing

    def job(self) -> JobEntry | None:
        """Return the job's entry, or `None` if it was never submitted, or deleted."""
        return self._read("job", _JOB)

    def request_cancel(self, reason: str, now: float) -> CancelRequest:
        """Ask for the end of the job, and return the first such request."""
        return self._create("cancel", _CANCEL, CancelRequest(reason, now))

    def put_manifest(self, phase: Phase, entry: ManifestEntry) -> ManifestEntry:
        """Declare a phase ended, and return the entry that stands."""
        return self._create(f"manifest/{phase}", _MANIFEST, entry)

    def manifest(self, phase: Phase) -> ManifestEntry | None:
        """Return where the manifest of a phase stands, or `None`."""
        return self._read(f"manifest/{phase}", _MANIFEST)

    def put_outcome(self, outcome: Outcome) -> Outcome:
        """End the job, and return the outcome that stands."""
        return self._create("outcome", _OUTCOME, outcome)

    def outcome(self) -> Outcome | None:
        """Return how the job ended, or `None`."""
        return self._read("outcome", _OUTCOME)

    def snapshot(self) -> Snapshot:
        """Return all that decisions need, from one query. Rows that did not change since the last look are not decoded again.

        Raises:
            JobNotFoundError: The job was never submitted, or has been deleted.
        """
        entry: JobEntry | None = None
        attempts: dict[TaskId, tuple[Attempt, ...]] = {}
        commits: dict[TaskId, Commit] = {}
        manifests: dict[Phase, str] = {}
        cancel: CancelRequest | None = None
        outcome: Outcome | None = None
        for row in self._table.query(self._group):
            match self._decoded(row):
                case Attempt() as attempt:
                    attempts[attempt.id.task] = (*attempts.get(attempt.id.task, ()), attempt)
                case Commit() as commit:
                    commits[commit.id.task] = commit
                case ManifestEntry(key=key):
                    manifests[Phase(row.key.partition("/")[2])] = key
                case JobEntry() as entry:
                    pass
                case CancelRequest() as cancel:
                    pass
                case Outcome() as outcome:
                    pass
        if entry is None:
            raise self._missing()
        return Snapshot(attempts, commits, manifests, cancel.reason if cancel else None, outcome)

    # ------------------------------------------------------------ the lease and the progress

    def lease(self) -> Lease | None:
        """Return who coordinates, or `None` if nobody ever did."""
        return self._read("lease", _LEASE)

    def take_lease(self, owner: str, *, now: float, seconds: float) -> Lease:
        """Take or renew the lease if it is free, expired or one's own, and return the lease that stands.

        The epoch grows by one with each change of owner, and never otherwise.
        """
        row = self._table.get(self._group, "lease")
        if row is None:
            wanted, version = Lease(owner, 1, now + seconds), 0
        else:
            held = _LEASE.decode(row.key, row.value)
            if held.owner != owner and not held.expired(now):
                return held
            wanted = Lease(owner, held.epoch + (held.owner != owner), now + seconds)
            version = row.version
        standing = self._put("lease", _LEASE.encode(wanted), expect=version)
        return _LEASE.decode(standing.key, standing.value)

    def expire_lease(self, owner: str, now: float) -> Lease | None:
        """End the lease at once if `owner` holds it, and return the lease that stands."""
        row = self._table.get(self._group, "lease")
        if row is None:
            return None
        held = _LEASE.decode(row.key, row.value)
        if held.owner != owner or held.expired(now):
            return held
        row = self._put("lease", _LEASE.encode(replace(held, expires=now)), expect=row.version)
        return _LEASE.decode(row.key, row.value)

    def put_progress(self, progress: Progress) -> Progress:
        """Publish the progress unless a later coordinator published already, and return what stands."""
        row = self._table.get(self._group, "progress")
        if row is not None:
            published = _PROGRESS.decode(row.key, row.value)
            if published.epoch > progress.epoch:
                return published
        row = self._put("progress", _PROGRESS.encode(progress), expect=row.version if row else 0)
        return _PROGRESS.decode(row.key, row.value)

    def progress(self) -> Progress | None:
        """Return what the coordinator published last, or `None`."""
        return self._read("progress", _PROGRESS)

    # ------------------------------------------------------------ attempts, as the coordinator sees them

    def launch(self, attempt: AttemptId, *, now: float, expires: float) -> Attempt:
        """Write down that an attempt is about to be invoked, or that it is again if nobody claimed it; return what stands."""
        held = self._held(attempt)
        if held is not None and held.attempt.state is not AttemptState.LAUNCHED:
            return held.attempt
        started = held.attempt.started if held else now
        wanted = Attempt(attempt, AttemptState.LAUNCHED, "", expires, started, now)
        return self._swap(wanted, expect=held.version if held else 0).attempt

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
        """Fail an attempt whose invocation `owner` died, if it held the attempt or nobody did; return what stands."""
        held = self._held(attempt)
        while held is not None and held.attempt.live and held.attempt.owner in {"", owner}:
            wanted = replace(held.attempt, state=AttemptState.FAILED, owner=owner, changed=now, failure=failure)
            held = self._swap(wanted, expect=held.version)
        return held.attempt if held else None

    # ------------------------------------------------------------ attempts, as their owner sees them

    def claim(self, attempt: AttemptId, *, owner: str, now: float, lease: float) -> Held | None:
        """Make a launched attempt one's own. `None`: it was never launched, is another's, or has ended."""
        held = self._held(attempt)
        if held is not None and held.attempt.state is AttemptState.LAUNCHED:
            wanted = replace(held.attempt, state=AttemptState.RUNNING, owner=owner, expires=now + lease, changed=now)
            held = self._swap(wanted, expect=held.version)
        return held if held is not None and held.by(owner) else None

    def heartbeat(self, held: Held, numbers: Numbers, *, now: float, lease: float) -> Held:
        """Prolong the lease and report the counts; return the row that stands, and ask it `by(owner)`."""
        return self._swap(replace(held.attempt, expires=now + lease, changed=now, numbers=numbers), expect=held.version)

    def finish(self, held: Held, state: AttemptState, *, now: float, numbers: Numbers, failure: Failure | None = None) -> Attempt:
        """Give an attempt that one holds its final state, unless it has one already; return what stands."""
        owner = held.attempt.owner
        while held.by(owner):
            wanted = replace(held.attempt, state=state, changed=now, numbers=numbers, failure=failure)
            held = self._swap(wanted, expect=held.version)
        return held.attempt

    def commit(self, commit: Commit) -> Commit:
        """Offer an output for a task, and return the commit that stands: `commit` itself, or that of another attempt."""
        return self._create(_commit_key(commit.id.task), _COMMIT, commit)

    def committed(self, task: TaskId) -> Commit | None:
        """Return the commit of a task, or `None`."""
        return self._read(_commit_key(task), _COMMIT)

    # ------------------------------------------------------------ rows

    def _create(self, key: str, codec: Codec[T], value: T) -> T:
        row = self._put(key, codec.encode(value), expect=0)
        return codec.decode(row.key, row.value)

    def _read(self, key: str, codec: Codec[T]) -> T | None:
        row = self._table.get(self._group, key)
        return codec.decode(row.key, row.value) if row else None

    def _held(self, attempt: AttemptId) -> Held | None:
        row = self._table.get(self._group, _attempt_key(attempt))
        return Held(_ATTEMPT.decode(row.key, row.value), row.version) if row else None

    def _swap(self, attempt: Attempt, *, expect: int) -> Held:
        row = self._put(_attempt_key(attempt.id), _ATTEMPT.encode(attempt), expect=expect)
        return Held(_ATTEMPT.decode(row.key, row.value), row.version)

    def _put(self, key: str, data: bytes, *, expect: int) -> Row:
        row = self._table.put(self._group, key, data, expect=expect)
        if row.version == 0:
            raise self._missing()
        return row

    def _missing(self) -> JobNotFoundError:
        return JobNotFoundError(
            f"There is no job {self._group!r} in the table: it was never submitted, or has been removed since. smr.jobs() lists all."
        )

    def _decoded(self, row: Row) -> object:
        version, value = self._seen.get(row.key, (0, None))
        if version != row.version:
            codec = _CODECS.get(row.key.partition("/")[0])
            value = codec.decode(row.key, row.value) if codec else None
            self._seen[row.key] = (row.version, value)
        return value


def _attempt_key(attempt: AttemptId) -> str:
    return f"attempt/{attempt}"


def _commit_key(task: TaskId) -> str:
    return f"commit/{task}"
