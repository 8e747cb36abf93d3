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
from typing import Final

from smr_notebook.values import policy, readings
from smr_notebook.values.counted import Counted, added
from smr_notebook.values.shuffles import CarriageCost, Merging
from smr_notebook.values.tolerance import STRICT, BadFile, Tolerance
from smr_notebook.values.usage import Cost, Rates, Usage


class Phase(StrEnum):
    """Map, then reduce, and between them the merge of runs, if there is one: each ends before the next one begins."""

    MAP = "map"
    MERGE = "merge"
    """Runs of neighbouring map tasks become one, where that saves reads; see `Merging`."""
    REDUCE = "reduce"


Format = readings.Format
Dialect = readings.Dialect
Reading = readings.Reading
InletReading = readings.InletReading
PLAINLY: Final = readings.PLAINLY
Policy = policy.Policy


class AttemptState(StrEnum):
    """What an attempt's row says. Whether it has *expired* follows from its lease and the time, and that it is done from its commit."""

    LAUNCHED = "launched"
    RUNNING = "running"
    DONE = "done"
    """Its commit stands. No row says so: whoever reads them all adds it."""
    PAUSED = "paused"
    """Its time was up, its leg stands, and a continuation goes on."""
    FAILED = "failed"
    STOPPED = "stopped"


