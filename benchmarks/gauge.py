"""What the processes of a contestant take: CPU time and memory of a process tree, read from Linux' /proc.

CPU time is that of the live processes of the tree and of those that ended and were waited for. Memory is the proportional set size
(PSS): a page shared by n processes counts as 1/n in each, so that forked workers do not count their parent's pages again. It is
sampled; the sampling takes at most one part in `_RARELY` of one core.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Self

_PROC = Path("/proc")
_TICK = os.sysconf("SC_CLK_TCK")
_RARELY = 40
_SHORTEST = 0.01


def tree(root: int) -> list[int]:
    """Return a process and all its descendants."""
    children = defaultdict(list)
    for entry in os.listdir(_PROC):  # noqa: PTH208 - names are all that is wanted, and this is sampled
        if entry.isdigit():
            with contextlib.suppress(OSError):
                children[int(_stat(int(entry))[1])].append(int(entry))
    found, new = [], [root]
    while new:
        found += new
        new = [child for parent in new for child in children[parent]]
    return found


def cpu_seconds(root: int) -> float:
    """Return the processor time of a tree so far, user and system, in seconds."""
    ticks = 0
    for pid in tree(root):
        with contextlib.suppress(OSError):
            ticks += sum(int(field) for field in _stat(pid)[11:15])  # utime, stime, cutime, cstime
    return ticks / _TICK


def memory_bytes(root: int) -> tuple[int, int]:
    """Return the memory of a tree, and that of its largest process."""
    sizes = [_pss(pid) for pid in tree(root)]
    return sum(sizes), max(sizes)


def _stat(pid: int) -> list[str]:
    """Return the fields of a process from the third on; the second, its name, may hold anything."""
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def _pss(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


class Sampler:
    """Follows the memory of a tree while it is open; `peak` and `largest` are in bytes."""

    def __init__(self, root: int) -> None:
        self.peak = 0
        self.largest = 0
        self._root = root
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        ended = False
        while True:
            start = time.perf_counter()
            total, largest = memory_bytes(self._root)
            self.peak, self.largest = max(self.peak, total), max(self.largest, largest)
            if ended:
                return
            ended = self._ended.wait(max(_SHORTEST, (time.perf_counter() - start) * _RARELY))
