"""A process for each tenant, below the one that speaks with Lambda: what somebody's code does to its process reaches nobody else.

Theory. Lambda keeps an environment warm for whatever comes next, be it another job. So the process that Lambda knows (the
*runtime*) runs no code of anybody: it has imported everything, and forks a child that calls the handler. The child serves call after
call of one tenant, and is replaced when another one's comes.

Rules of this module:

* The runtime stays single-threaded and opens nothing: that is what makes forking safe, and a fork cheap.
* A forked child never returns to the frames of its parent: it ends in `os._exit`.
* A child that ends instead of answering is told in words, as the error of the invocation, and the next call gets another child. One
  that runs too long is ended by Lambda, with everything else.
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
_TRACE: Final = "_X_AMZN_TRACE_ID"
"""Variable by which the SDK passes on what Lambda traces: it changes with each invocation, and the child is older."""


class InvocationFailedError(Exception):
    """An invocation ended without an answer. The message is the whole reason, for people."""


class ProcessEndedError(InvocationFailedError):
    """The process of an invocation ended. The first line of the message is the reason, the others are its stack, if it left one."""


class MemoryEndedError(ProcessEndedError):
    """It ended for want of memory."""


class Invocation(msgspec.Struct, frozen=True, array_like=True):
    """What Lambda says of one invocation, besides its payload.

    Attributes:
        location: Where the handler works, as `ports.Context` has it.
        name: Its unique name.
        deadline: When Lambda ends it, in seconds since 1970.
        memory_bytes: Memory of the environment.
    """

    location: str
    name: str
    deadline: float
    memory_bytes: int


class _Call(msgspec.Struct, frozen=True, array_like=True):
    invocation: Invocation
    payload: bytes
    trace: str | None


class _Reply(msgspec.Struct, frozen=True, array_like=True):
    answer: bytes = b""
    reason: str | None = None


class Tenants:
    """Runs a handler in a process for each tenant, one call at a time.

    Args:
        handler: Called with each payload, in the child.
        tenant_of: Whose call a payload is.
    """

    def __init__(self, handler: Handler, tenant_of: Callable[[bytes], str]) -> None:
        self._handler = handler
        self._tenant_of = tenant_of
        self._child: _Child | None = None
        self._tenant = ""

    def run(self, payload: bytes, invocation: Invocation) -> bytes:
        """Have the tenant's process call the handler, and return its answer.

        Raises:
            InvocationFailedError: The handler raised, or its process ended.
        """
        child = self._child_for(self._tenant_of(payload))
        reply = child.ask(_Call(invocation, payload, os.environ.get(_TRACE)))
        if reply is None:
            self._child = None
            status, stack = child.end()
            ended = MemoryEndedError if os.waitstatus_to_exitcode(status) == -signal.SIGKILL else ProcessEndedError
            fate = _fate(status, invocation.memory_bytes)
            words = " ".join(child.words.split())[-_WORDS:]
            fate = f"{fate}. Its last words were: {words}" if words else fate
            raise ended("\n".join([fate, *([stack] if stack else [])]))
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
            self._child = _fork(self._handler)
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

    def ask(self, call: _Call) -> _Reply | None:
        """Send a call and wait for the reply; `None` when the process ended instead."""
        try:
            _send(self._connection, msgspec.msgpack.encode(call))
            while not select.select([self._connection], [], [], _LOOK_SECONDS)[0]:
                if self.ended:
                    return None
            return msgspec.msgpack.decode(_receive(self._connection), type=_Reply)
        except (EOFError, ConnectionError):
            return None

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


def _fork(handler: Handler) -> _Child:
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
        _live(theirs, handler, parent)
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)
    theirs.close()
    return _Child(pid, ours, scratch, words)


def _live(connection: socket.socket, handler: Handler, parent: int) -> NoReturn:
    """Be the child: serve calls until the parent closes the connection."""
    code = 1
    try:
        _settle(parent)
        while True:
            call = msgspec.msgpack.decode(_receive(connection), type=_Call)
            _send(connection, msgspec.msgpack.encode(_answer(handler, call)))
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
    if call.trace is None:
        os.environ.pop(_TRACE, None)
    else:
        os.environ[_TRACE] = call.trace
    told = call.invocation
    try:
        return _Reply(handler(call.payload, Context(told.location, told.name, told.deadline, told.memory_bytes, SystemClock())))
    except BaseException as error:  # noqa: BLE001 - SystemExit too: the call of the handler is what ends, not the process
        sys.stderr.write(f"invocation {told.name} failed\n")
        traceback.print_exc()
        return _Reply(reason=f"{type(error).__name__}: {error}"[:_REASON_CHARACTERS])


def _fate(status: int, memory_bytes: int) -> str:
    """Return why a process ended, from its wait status."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with code {code}"
    if -code == signal.SIGKILL:
        return f"killed by signal 9: most likely out of memory (limit {memory_bytes >> 20} MB)"
    return f"killed by signal {-code} ({signal.Signals(-code).name})"


def _send(connection: socket.socket, data: bytes) -> None:
    connection.sendall(_LENGTH.pack(len(data)) + data)


def _receive(connection: socket.socket) -> bytes:
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