class JobState(StrEnum):
    """What a watcher sees of a job."""

    SUBMITTED = "submitted"
    MAPPING = "map"
    MERGING = "merge"
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
        identity: What two keys have in common that name one and the same object, as links do; empty where no two keys can.
    """

    key: str
    size: int
    version: str
    identity: str = ""


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


@dataclass(frozen=True, slots=True)
class Position:
    """How far a task is, when one attempt ends and another goes on: at the first record, or group, that is not done.

    Attributes:
        done: Records of the split that are mapped, or groups of the partition that are reduced.
        span: For a map task, index in the split of the span in which the next record stands.
        offset: For a map task, byte of that span's object at which reading begins.
        skip: Records from there on that are done.
        counted: Input bytes from there on that are counted.
        token: For a table, which has no bytes, what reading goes on behind; empty where the segment begins, and for anything else.
    """

    done: int
    span: int = 0
    offset: int = 0
    skip: int = 0
    counted: int = 0
    token: str = ""


# ---------------------------------------------------------------- plan


@dataclass(frozen=True, slots=True)
class Sorting:
    """What a job sorts, besides the keys within a partition, which are always in order.

    Attributes:
        keys: Whether the partitions are ranges of keys, so that the parts, one after another, are in key order.
        values: Whether the values of a group are in ascending order, instead of that of the input.
    """

    keys: bool = False
    values: bool = False


UNSORTED: Final = Sorting()


@dataclass(frozen=True, slots=True)
class Environment:
    """What must agree between the notebook and the workers, because pickled code crosses between them."""

    python: str
    """Minor version: `3.11`."""
    pickle_protocol: int
    packages: tuple[tuple[str, str], ...]
    """Name and version of each package that reads what another wrote, sorted by name."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job was thought to take, before it ran.

    Attributes:
        map_seconds: Of one map task.
        reduce_seconds: Of one reduce task.
        low: Dollars, if all goes well.
        high: Dollars, at most, if nothing is exceptional.
        sampled: Records that the thought rests on; 0 when none was tried.
    """

    map_seconds: float
    reduce_seconds: float
    low: float
    high: float
    sampled: int = 0

    @property
    def likely(self) -> float:
        """Dollars, in the middle of the range."""
        return math.sqrt(self.low * self.high)


OBJECTS: Final = "objects"
"""The exchange that needs nothing but the object store."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is fixed when a job is submitted.

    Attributes:
        job: Identifier of the job.
        name: What the user calls the job, or an empty string.
        created: Time of submission.
        format: How input bytes become records.
        maps: Number of map tasks, so of splits.
        reducers: Number of partitions; 0 when nothing is reduced or sorted, and then the map tasks write the parts.
        combine: Whether the functions hold a combiner.
        grouped_order: Whether parts carry the key of the group besides the row (`reduce` is a generator).
        input_bytes: Sum of the sizes of the planned spans.
        input_records: Number of records where it is known beforehand (items, frames), else `None`.
        budget: Resident bytes that a worker may take before it spills.
        policy: How hard to try.
        environment: What workers must agree with.
        warnings: What the user should know of, a sentence each.
        splits: Prefix of the pages that hold the splits.
        rates: What the platform's services cost, or `None` where nothing does.
        estimate: What the job was thought to cost, or `None`.
        max_cost: US dollars that the job may cost; 0 for any.
        memory_bytes: Memory of one invocation, which is billed.
        sorting: What is sorted.
        bounds: Where the keys are cut into ranges when they are sorted: the encoding of the first key of each range but the first.
        reading: What is said of the format besides its name.
        tolerance: What may be left out.
        base: The job whose tasks this one took over as far as they were done, or an empty string: see `control.deriving`.
        memory_sizes: Bytes of memory of one invocation, for each size that the platform has, in ascending order; empty where it has one.
        exchange: What carries pairs from map to reduce: `objects`, or the name of a carrier.
        carrier: Where that carrier is, without credentials; empty for `objects`.
        merging: How runs are merged between map and reduce; `None` where each reduce task reads those of all map tasks.
        carriage: What the carrier is thought to cost; `None` where that is nothing.
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
    splits: str = ""
    rates: Rates | None = None
    memory_bytes: int = 0
    estimate: Estimate | None = None
    max_cost: float = 0.0
    sorting: Sorting = UNSORTED
    bounds: tuple[bytes, ...] = ()
    reading: Reading = PLAINLY
    tolerance: Tolerance = STRICT
    base: str = ""
    memory_sizes: tuple[int, ...] = ()
    exchange: str = OBJECTS
    carrier: str = ""
    merging: Merging | None = None
    carriage: CarriageCost | None = None

    def tasks(self, phase: Phase) -> int:
        """Number of tasks of a phase."""
        merges = self.merging.tasks if self.merging else 0
        return {Phase.MAP: self.maps, Phase.MERGE: merges, Phase.REDUCE: self.reducers}[phase]

    @property
    def carried(self) -> bool:
        """Whether pairs travel beside the object store, and are gone when the job has ended."""
        return self.reducers > 0 and self.exchange != OBJECTS

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases that this job has, in order."""
        if not self.reducers:
            return (Phase.MAP,)
        return (Phase.MAP, Phase.MERGE, Phase.REDUCE) if self.merging else (Phase.MAP, Phase.REDUCE)


# ---------------------------------------------------------------- tasks and attempts


@dataclass(frozen=True, slots=True, order=True)
class TaskId:
    """One task of a job. `number` is the split's for `MAP`, the partition's for `REDUCE`, as of `dataflow.grids` for `MERGE`."""

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
        pairs_in: Pairs that `map` emitted; for a reduce task, pairs of the groups handed to `reduce`.
        pairs_out: Pairs written to the exchange (less than `pairs_in` only with a combiner); rows written to parts.
        resident_bytes: Resident memory of the worker at the last look; 0 when never looked at.
        records_bad: Records left out (map); groups left out (reduce).
        pairs_bad: For a reduce task, pairs of the groups left out.
        bad_sample: What is said of the first record or group left out, at most 300 characters; empty if none was.
        lines_written: Lines that the user's functions wrote to standard output and error.
        counters: What the user's functions counted under names of their own (`counting`), by name.
    """

    bytes_read: int = 0
    records_read: int = 0
    records_mapped: int = 0
    pairs_in: int = 0
    pairs_out: int = 0
    resident_bytes: int = 0
    records_bad: int = 0
    pairs_bad: int = 0
    bad_sample: str = ""
    lines_written: int = 0
    counters: Counted = ()

    def __add__(self, other: Numbers) -> Numbers:
        return Numbers(
            self.bytes_read + other.bytes_read,
            self.records_read + other.records_read,
            self.records_mapped + other.records_mapped,
            self.pairs_in + other.pairs_in,
            self.pairs_out + other.pairs_out,
            max(self.resident_bytes, other.resident_bytes),
            self.records_bad + other.records_bad,
            self.pairs_bad + other.pairs_bad,
            self.bad_sample or other.bad_sample,
            self.lines_written + other.lines_written,
            added(self.counters, other.counters),
        )


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a user's traceback.

    Attributes:
        file: Of the code object.
        label: What a person calls the file: `Cell In[2]` or a path.
        line: Counted from 1.
        function: In which the line stands.
        text: The line, without the blanks around it.
        around: The line with up to two lines before it and behind it, as they stand in the source; empty where it did not travel.
        first: Number of the first of them.
    """

    file: str
    label: str
    line: int
    function: str
    text: str
    around: tuple[str, ...] = ()
    first: int = 0


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
        function: `map`, `reduce` or `combine`, a hook of one (`the setup of map`), or an empty string.
        record: `repr` of the record or key that was being worked on, at most 200 characters; empty if none.
        source: Object that the record came from; empty if none.
        offset: Byte offset of the record in it, -1 if unknown.
        record_number: Number of the record inside the split, or of the group inside the partition, counted from 1; 0 if unknown.
        pickled: The exception itself by cloudpickle when it is small and pickles, else empty.
        resident_bytes: Memory that the process took, where that is why it ended; 0 if unknown.
        limit_bytes: Memory that it might have taken, likewise.
        value_count: How many values the group has that `reduce` or `combine` was given; -1 if unknown.
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
    resident_bytes: int = 0
    limit_bytes: int = 0
    value_count: int = -1

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
        claimed: Time of the claim; 0 before.
        usage: What it used until the last write.
        speculative: Whether it was launched as a backup, while another attempt of its task was at work.
        size: Which of the plan's `memory_sizes` its invocation has, counted from 0.
        moved: When it last was seen to have finished a record, or a group, by the clock of its worker; 0 before its first heartbeat.
    """

    id: AttemptId
    state: AttemptState
    owner: str
    expires: float
    started: float
    changed: float
    numbers: Numbers = field(default_factory=Numbers)
    failure: Failure | None = None
    claimed: float = 0.0
    usage: Usage = field(default_factory=Usage)
    speculative: bool = False
    size: int = 0
    moved: float = 0.0

    def expired(self, now: float) -> bool:
        """Whether it still should be at work, but its lease has ended."""
        return self.live and self.expires <= now

    @property
    def live(self) -> bool:
        """Whether nothing final has been said of it."""
        return self.state in {AttemptState.LAUNCHED, AttemptState.RUNNING}


