"""The guard: workers that take more memory than they may are ended, before the system ends something else.

Theory. A limit of the operating system on a process counts what an allocator *reserves* (a gigabyte at a time, and files that are only
mapped), and fails in the middle of a library. What takes a machine down is what is *resident*. So the service looks at that, from outside:
a worker whose one call lets no other thread run is seen too. How soon it looks again follows from how much room there is, so that nobody
can take all of it in between.

Rules of this module:

* Where somebody said how much a worker may take, that is its limit. Else a worker may take what is there: only when the machine (or its
  control group) has hardly any memory left is the largest one ended, if it has more than half of its share.
* Who is to be ended is asked for its last words first, and killed when it has given them, or takes far more than it may.
* One at a time for want of memory in the machine: what it took comes back when it has ended.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from smr_notebook.backends.crash_stacks import answers, ask
from smr_notebook.backends.local.machine import available_bytes, out_of_memory_kills, resident_bytes_of

_LEAST_RESERVE: Final = 256 << 20
_MOST_RESERVE: Final = 1 << 30
_FILL: Final = float(8 << 30)
"""Bytes a second: nobody fills memory faster."""

_SHORTEST: Final = 0.02
_LONGEST: Final = 0.5
"""Seconds between two looks."""

_NEAR: Final = 0.8
"""Part of its limit from which on a worker that somebody else killed was most likely killed for its memory."""


@dataclass(frozen=True, slots=True)
class Working:
    """A worker that runs somebody's functions: its process, and the bytes that it may take."""

    process: int
    limit: int


@dataclass(frozen=True, slots=True)
class Fate:
    """Why a worker ended for want of memory: in words, and how much it took."""

    reason: str
    resident: int


def overweight(residents: Mapping[int, int], limits: Mapping[int, int]) -> list[int]:
    """Return the workers that take more than their limit. Pure."""
    return [worker for worker, resident in residents.items() if resident > limits[worker]]


def heaviest(residents: Mapping[int, int], *, available: int, reserve: int, share: int) -> int | None:
    """Return the worker to end when a machine has too little memory left; `None` when it has enough, or no worker is to blame. Pure.

    Args:
        residents: Bytes that each worker takes.
        available: Bytes that the machine has left.
        reserve: Bytes that it should have left.
        share: Bytes that a worker may take whatever the others do.
    """
    if available >= reserve or not residents:
        return None
    worker = max(residents, key=residents.__getitem__)
    return worker if residents[worker] > share // 2 else None


class Guard:
    """Watches the memory of the workers of one service.

    Args:
        machine: Bytes that all processes may take together.
        share: Bytes of a worker's share.
        strict: Whether the limits are those that somebody said, and hold whatever the machine has left.

    Attributes:
        due: When to look again while anybody works, on the clock that `look` is told.
    """

    def __init__(self, *, machine: int, share: int, strict: bool) -> None:
        self._reserve = min(max(machine // 16, min(_LEAST_RESERVE, machine // 4)), _MOST_RESERVE)
        self._share = share
        self._strict = strict
        self._asked: dict[int, Fate] = {}
        self._residents: dict[int, int] = {}
        self._limits: dict[int, int] = {}
        self._kills = deque([out_of_memory_kills()], maxlen=2)
        self.due = 0.0

    def look(self, working: Mapping[int, Working], now: float) -> list[int]:
        """Look at the workers, and return those that are to be killed now."""
        self._residents = {worker: resident_bytes_of(found.process) for worker, found in working.items()}
        self._limits = {worker: found.limit for worker, found in working.items()}
        self._kills.append(out_of_memory_kills())
        available = available_bytes()
        accused = self._accused(available)
        self._asked = {
            worker: fate for worker, fate in self._asked.items() if worker in accused or (worker in working and not self._residents[worker])
        }
        doomed = [worker for worker in self._asked if self._told(worker, working[worker])]
        for worker, fate in accused.items():
            if worker not in self._asked:
                self._asked[worker] = fate
                ask(working[worker].process)
        room = [max(available - self._reserve, 0)]
        if self._strict:
            room += [self._limits[worker] - resident for worker, resident in self._residents.items()]
        self.due = now + min(max(min(room) / _FILL, _SHORTEST), _LONGEST)
        return doomed

    def _told(self, worker: int, found: Working) -> bool:
        return answers(found.process) or self._residents[worker] - self._asked[worker].resident > _MOST_RESERVE // 2

    def fate(self, worker: int, *, killed: bool) -> Fate | None:
        """Return why a worker ended, if it was for want of memory, and forget it.

        Args:
            worker: Which one.
            killed: Whether it was ended by SIGKILL, by whomever.
        """
        told, resident = self._asked.pop(worker, None), self._residents.pop(worker, 0)
        if told is not None or not killed:
            return told
        limit = self._limits.get(worker, 0)
        if out_of_memory_kills() > self._kills[0]:
            return Fate(f"killed by signal 9 (SIGKILL): the system had no memory left, and it took {_mb(resident)} MiB", resident)
        if self._strict and limit and resident > _NEAR * limit:
            return Fate(f"killed by signal 9 (SIGKILL), when it took {_mb(resident)} of {_mb(limit)} MiB of memory", resident)
        return None

    def ending(self, worker: int, status: int, stack: str) -> tuple[str, dict[str, object]]:
        """Return why a worker ended, in words, and what else is known of it, as `ports.FunctionService.invoke` names it.

        Args:
            worker: Which one.
            status: Its wait status.
            stack: Its last words.
        """
        told: dict[str, object] = {"stack": stack} if stack else {}
        fate = self.fate(worker, killed=os.waitstatus_to_exitcode(status) == -signal.SIGKILL)
        if fate is None:
            return how_it_ended(status), told
        return fate.reason, {**told, "memory": True, "resident": fate.resident}

    def _accused(self, available: int) -> dict[int, Fate]:
        found = {}
        if self._strict:
            for worker in overweight(self._residents, self._limits):
                resident, limit = self._residents[worker], self._limits[worker]
                found[worker] = Fate(f"ended, because it took {_mb(resident)} MiB of memory and may take {_mb(limit)} MiB", resident)
        worst = heaviest(self._residents, available=available, reserve=self._reserve, share=self._share)
        if worst is not None and worst not in found and self._asked.keys() <= {worst}:
            resident = self._residents[worst]
            text = f"ended, because it took {_mb(resident)} MiB of memory and the machine had {_mb(available)} MiB left"
            found[worst] = Fate(text, resident)
        return found


def how_it_ended(status: int) -> str:
    """Return what a wait status says."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"killed by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"killed by signal {-code}"


def _mb(size: int) -> str:
    return f"{size / 2**20:,.0f}"
