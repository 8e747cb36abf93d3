"""Each tenant's calls run in processes of their own, below one that runs nobody's code. The processes are real, and so are the signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook.testing.waiting import wait_until

RUNTIME = """
import decimal, json, os, signal, subprocess, sys, threading
from dataclasses import asdict
from smr_notebook.backends.tenants import Invocation, InvocationFailedError, Tenants

SEEN = []

def handler(payload, context):
    call = json.loads(payload)
    SEEN.append(call["tenant"])
    answer = eval(call["does"]) if call.get("does") else None
    about = {"pid": os.getpid(), "seen": SEEN, "answer": answer, "trace": os.environ.get("_X_AMZN_TRACE_ID")}
    about |= {name: getattr(context, name) for name in ("location", "invocation", "deadline", "memory_bytes")}
    return json.dumps(about).encode()

def fork_and_leave(code):
    if os.fork() == 0:
        threading.Event().wait(60)
    os._exit(code)

def raises(error):
    raise error

tenants = Tenants(handler, lambda payload: json.loads(payload)["tenant"], variables=("_X_AMZN_TRACE_ID",))
for number, line in enumerate(sys.stdin):
    call = json.loads(line)
    os.environ["_X_AMZN_TRACE_ID"] = f"trace {number}"
    try:
        told = json.loads(tenants.run(line.encode(), Invocation("memory:", f"id/{number}", 1e10, 512 << 20)))
    except InvocationFailedError as error:
        told = {"error": str(error)}
    threads = len(os.listdir(f"/proc/{os.getpid()}/task")) if sys.platform == "linux" else 1
    print(json.dumps(told | {"runtime": SEEN, "threads": threads}), flush=True)
tenants.close()
"""


class Runtime:
    """A process as Lambda would run it, which takes calls on its standard input."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", RUNTIME]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def call(self, tenant: str, does: str = "") -> Any:
        """Have a tenant's process evaluate an expression, and return what is told."""
        self.send(tenant, does)
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline())
        assert (told.pop("runtime"), told.pop("threads")) == ([], 1)
        return told

    def send(self, tenant: str, does: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"tenant": tenant, "does": does}) + "\n")
        self.process.stdin.flush()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    runtime = Runtime()
    yield runtime
    runtime.close()


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(["", "a", "b"]), max_size=12))
def test_a_process_serves_one_tenant_as_long_as_no_other_comes(order: list[str]) -> None:
    runtime = Runtime()
    try:
        calls = [runtime.call(tenant) for tenant in order]
    finally:
        runtime.close()
    turns = [(tenant, len(list(calls_of))) for tenant, calls_of in groupby(order)]
    assert [call["seen"] for call in calls] == [[tenant] * number for tenant, calls_of in turns for number in range(1, calls_of + 1)]
    assert len({call["pid"] for call in calls}) == len(turns)


def test_what_one_tenant_does_to_its_process_reaches_no_other(runtime: Runtime) -> None:
    look = "(decimal.getcontext().prec, os.getcwd(), os.environ.get('LEFT'))"
    before = runtime.call("a", look)["answer"]
    changes = "[setattr(decimal.getcontext(), 'prec', 3), os.chdir('/'), os.environ.update(LEFT='behind')]"
    runtime.call("b", changes)
    assert runtime.call("b", look)["answer"] == [3, "/", "behind"]
    assert runtime.call("a", look)["answer"] == before


def test_a_call_knows_its_invocation(runtime: Runtime) -> None:
    """What Lambda traces changes with each call, although the process is older."""
    for number in range(2):
        told = runtime.call("a")
        assert told["trace"] == f"trace {number}"
        assert (told["location"], told["invocation"]) == ("memory:", f"id/{number}")
        assert (told["deadline"], told["memory_bytes"]) == (1e10, 512 << 20)


def test_large_payloads_and_answers_pass_whole(runtime: Runtime) -> None:
    text = "x" * (5 << 20)
    assert len(runtime.call("a", f"'{text}'")["answer"]) == 5 << 20


@pytest.mark.parametrize(
    ("does", "reason"),
    [("1 / 0", "ZeroDivisionError: division by zero"), ("sys.exit('bye')", "SystemExit: bye"), ("raises(E)", "NameError")],
)
def test_a_handler_that_raises_is_told_and_its_process_goes_on(runtime: Runtime, does: str, reason: str) -> None:
    pid = runtime.call("a")["pid"]
    assert runtime.call("a", does)["error"].startswith(reason)
    assert runtime.call("a")["pid"] == pid


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("os._exit(75)", "exited with code 75"),
        ("fork_and_leave(3)", "exited with code 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by signal 9: most likely out of memory (limit 512 MB)"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by signal 11 (SIGSEGV)"),
    ],
)
def test_a_process_that_ends_is_told_with_the_cause_and_replaced(runtime: Runtime, does: str, reason: str) -> None:
    """Also when a process that it started goes on, and holds its end of the connection open."""
    pid = runtime.call("a")["pid"]
    first, *stack = runtime.call("a", does)["error"].splitlines()
    assert first == reason
    assert bool(stack) == ("SIGSEGV" in does), "faulthandler's words, where there are any"
    assert runtime.call("a")["pid"] != pid


def test_a_process_that_ends_between_two_calls_is_replaced_without_a_word(runtime: Runtime) -> None:
    pid = runtime.call("a")["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: gone(pid))
    assert runtime.call("a")["pid"] != pid


def test_what_a_tenant_started_ends_with_its_process(runtime: Runtime) -> None:
    pid = runtime.call("a", "subprocess.Popen(['sleep', '3600']).pid")["answer"]
    assert psutil.pid_exists(pid)
    runtime.call("b")
    wait_until(lambda: gone(pid))


@pytest.mark.parametrize("busy", [False, True])
def test_a_process_ends_with_the_runtime(runtime: Runtime, *, busy: bool) -> None:
    pid = runtime.call("a")["pid"]
    if busy:
        runtime.send("a", "threading.Event().wait(60)")
    os.kill(runtime.process.pid, signal.SIGKILL)
    wait_until(lambda: gone(pid))
