"""What a tormentor does to a job: one torment is one blow, drawn and named.

Rules of this module:

* A torment is a function of a seed's draw; it returns the name of the fault that it caused, or `None` when there was nothing to hit.
* What it does to a process that is not ours any more is nothing: numbers of processes are those that the service names now.
* What it freezes it thaws again, after longer or shorter than a lease: so zombies come about.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Final

from smr_notebook.control.layout import Layout
from smr_notebook.errors import SmrError
from smr_notebook.ports import ObjectStore

Torment = Callable[[Random], str | None]

_SIGNALS: Final = (signal.SIGKILL, signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM)
_MOST_BYTES: Final = 1 << 20


def kill_one(pids: Callable[[], Sequence[int]], who: str) -> Torment:
    """Return what kills one of the processes that `pids` names."""

    def kill(random: Random) -> str | None:
        living = pids()
        if not living:
            return None
        number = random.choice(_SIGNALS)
        with suppress(ProcessLookupError):
            os.kill(random.choice(living), number)
            return f"killed {who} ({signal.Signals(number).name})"
        return None

    return kill


def freeze_one(pids: Callable[[], Sequence[int]], who: str, *, lease: float, thaws: list[threading.Timer]) -> Torment:
    """Return what stops one of the processes for up to three leases. The timers that let it go on are added to `thaws`."""

    def freeze(random: Random) -> str | None:
        living = pids()
        if not living:
            return None
        pid = random.choice(living)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            timer = threading.Timer(random.uniform(0.1, 3 * lease), _let_go_on, [pid])
            timer.start()
            thaws.append(timer)
            return f"frozen {who}"
        return None

    return freeze


def _let_go_on(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def rot_one(objects: ObjectStore, job: Callable[[], str]) -> Torment:
    """Return what changes one byte of an object of the job, cuts it, or takes it away."""

    def rot(random: Random) -> str | None:
        with suppress(SmrError):
            found = [info for info in objects.list_prefix(Layout(job()).root) if 0 < info.size < _MOST_BYTES]
            if not found:
                return None
            chosen = random.choice(found)
            data = bytearray(objects.get(chosen.key))
            kind = chosen.key.split("/")[2]
            blow = random.choice(("flip", "flip", "cut", "remove"))
            if blow == "remove":
                objects.delete_prefix(chosen.key)
                return f"gone {kind}"
            if blow == "cut":
                objects.put(chosen.key, bytes(data[: random.randrange(len(data))]))
                return f"rotten {kind} (cut)"
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
            objects.put(chosen.key, bytes(data))
            return f"rotten {kind} (one bit)"
        return None

    return rot
