"""What a process leaves behind when it crashes: its stack, in a place that its parent made."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from smr_notebook.backends.crash_stacks import MOST, CrashStack, answers

PARENT = """
import ctypes, os, signal, sys
from smr_notebook.backends.crash_stacks import CrashStack, answers, ask

words = CrashStack()
ready, told = os.pipe()
child = os.fork()
if child == 0:
    words.take()
    def innermost():
        {does}
    innermost()
    os._exit(0)
{meanwhile}
os.waitpid(child, 0)
sys.stdout.write(words.read())
words.close()
"""


def left_by(does: str, meanwhile: str = "") -> str:
    """Return what a child leaves that does something, while its parent does something else."""
    code = textwrap.dedent(PARENT).format(does=does, meanwhile=meanwhile)
    return subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("does", "named"),
    [
        ("ctypes.string_at(0)", "Segmentation fault"),
        ("os.abort()", "Aborted"),
        ("os.kill(os.getpid(), signal.SIGFPE)", "Floating"),
        ("os.kill(os.getpid(), signal.SIGBUS)", "Bus error"),
    ],
)
def test_a_crash_leaves_its_stack(does: str, named: str) -> None:
    left = left_by(does)
    assert named in left
    assert "in innermost" in left


@pytest.mark.parametrize("does", ["pass", "os._exit(3)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_an_end_that_is_no_crash_leaves_nothing(does: str) -> None:
    assert left_by(does) == ""


def test_a_process_that_is_asked_answers_and_goes_on() -> None:
    does = "os.write(told, b'ready')\n        while True: pass"
    asked = "os.read(ready, 5)\nask(child)\nwhile not (answers(child) and words.read()): pass\nos.kill(child, signal.SIGKILL)"
    assert "in innermost" in left_by(does, asked)


def test_a_stack_without_end_is_cut() -> None:
    left = left_by("def deep(n):\n            return deep(n - 1) if n else os.abort()\n        deep(500)")
    assert len(left) <= MOST
    assert "in deep" in left


def test_a_place_that_was_let_go_of_holds_nothing() -> None:
    words = CrashStack()
    assert words.read() == ""
    words.close()
    words.close()
    assert answers(2**22 + 1)
