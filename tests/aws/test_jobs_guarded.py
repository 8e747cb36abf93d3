"""Whole jobs with each function under its own role, and the notebook under a user's policy: they suffice, and what lacks is told.

S3 and DynamoDB are those of an emulator that enforces policies. The local Lambda service and its schedules know none, so a guard stands
before them, who looks up what the policy of a caller says.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

import smr_notebook as smr
from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.deploy.options import DeployOptions, checked
from smr_notebook.backends.aws.deploy.patience import Patience
from smr_notebook.backends.aws.deploy.policies import role_policy, trigger_policy, user_policy
from smr_notebook.backends.aws.deploy.stack import Stack
from smr_notebook.backends.aws.names import ROUTES
from smr_notebook.backends.system_clock import SystemClock
from smr_notebook.cli import main
from smr_notebook.control.messages import Firing, encode_firing
from smr_notebook.dataflow.pair_programs import program_of_pairs
from smr_notebook.errors import AccessDeniedError, CredentialsError
from smr_notebook.model import JobState
from smr_notebook.testing.cloud import Shape, functions_of, options_of
from smr_notebook.testing.emulators import aws_environment
from smr_notebook.testing.lambdas.service import Service, lambda_service
from smr_notebook.testing.sentences import check_sentence
from smr_notebook.testing.waiting import wait_until

pytestmark = pytest.mark.filterwarnings("ignore:.*tasks run .* at a time")  # of a small account, which this is

SHAPE = Shape(stack="jobs-guarded", account_limit=8, lease_seconds=4.0)
NAMES = options_of(SHAPE).names
LOGS, PRIVATE = "jobs-guarded-logs", "jobs-guarded-private"
ANYBODY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}

_CALLER: Final = re.compile(r"Credential=([^/]+)/")
_FUNCTION: Final = re.compile(r"/[\d-]+/functions/([\w-]+)/(\w+)")
_SCHEDULE: Final = re.compile(r"/schedules/([\w.-]+)")
_ACTIONS: Final = {
    ("POST", "invocations"): "lambda:InvokeFunction",
    ("GET", "configuration"): "lambda:GetFunctionConfiguration",
    ("GET", "concurrency"): "lambda:GetFunctionConcurrency",
    ("POST", "schedule"): "scheduler:CreateSchedule",
    ("PUT", "schedule"): "scheduler:UpdateSchedule",
    ("DELETE", "schedule"): "scheduler:DeleteSchedule",
}

Policy = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """Something that a caller must be allowed to do."""

    who: str
    action: str
    resource: str


@dataclass
class Guard:
    """Stands before the Lambda service.

    Attributes:
        callers: Who holds an access key.
        policies: What each may.
        behind: The endpoint of the service.
        passed: What was asked for and allowed.
        refused: What was not.
        bodies: What was sent.
    """

    callers: dict[str, str]
    policies: dict[str, Policy]
    behind: str = ""
    passed: set[Asked] = field(default_factory=set)
    refused: set[Asked] = field(default_factory=set)
    bodies: list[bytes] = field(default_factory=list)

    def lets(self, method: str, path: str, key: str, body: bytes) -> bool:
        """Whether a request of the holder of a key may pass."""
        self.bodies.append(body)
        who = self.callers.get(key, "nobody")
        asked = {Asked(who, action, resource) for action, resource in needed(method, path, body)}
        refused = {one for one in asked if not self._allows(one)}
        (self.refused if refused else self.passed).update(refused or asked)
        return not refused

    @property
    def calls(self) -> set[tuple[str, str]]:
        """Who called whom."""
        return {(one.who, one.resource.rpartition("-")[2]) for one in self.passed if one.action == "lambda:InvokeFunction"}

    def _allows(self, asked: Asked) -> bool:
        statements = self.policies[asked.who]["Statement"] if asked.who in self.policies else ()
        return any(
            asked.action in each["Action"] and any(fnmatchcase(asked.resource, pattern) for pattern in each["Resource"])
            for each in statements
        )


def needed(method: str, path: str, body: bytes) -> list[tuple[str, str]]:
    """Return the actions, and on what, that AWS asks of whoever makes a request to Lambda or to EventBridge Scheduler."""
    if "/account-settings" in path:
        return [("lambda:GetAccountSettings", "*")]
    if called := _FUNCTION.match(path):
        return [(_ACTIONS[method, called[2]], NAMES.arn("lambda", f"function:{called[1]}"))]
    schedule = _SCHEDULE.match(path)
    assert schedule is not None, path
    sent = json.loads(body or b"{}")
    group = sent.get("GroupName", NAMES.schedules)  # a deletion has it in its query
    passing = [("iam:PassRole", sent["Target"]["RoleArn"])] if sent else []
    return [(_ACTIONS[method, "schedule"], NAMES.arn("scheduler", f"schedule/{group}/{schedule[1]}")), *passing]


@contextmanager
def standing(guard: Guard) -> Iterator[str]:
    """Let a guard answer at the URL that is given, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            key = _CALLER.search(self.headers["Authorization"])
            assert key is not None
            if guard.lets(self.command, self.path, key[1], body):
                status, headers, data = self.passed_on(body)
            else:
                status, headers, data = 403, [("x-amzn-ErrorType", "AccessDeniedException")], b'{"Message": "The guard refuses."}'
            self.send_response(status)
            for name, value in [*headers, ("Content-Length", str(len(data)))]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - as the server wants them

        def passed_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            connection = http.client.HTTPConnection(guard.behind.removeprefix("http://"), timeout=60)
            try:
                connection.request(self.command, self.path, body, dict(self.headers))
                answer = connection.getresponse()
                return answer.status, [pair for pair in answer.getheaders() if pair[0] != "Content-Length"], answer.read()
            finally:
                connection.close()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Guarded:
    """A deployment where everybody may do what their policy says.

    Attributes:
        root: Clients that may do everything.
        guard: Who watches over Lambda and the schedules.
        variables: Of the environment of somebody with a notebook.
        functions: Variables of the functions, by route.
    """

    root: Clients
    guard: Guard
    variables: dict[str, str]
    functions: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def guarded(ministack_with_policies: str) -> Iterator[Guarded]:
    with pytest.MonkeyPatch.context() as patch:
        variables = {name: value for name, value in aws_environment(ministack_with_policies).items() if value is not None}
        for name, value in variables.items():
            patch.setenv(name, value)
        root = Clients()
        keys = {route: key_of_role(root, route) for route in made(root)} | {"user": key_of_user(root)}
        policies: dict[str, Policy] = {route: role_policy(route, NAMES, inputs=(LOGS,)) for route in ROUTES} | {"user": user_policy(NAMES)}
        guard = Guard({key["AWS_ACCESS_KEY_ID"]: who for who, key in keys.items()}, policies)
        with standing(guard) as url:
            variables |= {"AWS_ENDPOINT_URL_LAMBDA": url, "AWS_ENDPOINT_URL_SCHEDULER": url}
            functions = {route: variables | keys[route] for route in ROUTES}
            yield Guarded(root, guard, variables | keys["user"], functions)


