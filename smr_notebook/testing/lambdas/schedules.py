"""EventBridge Scheduler, as far as we need it: schedules that call a function, without an answer.

Those `at(...)` a time (UTC) do so once. Those at a `rate(...)` do so again and again, each call with the time that it was due; how long a
minute takes is scaled as all waits are.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from smr_notebook.testing.lambdas.calls import Calls
from smr_notebook.testing.lambdas.lineage import extended
from smr_notebook.testing.lambdas.sandboxes import Call
from smr_notebook.testing.lambdas.settings import ACCOUNT, REGION
from smr_notebook.testing.lambdas.wire import Answer, Request, refused

_SCHEDULE: Final = re.compile(r"/schedules/([0-9a-zA-Z._-]{1,64})")
_RATE: Final = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
_SECONDS: Final = {"minute": 60.0, "hour": 3600.0, "day": 86_400.0}
_DUE: Final = "<aws.scheduler.scheduled-time>"
_AT: Final = re.compile(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)")


@dataclass(frozen=True, slots=True)
class _Schedule:
    fields: dict[str, Any]
    timer: asyncio.Task[None]


class SchedulerApi:
    """Answers what is asked of EventBridge Scheduler.

    Args:
        calls: Runs what is due.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._schedules: dict[tuple[str, str], _Schedule] = {}

    async def respond(self, request: Request) -> Answer:
        """Answer one request."""
        found = _SCHEDULE.fullmatch(request.path)
        if found is None:
            return refused(404, "UnknownOperationException", f"{request.method} {request.path} is not modelled.")
        fields = request.json() if request.body else {}
        key = (fields.get("GroupName") or request.query.get("groupName") or "default", found[1])
        standing = self._schedules.get(key)
        if request.method == "POST":
            return self._set(key, fields) if standing is None else refused(409, "ConflictException", f"Schedule {found[1]} already exists.")
        if standing is None:
            return refused(404, "ResourceNotFoundException", f"Schedule {found[1]} does not exist.")
        if request.method == "PUT":
            return self._set(key, fields)
        if request.method == "DELETE":
            self._drop(key)
            return Answer(200, {})
        return Answer(200, {**standing.fields, "Name": key[1], "GroupName": key[0], "Arn": _arn(key)})

    def _set(self, key: tuple[str, str], fields: dict[str, Any]) -> Answer:
        expression = str(fields.get("ScheduleExpression"))
        if (rate := _RATE.fullmatch(expression)) and key not in self._schedules:
            every = int(rate[1]) * _SECONDS[rate[2]]
            self._schedules[key] = _Schedule(fields, self._calls.go(self._ring_again(fields, every)))
            return Answer(200, {"ScheduleArn": _arn(key)})
        function = str(fields.get("Target", {}).get("Arn")).rpartition(":function:")[2]
        moment = _AT.fullmatch(expression)
        if moment is None or fields.get("ScheduleExpressionTimezone", "UTC") != "UTC" or function not in self._calls.functions:
            return refused(
                400, "ValidationException", f"Only at(...) in UTC and rate(...) for a function that is deployed are modelled: {expression}"
            )
        due = datetime.fromisoformat(moment[1]).replace(tzinfo=UTC).timestamp()
        if due < int(time.time()):
            return refused(400, "ValidationException", f"The expression {expression} is in the past.")
        self._drop(key)
        self._schedules[key] = _Schedule(fields, self._calls.go(self._ring(key, function, due=due, fields=fields)))
        return Answer(200, {"ScheduleArn": _arn(key)})

    def _drop(self, key: tuple[str, str]) -> None:
        standing = self._schedules.pop(key, None)
        if standing is not None:
            standing.timer.cancel()

    async def _ring(self, key: tuple[str, str], function: str, *, due: float, fields: dict[str, Any]) -> None:
        await self._calls.pause(due - time.time())
        if fields.get("ActionAfterCompletion") == "DELETE":
            del self._schedules[key]
        self._call(function, fields, due=due)

    async def _ring_again(self, fields: dict[str, Any], every: float) -> None:
        """Call each so many seconds, the first time after as many; each call says a time of its own, as if none had been scaled."""
        function, due = str(fields["Target"]["Arn"]).rpartition(":function:")[2], time.time()
        while True:
            await self._calls.pause(every)
            due += every
            self._call(function, fields, due=due)

    def _call(self, function: str, fields: dict[str, Any], *, due: float) -> None:
        if fields.get("State") != "DISABLED":
            target = self._calls.functions[function]
            told = f"{datetime.fromtimestamp(due, UTC):%Y-%m-%dT%H:%M:%SZ}"
            payload = str(fields["Target"].get("Input", "{}")).replace(_DUE, told).encode()
            self._calls.enqueue(target, Call(str(uuid.uuid4()), payload, extended("", target.arn)[1]))


def _arn(key: tuple[str, str]) -> str:
    return f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/{key[0]}/{key[1]}"
