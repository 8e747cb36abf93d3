"""Our Lambda service keeps the rules that AWS documents for its own, seen with boto3 and the real runtime client."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.testing.lambdas.lineage import HOPS, extended
from smr_notebook.testing.lambdas.service import Service, lambda_service
from smr_notebook.testing.lambdas.settings import Faults, Function, Refusal, Settings
from smr_notebook.testing.waiting import wait_until

FUNCTION = """
import json, os, subprocess, threading, time

def handler(event, context):
    folder = os.environ["FOLDER"]
    with open(f"{folder}/{time.time_ns()}-{os.getpid()}", "w") as file:
        json.dump({"event": event, "id": context.aws_request_id}, file)
    event = event if isinstance(event, dict) else {}
    if event.get("does") == "raise":
        raise ZeroDivisionError("as ordered")
    if event.get("does") == "exit":
        os._exit(7)
    if event.get("does") == "hold":
        while not os.path.exists(f"{folder}/go"):
            threading.Event().wait(0.005)
    if event.get("does") == "fill":
        return "x" * (6 << 20)
    if event.get("does") == "spawn":
        return [subprocess.Popen(["sleep", "3600"], process_group=0).pid]
    if event.get("does") == "hog":
        hog = bytearray(os.urandom(1 << 20)) * 200
        threading.Event().wait(60)
    if event.get("hops"):
        import boto3
        left = json.dumps({"hops": event["hops"] - 1})
        try:
            boto3.client("lambda").invoke(FunctionName=context.function_name, InvocationType="Event", Payload=left)
        except Exception as error:
            with open(f"{folder}/stopping", "w") as file:
                file.write(str(error))
            os.replace(f"{folder}/stopping", f"{folder}/stopped")  # whoever finds it finds it whole
    return {"pid": os.getpid(), "id": context.aws_request_id}
"""

Start = Callable[..., Service]


class Deployed:
    """A folder in which functions write down their events, and functions that do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "fn.py").write_text(FUNCTION)
        (folder / "ran").mkdir()
        self.plain = Function("f", "fn.handler", folder=str(folder), environment={"FOLDER": str(folder / "ran")}, seconds=30.0)

    def ran(self) -> list[dict[str, Any]]:
        """Return what ran, in order of the beginnings."""
        files = sorted(path for path in (self.folder / "ran").iterdir() if path.name[0].isdigit())
        return [json.loads(text) for path in files if (text := path.read_text())]

    def go(self) -> None:
        """Let go of what is held."""
        (self.folder / "ran" / "go").touch()


