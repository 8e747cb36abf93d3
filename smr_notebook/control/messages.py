"""What travels in the payload of an invocation: a pointer, never data, code or credentials.

Rules of this module:

* A payload is one flat JSON object with `"v": 1`. A reader that does not know the version says so and does nothing else.
* A message names a job and, for a worker, one attempt, and the attempts that it launches before its own work (`then`). Everything
  else stands in the table and the object store.
* A service tells of a dead invocation with `{"failed": <its payload>, "invocation": <its name>, "reason": <text>}`.
* Triggers call with `{"fire": <trigger>, "occurrence": <text>}` and, for an object that appeared, `"object"`, `"version"` and `"bytes"`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from smr_notebook.errors import CorruptObjectError, FormatVersionError
from smr_notebook.model import AttemptId, Phase, TaskId

VERSION = 1


class Role(StrEnum):
    """What an invocation does."""

    DRIVER = "driver"
    COORDINATOR = "coordinator"
    MAP = "map"
    MERGE = "merge"
    REDUCE = "reduce"


_ROUTES: Final = {
    Role.DRIVER: "driver",
    Role.COORDINATOR: "coordinator",
    Role.MAP: "mapper",
    Role.MERGE: "reducer",
    Role.REDUCE: "reducer",
}


@dataclass(frozen=True, slots=True)
class AttemptRange:
    """Attempts of neighbouring tasks that have the same number: those of the tasks `first` to `last`, both included."""

    first: int
    last: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Message:
    """One call of the handler.

    Attributes:
        role: What the invocation does.
        job: Identifier of the job.
        task: Number of the task, for a worker.
        attempt: Number of the attempt, for a worker: 1 for the first try.
        restarts: For a coordinator or a driver, how many before it died one after the other.
        then: For a worker, further attempts of its phase that it launches before its own work.
        size: For a worker, which of the plan's `memory_sizes` it needs, counted from 0.
    """

    role: Role
    job: str
    task: int = 0
    attempt: int = 0
    restarts: int = 0
    then: tuple[AttemptRange, ...] = ()
    size: int = 0

    @property
    def works(self) -> bool:
        """Whether it is a worker's."""
        return self.role in {Role.MAP, Role.MERGE, Role.REDUCE}

    @property
    def phase(self) -> Phase:
        """The phase that a worker works for."""
        return Phase(self.role)

    @property
    def attempt_id(self) -> AttemptId:
        """The attempt that a worker makes."""
        return AttemptId(TaskId(self.phase, self.task), self.attempt)


@dataclass(frozen=True, slots=True)
class DeathNotice:
    """A service saw an invocation die without an answer.

    Attributes:
        message: What the invocation was called with.
        invocation: Its unique name.
        reason: What the service saw, for people.
        memory: Whether want of memory is the cause.
        resident: Bytes that the process took then; 0 if unknown.
        stack: Python's stack when the process ended, as `faulthandler` writes it; empty if unknown.
        late: Whether its time was up.
    """

    message: Message
    invocation: str
    reason: str
    memory: bool = False
    resident: int = 0
    stack: str = ""
    late: bool = False


@dataclass(frozen=True, slots=True)
class Firing:
    """A trigger fires.

    Attributes:
        trigger: Its name and token.
        occurrence: What tells this time, or this object, from all others. Who is called twice for one of them is told the same.
        object: The object that appeared, as `bucket/key`; empty for a time.
        version: The version of it that appeared.
        bytes: How large it is.
        restarts: How many invocations for this occurrence failed before.
    """

    trigger: str
    occurrence: str
    object: str = ""
    version: str = ""
    bytes: int = 0
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class FailedFiring:
    """A service saw the invocation of a firing die."""

    firing: Firing
    reason: str


