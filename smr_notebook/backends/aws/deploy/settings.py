"""What must be set, and is not seen when it is not: read back from AWS, because a template is a wish.

Deploying again does not mend what somebody changed by hand, because the template is the same. So each setting can be written, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.deploy.account import asking
from smr_notebook.backends.aws.deploy.findings import Finding, fine, wrong
from smr_notebook.backends.aws.deploy.options import DeployOptions
from smr_notebook.backends.aws.deploy.policies import ROLES, role_policy
from smr_notebook.backends.aws.deploy.template import PUBLIC_ACCESS, QUEUE_SECONDS, UPLOAD_DAYS
from smr_notebook.backends.aws.faults import BOTO_ERRORS, code_of
from smr_notebook.backends.aws.names import ROUTES
from smr_notebook.backends.aws.table import TABLE_EXPIRY

_LATEST: Final = "$LATEST"

_SHOWN: Final = 160
"""Characters of a value that a message shows."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of one or more resources.

    Attributes:
        name: What is set.
        wanted: What it must be, for each resource.
        read: Returns what it is for a resource.
        write: Sets it for a resource.
        otherwise: What becomes of jobs when it is not set.
    """

    name: str
    wanted: Mapping[str, Any]
    read: Callable[[str], Any]
    write: Callable[[str], object]
    otherwise: str

    def finding(self, mend: str) -> Finding:
        """Return whether it is set, and that `mend` helps if not."""
        for resource, wanted in self.wanted.items():
            with asking(f"reading the {self.name} of {resource}"):
                found = self.read(resource)
            if found != wanted:
                what = f"{resource} has {_shown(found)} instead of {_shown(wanted)}: {self.otherwise}."
                return wrong(self.name, what, mend)
        return fine(self.name, f"as it should be for {', '.join(self.wanted)}.")

    def put_right(self) -> None:
        """Set it wherever it is not."""
        for resource, wanted in self.wanted.items():
            with asking(f"setting the {self.name} of {resource}"):
                if self.read(resource) != wanted:
                    self.write(resource)


def settings(clients: Clients, options: DeployOptions) -> list[Setting]:
    """Return what must be set in a deployment."""
    always = (_public_access, _expiry_of_objects, _expiry_of_rows, _policies)
    with_functions = (_recursion, _calls, _delivery) if options.image else ()
    return [make(clients, options) for make in (*always, *with_functions)]


def _public_access(clients: Clients, options: DeployOptions) -> Setting:
    s3 = clients["s3"]

    def read(bucket: str) -> object:
        answer = _unless_absent(lambda: s3.get_public_access_block(Bucket=bucket), "NoSuchPublicAccessBlockConfiguration")
        return answer.get("PublicAccessBlockConfiguration")

    def write(bucket: str) -> None:
        s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=PUBLIC_ACCESS)

    return Setting("public access", {options.names.bucket: PUBLIC_ACCESS}, read, write, "data could be read by anybody")


def _expiry_of_objects(clients: Clients, options: DeployOptions) -> Setting:
    s3 = clients["s3"]
    rules = [
        {"ID": "jobs", "Status": "Enabled", "Filter": {"Prefix": "jobs/"}, "Expiration": {"Days": options.keep_days}},
        {
            "ID": "uploads",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UPLOAD_DAYS},
        },
    ]

    def read(bucket: str) -> object:
        answer = _unless_absent(lambda: s3.get_bucket_lifecycle_configuration(Bucket=bucket), "NoSuchLifecycleConfiguration")
        return sorted(map(_rule, answer.get("Rules", ())))

    def write(bucket: str) -> None:
        s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})

    wanted = {options.names.bucket: sorted(map(_rule, rules))}
    return Setting("expiry of objects", wanted, read, write, "old jobs are paid for for ever")


def _rule(rule: Mapping[str, Any]) -> str:
    """Return a lifecycle rule in one form: S3 gives a prefix back in one of two."""
    prefix = rule.get("Prefix") or rule.get("Filter", {}).get("Prefix") or ""
    days = rule.get("Expiration", {}).get("Days")
    uploads = rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation")
    action = f"objects go after {days} days" if days else f"uploads go after {uploads} days"
    return f"{prefix or 'everywhere'}: {action}" + ("" if rule["Status"] == "Enabled" else ", off")


def _expiry_of_rows(clients: Clients, options: DeployOptions) -> Setting:
    dynamodb = clients["dynamodb"]

    def read(table: str) -> object:
        answer = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
        return {"AttributeName": answer.get("AttributeName"), "Enabled": answer["TimeToLiveStatus"] in {"ENABLED", "ENABLING"}}

    def write(table: str) -> None:
        dynamodb.update_time_to_live(TableName=table, TimeToLiveSpecification=TABLE_EXPIRY)

    return Setting("expiry of rows", {options.names.table: TABLE_EXPIRY}, read, write, "old jobs are listed for ever")


def _policies(clients: Clients, options: DeployOptions) -> Setting:
    iam, names = clients["iam"], options.names
    roles = {names.role(role): role for role in ROLES}
    wanted = {name: role_policy(role, names, inputs=options.inputs, outputs=options.outputs) for name, role in roles.items()}

    def read(name: str) -> object:
        answer = _unless_absent(lambda: iam.get_role_policy(RoleName=name, PolicyName=roles[name]), "NoSuchEntity")
        return answer.get("PolicyDocument")

    def write(name: str) -> None:
        iam.put_role_policy(RoleName=name, PolicyName=roles[name], PolicyDocument=json.dumps(wanted[name]))

    return Setting("policies", wanted, read, write, "a role may do less, or more, than its work asks for")


def _recursion(clients: Clients, options: DeployOptions) -> Setting:
    functions = clients["lambda"]

    def read(function: str) -> object:
        return functions.get_function_recursion_config(FunctionName=function)["RecursiveLoop"]

    def write(function: str) -> None:
        functions.put_function_recursion_config(FunctionName=function, RecursiveLoop="Allow")

    wanted = dict.fromkeys(_all_functions(options), "Allow")
    return Setting("recursion", wanted, read, write, "Lambda ends a long job after 16 calls in a row")


def _calls(clients: Clients, options: DeployOptions) -> Setting:
    functions, queue = clients["lambda"], options.names.arn("sqs", options.names.queue)
    wanted = {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": QUEUE_SECONDS, "OnFailure": queue}

    def read(function: str) -> object:
        answer = _unless_absent(
            lambda: functions.get_function_event_invoke_config(FunctionName=function, Qualifier=_LATEST), "ResourceNotFoundException"
        )
        destination = answer.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
        return {**{name: answer.get(name) for name in wanted}, "OnFailure": destination}

    def write(function: str) -> None:
        functions.put_function_event_invoke_config(
            FunctionName=function,
            Qualifier=_LATEST,
            MaximumRetryAttempts=0,
            MaximumEventAgeInSeconds=QUEUE_SECONDS,
            DestinationConfig={"OnFailure": {"Destination": queue}},
        )

    return Setting("failed calls", dict.fromkeys(_all_functions(options), wanted), read, write, "nobody learns which attempt died")


def _delivery(clients: Clients, options: DeployOptions) -> Setting:
    functions, names = clients["lambda"], options.names
    mapped = {"FunctionName": names.function("coordinator"), "EventSourceArn": names.arn("sqs", names.queue)}

    def found() -> Sequence[Mapping[str, Any]]:
        mappings: Sequence[Mapping[str, Any]] = functions.list_event_source_mappings(**mapped)["EventSourceMappings"]
        return mappings

    def read(_: str) -> object:
        return any(mapping["State"] in {"Creating", "Enabling", "Enabled"} for mapping in found())

    def write(_: str) -> None:
        for mapping in found():
            functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)
            return
        functions.create_event_source_mapping(**mapped)

    return Setting("delivery of failures", {names.queue: True}, read, write, "nobody learns which attempt died")


def _all_functions(options: DeployOptions) -> list[str]:
    return [options.names.function(route) for route in ROUTES]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _unless_absent(call: Callable[[], Mapping[str, Any]], absent: str) -> Mapping[str, Any]:
    """Return what a call answers; nothing where AWS says, with the code `absent`, that it was never set."""
    try:
        return call()
    except BOTO_ERRORS as error:
        if code_of(error) == absent:
            return {}
        raise
