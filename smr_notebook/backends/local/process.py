"""The processes below the service: the zygote, which has imported everything and forks, and the workers, which run the handler.

Who watches whom, so that nothing outlives anything:

* The zygote runs no code of the user's, so it always notices the end of the service (the end of its socket) and the end of a
  worker (SIGCHLD). Each worker leads a process group; whenever a worker ends, the zygote kills what is left of its group *before*
  it reaps the leader, so that the group's number cannot have been given to anybody else.
* The end of the zygote kills the workers on Linux (the kernel sends it), and the service kills their groups.
* A worker that is idle also notices the end of its socket, and leaves.

Rules of this module:

* The zygote stays single-threaded: that is what makes forking safe. Numerical libraries are told to use few threads by the
  environment that the service was started with (see `client`).
* A forked child never returns to the frames of its parent: it ends in `os._exit`.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from pkgutil import resolve_name
from typing import NoReturn, cast

from smr_notebook.backends.crash_stacks import CrashStack
from smr_notebook.backends.local.machine import give_back, resident_bytes
from smr_notebook.backends.local.wire import CHILD_BODY, FORK_BODY, HEADER, RUN_HEADER, SLEEP_BODY, Inbox, Kind, Settings, pack
from smr_notebook.ports import Context, Handler
from smr_notebook.streams import forget_streams

_LARGEST_WARM_WORKER = 2 << 30
_REASON_CHARACTERS = 2_000
_IDLE_SECONDS = 0.1  # without a call, after which a worker keeps no memory that it does not use
_PR_SET_PDEATHSIG = 1


def run_zygote(service: socket.socket, settings: Settings) -> NoReturn:
    """Import what workers need, then fork them on demand until the service ends. Called in a process of its own.

    Args:
        service: Blocking end of the socket to the service; the only descriptor above 2 that this process keeps.
        settings: Names the handler and the modules to import.
    """
    os.closerange(3, service.fileno())
    os.closerange(service.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
    _preload(settings)
    woken, waker = socket.socketpair()
    waker.setblocking(False)  # noqa: FBT003 - the standard library's signature
    woken.setblocking(False)  # noqa: FBT003 - as above
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    zygote = _Zygote(service, settings)
    with contextlib.suppress(EOFError, OSError):
        while True:
            ready, _, _ = select.select([service, woken], [], [])
            if woken in ready:
                _drain(woken)
                zygote.reap()
            if service in ready:
                zygote.obey()
    zygote.end()
    os._exit(0)


def _preload(settings: Settings) -> None:
    for module in (*settings.preload, settings.handler.partition(":")[0]):
        try:
            if ":" in module:
                resolve_name(module)()
            else:
                importlib.import_module(module)
        except Exception:  # noqa: BLE001 - the workers will fail to import it too, and say so to whoever called
            sys.stderr.write(f"the local service could not import {module}\n")
            traceback.print_exc()
    gc.collect()
    gc.freeze()


def _drain(pipe: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while pipe.recv(4096):
            pass


class _Zygote:
    """The children of the zygote, by the number that the service gave each."""

    def __init__(self, service: socket.socket, settings: Settings) -> None:
        self._service = service
        self._settings = settings
        self._workers: dict[int, int] = {}
        self._words: dict[int, CrashStack] = {}

    def obey(self) -> None:
        """Carry out one command of the service.

        Raises:
            EOFError: The service is gone.
        """
        data, descriptors, _, _ = socket.recv_fds(self._service, HEADER.size + FORK_BODY.size, 1)
        if not data:
            raise EOFError
        kind, _ = HEADER.unpack_from(data)
        (number,) = FORK_BODY.unpack_from(data, HEADER.size)
        if kind == Kind.FORK:
            self._fork(number, socket.socket(fileno=descriptors[0]))
        elif number in self._workers:
            _kill_group(self._workers[number])

    def _fork(self, number: int, connection: socket.socket) -> None:
        zygote, words = os.getpid(), CrashStack()
        try:
            pid = os.fork()
        except OSError as error:
            sys.stderr.write(f"the local service could not make a worker process: {error}\n")
            self._tell(Kind.EXITED, number, pid=0, status=0)
            words.close()
            return
        if pid == 0:
            signal.set_wakeup_fd(-1)
            self._service.close()
            for others in self._words.values():
                others.close()
            words.take()
            run_worker(connection, self._settings, zygote)
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        connection.close()
        self._workers[number] = pid
        self._words[number] = words
        self._tell(Kind.FORKED, number, pid=pid, status=0)

    def reap(self) -> None:
        """Take leave of the children that ended, and tell the service."""
        for number, pid in list(self._workers.items()):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                _kill_group(pid)
                _, status = os.waitpid(pid, 0)
                del self._workers[number]
                words = self._words.pop(number)
                self._tell(Kind.EXITED, number, pid=pid, status=status, words=words.read())
                words.close()

    def end(self) -> None:
        """Kill the children and wait for their end."""
        for pid in self._workers.values():
            _kill_group(pid)
        for pid in self._workers.values():
            os.waitpid(pid, 0)

    def _tell(self, kind: Kind, number: int, *, pid: int, status: int, words: str = "") -> None:
        self._service.sendall(pack(kind, CHILD_BODY.pack(number, pid, status) + words.encode()))


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def run_worker(connection: socket.socket, settings: Settings, zygote: int) -> NoReturn:
    """Run what the service sends until it closes the connection. Called in a process of its own.

    Args:
        connection: Blocking socket to the service.
        settings: Names the handler and what it is told.
        zygote: Process id of the parent.
    """
    code = 1
    try:
        _settle(zygote)
        _warm_up(connection, settings)
        _Worker(connection, settings).serve()
        code = 0
    except (EOFError, ConnectionError):
        code = 0
    except BaseException:  # noqa: BLE001 - the frames above belong to the zygote: nothing may travel there
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
            forget_streams(os.getpid())
        os._exit(code)


def _settle(zygote: int) -> None:
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != zygote:
        os._exit(1)


def _warm_up(connection: socket.socket, settings: Settings) -> None:
    """Do what the first call would pay for, unless one waits already."""
    waiting, _, _ = select.select([connection], [], [], 0)
    if settings.warm and not waiting:
        try:
            resolve_name(settings.warm)(settings.location)
        except Exception:  # noqa: BLE001 - the first call will fail the same way, and say so to whoever called
            traceback.print_exc()


class _WorkerClock:
    """The clock of one invocation. Its sleep gives the slot back, if it is the handler's own thread that sleeps."""

    def __init__(self, connection: socket.socket, inbox: Inbox) -> None:
        self._connection = connection
        self._inbox = inbox
        self._thread = threading.get_ident()

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float, *, least: float = 0.0) -> None:
        if threading.get_ident() != self._thread:
            threading.Event().wait(max(seconds, 0.0))
            return
        self._connection.sendall(pack(Kind.SLEEP, SLEEP_BODY.pack(max(least, 0.0))))
        self._inbox.wait_for_wake_up(max(seconds, 0.0))
        self._connection.sendall(pack(Kind.AWAKE))


