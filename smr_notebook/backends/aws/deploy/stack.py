"""The stack: made, changed, removed, and waited for.

* All of it may be said again: a stack that is as it should be stays so, one that never came up is removed first, and whatever
  somebody else is doing with it is waited for.
* Whoever calls is told each resource as it is done; when one fails, the error says which was the first, and AWS's reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.deploy.account import asking, deploying_told
from smr_notebook.backends.aws.deploy.options import DeployOptions, from_metadata
from smr_notebook.backends.aws.deploy.patience import Patience
from smr_notebook.backends.aws.deploy.template import IMAGE, METADATA, template
from smr_notebook.backends.aws.faults import BOTO_ERRORS, code_of
from smr_notebook.backends.aws.names import Names
from smr_notebook.errors import DeploymentError

Tell = Callable[[str], None]
"""Takes one line about what is going on."""

_NEVER_CAME_UP: Final = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED")
_UNDER_REVIEW: Final = "REVIEW_IN_PROGRESS"
"""A stack without resources, for which somebody prepares a change set: not our way."""

_UNCHANGED: Final = "No updates are to be performed"
_FOLLOWERS: Final = ("Resource creation cancelled", "Resource update cancelled")
"""What CloudFormation says of a resource that it gave up because of another one."""


class Stack:
    """The stack of a deployment.

    Args:
        clients: Where it is.
        names: What it is called.
        patience: How its operations are waited for.
        tell: Takes a line for each resource that is done.
    """

    def __init__(self, clients: Clients, names: Names, patience: Patience, tell: Tell) -> None:
        self.clients = clients
        self.names = names
        self.patience = patience
        self._name = names.stack
        self._where = f"The stack {names.stack} in {names.region}"
        self._tell = tell

    def set_up(self, options: DeployOptions) -> bool:
        """Make the stack what the options say, and return whether anything had to be done.

        Raises:
            DeploymentError: A resource cannot be made, or it takes too long; or the stack is somebody else's.
        """
        status = self.settled()
        if status in _NEVER_CAME_UP:
            self._tell(f"the stack {self._name} never came up: removing what is left of it")
            self.remove()
            status = ""
        self._refuse_broken(status)
        verb = "update" if status else "create"
        request = {
            "StackName": self._name,
            "TemplateBody": json.dumps(template(options), separators=(",", ":")),
            "Parameters": [{"ParameterKey": IMAGE, "ParameterValue": options.image}],
            "Capabilities": ["CAPABILITY_NAMED_IAM"],
        }
        seen = self._events_so_far()
        try:
            getattr(self.clients["cloudformation"], f"{verb}_stack")(**request)
        except BOTO_ERRORS as error:
            if _UNCHANGED in str(error):  # CloudFormation has no code for it
                return False
            raise deploying_told(error, f"{verb[:-1]}ing the stack {self._name}") from error
        status = self._settled(seen)
        if status not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
            raise self._failure(seen, f"could not be {verb}d")
        return True

    def remove(self) -> None:
        """Delete the stack, and wait until it is gone. Harmless where there is none.

        Raises:
            DeploymentError: A resource cannot be deleted, or it takes too long; or the stack is somebody else's.
        """
        if not self.settled():
            return
        seen = self._events_so_far()
        with asking(f"deleting the stack {self._name}"):
            self.clients["cloudformation"].delete_stack(StackName=self._name)
        if self._settled(seen):
            raise self._failure(seen, "could not be deleted")

    def settled(self) -> str:
        """Wait until nothing is going on with the stack, and return its status; empty if there is none.

        Raises:
            DeploymentError: It takes too long; or the stack is somebody else's.
        """
        status = self._settled()
        if status and (status == _UNDER_REVIEW or _carried(self.clients, self._name) is None):
            raise DeploymentError(f"{self._where} was not made by this package, and is left alone. Name another one with --stack.")
        return status

    def _refuse_broken(self, status: str) -> None:
        if status == "UPDATE_ROLLBACK_FAILED":
            mend = f"aws cloudformation continue-update-rollback --stack-name {self._name}"
            raise DeploymentError(f"{self._where} is stuck in the middle of an update. Finish it with `{mend}`, then deploy again.")
        if status == "DELETE_FAILED":
            raise DeploymentError(
                f"{self._where} was deleted in part. Finish that with `smr down --stack {self._name}`, then deploy again."
            )

    def _settled(self, seen: frozenset[str] | None = None) -> str:
        """Wait until nothing is going on, and return the status; empty if there is no stack.

        Args:
            seen: Events before what was just begun: new ones are told, and until there is one it has not begun.
        """
        status, before = "", seen

        def quiet() -> bool:
            nonlocal status, seen
            status = read_status(self.clients, self._name)
            if seen is not None:
                seen = self._tell_news(seen)
            waiting = status.endswith("_IN_PROGRESS") and status != _UNDER_REVIEW
            return not status or not (waiting or (before is not None and seen == before))

        if not self.patience.until(quiet):
            raise DeploymentError(f"{self._where} is still {status}. It goes on; run the command again.")
        return status

    def _tell_news(self, seen: frozenset[str]) -> frozenset[str]:
        news = [event for event in self._events() if event["EventId"] not in seen]
        for event in reversed(news):
            if event["ResourceStatus"].endswith("_COMPLETE"):
                name = event.get("PhysicalResourceId") or event["LogicalResourceId"]
                self._tell(f"{event['ResourceStatus']} {event['ResourceType']} {name}")
        return seen | {event["EventId"] for event in news}

    def _events(self) -> list[Mapping[str, Any]]:
        """Return what happened to the stack, the latest first."""
        try:
            pages = self.clients["cloudformation"].get_paginator("describe_stack_events").paginate(StackName=self._name)
            return [event for page in pages for event in page["StackEvents"]]
        except BOTO_ERRORS as error:
            if code_of(error) == "ValidationError":
                return []
            raise deploying_told(error, f"reading the events of the stack {self._name}") from error

    def _events_so_far(self) -> frozenset[str]:
        return frozenset(event["EventId"] for event in self._events())

    def _failure(self, seen: frozenset[str], what: str) -> DeploymentError:
        news = [event for event in reversed(self._events()) if event["EventId"] not in seen]
        why = self._refused_before(news[0]["Timestamp"]) if news else ""
        return DeploymentError(f"{self._where} {what}: {why or first_failure(news)}")

    def _refused_before(self, since: datetime) -> str:
        """Return what CloudFormation had against the template before it began with any resource: that is told elsewhere."""
        try:
            events = self.clients["cloudformation"].describe_events(StackName=self._name, Filters={"FailedEvents": True})["OperationEvents"]
        except BOTO_ERRORS:  # the error that is being told is worth more than this one
            return ""
        refusals = [event for event in events if event.get("EventType") == "VALIDATION_ERROR" and event["Timestamp"] >= since]
        return str(refusals[0].get("ValidationStatusReason", "")) if refusals else ""


def first_failure(events: Sequence[Mapping[str, Any]]) -> str:
    """Return which resource failed first, and CloudFormation's reason, from the events of a stack in their order."""
    for event in events:
        reason = event.get("ResourceStatusReason") or "CloudFormation says no reason"
        if event["ResourceStatus"].endswith("_FAILED") and not reason.startswith(_FOLLOWERS):
            name = event.get("PhysicalResourceId") or event["LogicalResourceId"]
            return f"{event['ResourceType']} {name}: {reason.rstrip('. ')}."
    return "its events in the console say why."