# ---------------------------------------------------------------- outputs


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an exchange writer gives back for one map attempt: all that a reader needs to find the pairs.

    Attributes:
        attempt: The attempt that wrote.
        key: The object that holds the run, or the index of one that was carried.
        size: Bytes of the object.
        footer: Offset of the index in the object; 0 where it is all.
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
    """Kind of the key column and of the value column (see `dataflow.columns`); `rows` and nothing where it has a frame's own columns."""
    digest: bytes = b""
    """BLAKE2b of the file where a column holds pickles, else empty: nothing of another file is unpickled."""


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
class Leg:
    """What one attempt published of a task when its time was up, and where a continuation goes on. Created at most once for each number.

    Attributes:
        id: The attempt.
        owner: The worker that published.
        at: When.
        number: Which leg of the task, counted from 1. It begins where the leg before it ended.
        position: Where the next one begins.
        seconds: How long the attempt ran.
        numbers: Its counts.
        receipt: As in `Commit`, of this leg alone; so are the fields that follow.
        part: See above.
        checksum: See above.
        groups: See above.
        bad: Where it tells what it left out; `None` if that is nothing.
    """

    id: AttemptId
    owner: str
    at: float
    number: int
    position: Position
    seconds: float
    numbers: Numbers
    receipt: Receipt | None = None
    part: Part | None = None
    checksum: int = 0
    groups: int = 0
    bad: BadFile | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """The row that chooses the output of a task: that of one attempt, behind the legs that it continued. Created at most once.

    Attributes:
        id: The chosen attempt.
        owner: The worker that committed.
        at: Time of the commit.
        seconds: How long the attempts of all legs ran.
        numbers: The final counts, over all legs.
        receipts: For a map task with reducers, one for each leg, in order; for a merge task, one.
        part: Set for a reduce task, and for a map task without reducers: the files of all legs, in order.
        checksum: For a reduce task, the sum over the pairs that `reduce` was given of the hash of their key.
        groups: For a reduce task, distinct keys.
        usage: What the chosen attempt used.
        bad: Where the attempts of all legs tell what they left out.
    """

    id: AttemptId
    owner: str
    at: float
    seconds: float
    numbers: Numbers
    receipts: tuple[Receipt, ...] = ()
    part: Part | None = None
    checksum: int = 0
    groups: int = 0
    usage: Usage = field(default_factory=Usage)
    bad: tuple[BadFile, ...] = ()


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
        index_crcs: CRC-32 of what each task of the next phase reads of the gathered index.
        partition_pairs: Pairs of each partition over all runs (map phase with reducers).
        partition_checksums: Sum over the pairs of each partition of the hash of their key, modulo 2**64.
        cost: What the job had cost when the phase ended.
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
    cost: Cost | None = None