class _Worker:
    def __init__(self, connection: socket.socket, settings: Settings) -> None:
        self._connection = connection
        self._inbox = Inbox(connection)
        self._settings = settings
        self._memory_limit = min(_LARGEST_WARM_WORKER, settings.memory_bytes)

    def serve(self) -> None:
        """Run one call after the other.

        Raises:
            EOFError: The service closed the connection.
        """
        retires = False
        while not retires:
            reason = self._run(self._inbox.next_call(after=_IDLE_SECONDS, idle=give_back))
            sys.stdout.flush()
            retires = resident_bytes() > self._memory_limit
            answer = Kind.ENDED if reason is None else Kind.FAILED
            self._connection.sendall(pack(answer, bytes([retires]) + (reason or "").encode("utf-8", "replace")))

    def _run(self, body: bytes) -> str | None:
        """Call the handler, and return why it gave no answer, if it did not."""
        deadline, memory_bytes, length = RUN_HEADER.unpack_from(body)
        start = RUN_HEADER.size + length
        context = Context(
            location=self._settings.location,
            invocation=body[RUN_HEADER.size : start].decode(),
            deadline=deadline,
            memory_bytes=memory_bytes,
            clock=_WorkerClock(self._connection, self._inbox),
        )
        try:
            handler = cast("Handler", resolve_name(self._settings.handler))
            handler(body[start:], context)
        except BaseException as error:  # noqa: BLE001 - SystemExit too: the call of the handler is what ends, not the worker
            sys.stderr.write(f"invocation {context.invocation} failed\n")
            traceback.print_exc()
            return f"{type(error).__name__}: {error}"[:_REASON_CHARACTERS]
        return None
