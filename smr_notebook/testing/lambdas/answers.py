"""The API of Lambda, as far as our code calls it: Invoke, and what it reads and sets of functions and the account."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from smr_notebook.testing.lambdas.calls import Calls, ThrottledCall
from smr_notebook.testing.lambdas.lineage import HOPS, extended
from smr_notebook.testing.lambdas.sandboxes import Call
from smr_notebook.testing.lambdas.settings import EVENT_BYTES, REQUEST_BYTES, Function, Settings
from smr_notebook.testing.lambdas.wire import Answer, Request, refused

_ACCOUNT: Final = re.compile(r"/2016-08-19/account-settings/?")
_FUNCTION: Final = re.compile(
    r"/[\d-]+/functions/(?:arn:[^/]*:function:|\d+:(?:function:)?)?([\w-]+)(?::[^/]+)?(?:/([a-z-]+))?(?:/[\w-]*)?/?"
)


class LambdaApi:
    """Answers what is asked of Lambda.

    Args:
        settings: What is deployed.
        calls: Runs it.
    """

    def __init__(self, settings: Settings, calls: Calls) -> None:
        self._settings = settings
        self._calls = calls
        self._refused: dict[int, int] = {}
        self._allowed: dict[str, dict[str, Any]] = {}
        self._verbs: dict[tuple[str, str], Callable[[Function, Request], Answer]] = {
            ("GET", ""): self._get_function,
            ("GET", "configuration"): lambda function, _: Answer(200, _configuration(function)),
            ("GET", "concurrency"): lambda function, _: Answer(200, _concurrency(function)),
            ("GET", "event-invoke-config"): lambda function, _: Answer(200, _event_config(function)),
            ("GET", "recursion-config"): lambda function, _: Answer(200, _recursion(function)),
            ("PUT", "recursion-config"): self._put_recursion,
            ("POST", "policy"): self._allow,
            ("GET", "policy"): self._policy,
            ("DELETE", "policy"): self._forbid,
        }

    async def respond(self, request: Request) -> Answer:
        """Answer one request."""
        if _ACCOUNT.fullmatch(request.path):
            return self._account()
        found = _FUNCTION.fullmatch(request.path)
        if found is None:
            return refused(404, "UnknownOperationException", f"{request.method} {request.path} is not modelled.")
        function = self._calls.functions.get(found[1])
        if function is None:
            return refused(404, "ResourceNotFoundException", f"Function not found: {found[1]}")
        if (request.method, found[2]) == ("POST", "invocations"):
            return self._refusal(function) or await self._invoke(function, request)
        verb = self._verbs.get((request.method, found[2] or ""))
        return verb(function, request) if verb else refused(404, "UnknownOperationException", f"{request.path} is not modelled.")

    def _refusal(self, function: Function) -> Answer | None:
        for number, refusal in enumerate(self._settings.faults.refusals):
            if refusal.function == function.name and self._refused.get(number, 0) < refusal.times:
                self._refused[number] = self._refused.get(number, 0) + 1
                return refused(refusal.status, refusal.code, "as ordered")
        return None

    async def _invoke(self, function: Function, request: Request) -> Answer:
        kind = request.headers.get("x-amz-invocation-type", "RequestResponse")
        limit = EVENT_BYTES if kind == "Event" else REQUEST_BYTES
        if len(request.body) > limit:
            text = f"Request must be smaller than {limit} bytes for the InvokeFunction operation"
            return refused(413, "RequestTooLargeException", text)
        if kind == "DryRun":
            return Answer(204)
        try:
            request.json()
        except ValueError as error:
            return refused(400, "InvalidRequestContentException", f"Could not parse request body into json: {error}")
        hops, trace = extended(request.headers.get("x-amzn-trace-id", ""), function.arn)
        if hops > HOPS and not function.recursive:
            self._calls.counts["recursive"] += 1
            text = f"Lambda has detected the function {function.name} being invoked in a recursive loop with other Amazon services."
            return refused(400, "RecursiveInvocationException", text)
        call = Call(str(uuid.uuid4()), request.body or b"{}", trace)
        headers = {"x-amzn-RequestId": call.id}
        if kind == "Event":
            self._calls.enqueue(function, call)
            return Answer(202, b"", headers)
        return await self._wait(function, call, headers)

    async def _wait(self, function: Function, call: Call, headers: dict[str, str]) -> Answer:
        try:
            result = await self._calls.run(function, call)
        except ThrottledCall:
            return refused(429, "TooManyRequestsException", "Rate Exceeded.")
        failed = {"X-Amz-Function-Error": "Unhandled"} if result.failed else {}
        return Answer(200, result.payload, {**headers, "X-Amz-Executed-Version": "$LATEST", **failed})

    # ------------------------------------------------------------ functions and the account

    def _account(self) -> Answer:
        reserved = sum(function.reserved or 0 for function in self._calls.functions.values())
        limit = self._settings.account_limit
        limits = {
            "TotalCodeSize": 80_530_636_800,
            "CodeSizeUnzipped": 262_144_000,
            "CodeSizeZipped": 52_428_800,
            "ConcurrentExecutions": limit,
            "UnreservedConcurrentExecutions": max(limit - reserved, 0),
        }
        return Answer(200, {"AccountLimit": limits, "AccountUsage": {"TotalCodeSize": 0, "FunctionCount": len(self._calls.functions)}})

    def _get_function(self, function: Function, _: Request) -> Answer:
        code = {"RepositoryType": "ECR", "ImageUri": f"local/{function.name}:latest"}
        told = {"Configuration": _configuration(function), "Code": code, "Tags": {}}
        return Answer(200, told if function.reserved is None else {**told, "Concurrency": _concurrency(function)})

    def _allow(self, function: Function, request: Request) -> Answer:
        statement = _statement(function, request.json())
        standing = self._allowed.setdefault(function.name, {})
        if statement["Sid"] in standing:
            return refused(409, "ResourceConflictException", f"The statement id ({statement['Sid']}) provided already exists.")
        standing[statement["Sid"]] = statement
        return Answer(201, {"Statement": json.dumps(statement)})

    def _policy(self, function: Function, _: Request) -> Answer:
        standing = self._allowed.get(function.name)
        if not standing:
            return refused(404, "ResourceNotFoundException", "The resource you requested does not exist.")
        return Answer(200, {"Policy": json.dumps({"Version": "2012-10-17", "Statement": list(standing.values())}), "RevisionId": "1"})

    def _forbid(self, function: Function, request: Request) -> Answer:
        name = request.path.rpartition("/")[2]
        if self._allowed.get(function.name, {}).pop(name, None) is None:
            return refused(404, "ResourceNotFoundException", f"Statement {name} is not found in resource policy.")
        return Answer(204)

    def _put_recursion(self, function: Function, request: Request) -> Answer:
        changed = replace(function, recursive=request.json().get("RecursiveLoop") == "Allow")
        self._calls.functions[function.name] = changed
        return Answer(200, _recursion(changed))


def _statement(function: Function, fields: Mapping[str, Any]) -> dict[str, Any]:
    condition = {"ArnLike": {"AWS:SourceArn": fields.get("SourceArn")}, "StringEquals": {"AWS:SourceAccount": fields.get("SourceAccount")}}
    told = {"Effect": "Allow", "Principal": {"Service": fields["Principal"]}, "Action": fields["Action"], "Resource": function.arn}
    return {"Sid": fields["StatementId"], **told, "Condition": condition}


def _configuration(function: Function) -> dict[str, Any]:
    return {
        "FunctionName": function.name,
        "FunctionArn": function.arn,
        "Timeout": int(function.seconds),
        "MemorySize": function.memory_mb,
        "Version": "$LATEST",
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "PackageType": "Image",
        "Environment": {"Variables": dict(function.environment)},
    }


def _concurrency(function: Function) -> dict[str, int]:
    return {} if function.reserved is None else {"ReservedConcurrentExecutions": function.reserved}


def _recursion(function: Function) -> dict[str, str]:
    return {"RecursiveLoop": "Allow" if function.recursive else "Terminate"}


def _event_config(function: Function) -> dict[str, Any]:
    destination = {"Destination": f"arn:aws:sqs:us-east-1:000000000000:{function.on_failure}"} if function.on_failure else {}
    return {
        "FunctionArn": f"{function.arn}:$LATEST",
        "MaximumRetryAttempts": function.retries,
        "MaximumEventAgeInSeconds": int(function.event_age),
        "DestinationConfig": {"OnSuccess": {}, "OnFailure": destination},
    }
