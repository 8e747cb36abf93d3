"""The ports: what the engine asks of a platform, and no more.

Rules of this module:

* A port has at most four verbs, and no default bodies: a default would weaken its promise.
* The docstring of a verb is its contract; `smr_notebook.testing` ships the test class that every adapter passes.
* Adapters know no job words. What a key, a row or a payload means is decided above the ports.
* Adapters raise the errors of `smr_notebook.errors` and nothing else: a vendor's error is translated where it arises.
* Ranges are half open, `[start, stop)`. Times are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, runtime_checkable

from smr_notebook.model import AttemptId, Environment, ObjectInfo, Policy, Receipt
from smr_notebook.values.capacity import Capacity
from smr_notebook.values.identifiers import random_identifier
from smr_notebook.values.usage import Tally

Buffer = bytes | bytearray | memoryview

LASTING: Final = "lasting"
"""The group of rows that outlive all jobs: where rows expire by themselves, these do not."""


class ObjectStore(Protocol):
    """Immutable blobs under string keys. Keys are `/`-separated, without a leading slash, `.` or `..`; any sign but NUL may be in them.

    What was written can be read and listed at once, by any thread, and by any process that opens the store. A store may refuse a key that
    is the folder of another one (`a` beside `a/b`). The suite is `smr_notebook.testing.objects`.
    """

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return bytes `[start, stop)` of an object; both ends are clamped to its size.

        Raises:
            ObjectNotFoundError: There is no such object.
            StoreError: The store cannot be reached or read; trying again may help.
        """
        ...

    def put(self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False) -> bool:
        """Write an object. Nobody ever sees a part of it.

        An iterable of buffers is streamed: it need not fit in memory, and is consumed once. What it raises goes to the caller as it is, and
        nothing is written.

        Args:
            if_absent: Leave an object that already stands under this key untouched.

        Returns:
            Whether this call wrote. `False` only with `if_absent`, when an object stands already. It may be our
            own, when a reply was lost and the call repeated: read it back to know.

        Raises:
            StoreError: The store cannot be reached or written; nothing was written.
        """
        ...

    def list_prefix(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield every object whose key starts with `prefix` (a string prefix, not a folder), in order of the UTF-8 bytes of the keys.

        Others may write and delete meanwhile. A version stays while an object does, and is another one after each `put` of other content.

        Raises:
            StoreError: The store cannot be reached or read.
        """
        ...

    def delete_prefix(self, prefix: str) -> int:
        """Delete every object whose key starts with `prefix`, and return how many there were.

        Raises:
            StoreError: The prefix is empty; or the store cannot be reached or written, and some may be left.
        """
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """A row that stands in the table. `version` is 1 after the first write and grows by one with each change."""

    key: str
    version: int
    value: bytes


class Table(Protocol):
    """Rows in groups (one group for each job), changed only by compare-and-set."""

    def get(self, group: str, key: str) -> Row | None:
        """Return the row as the last successful `put` left it (strongly consistent), or `None`."""
        ...

    def put(self, group: str, key: str, value: bytes, *, expect: int) -> Row:
        """Write the row if its version is still `expect` (0: there is no row yet), and return **the row that stands**.

        The caller knows that it won when the standing value is its own. There is no yes/no, because after a lost
        reply a repeated call would say "lost" though it won; so a value that must tell writers apart carries who
        wrote it. An adapter must not apply one call twice.

        Where no row stands and `expect` is not 0, nothing is written, and the row returned has version 0 and an empty value.

        Raises:
            StoreError: The table cannot be reached; whether the write happened is unknown.
        """
        ...

    def query(self, group: str, prefix: str = "") -> list[Row]:
        """Return all rows of the group whose key starts with `prefix`, in order of the UTF-8 bytes of the keys."""
        ...

    def delete_group(self, group: str) -> None:
        """Delete all rows of a group."""
        ...


@dataclass(frozen=True, slots=True)
class Advice:
    """What a person can do where a service is not as it should be, a sentence each; empty where there is nothing to be said.

    Attributes:
        concurrency: To have more invocations run at once; empty where they are many already.
        environment: To have the packages of the workers agree with the notebook's.
        requirements: The command that gives the workers further packages; `{options}` stands for their names.
        settings: To have the service run as this session is set; empty where it does.
    """

    concurrency: str = ""
    environment: str = ""
    requirements: str = ""
    settings: str = ""


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """What a function service can take.

    Attributes:
        payload_bytes: Largest payload of `invoke`.
        seconds: Longest time that one invocation may run.
        concurrency: How many invocations run at once.
        queue_seconds: How long an accepted call may wait for its turn without counting as lost; 0 for a service
            that refuses instead of queueing.
        memory_bytes: Memory that one invocation may use.
        environment: Python and packages of the workers.
        burst: How many invocations can start at once where none ran before.
        ramp: How many more of them it can run with each second that follows.
        step: Seconds between two times at which that grows; 0 if it does so all the time.
        advice: What can be done about these limits.
        memory_sizes: Memory of an invocation for each size that the service has, in ascending order: `memory_bytes` and larger ones.
            A payload names one of them; empty where there is one size only.
    """

    payload_bytes: int
    seconds: float
    concurrency: int
    queue_seconds: float
    memory_bytes: int
    environment: Environment
    burst: float = math.inf
    ramp: float = math.inf
    step: float = 0.0
    advice: Advice = Advice()
    memory_sizes: tuple[int, ...] = ()

    @property
    def capacity(self) -> Capacity:
        """What decisions need of it."""
        return Capacity(self.concurrency, self.queue_seconds, self.burst, self.ramp, self.step)


@dataclass(frozen=True, slots=True)
class Context:
    """What a service tells the handler of one invocation.

    Attributes:
        location: The backend that the handler should open, as `Backend.location`.
        invocation: Unique name of this invocation: a lease is held under it.
        deadline: Time at which the service ends the invocation, in seconds since 1970.
        memory_bytes: Memory that it may use.
        clock: The clock of the invocation; its `sleep` may be woken early by the service.
    """

    location: str
    invocation: str
    deadline: float
    memory_bytes: int
    clock: Clock


Handler = Callable[[bytes, Context], bytes]
"""What a service runs: payload in, answer out. The answer of an `invoke` is dropped."""


class FunctionService(Protocol):
    """Runs the handler somewhere else. Best effort: lost, doubled and late calls are normal."""

    @property
    def limits(self) -> ServiceLimits:
        """What the service can take, as read from it once."""
        ...

    def invoke(self, payload: bytes) -> None:
        """Accept one call of the handler and return before it has run.

        When the service sees an invocation die without an answer (its process ended, its time was up), it calls the
        handler once more with `{"failed": <the payload as text>, "invocation": <its name>, "reason": <text>}`, best effort.
        A service that knows no more gives the beginning of the name, up to a `/` in it; one that dropped a call before anything ran
        gives an empty name. As far as it knows, it adds `"memory": true` where want of memory is the cause, `"late": true` where
        its time was up, `"resident": <bytes that the process took>`, and
        `"stack": <Python's stack when the process ended, as faulthandler writes it>`.

        Raises:
            ThrottledError: Too many calls; try later.
            PayloadTooLargeError: The payload exceeds `limits.payload_bytes`.
            ServiceError: The service cannot be reached or started.
        """
        ...


class Alarms(Protocol):
    """Calls the handler later, even if by then nobody is left who remembers: how a job without a living process goes on."""

    def set(self, name: str, at: float, payload: bytes) -> None:
        """Have the handler called with `payload` once, at the time `at` (seconds since 1970) or some time after; at once if it has passed.

        An alarm of the same name is replaced. Best effort: an alarm may go off twice, and may just have gone off when it is replaced.

        Args:
            name: 1 to 64 letters, digits, `.`, `-` and `_`.

        Raises:
            ThrottledError: Too many calls; try later.
            ServiceError: The service cannot be reached.
        """
        ...

    def clear(self, name: str) -> None:
        """Drop an alarm. Harmless when there is none, or it has gone off. Raises as `set` does."""
        ...


class Triggers(Protocol):
    """Calls the handler again and again, whoever else is there: at times, or for each object that appears at a location.

    It calls with `{"fire": <name>, "occurrence": <text>}`; for an object with `"object": <bucket/key>`, `"version"` and `"bytes"` besides.
    Each time, and each object that appears, is an occurrence: called at least once, in any order, and each time with the same text. A call
    may come some time after `remove`.

    A name is 1 to 50 letters, digits, `.`, `-` and `_`, and no name is used a second time. All verbs raise `PlatformError` where the
    service refuses or cannot be reached; what was done by then is done, and each may be repeated.
    """

    def at_times(self, name: str, times: str, timezone: str) -> None:
        """Call at times.

        Args:
            name: Of the trigger.
            times: `rate(1 day)`, `cron(0 3 * * ? *)` or `at(2026-12-31T23:00:00)`.
            timezone: In which `cron` and `at` are meant: `Europe/Berlin`.

        Raises:
            ConfigError: The service does not understand the times.
        """
        ...

    def on_objects(self, name: str, location: str) -> None:
        """Call for each object that appears. Whatever else is told of objects there stays as it is.

        Args:
            name: Of the trigger.
            location: `bucket/folder/` or a glob. More than it means may be called for, never less.

        Raises:
            ConfigError: Nobody can be told of objects there: there is no such place, or somebody else is told of the same objects.
        """
        ...

    def stands(self, name: str, location: str = "") -> bool:
        """Return whether calls can be expected: at times, or for objects at a location."""
        ...

    def remove(self, name: str, location: str = "") -> None:
        """Call no more. Harmless when there is nothing to be removed."""
        ...


class Clock(Protocol):
    """The only source of time, so that tests can simulate it."""

    def now(self) -> float:
        """Return seconds since 1970 (UTC)."""
        ...

    def sleep(self, seconds: float, *, least: float = 0.0) -> None:
        """Wait; may return early when something may have happened. Callers look again and sleep again.

        Args:
            seconds: How long, at most.
            least: How long whoever sleeps wants no news: what happens within that time need not wake it before.
        """
        ...


class InputSource(Protocol):
    """Reads a user's input, and only reads.

    Where who asks, or where, is what is wrong, each verb raises `AccessDeniedError`, `CredentialsError` or `ConfigError`.
    """

    def find(self, pattern: str) -> Iterator[ObjectInfo]:
        """Yield the objects that `pattern` names, in key order: one object, all below a folder, or a glob (`*`, `?`, `[…]`, `**`).

        Yields nothing when nothing matches.

        Raises:
            InputReadError: Something that matches must not be read.
        """
        ...

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return bytes `[start, stop)` of one object; both ends are clamped to its size.

        Raises:
            InputMissingError: The object is gone.
            InputReadError: It cannot be read.
        """
        ...

    def stat(self, key: str) -> ObjectInfo:
        """Return size and version of one object as they are now. Raises as `get` does."""
        ...


@dataclass(frozen=True, slots=True)
class ScannedPage:
    """Some items of a segment of a table, in the order of the scan.

    Attributes:
        items: By the names of their attributes.
        size: About how many bytes they take in the table.
        units: Units of reading that they cost.
        behind: Returns the token that a scan goes on behind which has given so many of them.
    """

    items: Sequence[dict[str, object]]
    size: int
    units: float
    behind: Callable[[int], str]


@runtime_checkable
class ItemSource(Protocol):
    """What an `InputSource` of tables has besides: its objects are segments, which have items instead of bytes.

    Segments part a table by the keys of its items. Nothing else is promised of what changes while it is read.
    """

    def scan(self, key: str) -> Iterator[ScannedPage]:
        """Yield the items of a segment: each that stands as long as this runs, once.

        Raises:
            InputMissingError: The table is gone.
            InputReadError: It cannot be read.
        """
        ...

    def behind(self, token: str) -> InputSource:
        """Return the same source, whose scans give only what follows the item that a token is of, also if that item is gone."""
        ...


class ItemSink(Protocol):
    """Takes rows as the items of one table of the user's."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the attributes that are the key of an item.

        Raises:
            ConfigError: There is no such table.
            StoreError: It cannot be looked at.
        """
        ...

    def check(self, row: Mapping[str, object]) -> bytes:
        """Return the key of a row, which has all its attributes: two rows that have the same are one item.

        Raises:
            ValueError: The table does not hold it as it is; the message says why, as it follows a colon.
        """
        ...

    def put(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Write rows, each in place of what has its key. When it returns, all of them stand.

        Raises:
            StoreError: Some of them may not.
        """
        ...


class ExchangeWriter(Protocol):
    """Takes the pairs of one map attempt, partition after partition in ascending order."""

    def write(self, partition: int, block: bytes, *, groups: int, pairs: int, checksum: int) -> None:
        """Append one block (opaque bytes, self-delimiting for its reader) to a partition."""
        ...

    def close(self) -> Receipt:
        """Make the blocks readable for whoever has the receipt, and return it."""
        ...

    def abort(self) -> None:
        """Drop what was written, as far as possible. Harmless after `close`."""
        ...


class Exchange(Protocol):
    """The transport of the shuffle. Only what receipts name is ever read, so that a zombie's output does not count."""

    def writer(self, attempt: AttemptId, partitions: int) -> ExchangeWriter:
        """Open a writer for one map attempt. Two attempts never write under the same name."""
        ...

    def read(self, partition: int, receipts: Sequence[Receipt]) -> Iterator[Iterator[bytes]]:
        """Yield, for each receipt in the order given, the blocks of one partition in the order written.

        Raises:
            CorruptObjectError: A checksum differs, or something is missing.
        """
        ...


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a slice on its way: the bytes of the slice of `partition` from `offset` on, `PIECE_BYTES` at most."""

    partition: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """A slice that is fetched: all `length` bytes, at least one, of what was sent under `name` for one partition."""

    name: str
    length: int


PIECE_BYTES: Final = 240 << 10
"""Longest piece: with what an adapter adds it is a message of less than 256 KiB.

All pieces of a slice but its last are as long: whoever knows the length of a slice knows where its pieces begin."""

Fetched = Callable[[int, int], bytes]
"""Returns bytes `[start, stop)` of a slice, as they were sent."""


class Carrier(Protocol):
    """Carries slices from those who send them to those who fetch them, beside the object store.

    What is sent lies in a *box* (a job's), under a *name* (an attempt's). Nothing that a carrier gives back is believed: whoever fetches
    has checksums. But it must give all of a slice or raise, also to the second one who asks, and to two who ask at once.
    """

    def hold(self, box: str, partitions: int) -> None:
        """Make a box ready, or see to it that one that is stays so for the next hour; harmless any number of times.

        Raises:
            ConfigError: The carrier cannot be used as it is set up.
            StoreError: It cannot be reached.
        """
        ...

    def send(self, box: str, name: str, pieces: Iterable[Piece]) -> None:
        """Send all pieces, consumed once, in ascending order of partition and offset. When it returns, all of them can be fetched.

        The same pieces may be sent twice, in whole or in part: that is as if they had been sent once.

        Raises:
            StoreError: Some of them could not be sent. Nobody must be told to fetch any.
        """
        ...

    def fetch(self, box: str, partition: int, wanted: Sequence[Wanted]) -> Iterator[Fetched]:
        """Yield, for each slice that is wanted in order, what gives its bytes. They may all be read at once, later, and again.

        Raises:
            CorruptObjectError: Something that was sent is not there any more; here, or when the bytes are asked for.
            StoreError: The carrier cannot be reached.
        """
        ...

    def remove(self, box: str, partitions: int, name: str = "") -> None:
        """Remove a box of so many partitions, or what was sent under one name, as far as the carrier can. Harmless when there is none.

        Raises:
            StoreError: The carrier cannot be reached.
        """
        ...


@dataclass(frozen=True, slots=True)
class Backend:
    """One of each: a platform.

    Attributes:
        name: For people: `local`, `memory`, `aws`, `dask`.
        location: What a worker needs to open the same backend, without credentials: `local:/path`.
        objects: Where jobs keep their data.
        table: Where jobs keep their state.
        functions: Where code runs.
        clock: What time it is.
        sources: Readers of user input by URL scheme (`file`).
        policy: Leases and retries that fit this platform.
        poll: Shortest and longest time between two looks of a watcher, in seconds.
        close: Ends what this platform runs on this machine, if anything.
        alarms: Calls later; `None` where nothing outlives all processes.
        codec: How runs are compressed: `lz4` where a read is a copy in memory, `zstd` where bytes travel (a third fewer, twice the work).
        parallel: How many calls to a port are worth having under way at once: many where each is a journey, 1 where it is a function call.
        branching: How many further calls one invocation makes at most before its own work, when a job launches many at once; 0 for none.
        plans: Whether input is listed and split where code runs, rather than by whoever submits.
        expires: Whether objects and rows that nobody needs expire by themselves, so that nobody deletes them.
        tariff: Name of the price list in `control.costs`; empty where nothing costs.
        tally: Counts what this process uses of it; `None` where nothing costs.
        targets: Opens what a result may be written to, by URL scheme: for the name behind it (of a bucket), an object store whose keys
            are the paths in it. Empty where files of this machine are all.
        triggers: Calls again and again; `None` where nothing outlives all processes.
        item_sinks: Opens a table of the user's that a result may be written to, by URL scheme; empty where there is none.
        carriers: Opens what carries slices beside the objects, by the name of the exchange, at the place that the plan names.
        evict: Drops the calls of a tenant that wait, and ends those that still run after so many seconds; `None` where the platform can
            end nothing. Best effort: it never fails.
        draw: Gives candidates for the identifier of a new job: eight hexadecimal digits.
        user: Who submits jobs through it; empty for nobody in particular, and on the workers' side.
    """

    name: str
    location: str
    objects: ObjectStore
    table: Table
    functions: FunctionService
    clock: Clock
    sources: Mapping[str, InputSource]
    policy: Policy
    poll: tuple[float, float]
    close: Callable[[], None] = lambda: None
    alarms: Alarms | None = None
    codec: Literal["lz4", "zstd"] = "lz4"
    parallel: int = 1
    branching: int = 0
    plans: bool = False
    expires: bool = False
    tariff: str = ""
    tally: Tally | None = None
    user: str = ""
    draw: Callable[[], str] = random_identifier
    evict: Callable[[str, float], None] | None = None
    targets: Mapping[str, Callable[[str], ObjectStore]] = field(default_factory=dict)
    triggers: Triggers | None = None
    item_sinks: Mapping[str, Callable[[str], ItemSink]] = field(default_factory=dict)
    carriers: Mapping[str, Callable[[str], Carrier]] = field(default_factory=dict)
