"""The nouns: what the engine talks about, as frozen values.

Rules of this module:

* A noun is a frozen dataclass with slots, of plain values only, so that `msgspec` writes and reads it as JSON
  and two equal nouns are the same fact.
* A state that follows from other facts is never stored: an attempt has expired when its lease ends before now.
* Units stand in the name or in the docstring: seconds for time, bytes for size, `[start, stop)` for ranges.
* Times are seconds since 1970 (UTC) as the `Clock` of the backend gives them.

The words are those of the glossary: an input is cut into *splits*, one for each map *task*; a task is tried by
numbered *attempts*, of which exactly one is *committed*; the committed outputs of a *phase* are its *manifest*.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum


class Phase(StrEnum):
    """One of the two halves of a job. `MAP` ends before `REDUCE` begins."""

    MAP = "map"
    REDUCE = "reduce"


class Format(StrEnum):
    """How the bytes of an input object become records."""

    TEXT = "text"
    """A `str` for each line, without its line end (LF or CRLF)."""
    JSONL = "jsonl"
    """What the JSON text on each line stands for; empty lines are no records."""
    BINARY = "binary"
    """The whole object as `bytes`: one record."""
    ITEMS = "items"
    """The items of a Python iterable, stored by the session."""
    FRAME = "frame"
    """The rows of a DataFrame as dicts, stored by the session."""


class AttemptState(StrEnum):
    """What an attempt's row says. Whether it has *expired* follows from its lease and the time."""

    LAUNCHED = "launched"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


class JobState(StrEnum):
    """What a watcher sees of a job."""

    SUBMITTED = "submitted"
    MAPPING = "map"
    REDUCING = "reduce"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing can change any more."""
        return self in {JobState.DONE, JobState.FAILED, JobState.CANCELLED}


# ---------------------------------------------------------------- input


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object of a store, as a listing gives it.

    Attributes:
        key: Name inside the store (for the local file source: the absolute path).
        size: Bytes.
        version: Changes whenever the content does (ETag on S3; inode, size, mtime and ctime for a file).
    """

    key: str
    size: int
    version: str


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `[start, stop)` of one input object of `size` bytes: the records that *start* there."""

    scheme: str
    """Which input source reads it: `file`, `job` (stored by the session), later `s3`."""
    key: str
    start: int
    stop: int
    size: int
    version: str

    @property
    def whole(self) -> bool:
        """Whether the span is the object from its first to its last byte."""
        return self.start == 0 and self.stop == self.size


@dataclass(frozen=True, slots=True)
class Split:
    """The share of one map task: one span, or several small objects packed together. `number` counts from 0."""

    number: int
    spans: tuple[Span, ...]

    @property
    def bytes(self) -> int:
        """Planned bytes of input."""
        return sum(span.stop - span.start for span in self.spans)


# ---------------------------------------------------------------- plan


@dataclass(frozen=True, slots=True)
class Policy:
    """How hard to try, and how long to wait before something counts as lost. All times in seconds."""

    retries: int = 2
    """Further attempts of a task after its first one failed."""
    lost_launches: int = 8
    """Launches of a task that nobody claimed before the job gives up."""
    heartbeat: float = 1.0
    """Time between two heartbeats of an attempt."""
    lease: float = 15.0
    """An attempt without a heartbeat for so long has expired."""
    launch: float = 60.0
    """A launched attempt that nobody claimed for so long is lost."""
    coordinator_lease: float = 10.0
    """A coordinator that has not renewed its lease for so long is replaced."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many invocations a service runs at once, and how fast it gets there.

    Attributes:
        concurrency: How many run at once, at most.
        queue_seconds: How long it lets a call wait for its turn; 0 if it refuses instead.
        burst: How many can start at once where none ran before.
        ramp: How many more it can run with each second that follows.
    """

    concurrency: int
    queue_seconds: float = 0.0
    burst: float = math.inf
    ramp: float = math.inf


@dataclass(frozen=True, slots=True)
class Environment:
    """What must agree between the notebook and the workers, because pickled code crosses between them."""

    python: str
    """Minor version: `3.11`."""
    pickle_protocol: int
    packages: tuple[tuple[str, str], ...]
    """Name and version of each package that reads what another wrote, sorted by name."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is fixed when a job is submitted.

    Attributes:
        job: Identifier of the job.
        name: Label given by the user, or an empty string.
        created: Time of submission.
        format: How input bytes become records.
        maps: Number of map tasks, so of splits.
        reducers: Number of partitions; 0 when there is no `reduce`, and then the map tasks write the parts.
        combine: Whether the functions hold a combiner.
        grouped_order: Whether parts carry the key of the group besides the row (`reduce` is a generator).
        input_bytes: Sum of the sizes of the planned spans.
        input_records: Number of records where it is known beforehand (items, frames), else `None`.
        budget: Bytes of memory that a worker may use for data.
        policy: How hard to try.
        environment: What workers must agree with.
    """

    job: str
    name: str
    created: float
    format: Format
    maps: int
    reducers: int
    combine: bool
    grouped_order: bool
    input_bytes: int
    input_records: int | None
    budget: int
    policy: Policy
    environment: Environment
    warnings: tuple[str, ...] = ()

    def tasks(self, phase: Phase) -> int:
        """Number of tasks of a phase."""
        return self.maps if phase is Phase.MAP else self.reducers

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases that this job has, in order."""
        return (Phase.MAP, Phase.REDUCE) if self.reducers else (Phase.MAP,)


