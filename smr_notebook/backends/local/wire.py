"""What crosses between the processes of the local service: frames, and the few values in them.

A frame is its kind (one byte), the length of its body (four bytes, big endian) and the body. Who sends what::

    client → service    INVOKE payload   POST payload   STATUS   SHUTDOWN   WATCH   EVICT seconds, tenant
    service → client    ACCEPTED                        STATUS Status as JSON    WAKE, again and again
    service → worker    RUN deadline, memory, name, payload     WAKE
    worker → service    SLEEP seconds    AWAKE          ENDED retire     FAILED retire, reason
    service → zygote    FORK number (and a socket)          KILL number
    zygote → service    FORKED number, pid                  EXITED number, pid, wait status, last words

Rules of this module:

* Both ends of a connection are the same version of this package in the same environment (the address makes sure of it), so that
  frames carry no version. The frames of the zygote have a fixed length, because a passed socket belongs to a place in the stream.
* A POST is an INVOKE that nobody answers: whoever runs inside the service ends with it anyway. A SLEEP says for how long it wants no news.
  Who sent WATCH is told whenever a call of no tenant has ended. An EVICT is not answered either.
* A worker may find several RUNs in its connection, and runs one after the other.
* Nothing here waits except `read_frame`, which single-purpose ends use. The service's ends are `Channel`s, as are those that read ahead.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

HEADER = struct.Struct(">BI")
RUN_HEADER = struct.Struct(">dQH")
FORK_BODY = struct.Struct(">I")
CHILD_BODY = struct.Struct(">IIi")
SLEEP_BODY = struct.Struct(">d")
EVICT_HEADER = struct.Struct(">d")
_READ_BYTES = 65_536  # more than that would be mapped and unmapped for each read


class Kind(IntEnum):
    """What a frame says."""

    INVOKE = 1
    STATUS = 2
    SHUTDOWN = 3
    ACCEPTED = 4
    RUN = 5
    WAKE = 6
    SLEEP = 7
    AWAKE = 8
    ENDED = 9
    FAILED = 10
    FORK = 11
    KILL = 12
    FORKED = 13
    EXITED = 14
    POST = 15
    WATCH = 16
    EVICT = 17


@dataclass(frozen=True, slots=True)
class Settings:
    """What the starter of a service asks of it.

    Attributes:
        workspace: Folder that the service belongs to; its log lies there.
        handler: `module:function`, resolved in the workers.
        location: Passed on to the handler.
        workers: How many invocations run at once.
        idle_seconds: The service ends after so long without an invocation.
        seconds: Longest time that one invocation may run.
        memory_bytes: Memory that one invocation may use; a worker left larger than that is replaced.
        preload: Modules imported once, before workers are forked; `module:function` is called as well.
        tenant: `module:function` that tells whose call a payload is, as a string; empty when nobody asks.
        warm: `module:function` that is called with the location in a worker that has nothing to do yet; empty for none.
        memory_sizes: Memory that an invocation may use, for each size that a payload can ask for; the first is `memory_bytes`.
        size: `module:function` that tells which of them a payload asks for, counted from 0; empty when nobody asks.
        strict: Whether a worker that takes more is ended, however much memory the machine has left.
    """

    workspace: str
    handler: str
    location: str
    workers: int
    idle_seconds: float
    seconds: float
    memory_bytes: int
    preload: tuple[str, ...]
    tenant: str = ""
    warm: str = ""
    memory_sizes: tuple[int, ...] = ()
    size: str = ""
    strict: bool = False

    @property
    def weights(self) -> tuple[int, ...]:
        """How many slots an invocation of each size takes: as many as its memory is shares."""
        return tuple(min(-(-size // self.memory_sizes[0]), self.workers) for size in self.memory_sizes) or (1,)


@dataclass(frozen=True, slots=True)
class Status:
    """A running service as it sees itself.

    Attributes:
        pid: Process of the service.
        zygote: Process that the workers are forked from.
        workers: Processes of the workers alive.
        queued: Calls that wait for their turn.
        running: Invocations that hold a slot.
        sleeping: Invocations that gave their slot back.
        ended: Invocations that ended so far, in whatever way.
        failed: Those of them that raised.
        died: Those of them whose process ended.
        settings: What the service was started with.
    """

    pid: int
    zygote: int
    workers: tuple[int, ...]
    queued: int
    running: int
    sleeping: int
    ended: int
    failed: int
    died: int
    settings: Settings


def pack(kind: Kind, body: bytes = b"") -> bytes:
    """Return one frame."""
    return HEADER.pack(kind, len(body)) + body


def read_frame(connection: socket.socket) -> tuple[Kind, bytes]:
    """Wait for one frame on a blocking socket, and return its kind and body.

    Raises:
        EOFError: The other end is closed.
        OSError: The connection broke, or its timeout passed.
    """
    kind, length = HEADER.unpack(_read_exactly(connection, HEADER.size))
    return Kind(kind), _read_exactly(connection, length)


def _read_exactly(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = connection.recv(length - len(data))
        if not more:
            raise EOFError("the other end closed the connection")
        data += more
    return data


class Inbox:
    """A worker's end of its connection, which reads ahead: calls that came wait here while one runs."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._incoming = bytearray()
        self._calls: deque[bytes] = deque()

    def next_call(self, *, after: float, idle: Callable[[], object]) -> bytes:
        """Wait for the next call, and return the body of its frame.

        Args:
            after: Seconds without a call, after which `idle` is called, once.
            idle: Does what is worth doing then.

        Raises:
            EOFError: The service closed the connection.
        """
        if not self._calls and not select.select([self._connection], [], [], after)[0]:
            idle()
        while not self._calls:
            self._read()
        return self._calls.popleft()

    def wait_for_wake_up(self, seconds: float) -> None:
        """Return when the service says so, or so many seconds have passed. Raises as `next_call` does."""
        end = time.monotonic() + seconds
        while True:
            ready, _, _ = select.select([self._connection], [], [], max(end - time.monotonic(), 0.0))
            if not ready or self._read():
                return

    def _read(self) -> bool:
        """Take what has come in, and return whether a wake-up was among it."""
        data = self._connection.recv(_READ_BYTES)
        if not data:
            raise EOFError("the other end closed the connection")
        self._incoming += data
        frames = take_frames(self._incoming)
        self._calls += [body for kind, body in frames if kind is Kind.RUN]
        return any(kind is Kind.WAKE for kind, _ in frames)


