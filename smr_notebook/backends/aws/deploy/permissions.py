"""Whether somebody may do what their work asks for: tried for real where trying changes nothing, else asked of IAM.

What a user needs is tried, call by call, because a policy is not all that decides: there are boundaries, rules of the organisation and
endpoints. Each try is harmless: it reads what is not there, or writes under a condition that never holds, or is a dry run.
The functions' roles cannot be tried from here, so IAM simulates them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.deploy.account import asking
from smr_notebook.backends.aws.deploy.findings import Finding, fine, wrong
from smr_notebook.backends.aws.deploy.options import DeployOptions
from smr_notebook.backends.aws.deploy.policies import ROLES, allow, document, role_policy, user_policy
from smr_notebook.backends.aws.faults import BOTO_ERRORS, told
from smr_notebook.backends.aws.names import Names
from smr_notebook.errors import AccessDeniedError

_EXAMPLE: Final = "doctor"
_ROW: Final = {"group": {"S": "/doctor"}, "key": {"S": "/doctor"}}
_NEVER: Final = "attribute_exists(version) AND attribute_not_exists(version)"

_TRIES: Final[Mapping[str, Callable[[Clients, str], object]]] = {
    "s3:GetObject": lambda clients, place: clients["s3"].get_object(**_object(place))["Body"].close(),
    "s3:PutObject": lambda clients, place: clients["s3"].put_object(**_object(place), Body=b"", IfMatch='"never"'),
    "s3:ListBucket": lambda clients, bucket: clients["s3"].list_objects_v2(Bucket=bucket, Prefix=_EXAMPLE, MaxKeys=1),
    "dynamodb:GetItem": lambda clients, table: clients["dynamodb"].get_item(TableName=table, Key=_ROW),
    "dynamodb:PutItem": lambda clients, table: clients["dynamodb"].put_item(TableName=table, Item=_ROW, ConditionExpression=_NEVER),
    "dynamodb:Query": lambda clients, table: clients["dynamodb"].query(
        TableName=table,
        KeyConditionExpression="#group = :group",
        ExpressionAttributeNames={"#group": "group"},
        ExpressionAttributeValues={":group": _ROW["group"]},
    ),
    "lambda:InvokeFunction": lambda clients, name: clients["lambda"].invoke(FunctionName=name, InvocationType="DryRun")["Payload"].close(),
    "lambda:GetFunctionConfiguration": lambda clients, name: clients["lambda"].get_function_configuration(FunctionName=name),
    "lambda:GetFunctionConcurrency": lambda clients, name: clients["lambda"].get_function_concurrency(FunctionName=name),
    "lambda:GetAccountSettings": lambda clients, _: clients["lambda"].get_account_settings(),
}
"""A harmless call for each action that a user needs, with an example of what the resource's ARN names."""


def try_user(clients: Clients, names: Names, who: str) -> Finding:
    """Return whether whoever asks may do what a user of the stack must; if not, with the statements that their policy lacks.

    Args:
        who: The ARN of whoever asks.
    """
    needed = [(action, resource) for each in user_policy(names)["Statement"] for action in each["Action"] for resource in each["Resource"]]
    denied = [(action, resource) for action, resource in needed if _is_denied(clients, action, resource)]
    if denied:
        return wrong("permissions", f"{who} may not {_listed(denied)}.", f"add to its policy: {_lacking(denied)}")
    return fine("permissions", f"{who} may do all that jobs ask for.")


def simulate_roles(clients: Clients, options: DeployOptions) -> Finding:
    """Return whether the roles of the functions may do what their policies say: a boundary, or a rule of the organisation, may forbid it.

    Raises:
        AccessDeniedError: We may not ask.
    """
    for role in ROLES:
        policy = role_policy(role, options.names, inputs=options.inputs, outputs=options.outputs)
        arn = options.names.role_arn(role)
        denied = [pair for statement in policy["Statement"] if not _passes_on(statement) for pair in _refused(clients, arn, statement)]
        if denied:
            mend = f"look at the permissions boundary of the role and at the rules of the organisation; it needs {_lacking(denied)}"
            return wrong("roles", f"{options.names.role(role)} may not {_listed(denied)}.", mend)
    return fine("roles", "The functions may do what their work asks for.")


def _passes_on(statement: Mapping[str, Any]) -> bool:
    """Whether a statement allows to pass a role on: that depends on to whom, and is not simulated."""
    return "iam:PassRole" in statement["Action"]


def _is_denied(clients: Clients, action: str, resource: str) -> bool:
    """Whether a try was refused. Any other failure says that we may, or is another finding's business."""
    name = _example(resource.rpartition(":")[2])
    try:
        _TRIES[action](clients, name.removeprefix("table/"))
    except BOTO_ERRORS as error:
        return isinstance(told(error, action), AccessDeniedError)
    return False


def _refused(clients: Clients, role: str, statement: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    for resource in statement["Resource"]:
        example = resource if resource == "*" else _example(resource)
        with asking(f"simulating what {role} may do"):
            answer = clients["iam"].simulate_principal_policy(PolicySourceArn=role, ActionNames=statement["Action"], ResourceArns=[example])
        found += [(each["EvalActionName"], resource) for each in answer["EvaluationResults"] if each["EvalDecision"] != "allowed"]
    return found


def _example(resource: str) -> str:
    return resource.replace("*", _EXAMPLE)


def _object(place: str) -> dict[str, str]:
    bucket, _, key = place.partition("/")
    return {"Bucket": bucket, "Key": key}


def _listed(pairs: list[tuple[str, str]]) -> str:
    return ", ".join(f"{action} on {resource}" if resource != "*" else action for action, resource in pairs)


def _lacking(pairs: list[tuple[str, str]]) -> str:
    """Return the policy that allows what is refused, and nothing else."""
    actions: dict[str, list[str]] = {}
    for action, resource in pairs:
        actions.setdefault(resource, []).append(action)
    return json.dumps(document([allow(allowed, [resource]) for resource, allowed in actions.items()]))
