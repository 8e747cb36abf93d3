"""`notebooks/on_emulator.py`: a command finds an AWS, and nothing is left of it however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).parents[2] / "notebooks" / "on_emulator.py"

JOB = """
import os, psutil, signal, boto3
import smr_notebook as smr

signal.signal(signal.SIGINT, signal.SIG_DFL)  # else Python may drop it in a finalizer
bucket, _, folder = os.environ["EXAMPLE_DATA"].removeprefix("s3://").partition("/")
boto3.client("s3").put_object(Bucket=bucket, Key=f"{folder}/words.txt", Body=b"a\\nb\\na\\n")
frame = smr.map_reduce(lambda line: [(line, 1)], sum, os.environ["EXAMPLE_DATA"], wait=True)
assert frame["value"].tolist() == [2, 1]
print(smr.Session(), *(process.pid for process in psutil.Process(os.getppid()).children(recursive=True)), sep=" ", flush=True)
"""
WAIT = "import threading; threading.Event().wait()"


@contextmanager
def started(python: str, code: str) -> Iterator[subprocess.Popen[str]]:
    """Start the script with a command that runs some code, as the leader of a group, as a shell does; end it if the block does not."""
    words = [sys.executable, str(SCRIPT), "--", sys.executable, "-c", code]
    environment = os.environ | {"SMR_TEST_MINISTACK": python}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0) as process:
        try:
            yield process
        finally:
            process.terminate()


def told(line: str) -> tuple[str, set[int]]:
    """Return the session and the numbers of the processes that a command told of."""
    session, _, numbers = line.partition("> ")
    return f"{session}>", {int(number) for number in numbers.split()}


def at_work(numbers: set[int]) -> set[int]:
    """Return which processes have not ended. One that has may stay listed, until whoever inherited it looks."""
    return {process.pid for process in psutil.process_iter() if process.pid in numbers and process.status() != psutil.STATUS_ZOMBIE}


def test_a_command_runs_jobs_and_its_exit_code_is_kept(ministack_python: str) -> None:
    with started(ministack_python, f"{JOB}\nraise SystemExit(7)") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (7, "")
    session, numbers = told(out)
    assert session == "<Session aws stack smr>"
    assert at_work(numbers) == set()


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda process: os.killpg(process.pid, signal.SIGINT), 130),  # as a terminal does
        (lambda process: process.terminate(), 143),
        (lambda process: process.send_signal(signal.SIGHUP), 129),
    ],
    ids=["interrupted", "terminated", "hung up"],
)
def test_nothing_is_left_when_it_is_ended(ministack_python: str, end: Callable[[subprocess.Popen[str]], None], code: int) -> None:
    with started(ministack_python, f"{JOB}\n{WAIT}") as process:
        assert process.stdout is not None
        _, numbers = told(process.stdout.readline())
        assert at_work(numbers) == numbers
        assert len(numbers) > 4, "the emulator, the command, and what the functions ran in"
        end(process)
        process.communicate(timeout=60)
    assert process.returncode == code
    assert at_work(numbers) == set()


def test_without_the_emulator_it_says_how_to_have_it(tmp_path: Path) -> None:
    with started(str(tmp_path / "python"), "") as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 127
    assert err.startswith(f"There is no {tmp_path / 'python'}. `make build/ministack/.installed` makes it")