# ---------------------------------------------------------------- tasks and attempts


@dataclass(frozen=True, slots=True, order=True)
class TaskId:
    """One task of a job. `number` is the split's for `MAP`, the partition's for `REDUCE`."""

    phase: Phase
    number: int

    def __str__(self) -> str:
        return f"{self.phase}/{self.number:06d}"


@dataclass(frozen=True, slots=True, order=True)
class AttemptId:
    """One numbered try of a task; `number` is 1 for the first try. It is part of every key that it writes."""

    task: TaskId
    number: int

    def __str__(self) -> str:
        return f"{self.task}/{self.number:03d}"


@dataclass(frozen=True, slots=True)
class Numbers:
    """What an attempt counted so far: sent with each heartbeat, and for good with the commit.

    Attributes:
        bytes_read: Input bytes of the records read (compressed bytes for compressed objects).
        records_read: Records that the reader handed over (map) or groups formed (reduce).
        records_mapped: Records for which `map` came to its end; calls of `reduce` that came to their end.
        pairs_in: Pairs that `map` emitted; for a reduce task, pairs read from the exchange.
        pairs_out: Pairs written to the exchange (less than `pairs_in` only with a combiner); rows written to parts.
        resident_bytes: Resident memory of the worker at the last look; 0 when never looked at.
    """

    bytes_read: int = 0
    records_read: int = 0
    records_mapped: int = 0
    pairs_in: int = 0
    pairs_out: int = 0
    resident_bytes: int = 0

    def __add__(self, other: Numbers) -> Numbers:
        return Numbers(
            self.bytes_read + other.bytes_read,
            self.records_read + other.records_read,
            self.records_mapped + other.records_mapped,
            self.pairs_in + other.pairs_in,
            self.pairs_out + other.pairs_out,
            max(self.resident_bytes, other.resident_bytes),
        )


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a user's traceback. `label` is what a person calls the file: `Cell In[2]` or a path."""

    file: str
    label: str
    line: int
    function: str
    text: str


class FailureKind(StrEnum):
    """Who or what ended an attempt."""

    USER = "user"
    """The user's function raised."""
    INPUT = "input"
    """The input could not be read as planned."""
    SYSTEM = "system"
    """The worker's own code or a port raised."""
    CRASH = "crash"
    """The worker process died."""
    LOST = "lost"
    """The launch was never claimed, or the heartbeats stopped."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed, as plain values: readable in any kernel, whatever classes it knows.

    Attributes:
        kind: Who or what ended it.
        type: Class name of the exception (`ZeroDivisionError`), or of the error that names the cause.
        message: Its text, at most 2,000 characters.
        frames: The user's own frames, outermost first; empty when none was involved.
        function: `map`, `reduce` or `combine`, or an empty string.
        record: `repr` of the record or key that was being worked on, at most 200 characters; empty if none.
        source: Object that the record came from; empty if none.
        offset: Byte offset of the record in it, -1 if unknown.
        record_number: Number of the record inside the split, counted from 1; 0 if unknown.
        pickled: The exception itself by cloudpickle when it is small and pickles, else empty.
    """

    kind: FailureKind
    type: str
    message: str
    frames: tuple[Frame, ...] = ()
    function: str = ""
    record: str = ""
    source: str = ""
    offset: int = -1
    record_number: int = 0
    pickled: bytes = b""

    @property
    def where(self) -> tuple[str, str, int]:
        """What makes two failures alike: the type and the innermost user line."""
        last = self.frames[-1] if self.frames else None
        return (self.type, last.label if last else "", last.line if last else 0)


@dataclass(frozen=True, slots=True)
class Attempt:
    """The row of one attempt.

    Attributes:
        id: Which attempt.
        state: What the last write said.
        owner: Who holds it: empty when launched, a worker's unique name once claimed.
        expires: End of the lease, in seconds since 1970; of the launch lease while `LAUNCHED`.
        started: Time of launch.
        changed: Time of the last write.
        numbers: Counts at the last heartbeat.
        failure: Set when `FAILED`.
    """

    id: AttemptId
    state: AttemptState
    owner: str
    expires: float
    started: float
    changed: float
    numbers: Numbers = field(default_factory=Numbers)
    failure: Failure | None = None

    def expired(self, now: float) -> bool:
        """Whether it still should be at work, but its lease has ended."""
        return self.live and self.expires <= now

    @property
    def live(self) -> bool:
        """Whether nothing final has been said of it."""
        return self.state in {AttemptState.LAUNCHED, AttemptState.RUNNING}