@pytest.fixture
def deployed(tmp_path: Path) -> Deployed:
    return Deployed(tmp_path)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start a service that boto3 finds, and that ends with the test."""
    with ExitStack() as stack:

        def start(*functions: Function, account_limit: int = 1000, faults: Faults | None = None, kills_hogs: bool = False) -> Service:
            opened = lambda_service(functions, account_limit=account_limit, time_scale=0.001, faults=faults, kills_hogs=kills_hogs)
            service = stack.enter_context(opened)
            for name, value in service.access.items():
                monkeypatch.setenv(name, value)
            return service

        yield start


def invoke(payload: Any, *, function: str = "f", kind: str = "RequestResponse") -> Any:
    answer = Clients(retries=1)["lambda"].invoke(FunctionName=function, InvocationType=kind, Payload=json.dumps(payload))
    return json.loads(answer["Payload"].read() or b"null")


def refusal(payload: Any, *, function: str = "f", kind: str = "RequestResponse") -> str:
    with pytest.raises(ClientError) as refused:
        invoke(payload, function=function, kind=kind)
    return str(refused.value.response["Error"]["Code"])


def test_a_sandbox_serves_one_call_after_the_other(deployed: Deployed, start: Start) -> None:
    service = start(deployed.plain)
    answers = [invoke({}) for _ in range(5)]
    assert len({answer["pid"] for answer in answers}) == 1
    assert len({answer["id"] for answer in answers}) == 5
    assert service.status().counts["cold"] == 1


@pytest.mark.parametrize(
    ("does", "error"),
    [
        ("raise", ("ZeroDivisionError", "as ordered")),
        ("exit", ("Runtime.ExitError", "Runtime exited with error: exit status 7")),
        ("hold", ("Sandbox.Timedout", "Task timed out after 2.00 seconds")),
        ("fill", ("Function.ResponseSizeTooLarge", "Response payload size exceeded")),
    ],
)
def test_an_invocation_that_fails_is_told_as_lambda_tells_it_and_the_next_one_runs(
    deployed: Deployed, start: Start, does: str, error: tuple[str, str]
) -> None:
    start(replace(deployed.plain, seconds=2.0 if does == "hold" else 30.0))
    told = invoke({"does": does})
    assert told["errorType"] == error[0]
    assert error[1] in told["errorMessage"]
    wait_until(lambda: "pid" in invoke({}))


def test_a_function_that_cannot_be_imported_fails_each_time(deployed: Deployed, start: Start) -> None:
    start(replace(deployed.plain, handler="nowhere.handler"))
    for _ in range(2):
        assert invoke({}) | {"requestId": "", "stackTrace": []} == {
            "errorType": "Runtime.ImportModuleError",
            "errorMessage": "Unable to import module 'nowhere': No module named 'nowhere'",
            "requestId": "",
            "stackTrace": [],
        }


def test_payloads_are_taken_up_to_the_limits_of_each_kind(deployed: Deployed, start: Start) -> None:
    start(deployed.plain)
    sizes = {"RequestResponse": 6 << 20, "Event": 1 << 20}
    for kind, limit in sizes.items():
        invoke("x" * (limit - 2), kind=kind)
        assert refusal("x" * (limit - 1), kind=kind) == "RequestTooLargeException"
    wait_until(lambda: len(deployed.ran()) == 2)


def test_a_dry_run_runs_nothing(deployed: Deployed, start: Start) -> None:
    service = start(deployed.plain)
    invoke({}, kind="DryRun")
    assert refusal({}, function="g", kind="DryRun") == "ResourceNotFoundException"
    assert service.status().counts["cold"] == 0


def test_an_event_that_fails_is_tried_again_under_its_id_and_then_told_to_the_destination(deployed: Deployed, start: Start) -> None:
    start(replace(deployed.plain, on_failure="told"), replace(deployed.plain, name="told"))
    invoke({"does": "raise"}, kind="Event")
    wait_until(lambda: len(deployed.ran()) == 4)
    *tries, notice = deployed.ran()
    assert [(run["event"], run["id"]) for run in tries] == [({"does": "raise"}, tries[0]["id"])] * 3
    [message] = notice["event"]["Records"]
    record = json.loads(message["body"])
    assert message["eventSource"] == "aws:sqs"
    assert record["requestPayload"] == {"does": "raise"}
    assert record["responsePayload"]["errorType"] == "ZeroDivisionError"
    assert record["requestContext"] | {"functionArn": ""} == {
        "requestId": tries[0]["id"],
        "functionArn": "",
        "condition": "RetriesExhausted",
        "approximateInvokeCount": 3,
    }


def test_an_event_without_room_waits_and_runs(deployed: Deployed, start: Start) -> None:
    service = start(deployed.plain, account_limit=1)
    invoke({"does": "hold"}, kind="Event")
    wait_until(deployed.ran)
    invoke({"number": 2}, kind="Event")
    wait_until(lambda: service.status().counts["throttled"] >= 3)
    deployed.go()
    wait_until(lambda: len(deployed.ran()) == 2)


def test_an_event_that_waited_too_long_is_dropped_and_never_ran(deployed: Deployed, start: Start) -> None:
    functions = (replace(deployed.plain, event_age=60.0, on_failure="told"), replace(deployed.plain, name="told"))
    service = start(*functions, faults=Faults(concurrency=2))
    for _ in range(2):
        invoke({"does": "hold"}, kind="Event")
    wait_until(lambda: len(deployed.ran()) == 2)
    invoke({"number": 3}, kind="Event")
    wait_until(lambda: service.status().counts["dropped"] == 1)
    deployed.go()
    wait_until(lambda: len(deployed.ran()) == 3)
    record = json.loads(deployed.ran()[-1]["event"]["Records"][0]["body"])
    assert record["requestPayload"] == {"number": 3}
    assert record["requestContext"]["condition"] == "EventAgeExceeded"
    assert "responsePayload" not in record


def test_a_call_beyond_the_concurrency_is_refused(deployed: Deployed, start: Start) -> None:
    start(deployed.plain, replace(deployed.plain, name="g", reserved=1), replace(deployed.plain, name="zero", reserved=0), account_limit=3)
    invoke({"does": "hold"}, function="g", kind="Event")
    wait_until(lambda: len(deployed.ran()) == 1)
    assert refusal({}, function="g") == "TooManyRequestsException"
    assert refusal({}, function="zero") == "TooManyRequestsException"
    for _ in range(2):
        invoke({"does": "hold"}, kind="Event")
    wait_until(lambda: len(deployed.ran()) == 3)
    assert refusal({}) == "TooManyRequestsException"
    deployed.go()


def test_a_chain_of_calls_is_ended_unless_the_function_may_call_itself(deployed: Deployed, start: Start) -> None:
    """The SDK passes the count on: nothing in the function does."""
    service = start(deployed.plain)
    client = Clients()["lambda"]
    invoke({"hops": 30}, kind="Event")
    wait_until((deployed.folder / "ran" / "stopped").exists)
    assert len(deployed.ran()) == HOPS
    assert "RecursiveInvocationException" in (deployed.folder / "ran" / "stopped").read_text()
    assert client.put_function_recursion_config(FunctionName="f", RecursiveLoop="Allow")["RecursiveLoop"] == "Allow"
    assert client.get_function_recursion_config(FunctionName="f")["RecursiveLoop"] == "Allow"
    invoke({"hops": 30}, kind="Event")
    wait_until(lambda: len(deployed.ran()) == HOPS + 31)
    assert service.status().counts["recursive"] == 1


@given(st.lists(st.sampled_from("abc"), max_size=60))
def test_a_chain_counts_each_function_for_itself(functions: list[str]) -> None:
    trace = ""
    for number, function in enumerate(functions):
        hops, trace = extended(trace, function)
        assert hops == functions[: number + 1].count(function)


def test_every_so_many_th_event_is_lost_or_doubled(deployed: Deployed, start: Start) -> None:
    service = start(deployed.plain, account_limit=2, faults=Faults(lost_every=3, doubled_every=4))
    for number in range(1, 13):
        invoke({"number": number}, kind="Event")
    wait_until(lambda: len(deployed.ran()) == 8 + 2)
    assert sorted(run["event"]["number"] for run in deployed.ran()) == [1, 2, 4, 4, 5, 7, 8, 8, 10, 11]
    assert len({run["id"] for run in deployed.ran()}) == 8
    assert (service.status().counts["lost"], service.status().counts["doubled"]) == (4, 2)


def test_calls_are_refused_as_ordered(deployed: Deployed, start: Start) -> None:
    start(deployed.plain, faults=Faults(refusals=(Refusal("f", "ResourceConflictException", 409, times=2),)))
    assert [refusal({}), refusal({}, kind="Event")] == ["ResourceConflictException"] * 2
    assert "pid" in invoke({})


def test_a_process_that_is_killed_ends_its_invocation(deployed: Deployed, start: Start) -> None:
    service = start(replace(deployed.plain, retries=0, on_failure="told"), replace(deployed.plain, name="told"))
    invoke({"does": "hold"}, kind="Event")
    wait_until(deployed.ran)
    [sandbox] = service.status().sandboxes["f"]
    assert sandbox.busy
    os.kill(sandbox.pid, signal.SIGKILL)
    wait_until(lambda: len(deployed.ran()) == 2)
    record = json.loads(deployed.ran()[-1]["event"]["Records"][0]["body"])
    assert record["responsePayload"]["errorMessage"].endswith("Runtime exited with error: signal: killed")


@pytest.mark.skipif(sys.platform != "linux", reason="processes are frozen on Linux")
def test_a_sandbox_that_waits_is_frozen_with_all_its_processes(deployed: Deployed, start: Start) -> None:
    service = start(deployed.plain)
    [child] = invoke({"does": "spawn"})
    [sandbox] = service.status().sandboxes["f"]
    assert set(sandbox.members) == {sandbox.pid, child}
    for pid in sandbox.members:
        wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)  # noqa: B023 - called before the next turn
    assert invoke({})["pid"] == sandbox.pid


def test_nothing_outlives_the_service(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    with lambda_service([deployed.plain]) as service:
        for name, value in service.access.items():
            monkeypatch.setenv(name, value)
        [child] = invoke({"does": "spawn"})
        invoke({"does": "hold"}, kind="Event")
        wait_until(lambda: len(deployed.ran()) == 2)
        invoke({"does": "hold"}, kind="Event")
        wait_until(lambda: len(deployed.ran()) == 3)
        pids = {pid for sandbox in service.status().sandboxes["f"] for pid in sandbox.members}
        assert child in pids
        assert len(pids) == 3
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def test_a_process_that_takes_more_than_its_memory_is_killed(deployed: Deployed, start: Start) -> None:
    start(replace(deployed.plain, memory_mb=128), kills_hogs=True)
    assert "pid" in invoke({})
    assert invoke({"does": "hog"})["errorMessage"].endswith("signal: killed")


def test_what_functions_print_is_kept(deployed: Deployed, start: Start) -> None:
    service = start(deployed.plain)
    invoke({"does": "raise"})
    assert "[ERROR] ZeroDivisionError: as ordered" in service.printed()


def test_the_account_and_the_functions_tell_their_settings(deployed: Deployed, start: Start) -> None:
    start(replace(deployed.plain, reserved=30, memory_mb=1769, retries=0, event_age=120.0, on_failure="f"), account_limit=100)
    client = Clients()["lambda"]
    assert client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == 70
    configuration = client.get_function_configuration(FunctionName="f")
    assert (configuration["MemorySize"], configuration["Timeout"]) == (1769, 30)
    assert client.get_function(FunctionName=configuration["FunctionArn"])["Concurrency"] == {"ReservedConcurrentExecutions": 30}
    assert client.get_function_concurrency(FunctionName="f")["ReservedConcurrentExecutions"] == 30
    events = client.get_function_event_invoke_config(FunctionName="f")
    assert (events["MaximumRetryAttempts"], events["MaximumEventAgeInSeconds"]) == (0, 120)
    with pytest.raises(ClientError, match="not modelled"):
        client.list_functions()


def schedule(at: float, payload: Any) -> dict[str, Any]:
    return {
        "Name": "alarm",
        "GroupName": "smr",
        "ScheduleExpression": f"at({datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S})",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ActionAfterCompletion": "DELETE",
        "Target": {
            "Arn": "arn:aws:lambda:us-east-1:000000000000:function:f",
            "RoleArn": "arn:aws:iam::000000000000:role/scheduler",
            "Input": json.dumps(payload),
        },
    }


def test_a_schedule_calls_once_and_is_gone(deployed: Deployed, start: Start) -> None:
    start(deployed.plain)
    client = Clients()["scheduler"]
    client.create_schedule(**schedule(time.time() + 86_400, "too late"))
    with pytest.raises(client.exceptions.ConflictException):
        client.create_schedule(**schedule(time.time() + 86_400, "twice"))
    client.update_schedule(**schedule(time.time() + 60, "in time"))
    wait_until(deployed.ran)
    assert [run["event"] for run in deployed.ran()] == ["in time"]
    for verb in (client.get_schedule, client.delete_schedule):
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            verb(Name="alarm", GroupName="smr")


def test_a_schedule_that_was_deleted_calls_nobody(deployed: Deployed, start: Start) -> None:
    service = start(deployed.plain)
    client = Clients()["scheduler"]
    client.create_schedule(**schedule(time.time() + 500, "never"))
    assert client.get_schedule(Name="alarm", GroupName="smr")["Name"] == "alarm"
    client.delete_schedule(Name="alarm", GroupName="smr")
    client.create_schedule(**schedule(time.time() + 1000, "later"))
    wait_until(deployed.ran)
    assert [run["event"] for run in deployed.ran()] == ["later"]
    assert service.status().counts["cold"] == 1


def test_a_schedule_for_the_past_is_refused(deployed: Deployed, start: Start) -> None:
    start(deployed.plain)
    client = Clients()["scheduler"]
    with pytest.raises(client.exceptions.ValidationException):
        client.create_schedule(**schedule(time.time() - 60, "late"))


@pytest.mark.parametrize("ends", ["by its input", "by a signal"])
def test_it_runs_as_a_process_that_ends_with_all_of_it(deployed: Deployed, monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    settings = msgspec.json.encode(Settings((deployed.plain,))).decode()
    command = [sys.executable, "-m", "smr_notebook.testing.lambdas", settings]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        service = Service(process.stdout.readline().strip())
        for name, value in service.access.items():
            monkeypatch.setenv(name, value)
        pid = invoke({})["pid"]
        if ends == "by its input":
            process.stdin.close()
        else:
            process.terminate()
        assert process.wait(timeout=20) == 0
    assert not psutil.pid_exists(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel does it on Linux")
def test_sandboxes_end_even_with_a_service_that_is_killed(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are frozen, and could not see it."""
    command = [sys.executable, "-m", "smr_notebook.testing.lambdas", msgspec.json.encode(Settings((deployed.plain,))).decode()]
    variables = {**os.environ, "TMPDIR": str(deployed.folder)}  # it cleans nothing up
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables) as process:
        assert process.stdout is not None
        for name, value in Service(process.stdout.readline().strip()).access.items():
            monkeypatch.setenv(name, value)
        pid = invoke({})["pid"]
        wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        process.kill()
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