class _Payload(msgspec.Struct, omit_defaults=True):
    v: int | None = None
    role: str = ""
    job: str = ""
    task: int = 0
    attempt: int = 0
    restarts: int = 0
    then: tuple[tuple[int, int, int], ...] = ()
    failed: str = ""
    invocation: str = ""
    reason: str = ""
    size: int = 0
    memory: bool = False
    resident: int = 0
    stack: str = ""
    late: bool = False
    fire: str = ""
    occurrence: str = ""
    object: str = ""
    version: str = ""
    bytes: int = 0


def coordinate(job: str) -> Message:
    """Return the message that starts a coordinator."""
    return Message(Role.COORDINATOR, job)


def drive(job: str) -> Message:
    """Return the message that starts the planning of a job where code runs."""
    return Message(Role.DRIVER, job)


def attempt_message(job: str, attempt: AttemptId, then: tuple[AttemptRange, ...] = (), *, size: int = 0) -> Message:
    """Return the message that starts one attempt in memory of a size, and through it others of its phase."""
    return Message(Role(attempt.task.phase), job, attempt.task.number, attempt.number, then=then, size=size)


def encode(message: Message) -> bytes:
    """Return the payload of a message."""
    then = tuple((found.first, found.last, found.attempt) for found in message.then)
    payload = _Payload(VERSION, message.role, message.job, message.task, message.attempt, message.restarts, then, size=message.size)
    return msgspec.json.encode(payload)


def encode_firing(firing: Firing) -> bytes:
    """Return the payload of a firing."""
    payload = _Payload(
        restarts=firing.restarts,
        fire=firing.trigger,
        occurrence=firing.occurrence,
        object=firing.object,
        version=firing.version,
        bytes=firing.bytes,
    )
    return msgspec.json.encode(payload)


def decode(payload: bytes) -> Message | DeathNotice | Firing | FailedFiring:
    """Return what a payload says.

    Raises:
        FormatVersionError: It was written in another version.
        CorruptObjectError: It is not a payload of this package.
    """
    try:
        read = msgspec.json.decode(payload, type=_Payload)
        if read.failed:
            return _notice(read)
        if read.fire:
            return Firing(read.fire, read.occurrence, read.object, read.version, read.bytes, read.restarts)
        if read.v != VERSION:
            raise FormatVersionError(
                f"An invocation got a message of version {read.v}, and this worker reads version {VERSION}: "
                "install the same version of smr_notebook in the notebook and on the workers."
            )
        then = tuple(AttemptRange(*found) for found in read.then)
        return Message(Role(read.role), read.job, read.task, read.attempt, read.restarts, then, read.size)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, CorruptObjectError):
            raise
        raise CorruptObjectError(f"An invocation got a payload that is no message ({error}): {payload[:200]!r}.") from error


def tenant(payload: bytes) -> str:
    """Return the job whose functions an invocation will run, an empty string for none: what they do to their process is not for others."""
    try:
        message = decode(payload)
    except CorruptObjectError:  # the invocation itself will say so
        return ""
    return message.job if isinstance(message, Message) and message.role is not Role.COORDINATOR else ""


def route(payload: bytes) -> str:
    """Return which of a platform's functions a payload is for, and which a worker's of more memory. Raises as `decode` does.

    They are `driver`, `coordinator`, `mapper`, `reducer`, `mapper-large` and `reducer-large`.
    """
    message = decode(payload)
    if not isinstance(message, Message):
        return _ROUTES[Role.COORDINATOR]
    return f"{_ROUTES[message.role]}-large" if message.size else _ROUTES[message.role]


def size_of(payload: bytes) -> int:
    """Return which of a platform's memory sizes a payload asks for, counted from 0."""
    try:
        message = decode(payload)
    except CorruptObjectError:  # the invocation itself will say so
        return 0
    return message.size if isinstance(message, Message) else 0


def _notice(read: _Payload) -> DeathNotice | FailedFiring:
    inner = decode(read.failed.encode())
    if isinstance(inner, Firing):
        return FailedFiring(inner, read.reason)
    if not isinstance(inner, Message):
        return inner
    return DeathNotice(inner, read.invocation, read.reason, read.memory, read.resident, read.stack, read.late)
