"""Alarms as one-shot schedules of EventBridge Scheduler, which call one function and then are gone.

* **Whole minutes.** The service calls some time within the minute that a schedule names. So an alarm is set for the first minute that
  does not begin before its time, and goes off up to two minutes after it, never earlier.
* **Never in the past.** A schedule for a time that has passed is refused, or never calls. So a time that is nearer than a request may
  take, or that the clocks of two machines may differ by, becomes the next minute after that.
* **The payload is JSON,** because Lambda takes nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.faults import BOTO_ERRORS, code_of, told
from smr_notebook.backends.aws.names import Names
from smr_notebook.errors import ServiceError
from smr_notebook.ports import Clock

_MINUTE = 60
_SOON_SECONDS = 15
_RETRIES: Final = {"MaximumRetryAttempts": 5, "MaximumEventAgeInSeconds": 3600}
"""How often, and for how long, a call that Lambda does not take is tried again."""

_TRIES = 5


class SchedulerAlarms:
    """`Alarms` that call the function `coordinator` of a deployment.

    Args:
        clients: Where the deployment is, and who we are.
        names: What its parts are called.
        clock: Tells which times have passed.
    """

    def __init__(self, clients: Clients, names: Names, *, clock: Clock) -> None:
        self._clients = clients
        self._names = names
        self._clock = clock

    def set(self, name: str, at: float, payload: bytes) -> None:
        """See `ports.Alarms.set`."""
        schedule = {
            **self._address(name),
            "ScheduleExpression": _expression(max(at, self._clock.now() + _SOON_SECONDS)),
            "ScheduleExpressionTimezone": "UTC",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ActionAfterCompletion": "DELETE",
            "Target": {
                "Arn": self._names.arn("lambda", f"function:{self._names.function('coordinator')}"),
                "RoleArn": self._names.role_arn("scheduler"),
                "Input": payload.decode(),
                "RetryPolicy": _RETRIES,
            },
        }
        doing = f"setting the alarm {name!r}"
        for _ in range(_TRIES):  # between two calls the alarm may go off, or be set or cleared by somebody else
            if self._done("create_schedule", schedule, doing=doing, unless=("ConflictException",)):
                return
            if self._done("update_schedule", schedule, doing=doing, unless=("ResourceNotFoundException", "ConflictException")):
                return
        raise ServiceError(f"Setting the alarm {name!r} failed: others set and clear it all the time. Try again in a minute.")

    def clear(self, name: str) -> None:
        """See `ports.Alarms.clear`."""
        self._done("delete_schedule", self._address(name), doing=f"clearing the alarm {name!r}", unless=("ResourceNotFoundException",))

    def _address(self, name: str) -> dict[str, Any]:
        return {"GroupName": self._names.schedules, "Name": name}

    def _done(self, operation: str, request: Mapping[str, Any], *, doing: str, unless: tuple[str, ...]) -> bool:
        """Call the service. Return whether it did what was asked; `False` for the codes that are an answer."""
        try:
            getattr(self._clients["scheduler"], operation)(**request)
        except BOTO_ERRORS as error:
            if code_of(error) in unless:
                return False
            raise told(error, doing, unreachable=ServiceError) from None
        return True


def _expression(at: float) -> str:
    minute = math.ceil(at / _MINUTE) * _MINUTE
    return f"at({datetime.fromtimestamp(minute, UTC):%Y-%m-%dT%H:%M:%S})"
