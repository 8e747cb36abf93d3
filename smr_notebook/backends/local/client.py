"""The function service of this machine, as the engine sees it: the local counterpart of Lambda.

The service of a workspace is found by its socket and started when nobody answers there. Its settings are those of whoever
started it; `limits` asks it when it runs.

Rules of this module:

* A process has one connection, used under a lock. After a fork the child makes its own: a connection remembers whose it is.
* A connection that broke is made anew once, with a new service if need be. A call may then be run twice, as the port allows.
* A process of the service itself (`inside`) does not wait until its call is taken: were the service to end, so would the process, and
  whoever coordinates next makes the calls again.
* The service gets nothing of this process but its environment variables: no descriptor, no folder, no terminal, no signal. They are
  those of whoever started it, for as long as it runs.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Self

import msgspec

from smr_notebook.backends.child_environment import SINGLE_THREADED, THREADS, import_paths
from smr_notebook.backends.local.address import Address, find_address
from smr_notebook.backends.local.files import make_private
from smr_notebook.backends.local.machine import cores, memory_bytes
from smr_notebook.backends.local.wire import EVICT_HEADER, Kind, Settings, Status, pack, read_frame
from smr_notebook.environment import environment
from smr_notebook.errors import PayloadTooLargeError, ServiceError
from smr_notebook.ports import Advice, ServiceLimits

_PAYLOAD_BYTES = 1 << 20
_DAY = 86_400.0
_QUEUE_SECONDS = _DAY  # the queue is lost with the service only, and then whoever coordinates next makes the calls again
_ANSWER_SECONDS = 60.0
_START_SECONDS = 60.0
_TRIES = 3
_LOG_BYTES = 1 << 20
_LOG_TAIL = 2_000

PRELOAD = ("cloudpickle", "msgspec", "numpy", "pandas", "pyarrow", "pyarrow.pandas_compat", "pyarrow.parquet")
"""Modules that every worker needs, imported once. pyarrow imports pandas, if it is there, with the first list made into an array."""


class LocalFunctions:
    """Runs a handler in warm processes of this machine; implements `ports.FunctionService`.

    Args:
        workspace: Folder that the service belongs to. It is made if absent; the service's log lies there.
        handler: `module:function` that calls go to.
        location: What the handler is told in its context.
        workers: How many invocations run at once; `None` for one on each core that this process may use.
        idle_seconds: The service ends after so many seconds without an invocation.
        seconds: Longest time that one invocation may run, in seconds.
        preload: Modules that the service imports once, before it makes workers; the handler's own is one of them anyway.
        tenant: `module:function` that tells whose call a payload is: no process runs calls of two tenants.
        warm: `module:function` that a worker calls with the location before it has anything to do.
        limit: Bytes of memory at which a worker is ended; 0 for as much as the machine has.
        size: `module:function` that tells which of `limits.memory_sizes` a payload asks for.
        inside: Whether this process is one of the service's own.
    """

    def __init__(
        self,
        workspace: Path,
        *,
        handler: str,
        location: str,
        workers: int | None = None,
        idle_seconds: float = 300.0,
        seconds: float = _DAY,
        preload: tuple[str, ...] = PRELOAD,
        tenant: str = "",
        warm: str = "",
        limit: int = 0,
        size: str = "",
        inside: bool = False,
    ) -> None:
        slots = workers or cores()
        sizes = _sizes(limit, slots=slots)
        self._environment = environment()
        self._settings = Settings(
            workspace=str(workspace.resolve()),
            handler=handler,
            location=location,
            workers=slots,
            idle_seconds=idle_seconds,
            seconds=seconds,
            memory_bytes=sizes[0],
            preload=preload,
            tenant=tenant,
            warm=warm,
            memory_sizes=sizes,
            size=size,
            strict=limit > 0,
        )
        self._said = workers is not None
        self._inside = inside
        self._line = _Line()
        self._limits: ServiceLimits | None = None

    @property
    def limits(self) -> ServiceLimits:
        """What the service takes: as it says itself if it runs, else as this object would start it. Nothing is started."""
        if self._limits is None:
            status = self.status()
            limits = self._limits_of(self._settings if status is None else status.settings)
            if status is None or limits.advice.settings:  # the service that follows is another one
                return limits
            self._limits = limits
        return self._limits

    def _limits_of(self, settings: Settings) -> ServiceLimits:
        return ServiceLimits(
            payload_bytes=_PAYLOAD_BYTES,
            seconds=settings.seconds,
            concurrency=settings.workers,
            queue_seconds=_QUEUE_SECONDS,
            memory_bytes=settings.memory_bytes,
            environment=self._environment,
            memory_sizes=settings.memory_sizes,
            advice=Advice(settings=_differing(settings, self._settings, said=self._said)),
        )

    def invoke(self, payload: bytes) -> None:
        """Have the service run the handler once; it is started if absent. See `ports.FunctionService.invoke`."""
        if len(payload) > _PAYLOAD_BYTES:
            raise PayloadTooLargeError(
                f"A payload of {len(payload):,} bytes exceeds the {_PAYLOAD_BYTES:,} that the local function service takes. "
                "Store it, and send its key."
            )
        with self._own_line() as line:
            self._deliver(line, payload)

    def _deliver(self, line: _Line, payload: bytes) -> None:
        failure: Exception | None = None
        for _ in range(_TRIES):
            try:
                if not line.open:
                    self._connect(line)
                if self._inside:
                    line.tell(Kind.POST, payload)
                else:
                    line.ask(Kind.INVOKE, payload)
            except ServiceError:
                raise
            except (OSError, EOFError) as error:  # the service ended at this moment, or long ago
                line.close()
                failure = error
            else:
                return
        raise ServiceError(f"The local function service took no call: {failure}. Its log is {self._address().log}.") from failure

    def status(self) -> Status | None:
        """Return what the service says of itself; `None` when it does not run. Nothing is started."""
        with self._own_line() as line:
            for _ in range(2):  # the connection may be to a service that was replaced
                try:
                    if not line.open:
                        line.connect(self._address().socket)
                    return msgspec.json.decode(line.ask(Kind.STATUS), type=Status)
                except (OSError, EOFError):
                    line.close()
        return None

    def shutdown(self) -> None:
        """End the service with all that it runs, and return once it has ended. Nothing happens when it does not run.

        Raises:
            ServiceError: It did not end.
        """
        self._limits = None
        with self._own_line() as line:
            line.close()
            if line.try_connect(self._address().socket):
                try:
                    line.ask(Kind.SHUTDOWN)
                except TimeoutError as error:
                    raise ServiceError(f"The local function service does not end. Its log is {self._address().log}.") from error
                except (OSError, EOFError):
                    pass  # the end of the connection is the answer
                finally:
                    line.close()

    def evict(self, tenant: str, seconds: float) -> None:
        """Have the service end what still runs of a tenant after so many seconds. Nothing happens when it does not run."""
        with self._own_line() as line:
            try:
                if line.open or line.try_connect(self._address().socket):
                    line.tell(Kind.EVICT, EVICT_HEADER.pack(seconds) + tenant.encode())
            except OSError:
                line.close()

    def close(self) -> None:
        """Close the connection. The service goes on."""
        with self._own_line() as line:
            line.close()

    def find(self) -> Path:
        """Return the socket at which the service listens, if it runs."""
        return self._address().socket

    def _address(self) -> Address:
        return find_address(Path(self._settings.workspace), self._settings.handler, self._environment)

    def _own_line(self) -> _Line:
        if self._line.process != os.getpid():
            self._line = _Line()
        return self._line

    def _connect(self, line: _Line) -> None:
        address = self._address()
        end = time.monotonic() + _START_SECONDS
        while not line.try_connect(address.socket):
            if _start(self._settings, address) == "busy":  # another one starts or ends at this moment
                threading.Event().wait(0.01)
            if time.monotonic() > end:
                raise ServiceError(
                    f"The local function service of {self._settings.workspace} neither answers nor ends. "
                    f"Its log is {address.log}; the process that holds {address.lock} can be killed."
                )


def _differing(running: Settings, wanted: Settings, *, said: bool) -> str:
    """Return what to do where a service was started with other settings than these; empty where that makes no difference.

    Args:
        running: What the service was started with.
        wanted: What it would be started with now.
        said: Whether the number of workers was chosen.
    """
    differ = []
    if said and running.workers != wanted.workers:
        differ.append(f"{running.workers} workers, where you ask for {wanted.workers}")
    if (running.strict, running.strict and running.memory_bytes) != (wanted.strict, wanted.strict and wanted.memory_bytes):
        differ.append(f"{_limit(running)}, where you ask for {_limit(wanted)}")
    if not differ:
        return ""
    return (
        f"The local service was started with {', and '.join(differ)}. It stays as it is for as long as it runs: "
        "smr.Session().close() ends it, with all that it runs, and the next job starts another one."
    )


def _limit(settings: Settings) -> str:
    return f"a worker_limit of {settings.memory_bytes / 1e6:,.0f} MB" if settings.strict else "no worker_limit"


def _sizes(limit: int, *, slots: int) -> tuple[int, ...]:
    """Return how much memory an invocation may use: its share, or what was said; and with fewer others beside it, twice that, or all."""
    machine = memory_bytes()
    first = min(limit, machine) or machine // slots
    second = min(2 * first, machine) if limit else machine
    return (first, second) if second > first else (first,)


class _Line:
    """The connection of one process to the service, with the lock that lets one thread at a time use it."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._lock = threading.RLock()
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __del__(self) -> None:
        self.close()

    @property
    def open(self) -> bool:
        return self._socket is not None

    def connect(self, path: Path) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_ANSWER_SECONDS)
        try:
            connection.connect(str(path))
        except OSError:
            connection.close()
            raise
        self._socket = connection

    def try_connect(self, path: Path) -> bool:
        try:
            self.connect(path)
        except (FileNotFoundError, ConnectionError):
            return False
        return True

    def ask(self, kind: Kind, body: bytes = b"") -> bytes:
        """Send one frame and return the body of the answer.

        Raises:
            OSError: There is no connection, or it broke.
            EOFError: The service closed it.
        """
        self.tell(kind, body)
        assert self._socket is not None  # noqa: S101 - `tell` looked
        return read_frame(self._socket)[1]

    def tell(self, kind: Kind, body: bytes = b"") -> None:
        """Send one frame that is not answered. Raises `OSError` as `ask` does."""
        if self._socket is None:
            raise ConnectionError("not connected")
        self._socket.sendall(pack(kind, body))

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _start(settings: Settings, address: Address) -> str:
    """Start a service and return what it says: `ready` or `busy`.

    Raises:
        ServiceError: It said nothing.
    """
    make_private(settings.workspace)
    files = [str(address.socket), str(address.lock)]
    with address.log.open("ab") as log:
        if log.tell() > _LOG_BYTES:
            log.truncate(0)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "smr_notebook.backends.local.service", msgspec.json.encode(settings).decode(), *files],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd="/",
            env=_child_environment(settings.workers),
            start_new_session=True,
        )
    with process:
        said = process.stdout.read().decode() if process.stdout else ""
    if not said:
        raise ServiceError(f"The local function service did not start. The end of its log, {address.log}, says:\n{_tail(address.log)}")
    return said


def _child_environment(workers: int) -> dict[str, str]:
    """Return this process' environment, with paths that hold in another folder, and with threads for `workers` processes."""
    threads = str(max(1, cores() // workers))  # the cores are shared out among the workers
    return dict.fromkeys(THREADS, threads) | SINGLE_THREADED | os.environ | import_paths()


def _tail(log: Path) -> str:
    try:
        return log.read_bytes()[-_LOG_TAIL:].decode("utf-8", "replace")
    except OSError as error:
        return str(error)
