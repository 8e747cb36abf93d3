"""A handler that tests of function services run: it does what its payload says, and leaves files that tell.

The payload is JSON with the fields of `Order`; the files lie in the folder that `Context.location` names::

    started-<name>-<invocation>    the context, as JSON
    crowd-<name>-<invocation>      how many invocations had started and not ended when this one started
    spawned-<name>-<invocation>    process id of a process that it started
    woken-<name>-<invocation>      it slept, and sleeps no more
    ended-<name>-<invocation>      it came to its end
    told-<invocation>              it got a death notice
    notice-<invocation>            the payload of a death notice about that invocation

An invocation's name may hold a `/`, which stands as a `~` in the name of a file.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from smr_notebook.ports import Context
from smr_notebook.testing.waiting import wait_until


@dataclass(frozen=True, slots=True)
class Order:
    """What one invocation of `record` shall do.

    Attributes:
        name: Part of the names of the files that it leaves.
        spawns: Whether to start a process that would run for an hour.
        sleeps: Seconds to sleep with the clock of the context; 0 for not at all.
        waits: File in the folder to wait for; empty for none.
        ends: How to end: `well`, `raises`, `exits` (code 3), `killed` or `leaves` (`sys.exit`).
    """

    name: str
    spawns: bool = False
    sleeps: float = 0.0
    waits: str = ""
    ends: str = "well"

    def payload(self) -> bytes:
        """Return what to invoke the service with."""
        return json.dumps(asdict(self)).encode()


def record(payload: bytes, context: Context) -> bytes:
    """Carry out an `Order`, or write down a death notice."""
    folder = Path(context.location)
    fields = json.loads(payload)
    if "failed" in fields:
        _write(folder / f"told-{in_files(context.invocation)}", "")
        _write(folder / f"notice-{in_files(fields['invocation'])}", payload.decode())
        return b""
    order = Order(**fields)
    mark = f"{order.name}-{in_files(context.invocation)}"
    about = {"deadline": context.deadline, "memory_bytes": context.memory_bytes, "pid": os.getpid(), "now": context.clock.now()}
    _write(folder / f"started-{mark}", json.dumps(about))
    started = len(list(folder.glob("started-*")))
    _write(folder / f"crowd-{mark}", str(started - len(list(folder.glob("ended-*")))))
    if order.spawns:
        _write(folder / f"spawned-{mark}", str(subprocess.Popen(["sleep", "3600"]).pid))  # noqa: S607 - found by PATH
    if order.sleeps:
        context.clock.sleep(order.sleeps)
        _write(folder / f"woken-{mark}", "")
    if order.waits:
        wait_until((folder / order.waits).exists, 60.0)
    _end(order.ends)
    _write(folder / f"ended-{mark}", "")
    return b"done"


def in_files(invocation: str) -> str:
    """Return the name of an invocation as it stands in names of files."""
    return invocation.replace("/", "~")


def nothing(payload: bytes, context: Context) -> bytes:  # noqa: ARG001 - a handler takes two arguments
    """Return at once."""
    return b""


def somebody(_: bytes) -> str:
    """Say whose a call is: all are of one tenant."""
    return "somebody"


def nobody(_: bytes) -> str:
    """Say that a call runs nobody's functions."""
    return ""


def unready(location: str) -> None:
    """Fail to prepare for calls."""
    raise ZeroDivisionError(f"{location} is not ready")


def _write(path: Path, text: str) -> None:
    hidden = path.with_name(f".{path.name}")
    hidden.write_text(text)
    hidden.rename(path)


def _end(how: str) -> None:
    if how == "raises":
        raise ZeroDivisionError("as ordered")
    if how == "leaves":
        sys.exit("as ordered")
    if how == "exits":
        os._exit(3)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