def read_status(clients: Clients, stack: str) -> str:
    """Return CloudFormation's status of a stack; empty if there is none."""
    return str(_describe(clients, stack).get("StackStatus", ""))


def read_options(clients: Clients, names: Names) -> DeployOptions | None:
    """Return what a stack was deployed with; `None` if there is no stack, or it is none of ours.

    The image of a stack that never came up does not count: it may be the reason.

    Raises:
        ConfigError: It was deployed by another version of this package.
    """
    described = _describe(clients, names.stack)
    reviewed = described.get("StackStatus", _UNDER_REVIEW) == _UNDER_REVIEW
    carried = None if reviewed else _carried(clients, names.stack)
    if carried is None:
        return None
    parameters = {each["ParameterKey"]: each["ParameterValue"] for each in described.get("Parameters", ())}
    image = "" if described["StackStatus"] in _NEVER_CAME_UP else parameters.get(IMAGE, "")
    return replace(from_metadata(carried), image=image)


def _carried(clients: Clients, stack: str) -> Mapping[str, Any] | None:
    """Return the options that the template of a stack carries; `None` if it is none of ours."""
    with asking(f"reading the template of the stack {stack}"):
        body = clients["cloudformation"].get_template(StackName=stack, TemplateStage="Original")["TemplateBody"]
    try:
        sent = json.loads(body) if isinstance(body, str) else body
    except ValueError:  # YAML, so not ours
        return None
    found: Mapping[str, Any] | None = sent.get("Metadata", {}).get(METADATA)
    return found


def _describe(clients: Clients, stack: str) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = clients["cloudformation"].describe_stacks(StackName=stack)["Stacks"][0]
    except BOTO_ERRORS as error:
        if code_of(error) == "ValidationError":  # the name is a name, so it says that there is no such stack
            return {}
        raise deploying_told(error, f"reading the stack {stack}") from error
    return found