# ---------------------------------------------------------------- outputs


@dataclass(frozen=True, slots=True)
class Slice:
    """What a run holds of one partition.

    Attributes:
        offset: First byte in the run object.
        length: Bytes; 0 for an empty partition.
        groups: Rows stored: (key, values) groups, the same key possibly in several rows.
        pairs: Pairs in them.
        checksum: Sum over the pairs of the hash of their key, modulo 2**64 (see `dataflow.hashing`).
        crc: CRC-32 of the bytes.
    """

    offset: int
    length: int
    groups: int
    pairs: int
    checksum: int
    crc: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an exchange writer gives back for one map attempt: all that a reader needs to find the pairs.

    Attributes:
        attempt: The attempt that wrote.
        key: Where it wrote (an object key for the object exchange).
        size: Bytes written.
        footer: Offset of the index in the object.
        crc: CRC-32 of the index.
        pairs: Pairs written, over all partitions.
    """

    attempt: AttemptId
    key: str
    size: int
    footer: int
    crc: int
    pairs: int


@dataclass(frozen=True, slots=True)
class PartFile:
    """One Parquet object of a part. All its rows share one schema; `kinds` names how the columns decode."""

    key: str
    rows: int
    size: int
    crc: int
    raw_bytes: int
    """Bytes that its columns take in memory as Arrow."""
    kinds: tuple[str, str]
    """Kind of the key column and of the value column (see `dataflow.columns`)."""


@dataclass(frozen=True, slots=True)
class Part:
    """The output of one task of the last phase: its files in order. `number` is the task's."""

    number: int
    files: tuple[PartFile, ...]

    @property
    def rows(self) -> int:
        """Rows of the part."""
        return sum(file.rows for file in self.files)


@dataclass(frozen=True, slots=True)
class Commit:
    """The row that chooses the attempt of a task. Created at most once.

    Attributes:
        id: The chosen attempt.
        owner: The worker that committed.
        at: Time of the commit.
        seconds: How long the attempt ran.
        numbers: Its final counts.
        receipt: Set for a map task with reducers.
        part: Set for a reduce task, and for a map task without reducers.
        checksum: For a reduce task, the sum over the pairs that `reduce` was given of the hash of their key.
        groups: For a reduce task, distinct keys.
    """

    id: AttemptId
    owner: str
    at: float
    seconds: float
    numbers: Numbers
    receipt: Receipt | None = None
    part: Part | None = None
    checksum: int = 0
    groups: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """The committed outputs of a phase. That it exists is the proof that the phase ended and its sums agree.

    Attributes:
        job: Identifier of the job.
        phase: Which phase.
        commits: One for each task, in task order.
        totals: Sum of the tasks' numbers.
        groups: Distinct keys over all partitions (reduce phase).
        index: Key of the gathered index of all runs (map phase with reducers), else empty.
        index_crcs: CRC-32 of each partition's rows in the gathered index.
        partition_pairs: Pairs of each partition over all runs (map phase with reducers).
        partition_checksums: Sum over the pairs of each partition of the hash of their key, modulo 2**64.
    """

    job: str
    phase: Phase
    commits: tuple[Commit, ...]
    totals: Numbers
    groups: int = 0
    index: str = ""
    index_crcs: tuple[int, ...] = ()
    partition_pairs: tuple[int, ...] = ()
    partition_checksums: tuple[int, ...] = ()


# ---------------------------------------------------------------- coordination


@dataclass(frozen=True, slots=True)
class Lease:
    """Who coordinates a job. `epoch` grows by one with each change of owner."""

    owner: str
    epoch: int
    expires: float

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


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the table says of one job at one look, as `scheduling.decide` wants it.

    Attributes:
        attempts: The attempts of each task that was ever launched, by number.
        commits: The commit of each task that has one.
        manifests: The phases whose manifest stands, with the object's key.
        cancel: Why the job should be cancelled, or `None`.
        outcome: How it ended, or `None`.
    """

    attempts: dict[TaskId, tuple[Attempt, ...]]
    commits: dict[TaskId, Commit]
    manifests: dict[Phase, str]
    cancel: str | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class PhaseProgress:
    """How far one phase is. `slowest` is the longest committed attempt, in seconds."""

    tasks: int = 0
    done: int = 0
    running: int = 0
    launched: int = 0
    retried: int = 0
    failed: int = 0
    numbers: Numbers = field(default_factory=Numbers)
    slowest: float = 0.0


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
    """

    state: JobState
    map: PhaseProgress
    reduce: PhaseProgress
    started: float
    updated: float
    epoch: int
    lease_expires: float
    proof: str = ""
