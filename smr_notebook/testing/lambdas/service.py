"""The service as a whole, in a thread of this process, and what a test can ask of it."""

from __future__ import annotations

import asyncio
import http.client
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from smr_notebook.testing.lambdas.answers import LambdaApi
from smr_notebook.testing.lambdas.calls import Calls
from smr_notebook.testing.lambdas.sandboxes import access
from smr_notebook.testing.lambdas.schedules import SchedulerApi
from smr_notebook.testing.lambdas.settings import Faults, Function, Settings
from smr_notebook.testing.lambdas.wire import Answer, Request, Server

_STATUS = "/_status"


@dataclass(frozen=True, slots=True)
class SandboxStatus:
    """One sandbox as the service sees it.

    Attributes:
        pid: The process that speaks with Lambda.
        members: All processes in it, that one among them.
        busy: Whether it runs a call.
    """

    pid: int
    members: tuple[int, ...]
    busy: bool


@dataclass(frozen=True, slots=True)
class Status:
    """The service as it sees itself.

    Attributes:
        sandboxes: Those of each function, in order of their start.
        counts: What happened so far: `cold` and `warm` runs, `throttled` ones, events that were `retried`, `dropped`, `lost` or
            `doubled`, and calls refused as `recursive`.
        logs: Folder of what the sandboxes print.
    """

    sandboxes: dict[str, tuple[SandboxStatus, ...]]
    counts: dict[str, int]
    logs: str


@dataclass(frozen=True, slots=True)
class Service:
    """A running service, wherever it runs.

    Attributes:
        endpoint: What boto3 wants as endpoint of Lambda and of EventBridge Scheduler.
    """

    endpoint: str

    @property
    def access(self) -> dict[str, str]:
        """Variables of the environment by which boto3 finds it."""
        return access(self.endpoint)

    def status(self) -> Status:
        """Return what it says of itself."""
        connection = http.client.HTTPConnection(self.endpoint.removeprefix("http://"), timeout=60)
        try:
            connection.request("GET", _STATUS)
            return msgspec.json.decode(connection.getresponse().read(), type=Status)
        finally:
            connection.close()

    def printed(self) -> str:
        """Return what the sandboxes printed, all together."""
        return "".join(path.read_text(errors="replace") for path in sorted(Path(self.status().logs).glob("*.log")))


@contextmanager
def lambda_service(
    functions: Sequence[Function],
    *,
    account_limit: int = 1000,
    time_scale: float = 1.0,
    faults: Faults | None = None,
    freezes: bool = True,
    kills_hogs: bool = False,
) -> Iterator[Service]:
    """Run a service in a thread of this process, as a context.

    Args:
        functions: What is deployed.
        account_limit: Invocations of all functions that may run at once.
        time_scale: What AWS's waits are multiplied by.
        faults: The troubles.
        freezes: Whether a sandbox that waits for its next event is frozen.
        kills_hogs: Whether a process of a sandbox is killed when it takes more than the function's memory.
    """
    with tempfile.TemporaryDirectory(prefix="lambda-logs-") as logs:
        settings = Settings(
            tuple(functions), account_limit, time_scale, faults or Faults(), logs=logs, freezes=freezes, kills_hogs=kills_hogs
        )
        started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        thread = threading.Thread(target=lambda: asyncio.run(_serve_until_told(settings, started)), name="lambdas", daemon=True)
        thread.start()
        endpoint, loop, stop = started.result()
        try:
            yield Service(endpoint)
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()


async def _serve_until_told(settings: Settings, started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    stop = asyncio.Event()
    try:
        async with serving(settings) as endpoint:
            started.set_result((endpoint, asyncio.get_running_loop(), stop))
            await stop.wait()
    except BaseException as error:
        if started.done():
            raise
        started.set_exception(error)


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[str]:
    """Run a service in this event loop, as a context that gives its endpoint. `settings.logs` must name a folder."""
    server = Server()
    endpoint = f"http://{server.address}"
    calls = Calls(settings, endpoint=endpoint, logs=Path(settings.logs))
    functions, scheduler = LambdaApi(settings, calls), SchedulerApi(calls)

    async def respond(request: Request) -> Answer:
        if request.path == _STATUS:
            return Answer(200, msgspec.json.encode(_status(calls, settings.logs)))
        return await (scheduler if request.path.startswith("/schedules") else functions).respond(request)

    await server.answer(respond)
    try:
        yield endpoint
    finally:
        await calls.close()
        await server.close()


def _status(calls: Calls, logs: str) -> Status:
    told = {
        name: tuple(SandboxStatus(box.pid, tuple(box.members), box.busy) for box in boxes if box.alive)
        for name, boxes in calls.sandboxes.items()
    }
    return Status(told, calls.counts, logs)
