"""The process of one contestant: run by its own Python, told what to do by lines of JSON on stdin.

    {"module": "floor", "workload": "W1", "setup": …}  →  {"ready": true}      the executor is up, unless its start is what is measured
    {"do": "run"}                                      →  {"wall": seconds}
    {"do": "answer"}                                   →  {"digest": "…"}      of the last run
    {"do": "quit"}

or `{"absent": why}`, or `{"error": what}`; both are its last words. Whatever the contestant itself prints goes to stderr, a log. On Linux
this process adopts what its descendants leave behind (a service that has left its parent), so that one tree holds all that works for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cells import NO_CELL, Absent, Answer, Setup, digest

PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def private_stdout() -> int:
    """Return a descriptor of the real stdout, which from now on is stderr to everybody else."""
    ours = os.dup(1)
    os.set_inheritable(ours, False)  # noqa: FBT003 - the standard library's signature
    os.dup2(2, 1)
    return ours


class Host:
    """A contestant and its executor."""

    def __init__(self, told: dict[str, Any], stack: contextlib.ExitStack) -> None:
        self._module = importlib.import_module(told["module"])
        self._setup = Setup(**told["setup"])
        self._ordered = told["ordered"]
        self._stack = stack
        if told["workload"] not in self._module.CELLS:
            raise Absent(NO_CELL)
        self._cell = self._module.CELLS[told["workload"]]
        self._executor = None if told["cold"] else self._open()
        self._cold = told["cold"]
        self._answer: Answer | None = None

    def _open(self) -> Any:
        return self._stack.enter_context(self._module.opened(self._setup))

    def run(self) -> dict[str, Any]:
        """Do the work in an empty scratch folder, and return the seconds that it took."""
        self._answer = None
        shutil.rmtree(self._setup.scratch, ignore_errors=True)
        Path(self._setup.scratch).mkdir(parents=True)
        start = time.perf_counter()
        executor = self._open() if self._cold else self._executor
        self._answer = self._cell(executor, self._setup)
        return {"wall": time.perf_counter() - start}

    def answer(self) -> dict[str, Any]:
        """Return the hash of the last answer, and let it go."""
        answer, self._answer = self._answer, None
        if answer is None:
            raise RuntimeError("nothing was run")
        return {"digest": digest(answer(), ordered=self._ordered)}


def replies(stack: contextlib.ExitStack) -> Iterator[dict[str, Any]]:
    host = Host(json.loads(sys.stdin.readline()), stack)
    yield {"ready": True}
    for line in sys.stdin:
        word = json.loads(line)["do"]
        if word == "quit":
            return
        yield host.run() if word == "run" else host.answer()


def main() -> None:
    adopt_orphans()
    with os.fdopen(private_stdout(), "w", buffering=1) as out, contextlib.ExitStack() as stack:
        try:
            for reply in replies(stack):
                print(json.dumps(reply), file=out)
        except Absent as absent:
            print(json.dumps({"absent": str(absent)}), file=out)
        except Exception as error:  # noqa: BLE001 - the harness tells it, and the log has the rest
            traceback.print_exc()
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=out)


if __name__ == "__main__":
    main()