def made(root: Clients) -> tuple[str, ...]:
    """Deploy, with two buckets of which the workers may read one, and return the routes."""
    for bucket in (LOGS, PRIVATE):
        root["s3"].create_bucket(Bucket=bucket)
        for number in range(4):
            root["s3"].put_object(Bucket=bucket, Key=f"in/{number}", Body=b"a b c\n" * 500)
    options = checked(DeployOptions(NAMES, options_of(SHAPE).location, image="a.registry/image", inputs=(LOGS,)))
    Stack(root, NAMES, Patience(SystemClock(), seconds=20, shortest=0.02), lambda _: None).set_up(options)
    root["s3"].delete_bucket_policy(Bucket=NAMES.bucket)  # the emulator has no TLS
    return ROUTES


def key_of_role(root: Clients, route: str) -> dict[str, str]:
    """Return the variables of somebody who took a role of Lambda. What it may do stays as deployed."""
    root["iam"].update_assume_role_policy(RoleName=NAMES.role(route), PolicyDocument=json.dumps(ANYBODY))
    taken = root["sts"].assume_role(RoleArn=NAMES.role_arn(route), RoleSessionName="test")["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": taken["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": taken["SecretAccessKey"],
        "AWS_SESSION_TOKEN": taken["SessionToken"],
    }


def key_of_user(root: Clients) -> dict[str, str]:
    """Return the variables of somebody who has the policy of a user, and no more."""
    root["iam"].create_user(UserName="jobs-guarded")
    allow_user(root, user_policy(NAMES))
    made = root["iam"].create_access_key(UserName="jobs-guarded")["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": made["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"]}


def allow_user(root: Clients, policy: Policy) -> None:
    root["iam"].put_user_policy(UserName="jobs-guarded", PolicyName="smr", PolicyDocument=json.dumps(policy))


@contextmanager
def forbidden(root: Clients, route: str, action: str, resource: str) -> Iterator[None]:
    """Forbid a role something, whatever else its policies say, until the block ends."""
    name = {"RoleName": NAMES.role(route), "PolicyName": "forbidden"}
    denied = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": action, "Resource": resource}]}
    root["iam"].put_role_policy(**name, PolicyDocument=json.dumps(denied))
    try:
        yield
    finally:
        root["iam"].delete_role_policy(**name)


Open = Callable[..., Any]


@pytest.fixture
def opened(guarded: Guarded, ministack_with_policies: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """A function that runs the deployment's functions, as a context, and opens a session of somebody with a notebook."""

    @contextmanager
    def opened(*, tells: bool = True, time_scale: float = SHAPE.time_scale) -> Iterator[tuple[smr.Session, Service]]:
        functions = [
            replace(function, environment={**function.environment, **guarded.functions[route]}, on_failure=function.on_failure * tells)
            for route, function in zip(ROUTES, functions_of(SHAPE, ministack_with_policies), strict=True)
        ]
        with lambda_service(functions, account_limit=SHAPE.account_limit, time_scale=time_scale) as service:
            guarded.guard.behind = service.endpoint
            for name, value in guarded.variables.items():
                monkeypatch.setenv(name, value)
            yield smr.Session("aws", stack=SHAPE.stack), service

    yield opened
    allow_user(guarded.root, user_policy(NAMES))


def words(line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


# ---------------------------------------------------------------- what they may suffices


def test_the_policies_suffice_for_jobs_of_every_kind(guarded: Guarded, opened: Open) -> None:
    """The notebook may not even read the input: the driver lists it, and the mappers read it."""
    with opened() as (session, _):
        counted = session.map_reduce(words, sum, f"s3://{LOGS}/in/", split_size=1000, reducers=3)
        assert counted.result().to_dict("list") == {"key": ["a", "b", "c"], "value": [2000] * 3}
        assert session.map_reduce(words, None, f"s3://{LOGS}/in/0", wait=True)["key"].tolist() == sorted("abc" * 500)
        frame = session.map_reduce(lambda number: [(number % 2, number)], sum, range(10), wait=True)
        assert session.map_reduce(lambda row: [(row["key"], row["value"])], max, frame, wait=True)["value"].tolist() == [20, 25]
        large = session.map_reduce(lambda number: [(number, bytes(5 << 20))], list, range(5), reducers=1)
        assert [len(value[0]) for value in large.result()["value"]] == [5 << 20] * 5
        staged = session.map_reduce(lambda row: [(row[1], row[0])], lambda key, values: "".join(sorted(values)), counted)
        again = session.map_reduce(lambda row: [row], None, staged)
        assert again.result().to_dict("list") == {"key": [2000], "value": ["abc"]}
        assert {info.state for info in session.jobs()} == {JobState.DONE}
        assert session.attach(counted.id).head(1)["key"].tolist() == ["a"]
    assert guarded.guard.refused == set()


TASK = """
def mapper(doc_id, chunk):
    for word in chunk.split():
        yield word, doc_id

def reducer(key_values):
    return len(key_values[1]), sorted(set(key_values[1]))
"""


def test_they_suffice_for_uploads_and_a_task_run_from_a_shell(
    guarded: Guarded, opened: Open, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is uploaded stands where a notebook may write and workers may read; nobody may delete it."""
    for name, text in {"in/a.txt": "x y\n", "in/sub/b.txt": "y\n", "code/task.py": TASK}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")

    def told(*words: str) -> str:
        assert main([*words, "--platform", "aws", "--stack", SHAPE.stack]) == 0
        return capsys.readouterr().out.strip()

    with opened():
        data, code = told("upload", "data", f"{tmp_path}/in"), told("upload", "code", f"{tmp_path}/code")
        assert told("upload", "data", f"{tmp_path}/in") == data
        told("run", "-d", data, "-c", code, "-o", f"{tmp_path}/out.jsonl")
        lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line) for line in sorted(lines)] == [
            {"key": 1, "value": ["a.txt"]},
            {"key": 2, "value": ["a.txt", "sub/b.txt"]},
        ]
        assert told("uploads", "remove", data).endswith("2 files, 6 B")
        assert [line.split()[0] for line in told("uploads").splitlines()] == [code]
    assert guarded.guard.refused == set()


def test_they_suffice_for_triggers_also_where_the_first_call_failed(guarded: Guarded, opened: Open) -> None:
    """The coordinator makes the job, and sets the alarm by which it is called again; the user has what makes triggers besides."""
    both = {**user_policy(NAMES), "Statement": [*user_policy(NAMES)["Statement"], *trigger_policy(NAMES)["Statement"]]}
    allow_user(guarded.root, both)
    before, guarded.guard.policies = guarded.guard.policies, {**guarded.guard.policies, "user": both}
    try:
        with opened() as (session, _):
            request = session.request(program_of_pairs(words, sum, None), f"s3://{LOGS}/in/")
            trigger = session.schedule("rate(365 days)", request, name="nightly")
            firing = Firing(trigger.trigger.id, "2026-11-26T03:00:00Z")
            failed = {"failed": encode_firing(firing).decode(), "reason": "the invocation was killed"}
            session.backend.functions.invoke(json.dumps(failed).encode())
            wait_until(lambda: [job for job in session.jobs() if job.name == "nightly"])
            assert session.attach("nightly").result().to_dict("list") == {"key": ["a", "b", "c"], "value": [2000] * 3}
            trigger.remove()
            assert session.triggers() == []
    finally:
        guarded.guard.policies = before
    assert guarded.guard.refused == set()


def kill_coordinators(service: Service) -> None:
    for box in service.status().sandboxes[NAMES.function("coordinator")]:
        for member in box.members:
            os.kill(member, signal.SIGKILL)


def test_they_suffice_when_processes_die_and_the_queue_tells(guarded: Guarded, opened: Open, tmp_path: Path) -> None:
    killed, died = tmp_path / "killed", tmp_path / "died"

    def dies_once(number: int) -> Iterator[tuple[int, int]]:
        if number == 250 and not died.exists():  # behind what the driver tries
            wait_until(killed.exists, 60.0)
            died.touch()
            os.kill(os.getpid(), 9)
        yield number % 2, number

    with opened() as (session, service):
        job = session.map_reduce(dies_once, sum, range(300), reducers=2)
        wait_until(lambda: job.status().map.running, 30.0)
        kill_coordinators(service)
        killed.touch()
        assert job.result()["value"].tolist() == [sum(range(0, 300, 2)), sum(range(1, 300, 2))]
    assert guarded.guard.refused == set()
    assert ("coordinator", "coordinator") in guarded.guard.calls


def test_they_suffice_when_only_workers_notice_that_there_is_no_coordinator(guarded: Guarded, opened: Open) -> None:
    """Nobody watches, no queue tells, and the alarm would come later."""

    def slow(number: int) -> Iterator[tuple[int, int]]:
        threading.Event().wait(6.0)
        yield 0, number

    def slow_too(key: int, values: Iterator[int]) -> int:
        threading.Event().wait(6.0)
        return sum(values)

    with opened(tells=False, time_scale=1.0) as (session, service):
        job = session.map_reduce(slow, slow_too, range(3), reducers=1, combine=False)
        for phase in ("map", "reduce"):
            wait_until(lambda phase=phase: getattr(job.status(), phase).running, 60.0)  # type: ignore[misc]
            kill_coordinators(service)
        wait_until(lambda: job.status().state.ended, 60.0)
        assert job.result()["value"].tolist() == [3]
    assert guarded.guard.refused == set()
    assert {("mapper", "coordinator"), ("reducer", "coordinator")} < guarded.guard.calls


def test_a_job_that_is_cancelled_ends(guarded: Guarded, opened: Open) -> None:
    def endless(number: int) -> Iterator[tuple[int, int]]:
        while True:
            yield number, 1

    with opened() as (session, _):
        job = session.map_reduce(endless, sum, range(3))
        wait_until(lambda: job.status().map.running, 30.0)
        job.cancel()
        with pytest.raises(smr.errors.JobCancelled):
            job.wait(60)
    assert guarded.guard.refused == set()


def test_a_job_that_failed_is_gone_on_from(guarded: Guarded, opened: Open) -> None:
    with opened() as (session, _):
        job = session.map_reduce(lambda item: [(item % 2, 1 // (item != 7))], len, range(10), split_size=1)
        with pytest.raises(smr.errors.TaskError):
            job.result()
        again = job.retry_failed(map=lambda item: [(item % 2, 1)])
        assert again.result()["value"].tolist() == [5, 5]
        assert "are taken over" in again.warnings[0]
        assert job.resume().exception() is not None
    assert guarded.guard.refused == set()


def everything_kept(root: Clients, service: Service) -> bytes:
    """Return all that the deployment holds: objects, rows, and what the functions printed."""
    listed = root["s3"].get_paginator("list_objects_v2").paginate(Bucket=NAMES.bucket)
    objects = [root["s3"].get_object(Bucket=NAMES.bucket, Key=found["Key"]) for page in listed for found in page.get("Contents", ())]
    rows = [str(page["Items"]) for page in root["dynamodb"].get_paginator("scan").paginate(TableName=NAMES.table)]
    return b"".join([*(found["Body"].read() for found in objects), *(text.encode() for text in (*rows, service.printed()))])


def test_no_credentials_are_stored_or_sent_or_printed(guarded: Guarded, opened: Open) -> None:
    """Nor are they in a failure, which is told with all that it says."""

    def bad(line: str) -> Iterator[tuple[str, int]]:
        sys.stdout.write(line)
        yield line, 1 // (line != "b")

    with opened() as (session, service):
        job = session.map_reduce(bad, sum, ["a", "b"], retries=0)
        with pytest.raises(smr.errors.TaskError):
            job.result()
        kept = everything_kept(guarded.root, service)
    assert job.id.encode() in kept
    variables = [guarded.variables, *guarded.functions.values()]
    secrets = {each[name] for each in variables for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN") if name in each}
    assert len(secrets) == 13
    for one in [kept, *guarded.guard.bodies]:
        assert not any(secret.encode() in one for secret in secrets)
        assert not any(key.encode() in one for key in guarded.guard.callers)


# ---------------------------------------------------------------- what lacks is told


def test_a_bucket_that_nobody_may_read_ends_the_job_with_the_command_that_allows_it(opened: Open) -> None:
    with opened() as (session, _):
        job = session.map_reduce(words, sum, f"s3://{PRIVATE}/in/")
        with pytest.raises(AccessDeniedError) as caught:
            job.result()
    mend = f"`smr deploy --stack {NAMES.stack} --region {NAMES.region} --input {PRIVATE}`"
    check_sentence(caught.value, AccessDeniedError, f"'s3://{PRIVATE}/in/'", NAMES.role("driver"), "s3:ListBucket", mend)


def test_a_bucket_that_the_mappers_may_not_read_is_named_with_what_forbids_it(guarded: Guarded, opened: Open) -> None:
    with opened() as (session, _), forbidden(guarded.root, "mapper", "s3:GetObject", f"arn:aws:s3:::{LOGS}/*"):
        job = session.map_reduce(words, sum, f"s3://{LOGS}/in/")
        with pytest.raises(AccessDeniedError) as caught:
            job.result()
    named = (f"'s3://{LOGS}/in/0'", NAMES.role("mapper"), "s3:GetObject", "explicit deny", "Whoever wrote the policy")
    check_sentence(caught.value, AccessDeniedError, *named)


@pytest.mark.parametrize(
    ("action", "named"),
    [
        ("s3:PutObject", "s3:PutObject"),
        ("dynamodb:PutItem", "dynamodb:PutItem"),
        ("dynamodb:GetItem", "dynamodb:GetItem"),
        ("lambda:InvokeFunction", NAMES.function("driver")),
    ],
)
def test_somebody_who_lacks_a_permission_reads_which(guarded: Guarded, opened: Open, action: str, named: str) -> None:
    policy = user_policy(NAMES)
    left = [each | {"Action": [one for one in each["Action"] if one != action]} for each in policy["Statement"]]
    lacking = {**policy, "Statement": [each for each in left if each["Action"]]}
    allow_user(guarded.root, lacking)
    with opened() as (session, _), pytest.MonkeyPatch.context() as patch:
        patch.setitem(guarded.guard.policies, "user", lacking)
        with pytest.raises(AccessDeniedError) as caught:
            session.map_reduce(words, sum, ["a"])
    guarded.guard.refused.clear()
    check_sentence(caught.value, AccessDeniedError, NAMES.stack, named, "in the policy of the user or role", "`smr doctor`")


def test_whoever_signs_in_again_goes_on_with_the_same_session(guarded: Guarded, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    name = {"UserName": f"u{uuid4().hex}"}
    guarded.root["iam"].create_user(**name)
    guarded.root["iam"].put_user_policy(**name, PolicyName="smr", PolicyDocument=json.dumps(user_policy(NAMES)))

    def sign_in() -> str:
        key = guarded.root["iam"].create_access_key(**name)["AccessKey"]
        guarded.guard.callers[key["AccessKeyId"]] = "user"
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        return str(key["AccessKeyId"])

    with opened():
        key = sign_in()
        session = smr.Session("aws", stack=SHAPE.stack)
        job = session.map_reduce(words, sum, ["a"])
        guarded.root["iam"].delete_access_key(**name, AccessKeyId=key)
        with pytest.raises(CredentialsError) as caught:
            job.result()
        check_sentence(caught.value, CredentialsError, "then try again")
        sign_in()
        assert job.result()["key"].tolist() == ["a"]
