"""Many callers at the same moment: threads, and processes.

This module imports no test library, so that the processes start quickly.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypeVar

from smr_notebook.ports import ObjectStore, Table

T = TypeVar("T")

_CHILD = "import pickle, sys; work = pickle.load(sys.stdin.buffer); print(flush=True); sys.stdin.buffer.read(1); work()"


def in_threads(count: int, work: Callable[[int], T]) -> list[T]:
    """Call `work(0)` … `work(count - 1)` in as many threads at once, and return what they returned."""
    barrier = threading.Barrier(count)

    def start(number: int) -> T:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count)))


def in_processes(works: list[Callable[[], None]]) -> None:
    """Call each of these picklable functions in a fresh process of its own, all at once, and wait for their ends.

    Raises:
        RuntimeError: One of them failed.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with ExitStack() as stack:
        children = []
        for work in works:
            command = [sys.executable, "-c", _CHILD]
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
            children.append(stack.enter_context(child))
            stack.callback(child.kill)
            assert child.stdin is not None
            pickle.dump(work, child.stdin)
            child.stdin.flush()
        for child in children:
            assert child.stdout is not None
            child.stdout.readline()
        for child in children:
            assert child.stdin is not None
            child.stdin.write(b"!")
            child.stdin.flush()
        for child in children:
            _, errors = child.communicate(timeout=120)
            if child.returncode:
                raise RuntimeError(f"A racing process ended with {child.returncode}: {errors.decode(errors='replace')}")


def count_up(table: Table, key: str, times: int, *, writer: str) -> None:
    """Add one to the number in a row, `times` times, by compare-and-set. The value also says who wrote it."""
    done = 0
    standing = table.get("race", key)
    while done < times:
        version, number = (standing.version, int(standing.value.split()[0])) if standing else (0, 0)
        mine = f"{number + 1} {writer} {done}".encode()
        standing = table.put("race", key, mine, expect=version)
        done += standing.value == mine


def count_up_in_process(open_table: Callable[[], Table], times: int, writer: str) -> None:
    """Open the table and count up."""
    count_up(open_table(), "counter", times, writer=writer)


def create_all(open_store: Callable[[], ObjectStore], count: int, *, writer: str, writers: int) -> None:
    """Try to create the same objects as everybody else, and store under `won/<writer>` which of them were won.

    All writers meet when the object is half written, so that they come to its end at the same moment.
    """
    store = open_store()

    def body(number: int) -> Iterator[bytes]:
        yield writer.encode()
        store.put(f"ready/{number:04d}/{writer}", b"")
        while sum(1 for _ in store.list_prefix(f"ready/{number:04d}/")) < writers:
            pass
        yield b"!"

    won = [number for number in range(count) if store.put(f"race/{number:04d}", body(number), if_absent=True)]
    store.put(f"won/{writer}", ",".join(map(str, won)).encode())


def create_rows(open_table: Callable[[], Table], count: int, writer: str) -> None:
    """Try to create the same rows as everybody else, and write into the row `writer` of the group `won` how many were won."""
    table = open_table()
    won = sum(table.put("race", f"{number:04d}", writer.encode(), expect=0).value == writer.encode() for number in range(count))
    table.put("won", writer, str(won).encode(), expect=0)
