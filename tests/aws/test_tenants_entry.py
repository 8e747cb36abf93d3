"""The entry of the generic image: what Lambda hands to it becomes calls of the handler, and failures become notices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.events import notice, stamp_request
from smr_notebook.backends.local.platform import LocalOptions
from smr_notebook.control.messages import DeathNotice, attempt_message, coordinate, decode, encode
from smr_notebook.environment import environment
from smr_notebook.model import AttemptId, Environment, Phase, TaskId
from smr_notebook.testing.lambdas.service import Service, lambda_service
from smr_notebook.testing.lambdas.settings import Function
from smr_notebook.testing.waiting import wait_until

WATCHED = """
import os
import threading
from smr_notebook.backends.aws.events import respond
from smr_notebook.backends.tenants import Tenants
from smr_notebook.control.pulse import pulse_of, rest_pulse
from smr_notebook.control.worker import end_unless_alive

class Heart:
    patience = 1.0
    watch = staticmethod(end_unless_alive)

    def beat(self):
        return 60.0

def run(payload, context):
    heart, pulse = Heart(), pulse_of(os.getpid())
    pulse.join(heart, first=60.0)
    threading.Event().wait(0.05)
    pulse.leave(heart)
    rest_pulse()
    return str(os.getpid()).encode()

tenants = Tenants(run, lambda payload: "")

def handler(event, context):
    return respond(event, context, tenants, location="memory:")
"""
"""A function whose invocations arm a watchdog that ends the process soon, as an attempt does."""

HOG = """
import os
import threading
from smr_notebook.backends.aws.events import respond
from smr_notebook.backends.tenants import Tenants

def run(payload, context):
    hog = [os.urandom(1 << 20) for _ in range(300 if b"much" in payload else 1)]
    threading.Event().wait(60 if len(hog) > 1 else 0)
    return b"1"

tenants = Tenants(run, lambda payload: "")

def handler(event, context):
    return respond(event, context, tenants, location="memory:")
