"""The roles of a deployment, with their own credentials, on an emulator that enforces policies: what each may, and what none may."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import ClientError

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.deploy.account import find_caller
from smr_notebook.backends.aws.deploy.options import DeployOptions, checked
from smr_notebook.backends.aws.deploy.patience import Patience
from smr_notebook.backends.aws.deploy.permissions import try_user
from smr_notebook.backends.aws.deploy.policies import user_policy
from smr_notebook.backends.aws.deploy.stack import Stack
from smr_notebook.backends.aws.faults import code_of
from smr_notebook.backends.aws.names import ROUTES, Names
from smr_notebook.backends.system_clock import SystemClock
from smr_notebook.ports import LASTING
from smr_notebook.testing.emulators import aws_environment

PATIENCE = Patience(SystemClock(), seconds=20, shortest=0.02)
DENIED = {"AccessDenied", "AccessDeniedException", "403", "Forbidden"}
ANYBODY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}
WORKERS = ("mapper", "reducer", "mapper-large", "reducer-large")

WRITES = {
    "driver": ("plan", "splits/000001/000000"),
    "coordinator": ("index", "merged-index", "manifest/map", "code", "request"),
    "mapper": ("map/000007/002/run", "logs/map-000007-002/000001"),
    "reducer": ("merge/000007/002/run", "reduce/000007/002/part-0.parquet", "logs/reduce-000007-002/000001"),
    "user": ("code", "request", "input/000000"),
}
WRITES |= {f"{role}-large": WRITES[role] for role in ("mapper", "reducer")}
OBJECTS = list(dict.fromkeys(key for keys in WRITES.values() for key in keys))
"""The objects of a job."""

Client = Callable[[str], Any]
Call = Callable[[Client, Names], object]


@dataclass(frozen=True)
class Guarded:
    """A deployment where policies are enforced.

    Attributes:
        names: What it is called.
        roles: For each role, gives clients with its credentials.
        without_tls: The roles that could read from the bucket without TLS.
    """

    names: Names
    roles: dict[str, Client]
    without_tls: list[str]

    def may(self, role: str, call: Call) -> bool:
        """Whether a role may make a call. Any other error than a refusal is one of the test."""
        return _may(self.roles[role], self.names, call)


def _may(client: Client, names: Names, call: Call) -> bool:
    try:
        call(client, names)
    except ClientError as error:
        if code_of(error) in DENIED:
            return False
        raise
    return True


@pytest.fixture(scope="module")
def guarded(ministack_with_policies: str) -> Iterator[Guarded]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in aws_environment(ministack_with_policies).items():
            if value is None:
                patch.delenv(name)
            else:
                patch.setenv(name, value)
        clients = Clients()
        names = find_caller(clients, "guarded").names
        for bucket in ("guarded-logs", "guarded-results", "guarded-others"):
            clients["s3"].create_bucket(Bucket=bucket)
            clients["s3"].put_object(Bucket=bucket, Key="a", Body=b"x")
        options = DeployOptions(names, "aws:{}", image="a.registry/image", inputs=("guarded-logs",), outputs=("guarded-results",))
        Stack(clients, names, PATIENCE, lambda _: None).set_up(checked(options))
        for key in (*(f"jobs/1/{key}" for key in OBJECTS), "elsewhere", "triggers/daily.0123abcd/code"):
            clients["s3"].put_object(Bucket=names.bucket, Key=key, Body=b"x")
        roles = {route: _taken(clients, names, route) for route in ROUTES}
        without_tls = [route for route, client in roles.items() if _may(client, names, get("own", "jobs/1/plan"))]
        clients["s3"].delete_bucket_policy(Bucket=names.bucket)  # the emulator has no TLS
        yield Guarded(names, roles, without_tls)


def _taken(clients: Clients, names: Names, route: str) -> Client:
    """Return clients with a role of Lambda, after letting the test take it. What it may do stays as deployed."""
    clients["iam"].update_assume_role_policy(RoleName=names.role(route), PolicyDocument=json.dumps(ANYBODY))
    got = clients["sts"].assume_role(RoleArn=names.role_arn(route), RoleSessionName="test")["Credentials"]
    return functools.cache(boto3.Session(got["AccessKeyId"], got["SecretAccessKey"], got["SessionToken"]).client)


def get(bucket: str, key: str) -> Call:
    """Return a call that reads an object; `own` is the bucket of the deployment."""
    return lambda client, names: client("s3").get_object(Bucket=names.bucket if bucket == "own" else bucket, Key=key)["Body"].close()


def put(bucket: str, key: str) -> Call:
    """Return a call that writes an object."""
    return lambda client, names: client("s3").put_object(Bucket=names.bucket if bucket == "own" else bucket, Key=key, Body=b"x")


def delete(bucket: str, key: str) -> Call:
    """Return a call that deletes an object."""
    return lambda client, names: client("s3").delete_object(Bucket=names.bucket if bucket == "own" else bucket, Key=key)


def list_bucket(bucket: str) -> Call:
    """Return a call that lists a bucket."""
    return lambda client, names: client("s3").list_objects_v2(Bucket=names.bucket if bucket == "own" else bucket, Prefix="jobs/")


def call(route: str) -> Call:
    """Return a call that would call a function."""
    return lambda client, names: client("lambda").invoke(FunctionName=names.function(route), InvocationType="DryRun")["Payload"].close()


def rows(operation: str, **fields: Any) -> Call:
    """Return a call that does something to the table."""
    return lambda client, names: getattr(client("dynamodb"), operation)(TableName=names.table, **fields)


def log(route: str) -> Call:
    """Return a call that begins to write a log."""
    stream = f"test-{uuid4().hex}"
    return lambda client, names: client("logs").create_log_stream(logGroupName=f"/aws/lambda/{names.function(route)}", logStreamName=stream)


def queue(operation: str, **fields: Any) -> Call:
    """Return a call that does something to the queue of failures."""

    def use(client: Client, names: Names) -> object:
        url = f"{client('sqs').meta.endpoint_url}/{names.account}/{names.queue}"
        return getattr(client("sqs"), operation)(QueueUrl=url, **fields)

    return use


KEY = {"group": {"S": "/1"}, "key": {"S": "/a"}}
READ_ROWS = rows(
    "query", KeyConditionExpression="#g = :g", ExpressionAttributeNames={"#g": "group"}, ExpressionAttributeValues={":g": {"S": "/1"}}
)
READS = {
    "driver": ("plan", "code", "request", "input/000000", "manifest/map", "reduce/000007/002/part-0.parquet"),
    "coordinator": ("plan", "code", "map/000007/002/run", "merge/000007/002/run", "manifest/map"),
    "mapper": ("plan", "code", "splits/000001/000000", "input/000000", "reduce/000007/002/part-0.parquet"),
    "reducer": ("plan", "code", "map/000007/002/run", "merge/000007/002/run", "manifest/map", "index", "merged-index"),
}
READS |= {f"{role}-large": READS[role] for role in ("mapper", "reducer")}
EVERYBODY: dict[str, Call] = {
    "read a row": rows("get_item", Key=KEY),
    "write a row": rows("put_item", Item=KEY),
    "read rows": READ_ROWS,
    "read the key of the workspace": rows("get_item", Key={"group": {"S": f"/{LASTING}"}, "key": {"S": "/key"}}),
    "tell of a failure": queue("send_message", MessageBody="{}"),
    "start a coordinator": call("coordinator"),
}
NEEDED: list[tuple[str, str, Call]] = [
    *((role, what, needed) for role in ROUTES for what, needed in EVERYBODY.items()),
    *((role, "write its log", log(role)) for role in ROUTES),
    *((role, f"write {key}", put("own", f"jobs/1/{key}")) for role in ROUTES for key in WRITES[role]),
    *((role, f"read {key}", get("own", f"jobs/1/{key}")) for role in ROUTES for key in READS[role]),
    *((role, "read the input", get("guarded-logs", "a")) for role in ("driver", "mapper", "mapper-large")),
    *((role, "list jobs' objects", list_bucket("own")) for role in ("driver", "coordinator")),
    *((role, "read the account's limits", lambda client, _: client("lambda").get_account_settings()) for role in ("driver", "coordinator")),
    ("driver", "list the input", list_bucket("guarded-logs")),
    ("coordinator", "start a mapper", call("mapper")),
    ("coordinator", "start a reducer", call("reducer")),
    ("coordinator", "start a larger mapper", call("mapper-large")),
    ("coordinator", "start a larger reducer", call("reducer-large")),
    ("coordinator", "start a driver", call("driver")),
    ("coordinator", "learn of a failure", queue("receive_message")),
    ("coordinator", "read what a trigger stored", get("own", "triggers/daily.0123abcd/code")),
    ("mapper", "start a mapper", call("mapper")),
    ("reducer", "start a reducer", call("reducer")),
    ("reducer", "write the output", put("guarded-results", "part")),
]
FORBIDDEN_TO_ALL: dict[str, Call] = {
    "read a bucket that was not named": get("guarded-others", "a"),
    "write to a bucket that was not named": put("guarded-others", "b"),
    "write to the input": put("guarded-logs", "b"),
    "read what is no job's": get("own", "elsewhere"),
    "write what is no job's": put("own", "elsewhere"),
    "delete a job's object": delete("own", "jobs/1/plan"),
    "delete the input": delete("guarded-logs", "a"),
    "delete the output": delete("guarded-results", "a"),
    "delete a row": rows("delete_item", Key=KEY),
    "read all rows": rows("scan"),
    "delete the table": rows("delete_table"),
    "change a role": lambda client, names: client("iam").put_role_policy(
        RoleName=names.role("mapper"), PolicyName="mapper", PolicyDocument=json.dumps(ANYBODY)
    ),
    "take another role": lambda client, names: client("iam").create_access_key(UserName="root"),
    "delete a function": lambda client, names: client("lambda").delete_function(FunctionName=names.function("mapper")),
    "change a function": lambda client, names: client("lambda").update_function_configuration(
        FunctionName=names.function("mapper"), MemorySize=512
    ),
}
FORBIDDEN: list[tuple[str, str, Call]] = [
    *((role, what, forbidden) for role in ROUTES for what, forbidden in FORBIDDEN_TO_ALL.items()),
    *((role, f"write {key}", put("own", f"jobs/1/{key}")) for role in ROUTES for key in OBJECTS if key not in WRITES[role]),
    *((role, f"read {key}", get("own", f"jobs/1/{key}")) for role in ROUTES for key in OBJECTS if key not in READS[role]),
    *((role, "call the driver", call("driver")) for role in ("driver", *WORKERS)),
    *((role, "list a bucket", list_bucket("own")) for role in WORKERS),
    *((role, "take what tells of failures", queue("receive_message")) for role in WORKERS),
    ("mapper", "call a reducer", call("reducer")),
    ("mapper", "call a larger mapper", call("mapper-large")),
    ("mapper-large", "call a mapper", call("mapper")),
    ("mapper-large", "call another like itself", call("mapper-large")),
    ("reducer-large", "read the input", get("guarded-logs", "a")),
    ("mapper", "write the output", put("guarded-results", "b")),
    ("mapper", "write another's log", log("reducer")),
    ("reducer", "call a mapper", call("mapper")),
    ("reducer", "read the input", get("guarded-logs", "a")),
    ("driver", "call a mapper", call("mapper")),
    ("coordinator", "read the input", get("guarded-logs", "a")),
    *((role, "read what a trigger stored", get("own", "triggers/daily.0123abcd/code")) for role in ("driver", *WORKERS)),
    ("coordinator", "change what a trigger stored", put("own", "triggers/daily.0123abcd/code")),
]


@pytest.mark.parametrize(("role", "what", "needed"), NEEDED, ids=[f"{role} may {what}" for role, what, _ in NEEDED])
def test_a_role_may_do_its_work(guarded: Guarded, role: str, what: str, needed: Call) -> None:
    assert guarded.may(role, needed)


@pytest.mark.parametrize(("role", "what", "forbidden"), FORBIDDEN, ids=[f"{role} may not {what}" for role, what, _ in FORBIDDEN])
def test_a_role_may_do_nothing_else(guarded: Guarded, role: str, what: str, forbidden: Call) -> None:
    assert not guarded.may(role, forbidden)


def test_without_tls_the_bucket_answers_nobody(guarded: Guarded) -> None:
    assert guarded.without_tls == []


def test_somebody_with_a_notebook_may_do_what_jobs_ask_for_and_is_told_what_is_missing(
    guarded: Guarded, ministack_with_policies: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in aws_environment(ministack_with_policies).items():
        if value is not None:
            monkeypatch.setenv(name, value)
    root, policy = Clients(), user_policy(guarded.names)
    # The emulator takes reading how much is reserved for reserving it.
    policy["Statement"].append({"Effect": "Allow", "Action": ["lambda:PutFunctionConcurrency"], "Resource": ["*"]})
    root["iam"].create_user(UserName="ann")
    key = root["iam"].create_access_key(UserName="ann")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    ann = Clients()
    assert try_user(ann, guarded.names, "ann").ok is False

    root["iam"].put_user_policy(UserName="ann", PolicyName="smr", PolicyDocument=json.dumps(policy))
    assert try_user(ann, guarded.names, "ann").ok

    lacking = [statement for statement in policy["Statement"] if "dynamodb:Query" not in statement["Action"]]
    root["iam"].put_user_policy(UserName="ann", PolicyName="smr", PolicyDocument=json.dumps(policy | {"Statement": lacking}))
    finding = try_user(ann, guarded.names, "ann")
    rows_only = {"Effect": "Allow", "Action": ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"]}
    table = guarded.names.arn("dynamodb", f"table/{guarded.names.table}")
    assert finding.what.startswith(f"ann may not dynamodb:GetItem on {table}, dynamodb:PutItem on {table}")
    assert json.loads(finding.mend.removeprefix("add to its policy: "))["Statement"] == [rows_only | {"Resource": [table]}]