def take_frames(incoming: bytearray) -> list[tuple[Kind, bytes]]:
    """Cut the whole frames off the beginning of what came in, and return them."""
    frames = []
    start = 0
    while len(incoming) - start >= HEADER.size:
        kind, length = HEADER.unpack_from(incoming, start)
        end = start + HEADER.size + length
        if end > len(incoming):
            break
        frames.append((Kind(kind), bytes(incoming[start + HEADER.size : end])))
        start = end
    del incoming[:start]
    return frames


class Channel:
    """The service's end of a connection: never waits, keeps what could not be sent yet.

    Attributes:
        closed: Whether the other end is gone. What it sent before is still returned by `receive`.
    """

    __slots__ = ("_incoming", "_outgoing", "_socket", "closed")

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self._socket = connection
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self.closed = False

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._socket.fileno()

    @property
    def pending(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._outgoing)

    def add(self, frame: bytes) -> None:
        """Keep a frame for `flush`."""
        self._outgoing += frame

    def send(self, frame: bytes) -> None:
        """Send as much as goes without waiting, and keep the rest for `flush`."""
        self.add(frame)
        self.flush()

    def flush(self) -> None:
        """Send what is pending, as much as goes without waiting. A broken connection swallows it."""
        try:
            while self._outgoing:
                del self._outgoing[: self._socket.send(self._outgoing)]
        except BlockingIOError:
            return
        except OSError:
            self._outgoing.clear()

    def receive(self) -> list[tuple[Kind, bytes]]:
        """Return the frames that have come in whole."""
        try:
            while not self.closed:
                data = self._socket.recv(_READ_BYTES)
                self._incoming += data
                self.closed = not data
                if len(data) < _READ_BYTES:
                    break
        except BlockingIOError:
            pass
        except OSError:
            self.closed = True
        return take_frames(self._incoming)

    def close(self) -> None:
        """Close the connection; the other end sees it."""
        self.closed = True
        self._socket.close()