"""

ENTRY = Path(__file__).parents[2] / "kernels" / "lambda"
SINGLE_THREADED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}


@pytest.fixture
def service(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """The image as a function whose workers keep everything in a folder."""
    location = f"local:{msgspec.json.encode(LocalOptions(str(workspace))).decode()}"
    function = Function(
        "smr-mapper", "entry.handler", folder=str(ENTRY), environment={"SMR_LOCATION": location, **SINGLE_THREADED}, memory_mb=1769
    )
    with lambda_service([function]) as service:
        for name, value in service.access.items():
            monkeypatch.setenv(name, value)
        yield service


def invoke(payload: bytes) -> Any:
    answer = Clients()["lambda"].invoke(FunctionName="smr-mapper", Payload=payload)
    return json.loads(answer["Payload"].read() or b"null")


def task(job: str) -> bytes:
    return encode(attempt_message(job, AttemptId(TaskId(Phase.MAP, 0), 1)))


def test_the_stamp_is_the_environment_and_makes_no_process(service: Service) -> None:
    assert msgspec.convert(invoke(stamp_request()), Environment) == environment()
    [sandbox] = service.status().sandboxes["smr-mapper"]
    assert sandbox.members == (sandbox.pid,)


def test_each_job_has_a_process_below_one_with_a_single_thread(service: Service) -> None:
    """The job is not in the table, so there is nothing to do."""
    processes = []
    for job in ("a", "a", "b"):
        assert invoke(task(job)) == {}
        [sandbox] = service.status().sandboxes["smr-mapper"]
        [child] = set(sandbox.members) - {sandbox.pid}
        processes.append(child)
    assert processes[0] == processes[1] != processes[2]
    assert psutil.Process(sandbox.pid).num_threads() == 1


def test_an_invocation_that_fails_says_why_in_lambdas_words_too(service: Service) -> None:
    told = invoke(b'{"v":77}')
    assert told["errorType"] == "InvocationFailedError"
    assert told["errorMessage"].startswith("FormatVersionError: An invocation got a message of version 77")


def test_notices_of_failures_are_handled_each_and_one_that_is_none_stops_no_other(service: Service) -> None:
    records = [failure(task("a"), {"errorMessage": "gone"}), {"no": "record of ours"}, failure(encode(coordinate("b")), None)]
    event = {"Records": [{"messageId": str(number), "body": json.dumps(record)} for number, record in enumerate(records)]}
    assert invoke(json.dumps(event).encode()) == {}
    assert service.printed().count("a failure could not be told (KeyError") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="processes are frozen on Linux")
def test_a_process_that_was_frozen_for_longer_than_its_watchdog_waits_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "watched.py").write_text(WATCHED)
    with lambda_service([Function("smr-mapper", "watched.handler", folder=str(tmp_path))]) as service:
        for name, value in service.access.items():
            monkeypatch.setenv(name, value)
        pid = invoke(b"{}")
        wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        thaws = time.monotonic() + 1.5
        wait_until(lambda: time.monotonic() > thaws)
        assert invoke(b"{}") == pid


def test_a_process_that_runs_out_of_memory_is_told_and_its_runtime_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hog.py").write_text(HOG)
    with lambda_service([Function("smr-mapper", "hog.handler", folder=str(tmp_path), memory_mb=256)], kills_hogs=True) as service:
        for name, value in service.access.items():
            monkeypatch.setenv(name, value)
        assert invoke(b"{}") == 1
        assert invoke(b'"much"')["errorMessage"] == "killed by signal 9: most likely out of memory (limit 256 MB)"
        assert invoke(b"{}") == 1
        assert service.status().counts["cold"] == 1


def failure(payload: bytes, response: Any, **context: Any) -> dict[str, Any]:
    """Return what Lambda says of an event that it gave up."""
    about = {"requestId": "id-1", "functionArn": "arn", "condition": "RetriesExhausted", "approximateInvokeCount": 1, **context}
    record = {"requestContext": about, "requestPayload": json.loads(payload), "version": "1.0"}
    return record if response is None else record | {"responsePayload": response, "responseContext": {"functionError": "Unhandled"}}


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ({"errorType": "InvocationFailedError", "errorMessage": "exited with code 75"}, "exited with code 75"),
        ({"errorType": "MemoryError", "errorMessage": "too much"}, "MemoryError: too much"),
        (
            {"errorType": "Sandbox.Timedout", "errorMessage": "RequestId: id-1 Error: Task timed out after 900.00 seconds"},
            "Task timed out after 900.00 seconds",
        ),
        ({"errorMessage": "2026-11-14T18:16:05.568Z id-1 Task timed out after 900.00 seconds"}, "Task timed out after 900.00 seconds"),
        (
            {"errorType": "Runtime.ExitError", "errorMessage": "RequestId: id-1 Error: Runtime exited with error: signal: killed"},
            "Runtime exited with error: signal: killed: most likely out of memory",
        ),
        ({"errorMessage": "RequestId: id-1 Process exited before completing request"}, "Process exited before completing request"),
        ("words", "words"),
    ],
)
def test_a_notice_names_the_invocation_and_says_in_words_why_it_died(response: Any, reason: str) -> None:
    told = decode(notice(failure(task("a"), response)))
    assert isinstance(told, DeathNotice)
    assert (told.message, told.invocation, told.reason) == (decode(task("a")), "id-1", reason)
    assert told.late == reason.startswith("Task timed out")


@pytest.mark.parametrize(
    ("kind", "text", "memory", "reason", "stack"),
    [
        ("ProcessEndedError", "exited with code 75", False, "exited with code 75", ""),
        ("ProcessEndedError", "killed by signal 11 (SIGSEGV)\nFatal\n  File", False, "killed by signal 11 (SIGSEGV)", "Fatal\n  File"),
        ("MemoryEndedError", "killed by signal 9: most likely", True, "killed by signal 9: most likely", ""),
        ("Runtime.OutOfMemory", "RequestId: id-1 Error: no memory", True, "no memory: most likely out of memory", ""),
        ("Runtime.ExitError", "RequestId: id-1 Error: signal: killed", True, "signal: killed: most likely out of memory", ""),
        ("InvocationFailedError", "ValueError: two\nlines", False, "ValueError: two\nlines", ""),
    ],
)
def test_a_notice_says_whether_memory_was_the_cause_and_passes_a_stack_on(
    kind: str, text: str, memory: bool, reason: str, stack: str
) -> None:
    told = decode(notice(failure(task("a"), {"errorType": kind, "errorMessage": text})))
    assert isinstance(told, DeathNotice)
    assert (told.memory, told.reason, told.stack) == (memory, reason, stack)


@pytest.mark.parametrize("count", [0, 5])
def test_a_notice_of_an_event_that_never_ran_names_no_invocation(count: int) -> None:
    told = decode(notice(failure(task("a"), None, condition="EventAgeExceeded", approximateInvokeCount=count)))
    assert isinstance(told, DeathNotice)
    assert (told.invocation, told.reason) == ("", "Lambda never ran it (EventAgeExceeded)")


@pytest.mark.parametrize(("function", "frames"), [("smr-coordinator", False), ("smr-driver", False), ("smr-mapper", True)])
def test_the_entry_imports_no_notebook_and_frames_only_where_they_are_needed(function: str, *, frames: bool) -> None:
    look = "import entry, json, sys; print(json.dumps([name for name in sys.modules if '.' not in name]))"
    packages = os.pathsep.join([str(ENTRY), *sys.path])
    variables = {**os.environ, **SINGLE_THREADED, "AWS_LAMBDA_FUNCTION_NAME": function, "PYTHONPATH": packages}
    found = subprocess.run([sys.executable, "-c", look], env=variables, capture_output=True, check=True)
    modules = set(json.loads(found.stdout))
    assert {"boto3", "pyarrow", "numpy"} <= modules
    assert not modules & {"IPython", "ipywidgets", "pytest", "asyncio", "awslambdaric", "nbformat"}
    assert ("pandas" in modules) is frames
