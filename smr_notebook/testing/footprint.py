"""What a local service takes of the machine: counted for tests and benchmarks that look for leaks."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Final

import psutil

from smr_notebook.backends.local.client import LocalFunctions
from smr_notebook.testing.waiting import wait_until

_LOOKS: Final = 50
"""How many times in a row it must have been the same."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What some processes take.

    Attributes:
        processes: How many there are.
        descriptors: Open files, pipes and sockets.
        threads: Threads of all of them.
        lasting_bytes: Resident memory of those that stay from job to job: the service, the process that forks, this one.
        largest_bytes: That of the largest worker.
    """

    processes: int
    descriptors: int
    threads: int
    lasting_bytes: int
    largest_bytes: int

    def __str__(self) -> str:
        return ", ".join(f"{field.name} {getattr(self, field.name):,}" for field in fields(self))


def footprint(functions: LocalFunctions) -> Footprint:
    """Return what a service and this process take, as soon as the service has nothing to do and what it takes stays.

    Workers that it lets go take a moment to end, and those that it makes ready for jobs to come take one to open what they need.
    """
    looks: deque[Footprint | None] = deque(maxlen=_LOOKS)

    def stays() -> bool:
        looks.append(_look(functions))
        return len(looks) == _LOOKS and len({look and (look.processes, look.descriptors, look.threads) for look in looks}) == 1

    wait_until(lambda: stays() and looks[-1] is not None)
    last = looks[-1]
    assert last is not None
    return last


def _look(functions: LocalFunctions) -> Footprint | None:
    """Return what they take at this moment; `None` while there is something to do."""
    status = functions.status()
    if status is None or status.queued + status.running + status.sleeping:
        return None
    lasting = [found for pid in (status.pid, status.zygote, os.getpid()) for found in _taken(pid)]
    workers = [found for pid in status.workers for found in _taken(pid)]
    return Footprint(
        len(lasting) + len(workers),
        sum(found.descriptors for found in lasting + workers),
        sum(found.threads for found in lasting + workers),
        sum(found.resident_bytes for found in lasting),
        max((found.resident_bytes for found in workers), default=0),
    )


@dataclass(frozen=True, slots=True)
class _Taken:
    descriptors: int
    threads: int
    resident_bytes: int


def _taken(pid: int) -> Iterator[_Taken]:
    """Yield what a process takes; nothing for one that is gone, as a worker may be that has just been let go."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        yield _Taken(process.num_fds(), process.num_threads(), process.memory_info().rss)
