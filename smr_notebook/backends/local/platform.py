"""The embedded default as a whole: a folder, SQLite and warm processes in one workspace, opened on either side.

The notebook opens it with its settings; a worker opens it again from the location alone. Both get the same objects and rows; only
the notebook's side may start a service, and a worker never has to, because it runs in one.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Final, cast

import msgspec

from smr_notebook.backends.local.client import PRELOAD, LocalFunctions
from smr_notebook.backends.local.machine import user_name
from smr_notebook.backends.local.news import NewsClock
from smr_notebook.backends.local.objects import FolderStore
from smr_notebook.backends.local.source import FileSource
from smr_notebook.backends.local.table import SqliteTable
from smr_notebook.backends.system_clock import SystemClock
from smr_notebook.errors import ConfigError
from smr_notebook.model import Policy
from smr_notebook.ports import Backend, ObjectStore

HANDLER: Final = "smr_notebook.handler:handle"
TENANT: Final = "smr_notebook.control.messages:tenant"
SIZE: Final = "smr_notebook.control.messages:size_of"
WARM: Final = "smr_notebook.handler:warm"
_POLL: Final = (0.001, 0.25)
_DATAFLOW: Final = (
    "smr_notebook.handler",
    "smr_notebook.backends.local.platform",  # the handler imports it when it opens one
    "smr_notebook.dataflow.mapping",
    "smr_notebook.dataflow.reducing",
    "smr_notebook.environment:environment",
    "smr_notebook.handler:rehearse",
)


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """What can be chosen of the embedded default.

    Attributes:
        workspace: Folder that holds it.
        workers: Processes that run at once; 0 for one on each core.
        idle_seconds: The service ends after so long without work.
        lease_seconds: Silence after which an attempt or a coordinator counts as lost.
        retries: Further attempts of a task after its first one failed.
        call_seconds: Longest time that one invocation may run: a task that takes longer goes on in the next one.
        worker_limit: Bytes of memory at which a worker is ended; 0 for as much as the machine has.
        objects: `module:function` that opens the object store of the workspace, in each process; empty for a folder of the workspace.
        place: What that is called with, as text.
    """

    workspace: str
    workers: int = 0
    idle_seconds: float = 300.0
    lease_seconds: float = 15.0
    retries: int = 2
    call_seconds: float = 86_400.0
    worker_limit: int = 0
    objects: str = ""
    place: str = ""


def open_local(options: LocalOptions) -> Backend:
    """Return the embedded default of a workspace. Nothing is started and no file is made before the first use.

    Raises:
        ConfigError: Workers could not import what should open the object store.
    """
    if options.objects:
        _refuse_what_workers_lack(options)
    return _open(options, inside=False)


def reopen_local(place: str) -> Backend:
    """Return the embedded default as a worker sees it, from the part of its location behind `local:`."""
    return _open(msgspec.json.decode(place, type=LocalOptions), inside=True)


def _refuse_what_workers_lack(options: LocalOptions) -> None:
    """Import what opens the objects as the service will, without this process's folder and `sys.path`: else a job could not even fail."""
    command = [sys.executable, "-P", "-c", "import sys, pkgutil; pkgutil.resolve_name(sys.argv[1])", options.objects]
    done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"Python ended with {done.returncode}"])[-1]
        raise ConfigError(
            f"{options.objects!r} should open the object store of {options.workspace}, and workers could not import it: {reason}. "
            "Install its package in this environment, or name its folder in PYTHONPATH before the notebook starts."
        )


def _objects(options: LocalOptions) -> ObjectStore:
    if not options.objects:
        return FolderStore(Path(options.workspace) / "objects")
    return cast("Callable[[str], ObjectStore]", resolve_name(options.objects))(options.place)


def _policy(options: LocalOptions) -> Policy:
    return Policy(
        retries=options.retries,
        heartbeat=min(1.0, options.lease_seconds / 5),
        lease=options.lease_seconds,
        coordinator_lease=min(10.0, options.lease_seconds),
    )


def _open(options: LocalOptions, *, inside: bool) -> Backend:
    workspace = Path(options.workspace)
    location = f"local:{msgspec.json.encode(options).decode()}"
    functions = LocalFunctions(
        workspace,
        handler=HANDLER,
        location=location,
        workers=options.workers or None,
        idle_seconds=options.idle_seconds,
        seconds=options.call_seconds,
        preload=(*PRELOAD, *_DATAFLOW),
        tenant=TENANT,
        warm=WARM,
        limit=options.worker_limit,
        size=SIZE,
        inside=inside,
    )
    table = SqliteTable(workspace / "table.sqlite")

    clock = SystemClock() if inside else NewsClock(functions.find)

    def close() -> None:
        functions.shutdown()
        table.close()

    return Backend(
        name="local",
        location=location,
        objects=_objects(options),
        table=table,
        functions=functions,
        clock=clock,
        sources={"file": FileSource()},
        policy=_policy(options),
        poll=_POLL,
        close=close,
        user="" if inside else user_name(),
        evict=functions.evict,
    )
