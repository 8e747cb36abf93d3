"""What a local service takes of the machine: counted for tests and benchmarks that look for leaks."""

from __future__ import annotations

from collections.abc import Iterable
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
    lasting = [psutil.Process(pid) for pid in (status.pid, status.zygote)] + [psutil.Process()]
    workers = [psutil.Process(pid) for pid in status.workers]
    return Footprint(
        len(lasting) + len(workers),
        _total(process.num_fds() for process in lasting + workers),
        _total(process.num_threads() for process in lasting + workers),
        _total(process.memory_info().rss for process in lasting),
        max((process.memory_info().rss for process in workers), default=0),
    )


def _rests(functions: LocalFunctions) -> bool:
    status = functions.status()
    return status is not None and status.queued + status.running + status.sleeping == 0


def _total(numbers: Iterable[int]) -> int:
    return sum(numbers)
