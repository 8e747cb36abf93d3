"""A sandbox: one process of a function, with the Runtime API (2018-06-01) on a loopback port of its own.

Rules of this module:

* The process is `python -m awslambdaric`, the leader of a session of its own. Whatever it started belongs to that session, however it
  grouped itself, and is frozen, thawed and killed with it.
* It sees a clean environment, as on Lambda: nothing of ours but the packages that an image would hold.
* A sandbox runs one call at a time, and is not used again once its process has ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from smr_notebook.backends.child_environment import import_paths
from smr_notebook.testing.lambdas.settings import REGION, RESPONSE_BYTES, Function
from smr_notebook.testing.lambdas.wire import Answer, Request, Server, refused

_TIES: Final = ("setpriv", "--pdeathsig", "KILL", "--")
"""Ties the life of a process to that of its parent, on Linux. A frozen process could not see its end."""

_SIGNALS: Final = {signal.SIGKILL: "killed", signal.SIGSEGV: "segmentation fault", signal.SIGTERM: "terminated"}
"""What Lambda calls them."""


@dataclass(frozen=True, slots=True)
class Call:
    """One run of a function: its request id (of which there may be several runs), its payload, and the header that traces it."""

    id: str
    payload: bytes
    trace: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a run gave: the answer, or an error as JSON."""

    payload: bytes
    failed: bool = False


def failure(kind: str, message: str, call: Call | None = None) -> Result:
    """Return the result of a run that Lambda itself ended."""
    text = f"RequestId: {call.id} Error: {message}" if call else message
    return Result(json.dumps({"errorType": kind, "errorMessage": text}).encode(), failed=True)


class Sandbox:
    """One process of a function.

    Args:
        function: Which function.
        endpoint: Address of the service, where the function finds Lambda.
        log: File for what it prints.
        freezes: Whether it is frozen while it waits.
    """

    def __init__(self, function: Function, *, endpoint: str, log: Path, freezes: bool) -> None:
        self._function = function
        self._endpoint = endpoint
        self._log = log
        self._freezes = freezes and sys.platform == "linux" and shutil.which(_TIES[0]) is not None
        self._server = Server()
        self._ready = asyncio.Event()
        self._events: asyncio.Queue[Call] = asyncio.Queue()
        self._call: Call | None = None
        self._result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._begun = ""
        self._broken = False

    @property
    def pid(self) -> int:
        """Number of the process; 0 before it begins."""
        return self._process.pid if self._process else 0

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process is not None and self._process.returncode is None

    @property
    def usable(self) -> bool:
        """Whether it can take another call."""
        return self.alive and not self._broken

    @property
    def busy(self) -> bool:
        """Whether it runs a call."""
        return self._call is not None

    @property
    def members(self) -> list[int]:
        """Numbers of its processes."""
        return _session(self.pid) if self.alive else []

    async def run(self, call: Call) -> Result:
        """Run one call, in a process that is started if there is none yet."""
        self._call = call
        self._result = asyncio.get_running_loop().create_future()
        try:
            if self._process is None:
                async with asyncio.timeout(self._function.seconds):
                    await self._start()
            async with asyncio.timeout(self._function.seconds):
                self._thaw()
                self._events.put_nowait(call)
                return await self._result
        except TimeoutError:
            await self.end()
            return failure("Sandbox.Timedout", f"Task timed out after {self._function.seconds:.2f} seconds", call)
        finally:
            self._call = None

    def cull(self) -> None:
        """Kill each process of it that takes more than the function's memory."""
        for pid in self.members:
            with suppress(psutil.Error):
                if psutil.Process(pid).memory_info().rss > self._function.memory_mb << 20:
                    _signal([pid], signal.SIGKILL)

    async def end(self) -> None:
        """Kill it, and return when nothing is left of it."""
        if self._watch is not None:
            self._kill()
            await asyncio.shield(self._watch)

    async def _start(self) -> None:
        folder = tempfile.mkdtemp(prefix="lambda-")
        await self._server.answer(self._respond)
        command = [*(_TIES if self._freezes else ()), sys.executable, "-m", "awslambdaric", self._function.handler]
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                env=_variables(self._function, endpoint=self._endpoint, runtime=self._server.address, folder=folder),
                cwd=self._function.folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._watch = asyncio.create_task(self._reap(self._process, folder))
        await self._ready.wait()

    async def _reap(self, process: asyncio.subprocess.Process, folder: str) -> None:
        status = await process.wait()
        self._kill()
        self._ready.set()
        if not self._result.done():
            how = f"signal: {_SIGNALS.get(signal.Signals(-status), -status)}" if status < 0 else f"exit status {status}"
            self._result.set_result(failure("Runtime.ExitError", f"Runtime exited with error: {how}", self._call))
        await self._server.close()
        shutil.rmtree(folder, ignore_errors=True)

    # ------------------------------------------------------------ the Runtime API

    async def _respond(self, request: Request) -> Answer:
        *_, parent, verb = request.path.split("/")
        if verb == "next":
            return await self._next()
        if request.path.endswith("/init/error"):
            self._broken = True
            self._settle(Result(request.body, failed=True))
        elif self._call is None or parent != self._begun:
            return refused(400, "InvalidRequestID", "Invalid request ID")
        elif verb == "error":
            self._settle(Result(request.body, failed=True))
        elif len(request.body) > RESPONSE_BYTES:
            text = f"Response payload size exceeded maximum allowed payload size ({RESPONSE_BYTES} bytes)."
            self._settle(failure("Function.ResponseSizeTooLarge", text))
        else:
            self._settle(Result(request.body))
        return Answer(202, {"status": "OK"})

    async def _next(self) -> Answer:
        self._ready.set()
        if self._events.empty():
            self._freeze()
        call = await self._events.get()
        self._begun = call.id
        headers = {
            "Lambda-Runtime-Aws-Request-Id": call.id,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + self._function.seconds) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": self._function.arn,
            "Lambda-Runtime-Trace-Id": call.trace,
        }
        return Answer(200, call.payload, headers)

    def _settle(self, result: Result) -> None:
        if not self._result.done():
            self._result.set_result(result)

    # ------------------------------------------------------------ the processes

    def _freeze(self) -> None:
        if self._freezes:
            _signal(self.members, signal.SIGSTOP)

    def _thaw(self) -> None:
        if self._freezes:
            _signal(self.members, signal.SIGCONT)

    def _kill(self) -> None:
        _signal(_session(self.pid), signal.SIGKILL)


def _session(leader: int) -> list[int]:
    members = []
    for pid in psutil.pids():
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == leader:
                members.append(pid)
    return members


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _variables(function: Function, *, endpoint: str, runtime: str, folder: str) -> dict[str, str]:
    """Return the environment of a function's process."""
    return {
        **{name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ},
        **import_paths(),
        "HOME": folder,
        "TMPDIR": folder,
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "AWS_LAMBDA_RUNTIME_API": runtime,
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"local/[$LATEST]{uuid.uuid4().hex}",
        "LAMBDA_TASK_ROOT": str(Path(function.folder).resolve()),
        **access(endpoint),
        **function.environment,
    }


def access(endpoint: str) -> dict[str, str]:
    """Return the variables by which boto3 finds a service, as somebody who may do everything in it."""
    return {
        "AWS_ENDPOINT_URL_LAMBDA": endpoint,
        "AWS_ENDPOINT_URL_SCHEDULER": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
