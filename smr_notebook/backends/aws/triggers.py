"""Triggers on AWS: schedules of EventBridge Scheduler, and notifications of buckets, both of which call the function `coordinator`.

* **One occurrence, one text.** Of a schedule it is the time that it was due, which the service puts into the payload and repeats when it
  tries again. Of an object it is what `events` makes of the notification.
* **The bucket may call this function, and only this bucket of this account.** Each trigger has a statement of its own in the policy of the
  function, made before the notification, because S3 asks for it; it goes with the trigger.
* Schedules are in the group of the alarms, under names that no alarm has.
"""

from __future__ import annotations

import json
from typing import Any, Final

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.faults import BOTO_ERRORS, code_of, told
from smr_notebook.backends.aws.names import TRIGGER, Names, notification_id
from smr_notebook.backends.aws.notifications import Notifications, filter_of
from smr_notebook.errors import ConfigError, ServiceError

DUE: Final = "<aws.scheduler.scheduled-time>"
"""What the service replaces by the time that a call was due."""

_RETRIES: Final = {"MaximumRetryAttempts": 185, "MaximumEventAgeInSeconds": 86_400}
"""How often, and for how long, a call that Lambda does not take is tried again: as often and as long as it goes."""

_CREATED: Final = "s3:ObjectCreated:*"


class AwsTriggers:
    """`Triggers` of a deployment.

    Args:
        clients: Where the deployment is, and who we are.
        names: What its parts are called.
    """

    def __init__(self, clients: Clients, names: Names) -> None:
        self._clients = clients
        self._names = names
        self._notifications = Notifications(clients)

    def at_times(self, name: str, times: str, timezone: str) -> None:
        """See `ports.Triggers.at_times`."""
        schedule = {
            **self._address(name),
            "ScheduleExpression": times,
            "ScheduleExpressionTimezone": timezone,
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ActionAfterCompletion": "NONE",
            "Target": {
                "Arn": self._function,
                "RoleArn": self._names.role_arn("scheduler"),
                "Input": json.dumps({"fire": name, "occurrence": DUE}),
                "RetryPolicy": _RETRIES,
            },
        }
        try:
            self._clients["scheduler"].create_schedule(**schedule)
        except BOTO_ERRORS as error:
            if code_of(error) == "ConflictException":  # ours, after a reply that was lost
                return
            failed = told(error, f"making the schedule {times!r}", unreachable=ServiceError)
            raise ConfigError(str(failed)) if code_of(error) == "ValidationException" else failed from None

    def on_objects(self, name: str, location: str) -> None:
        """See `ports.Triggers.on_objects`."""
        bucket, _, path = location.partition("/")
        if bucket == self._names.bucket:
            raise ConfigError(f"{bucket} is where jobs keep what they write: they would start themselves. Watch another bucket.")
        self._let_call(name, bucket)
        entry: dict[str, Any] = {
            "Id": notification_id(self._names.stack, name),
            "LambdaFunctionArn": self._function,
            "Events": [_CREATED],
        }
        if rules := filter_of(path):
            entry["Filter"] = {"Key": {"FilterRules": rules}}
        self._notifications.add(bucket, entry)

    def stands(self, name: str, location: str = "") -> bool:
        """See `ports.Triggers.stands`."""
        if location:
            return notification_id(self._names.stack, name) in self._notifications.ids(location.partition("/")[0])
        return self._done("scheduler", "get_schedule", self._address(name), doing=f"looking for the schedule of {name}")

    def remove(self, name: str, location: str = "") -> None:
        """See `ports.Triggers.remove`."""
        if not location:
            self._done("scheduler", "delete_schedule", self._address(name), doing=f"removing the schedule of {name}")
            return
        self._notifications.remove(location.partition("/")[0], notification_id(self._names.stack, name))
        request = {"FunctionName": self._names.function("coordinator"), "StatementId": _statement(name)}
        self._done("lambda", "remove_permission", request, doing=f"taking back what {location} may call")

    def _let_call(self, name: str, bucket: str) -> None:
        request = {
            "FunctionName": self._names.function("coordinator"),
            "StatementId": _statement(name),
            "Action": "lambda:InvokeFunction",
            "Principal": "s3.amazonaws.com",
            "SourceArn": f"arn:{self._names.partition}:s3:::{bucket}",
            "SourceAccount": self._names.account,
        }
        try:
            self._clients["lambda"].add_permission(**request)
        except BOTO_ERRORS as error:
            if code_of(error) != "ResourceConflictException":  # ours, after a reply that was lost
                raise told(error, f"letting {bucket} call {request['FunctionName']}", unreachable=ServiceError) from None

    @property
    def _function(self) -> str:
        return self._names.arn("lambda", f"function:{self._names.function('coordinator')}")

    def _address(self, name: str) -> dict[str, str]:
        return {"GroupName": self._names.schedules, "Name": f"{TRIGGER}{name}"}

    def _done(self, service: str, operation: str, request: dict[str, str], *, doing: str) -> bool:
        """Call a service, and return whether there was what the call is about."""
        try:
            getattr(self._clients[service], operation)(**request)
        except BOTO_ERRORS as error:
            if code_of(error) == "ResourceNotFoundException":
                return False
            raise told(error, doing, unreachable=ServiceError) from None
        return True


def _statement(name: str) -> str:
    return f"{TRIGGER}{name.replace('.', '-')}"
