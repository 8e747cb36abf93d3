"""What stands of a job at one look: its lease, its outcome, the snapshot that decisions are made from, the progress that is shown.

Rules of this module: those of `model`. What is added up here (`Settled`) is what can change no more, so that it needs no second look.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from smr_notebook.model import Attempt, AttemptId, Commit, Estimate, Failure, JobState, Numbers, Phase, TaskId
from smr_notebook.values.usage import Cost, Usage


@dataclass(frozen=True, slots=True)
class Lease:
    """Who coordinates a job, or plans it. `epoch` grows by one with each change of owner.

    Attributes:
        owner: Name of the invocation.
        epoch: How many owners there were, this one included.
        expires: When somebody else may take it.
        usage: What the owner used until it renewed the lease last.
        before: What the owners before it used.
    """

    owner: str
    epoch: int
    expires: float
    usage: Usage = field(default_factory=Usage)
    before: Usage = field(default_factory=Usage)

    def expired(self, now: float) -> bool:
        """Whether somebody else may take it."""
        return self.expires <= now


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended. Created at most once.

    Attributes:
        state: `DONE`, `FAILED` or `CANCELLED`.
        at: Time of the end.
        proof: The proof line (done), else empty.
        manifest: Key of the last phase's manifest (done), else empty.
        failures: One sample for each kind of failure (failed), with the attempt it came from.
        error: Class name in `smr_notebook.errors` of the error to raise (failed), else empty.
        message: Its text where no failure tells more.
    """

    state: JobState
    at: float
    proof: str = ""
    manifest: str = ""
    failures: tuple[FailedAttempt, ...] = ()
    error: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """A failure, the attempt it came from, and how many tasks failed alike."""

    attempt: AttemptId
    failure: Failure
    tasks: int = 1


class TroubleKind(StrEnum):
    """What befell attempts: by what is told of it, and by what helps."""

    DIED = "died"
    MEMORY = "memory"
    DISK = "disk"
    SILENT = "silent"
    LOST = "lost"
    TIMEOUT = "timeout"
    USER = "user"
    INPUT = "input"
    SYSTEM = "system"
    RETURNED = "returned"
    STALLED = "stalled"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What befell some attempts of a phase.

    Attributes:
        kind: What it was.
        phase: In which phase.
        count: How many attempts it befell.
        again: How many of them were followed by another one.
        sample: What is said of one of them: `signal 9, SIGKILL`; at most 120 characters.
        resident_bytes: Memory that one of them took, the most that any did; 0 where that is not the matter.
        limit_bytes: Memory that it might have taken.
        again_bytes: Memory that it was given next; 0 for no more than before.
        seconds: How long nothing was done or heard, the longest of them; 0 where that is not the matter.
    """

    kind: TroubleKind
    phase: Phase
    count: int
    again: int = 0
    sample: str = ""
    resident_bytes: int = 0
    limit_bytes: int = 0
    again_bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PhaseProgress:
    """How far one phase is.

    `slowest` is the longest committed attempt, in seconds; `speculative` counts the backups of slow attempts, `stalled` attempts at work
    that finish nothing.
    """

    tasks: int = 0
    done: int = 0
    running: int = 0
    launched: int = 0
    retried: int = 0
    failed: int = 0
    numbers: Numbers = field(default_factory=Numbers)
    slowest: float = 0.0
    speculative: int = 0
    stalled: int = 0

    @property
    def bad(self) -> int:
        """How many records, or groups, were left out so far."""
        return self.numbers.records_bad


@dataclass(frozen=True, slots=True)
class Settled:
    """The tasks of a phase that nothing can change any more, added up.

    Attributes:
        pages: The pages of tasks that are settled as a whole (see `control.row_keys`).
        tasks: How many tasks they hold, each with its commit.
        progress: Their share of the phase's progress.
        seconds: How long their attempts that committed ran, all together.
        started: Time of the first launch among them; infinity for none.
        usage: What their attempts used.
        troubles: What befell their attempts.
    """

    pages: frozenset[int] = frozenset()
    tasks: int = 0
    progress: PhaseProgress = field(default_factory=PhaseProgress)
    seconds: float = 0.0
    started: float = math.inf
    usage: Usage = field(default_factory=Usage)
    troubles: tuple[Trouble, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the table says of one job at one look, as `scheduling.decide` wants it.

    Attributes:
        attempts: The attempts of each task that was ever launched and is not settled, by number.
        commits: The commit of each task that has one and is not settled.
        manifests: The phases whose manifest stands, with the object's key.
        cancel: Why the job should be cancelled, or `None`.
        outcome: How it ended, or `None`.
        lease: Who coordinates, or `None`.
        settled: What is added up and not listed, by phase.
    """

    attempts: dict[TaskId, tuple[Attempt, ...]]
    commits: dict[TaskId, Commit]
    manifests: dict[Phase, str]
    cancel: str | None = None
    outcome: Outcome | None = None
    lease: Lease | None = None
    settled: dict[Phase, Settled] = field(default_factory=dict)

    def begun(self, attempt: AttemptId) -> bool:
        """Whether an attempt is written down, or its task needs it no more."""
        return attempt.task in self.commits or len(self.attempts.get(attempt.task, ())) >= attempt.number

    def settled_in(self, phase: Phase) -> Settled:
        """Return what is added up of a phase."""
        return self.settled.get(phase, Settled())


@dataclass(frozen=True, slots=True)
class Progress:
    """The numbers that every view renders: one row in the table, written by the coordinator.

    Attributes:
        state: What the job does now.
        map: The map phase.
        reduce: The reduce phase (zero tasks when there is none).
        started: Time of submission.
        updated: Time of this look.
        epoch: The coordinator that wrote it.
        lease_expires: When its lease ends: a watcher that sees it pass starts another coordinator.
        proof: The proof line once done.
        cost: What the job has cost so far; `None` where nothing costs.
        estimate: What it was thought to cost, likewise.
        troubles: What befell its attempts, and did not show in its answer; empty for a job without any.
        merge: The merge phase (zero tasks when there is none).
        waits: The jobs that it waits for before it can be planned.
    """

    state: JobState
    map: PhaseProgress
    reduce: PhaseProgress
    started: float
    updated: float
    epoch: int
    lease_expires: float
    proof: str = ""
    cost: Cost | None = None
    estimate: Estimate | None = None
    troubles: tuple[Trouble, ...] = ()
    merge: PhaseProgress = field(default_factory=PhaseProgress)
    waits: tuple[str, ...] = ()

    @property
    def phases(self) -> tuple[tuple[str, PhaseProgress], ...]:
        """The phases that have tasks, by name, in order; none before the job was planned."""
        phases = (("map", self.map), ("merge", self.merge), ("reduce", self.reduce))
        return tuple((name, phase) for name, phase in phases if phase.tasks)
