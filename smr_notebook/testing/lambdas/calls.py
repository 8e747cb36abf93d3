"""Who runs when: concurrency, sandboxes kept warm, events with their retries and destinations.

Rules of this module, which are those of Lambda's documentation:

* A run needs a place in the account's concurrency and, where the function has its own, in that. Without one it is throttled.
* An event that is throttled waits 1 s, 2 s, 4 s … 5 min, as long as it is not too old. One whose run failed is tried again under its
  request id after 1 min and 2 min. What is given up goes to the function's destination.
* A destination is a queue that a function reads: its events look like those of SQS, and a message comes back twice if that function fails.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, Final

from smr_notebook.testing.lambdas.lineage import extended
from smr_notebook.testing.lambdas.sandboxes import Call, Result, Sandbox
from smr_notebook.testing.lambdas.settings import REGION, Function, Settings

_RETRY: Final = 60.0
"""Seconds before the first retry of an event whose run failed; the second one takes twice that."""

_BACKOFF: Final = (1.0, 300.0)
"""Seconds: first and longest wait of an event that was throttled."""

_VISIBILITY: Final = 30.0
"""Seconds after which a message comes back from the queue when its reader failed."""

_RECEIVES: Final = 3
_LOOK: Final = 0.05
"""Seconds between two looks at the memory of the sandboxes."""


class ThrottledCall(Exception):  # noqa: N818 - an answer of the service, not an error of ours
    """There is no concurrency left for a run."""


class Calls:
    """The runs of all functions of a service.

    Args:
        settings: What is deployed.
        endpoint: Address of the service.
        logs: Folder for what sandboxes print.

    Attributes:
        functions: What is deployed, by name.
        sandboxes: The processes of each function, in order of their start.
        counts: What happened so far.
    """

    def __init__(self, settings: Settings, *, endpoint: str, logs: Path) -> None:
        self._settings = settings
        self.functions = {function.name: function for function in settings.functions}
        self._endpoint = endpoint
        self._logs = logs
        self._tasks: set[asyncio.Task[None]] = set()
        self._running = dict.fromkeys(self.functions, 0)
        self._started = dict.fromkeys(self.functions, 0)
        self._events = 0
        self.sandboxes: dict[str, list[Sandbox]] = {name: [] for name in self.functions}
        self.counts = {"cold": 0, "warm": 0, "throttled": 0, "retried": 0, "dropped": 0, "lost": 0, "doubled": 0, "recursive": 0}
        if settings.kills_hogs:
            self.go(self._cull())

    def go(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Have something done beside; it is given up when the service ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Give up everything, and end all sandboxes."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(sandbox.end() for sandboxes in self.sandboxes.values() for sandbox in sandboxes))

    async def pause(self, seconds: float) -> None:
        """Wait, as long as AWS's seconds are here."""
        await asyncio.sleep(max(seconds, 0.0) * self._settings.time_scale)

    async def run(self, function: Function, call: Call) -> Result:
        """Run a call in a warm sandbox, or in a new one.

        Raises:
            ThrottledCall: There is no concurrency left for it.
        """
        faults, reserved = self._settings.faults, function.reserved
        limit = self._settings.account_limit if faults.concurrency is None else faults.concurrency
        if sum(self._running.values()) >= limit or (reserved is not None and self._running[function.name] >= reserved):
            self.counts["throttled"] += 1
            raise ThrottledCall
        self._running[function.name] += 1
        sandbox = self._sandbox(function)
        try:
            return await sandbox.run(call)
        finally:
            self._running[function.name] -= 1
            if not sandbox.usable:
                self.sandboxes[function.name].remove(sandbox)
                await sandbox.end()

    def _sandbox(self, function: Function) -> Sandbox:
        sandboxes = self.sandboxes[function.name]
        idle = next((sandbox for sandbox in reversed(sandboxes) if sandbox.usable and not sandbox.busy), None)
        self.counts["warm" if idle else "cold"] += 1
        if idle is not None:
            return idle
        self._started[function.name] += 1
        log = self._logs / f"{function.name}-{self._started[function.name]}.log"
        sandboxes.append(Sandbox(function, endpoint=self._endpoint, log=log, freezes=self._settings.freezes))
        return sandboxes[-1]

    # ------------------------------------------------------------ events

    def enqueue(self, function: Function, call: Call) -> None:
        """Take an event, and run it as often as the faults say."""
        self._events += 1
        faults = self._settings.faults
        if faults.lost_every and self._events % faults.lost_every == 0:
            self.counts["lost"] += 1
            return
        self.go(self._event(function, call))
        if faults.doubled_every and self._events % faults.doubled_every == 0:
            self.counts["doubled"] += 1
            self.go(self._event(function, call))

    async def _event(self, function: Function, call: Call) -> None:
        born, runs, result = time.monotonic(), 0, None
        condition, throttles, backoff = "RetriesExhausted", _waits(), 0.0
        while True:
            try:
                result = await self.run(function, call)
            except ThrottledCall:
                backoff = next(throttles)
            else:
                runs += 1
                if not result.failed:
                    return
                if runs > function.retries:
                    break
                backoff = _RETRY * runs
                self.counts["retried"] += 1
            if time.monotonic() - born + backoff * self._settings.time_scale > function.event_age * self._settings.time_scale:
                condition = "EventAgeExceeded"
                break
            await self.pause(backoff)
        self.counts["dropped"] += 1
        if function.on_failure:
            await self._deliver(self.functions[function.on_failure], _record(function, call, condition, runs=runs, result=result))

    async def _deliver(self, function: Function, record: dict[str, Any]) -> None:
        message, throttles = str(uuid.uuid4()), _waits()
        for receives in range(1, _RECEIVES + 1):
            event = json.dumps({"Records": [_message(message, json.dumps(record), receives)]}).encode()
            while True:
                try:
                    result = await self.run(function, Call(str(uuid.uuid4()), event, extended("", function.arn)[1]))
                    break
                except ThrottledCall:
                    await self.pause(next(throttles))
            answer = json.loads(result.payload or b"null")
            if not result.failed and not (isinstance(answer, dict) and answer.get("batchItemFailures")):
                return
            await self.pause(_VISIBILITY)

    async def _cull(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            for sandboxes in self.sandboxes.values():
                for sandbox in list(sandboxes):
                    sandbox.cull()


def _waits() -> Iterator[float]:
    wait, longest = _BACKOFF
    while True:
        yield wait
        wait = min(2 * wait, longest)


def _record(function: Function, call: Call, condition: str, *, runs: int, result: Result | None) -> dict[str, Any]:
    """Return what Lambda says of an event that it gave up."""
    record: dict[str, Any] = {
        "version": "1.0",
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()),
        "requestContext": {
            "requestId": call.id,
            "functionArn": f"{function.arn}:$LATEST",
            "condition": condition,
            "approximateInvokeCount": runs,
        },
        "requestPayload": json.loads(call.payload),
    }
    if result is not None:
        record["responseContext"] = {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
        record["responsePayload"] = json.loads(result.payload)
    return record


def _message(name: str, body: str, receives: int) -> dict[str, Any]:
    """Return a record of the event by which Lambda hands a message of a queue to a function."""
    return {
        "messageId": name,
        "receiptHandle": f"{name}-{receives}",
        "body": body,
        "attributes": {"ApproximateReceiveCount": str(receives)},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{REGION}:000000000000:failed",
        "awsRegion": REGION,
    }
