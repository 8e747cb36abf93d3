"""A process for each tenant, below the one that takes calls: what somebody's code does to its process reaches nobody else.

Theory. Lambda keeps an environment warm for whatever comes next, be it another job, and so does the host of a Dask worker. So the process
that takes calls (the *runtime*) runs no code of anybody: it has imported everything, and forks a child that calls the handler. The child
serves call after call of one tenant, and is replaced when another one's comes.

Rules of this module:

* The runtime stays single-threaded and opens nothing: that is what makes forking safe, and a fork cheap.
* A forked child never returns to the frames of its parent: it ends in `os._exit`.
* A child that ends instead of answering is told in words, as the error of the invocation, and the next call gets another child. One
  that runs too long is ended by Lambda, with everything else; or when nobody wants its answer any more, as far as the runtime can tell.
* A child that crashes leaves Python's stack (`crash_stacks`), which is told behind the reason.
* The child is what the kernel should kill when memory runs out, and whatever it started goes with it, its folder for temporary files too.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from smr_notebook.backends.crash_stacks import CrashStack
from smr_notebook.backends.system_clock import SystemClock
from smr_notebook.ports import Context, Handler
from smr_notebook.streams import last_words

_LENGTH: Final = struct.Struct(">I")
_LOOK_SECONDS: Final = 0.5
"""How often to look whether a silent child still lives: a process that it started may hold its end of the connection open."""

_WORDS: Final = 500
_REASON_CHARACTERS: Final = 2_000
_PR_SET_PDEATHSIG: Final = 1


class InvocationFailedError(Exception):
    """An invocation ended without an answer. The message is the whole reason, for people."""


class ProcessEndedError(InvocationFailedError):
    """The process of an invocation ended. The first line of the message is the reason, the others are its stack, if it left one."""


class MemoryEndedError(ProcessEndedError):
    """It ended for want of memory."""


class UnwantedError(ProcessEndedError):
    """It was ended, because nobody wants its answer any more."""


class Invocation(msgspec.Struct, frozen=True, array_like=True):
    """What the service says of one invocation, besides its payload.

    Attributes:
        location: Where the handler works, as `ports.Context` has it.
        name: Its unique name.
        deadline: When the service ends it, in seconds since 1970.
        memory_bytes: Memory that it may use.
    """

    location: str
    name: str
    deadline: float
    memory_bytes: int


class _Call(msgspec.Struct, frozen=True, array_like=True):
    invocation: Invocation
    payload: bytes
    variables: dict[str, str | None]


class _Reply(msgspec.Struct, frozen=True, array_like=True):
    answer: bytes = b""
    reason: str | None = None


class Tenants:
    """Runs a handler in a process for each tenant, one call at a time.

    Args:
        handler: Called with each payload, in the child.
        tenant_of: Whose call a payload is.
        variables: Names of environment variables that change with each call, while the child is older.
        begin: Called in a child before its first call.
        wanted: Whether somebody still waits for the answer; asked now and then while a call runs.
        crowded: Whether a child that is killed was most likely killed for its memory, because nobody else is there who would.
    """

    def __init__(
        self,
        handler: Handler,
        tenant_of: Callable[[bytes], str],
        *,
        variables: tuple[str, ...] = (),
        begin: Callable[[], None] | None = None,
        wanted: Callable[[], bool] | None = None,
        crowded: bool = True,
    ) -> None:
        self._handler = handler
        self._tenant_of = tenant_of
        self._variables = variables
        self._begin = begin
        self._wanted = wanted
        self._crowded = crowded
        self._child: _Child | None = None
        self._tenant = ""

    def run(self, payload: bytes, invocation: Invocation) -> bytes:
        """Have the tenant's process call the handler, and return its answer.

        Raises:
            InvocationFailedError: The handler raised, or its process ended.
        """
        child = self._child_for(self._tenant_of(payload))
        call = _Call(invocation, payload, {name: os.environ.get(name) for name in self._variables})
        reply, wanted = child.ask(call, self._wanted)
        if reply is None:
            self._child = None
            status, stack = child.end()
            if not wanted:
                raise UnwantedError("ended, because nobody waited for it any more")
            memory = self._crowded and os.waitstatus_to_exitcode(status) == -signal.SIGKILL
            fate = _of_memory(invocation.memory_bytes) if memory else _fate(status)
            words = " ".join(child.words.split())[-_WORDS:]
            fate = f"{fate}. Its last words were: {words}" if words else fate
            raise (MemoryEndedError if memory else ProcessEndedError)("\n".join([fate, *([stack] if stack else [])]))
        if reply.reason is not None:
            raise InvocationFailedError(reply.reason)
        return reply.answer

    def close(self) -> None:
        """End the process, if there is one."""
        if self._child is not None:
            self._child.end()
            self._child = None

    def _child_for(self, tenant: str) -> _Child:
        if self._child is not None and (tenant != self._tenant or self._child.ended):
            self.close()
        if self._child is None:
            self._child = _fork(self._handler, self._begin)
            self._tenant = tenant
        return self._child


class _Child:
    """A forked process, as its parent sees it."""

    def __init__(self, pid: int, connection: socket.socket, scratch: str, words: CrashStack) -> None:
        self._pid = pid
        self._words = words
        self._connection = connection
        self._scratch = scratch
        self.words = ""

    @property
    def ended(self) -> bool:
        return os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def ask(self, call: _Call, wanted: Callable[[], bool] | None) -> tuple[_Reply | None, bool]:
        """Send a call and wait for the reply, `None` when there will be none; and return whether it was wanted to the end."""
        try:
            send_frame(self._connection, msgspec.msgpack.encode(call))
            while not select.select([self._connection], [], [], _LOOK_SECONDS)[0]:
                if self.ended:
                    return None, True
                if wanted is not None and not wanted():
                    return None, False
            return msgspec.msgpack.decode(receive_frame(self._connection), type=_Reply), True
        except (EOFError, ConnectionError):
            return None, True

    def end(self) -> tuple[int, str]:
        """Kill the process, unless it has ended, with what it started, and return its wait status and its last words."""
        self._connection.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, signal.SIGKILL)  # before it is reaped: then its number cannot have been given to anybody else
        status = os.waitpid(self._pid, 0)[1]
        self.words = last_words(self._scratch)
        shutil.rmtree(self._scratch, ignore_errors=True)
        stack = self._words.read()
        self._words.close()
        return status, stack


def _fork(handler: Handler, begin: Callable[[], None] | None) -> _Child:
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    gc.freeze()
    parent, scratch, words = os.getpid(), tempfile.mkdtemp(prefix="tenant-"), CrashStack()
    pid = os.fork()
    if pid == 0:
        ours.close()
        os.environ["TMPDIR"] = tempfile.tempdir = scratch
        words.take()
        _live(theirs, handler, parent, begin)
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)
    theirs.close()
    return _Child(pid, ours, scratch, words)


def _live(connection: socket.socket, handler: Handler, parent: int, begin: Callable[[], None] | None) -> NoReturn:
    """Be the child: serve calls until the parent closes the connection."""
    code = 1
    try:
        _settle(parent)
        if begin is not None:
            begin()
        while True:
            call = msgspec.msgpack.decode(receive_frame(connection), type=_Call)
            send_frame(connection, msgspec.msgpack.encode(_answer(handler, call)))
    except (EOFError, ConnectionError):
        code = 0
    except BaseException:  # noqa: BLE001 - the frames above belong to the parent: nothing may travel there
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _settle(parent: int) -> None:
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")
    if os.getppid() != parent:
        os._exit(1)


def _answer(handler: Handler, call: _Call) -> _Reply:
    for name, value in call.variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    told = call.invocation
    try:
        return _Reply(handler(call.payload, Context(told.location, told.name, told.deadline, told.memory_bytes, SystemClock())))
    except BaseException as error:  # noqa: BLE001 - SystemExit too: the call of the handler is what ends, not the process
        sys.stderr.write(f"invocation {told.name} failed\n")
        traceback.print_exc()
        return _Reply(reason=f"{type(error).__name__}: {error}"[:_REASON_CHARACTERS])


def _of_memory(memory_bytes: int) -> str:
    return f"killed by signal 9: most likely out of memory (limit {memory_bytes >> 20} MB)"


def _fate(status: int) -> str:
    """Return why a process ended, from its wait status."""
    code = os.waitstatus_to_exitcode(status)
    return f"exited with code {code}" if code >= 0 else f"killed by signal {-code} ({signal.Signals(-code).name})"


def send_frame(connection: socket.socket, data: bytes) -> None:
    """Send bytes, with their length in front."""
    connection.sendall(_LENGTH.pack(len(data)) + data)


def receive_frame(connection: socket.socket) -> bytes:
    """Return what `send_frame` sent.

    Raises:
        EOFError: The other end is closed.
    """
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    return _exactly(connection, length)


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        more = connection.recv(length - len(data))
        if not more:
            raise EOFError
        data += more
    return bytes(data)
