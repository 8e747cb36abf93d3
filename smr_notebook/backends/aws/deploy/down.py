"""Everything goes: what the bucket holds, the stack, and then a look at what is left under its names.

* A bucket must be empty before it can go, and a function that still runs may write into it meanwhile: so it is emptied again, some times,
  while the stack cannot be deleted because of it. Images and schedules go with their repository and their group.
* What is said at the end was looked for by name, not concluded: the account pays for what is left, whoever left it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.deploy.account import asking, deploying_told
from smr_notebook.backends.aws.deploy.policies import ROLES, log_group
from smr_notebook.backends.aws.deploy.stack import Stack, Tell
from smr_notebook.backends.aws.deploy.template import dead_letters
from smr_notebook.backends.aws.faults import BOTO_ERRORS, code_of
from smr_notebook.backends.aws.names import ROUTES, Names
from smr_notebook.errors import AccessDeniedError, DeploymentError

_TRIES: Final = 3

_GONE_SECONDS: Final = 90.0
"""How long what was deleted may still be seen: a queue goes within a minute."""

_ABSENT: Final = {
    "404",
    "ValidationError",  # of a stack
    "NoSuchBucket",
    "NoSuchEntity",
    "ResourceNotFoundException",
    "RepositoryNotFoundException",
    "QueueDoesNotExist",
    "AWS.SimpleQueueService.NonExistentQueue",
}
"""What the services say of what is not there."""


@dataclass(frozen=True, slots=True)
class _Look:
    """A call that fails when something is not there, or answers with an empty `field`."""

    what: str
    service: str
    call: str
    arguments: Mapping[str, Any]
    field: str = ""


def take_down(stack: Stack, tell: Tell) -> list[str]:
    """Remove a deployment with all that it holds.

    Returns:
        What is left, a sentence each: nothing, if all went well.

    Raises:
        DeploymentError: The stack was not made by this package.
    """
    clients, names, why = stack.clients, stack.names, ""
    removed = False
    for _ in range(_TRIES):
        if not stack.settled():
            break
        tell(f"emptying {names.bucket}")
        empty_bucket(clients, names.bucket)
        try:
            stack.remove()
            removed = True
            remove_carried(clients, names)
        except DeploymentError as error:
            why = str(error)
            tell(why)
    if removed:
        replace(stack.patience, seconds=_GONE_SECONDS).until(lambda: not left(clients, names))
    reason = why if why and not removed else "It belongs to no stack: delete it by hand."
    return [f"The {what} is left. {reason}" for what in left(clients, names)]


def left(clients: Clients, names: Names) -> list[str]:
    """Return what exists under the names of a deployment, each as `table smr`."""
    return [look.what for look in _looks(names) if _is_there(clients, look)]


def empty_bucket(clients: Clients, bucket: str) -> None:
    """Delete every object in every version, and every upload that was never completed. Harmless where there is no bucket."""
    s3 = clients["s3"]
    with asking(f"emptying {bucket}"):
        try:
            for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
                found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
                keys = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]
                if keys:
                    _raise_first(bucket, s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True}))
            for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
                for upload in page.get("Uploads", ()):
                    s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        except BOTO_ERRORS as error:
            if code_of(error) not in _ABSENT:
                raise


def remove_carried(clients: Clients, names: Names) -> None:
    """Delete the queues and streams that jobs left which nobody brought to an end. Whoever may not look for them is not held up."""
    prefix = names.carried.rstrip("*")
    with suppress(AccessDeniedError), asking(f"removing the queues {names.carried}"):
        for page in clients["sqs"].get_paginator("list_queues").paginate(QueueNamePrefix=prefix):
            for url in page.get("QueueUrls", ()):
                clients["sqs"].delete_queue(QueueUrl=url)
    with suppress(AccessDeniedError), asking(f"removing the streams {names.carried}"):
        for page in clients["kinesis"].get_paginator("list_streams").paginate():
            for stream in page["StreamNames"]:
                if stream.startswith(prefix):
                    clients["kinesis"].delete_stream(StreamName=stream, EnforceConsumerDeletion=True)


def _raise_first(bucket: str, answer: Mapping[str, Any]) -> None:
    for error in answer.get("Errors", ()):
        raise DeploymentError(f"{error['Key']} in {bucket} could not be deleted: {error['Code']}: {error['Message']}.")


def _looks(names: Names) -> Iterator[_Look]:
    yield _Look(f"stack {names.stack}", "cloudformation", "describe_stacks", {"StackName": names.stack})
    yield _Look(f"bucket {names.bucket}", "s3", "head_bucket", {"Bucket": names.bucket})
    yield _Look(f"table {names.table}", "dynamodb", "describe_table", {"TableName": names.table})
    yield _Look(f"schedule group {names.schedules}", "scheduler", "get_schedule_group", {"Name": names.schedules})
    yield _Look(f"repository {names.repository}", "ecr", "describe_repositories", {"repositoryNames": [names.repository]})
    for queue in (names.queue, dead_letters(names)):
        yield _Look(f"queue {queue}", "sqs", "get_queue_url", {"QueueName": queue})
    for role in map(names.role, ROLES):
        yield _Look(f"role {role}", "iam", "get_role", {"RoleName": role})
    for route in ROUTES:
        function, log = names.function(route), log_group(names, route)
        yield _Look(f"function {function}", "lambda", "get_function_configuration", {"FunctionName": function})
        yield _Look(f"log {log}", "logs", "describe_log_groups", {"logGroupNamePrefix": log}, "logGroups")
    source = {"FunctionName": names.function("coordinator"), "EventSourceArn": names.arn("sqs", names.queue)}
    yield _Look(f"connection of {names.queue}", "lambda", "list_event_source_mappings", source, "EventSourceMappings")


def _is_there(clients: Clients, look: _Look) -> bool:
    try:
        answer = getattr(clients[look.service], look.call)(**look.arguments)
    except BOTO_ERRORS as error:
        if code_of(error) in _ABSENT:
            return False
        raise deploying_told(error, f"looking whether the {look.what} is left") from error
    return bool(answer[look.field]) if look.field else True
