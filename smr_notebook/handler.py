"""What every function service runs: one handler, whose role stands in the payload. Composition root of the workers' side.

The handler opens the backend that its service names, once a process, and hands the message to the coordinator or to a worker. It
keeps nothing between invocations but that open backend and what the worker caches (plans and functions by job).
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, cast

from smr_notebook.backends.memory.platform import open_memory
from smr_notebook.carriers import carriers_of
from smr_notebook.config import from_machine
from smr_notebook.control.coordinator import run_coordinator
from smr_notebook.control.driving import run_driver
from smr_notebook.control.firing import fire, fire_again
from smr_notebook.control.messages import DeathNotice, FailedFiring, Firing, Message, Role, decode
from smr_notebook.control.metering import metered
from smr_notebook.control.uploads import with_uploads
from smr_notebook.control.warming import rehearse_on, warm_up
from smr_notebook.control.worker import end_unless_alive, handle_death, run_attempt
from smr_notebook.errors import ConfigError
from smr_notebook.ports import Backend, Context
from smr_notebook.streams import streams_of

_OPENERS: Final[Mapping[str, str]] = {
    "local": "smr_notebook.backends.local.platform:reopen_local",
    "aws": "smr_notebook.backends.aws.platform:reopen_aws",
}
"""By name, because a worker needs one of them, and pays for what it imports."""

_ATTEMPT: Final = functools.partial(run_attempt, watch=end_unless_alive, alone=True)
_ROLES: Final[Mapping[Role, Callable[[Backend, Message, Context], None]]] = {
    Role.DRIVER: functools.partial(run_driver, watch=end_unless_alive),
    Role.COORDINATOR: run_coordinator,
    Role.MAP: _ATTEMPT,
    Role.REDUCE: _ATTEMPT,
}


def handle(payload: bytes, context: Context) -> bytes:
    """Do what a payload says.

    Args:
        payload: A message of `control.messages`.
        context: What the service tells of this invocation.

    Returns:
        Nothing that anybody reads: what an invocation did stands in the table.
    """
    backend = _backend(context.location)
    match decode(payload):
        case DeathNotice() as notice:
            handle_death(backend, notice)
        case Firing() as firing:
            fire(backend, firing)
        case FailedFiring() as failed:
            fire_again(backend, failed)
        case Message() as message:
            _ROLES[message.role](backend, message, context)
    return b"{}"


def warm(location: str) -> None:
    """Do in a worker that has nothing to do yet what its first invocation would pay for.

    Args:
        location: The backend that it will open.
    """
    warm_up(_backend(location), open_memory())
    streams_of(os.getpid())


def rehearse() -> None:
    """Do what can be done of that before a worker exists."""
    rehearse_on(open_memory())


@functools.lru_cache(maxsize=4)
def _backend(location: str) -> Backend:
    platform, _, place = location.partition(":")
    if platform not in _OPENERS:
        raise ConfigError(f"A worker was told to open {location!r}, and knows only: {', '.join(_OPENERS)}.")
    module, _, opener = _OPENERS[platform].partition(":")
    reopen = cast("Callable[[str], Backend]", getattr(importlib.import_module(module), opener))
    return with_uploads(replace(metered(reopen(place)), carriers=carriers_of(lambda: from_machine({}))))
