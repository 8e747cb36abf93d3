"""What a local service takes of the machine: counted for tests and benchmarks that look for leaks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields

import psutil

from smr_notebook.backends.local.client import LocalFunctions
from smr_notebook.testing.waiting import wait_until


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
    """Return what a service and this process take, as soon as the service has nothing to do."""
    wait_until(lambda: _rests(functions))
    status = functions.status()
    assert status is not None
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


def _rests(functions: LocalFunctions) -> bool:
    status = functions.status()
    return status is not None and status.queued + status.running + status.sleeping == 0
