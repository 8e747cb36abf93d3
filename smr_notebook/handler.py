"""What every function service runs: one handler, whose role stands in the payload. Composition root of the workers' side.

The handler opens the backend that its service names, once a process, and hands the message to the coordinator or to a worker. It
keeps nothing between invocations but that open backend and what the worker caches (plans and functions by job).
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pkgutil import resolve_name
from typing import Final, cast

from smr_notebook.backends.memory.platform import open_memory
from smr_notebook.control.coordinator import run_coordinator
from smr_notebook.control.driving import run_driver
from smr_notebook.control.messages import DeathNotice, FailedFiring, Firing, Message, Role, decode
from smr_notebook.control.metering import metered
from smr_notebook.control.prior_results import with_results
from smr_notebook.control.uploads import with_uploads
from smr_notebook.control.warming import rehearse_on, warm_up
from smr_notebook.control.worker import end_unless_alive, handle_death, run_attempt
from smr_notebook.errors import ConfigError, StoreError
from smr_notebook.ports import Backend, Context
from smr_notebook.sessions.carriers import carriers_of
from smr_notebook.streams import streams_of

_OPENERS: Final[Mapping[str, str]] = {
    "local": "smr_notebook.backends.local.platform:reopen_local",
    "aws": "smr_notebook.backends.aws.platform:reopen_aws",
}
"""By name, because a worker needs one of them, and pays for what it imports."""

_BORROWERS: Final[Mapping[str, str]] = {"dask": "smr_notebook.backends.dask.platform:reopen_dask"}
"""The same for those that store what they have by means of another one, which they open by its location."""

_ATTEMPT: Final = functools.partial(run_attempt, watch=end_unless_alive, alone=True)
_ROLES: Final[Mapping[Role, Callable[[Backend, Message, Context], None]]] = {
    Role.DRIVER: functools.partial(run_driver, watch=end_unless_alive),
    Role.COORDINATOR: run_coordinator,
    Role.MAP: _ATTEMPT,
    Role.MERGE: _ATTEMPT,
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
        case Firing() | FailedFiring() as fired:
            from smr_notebook.control.firing import fire, fire_again  # noqa: PLC0415 - few calls are those of triggers

            fire(backend, fired) if isinstance(fired, Firing) else fire_again(backend, fired)
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


def unseen(location: str, key: str, content: str) -> str:
    """Return why a worker must not be used: it does not see an object that stands; an empty text if it does.

    Args:
        location: Where the objects are.
        key: Of the object.
        content: What is in it.
    """
    try:
        found = _reopen(location).objects.get(key).decode()
        wrong = "" if found == content else "it has a folder of the same name, which is another one"
    except StoreError as error:
        wrong = f"it does not see what this notebook writes ({error})"
    mend = "Name a folder that all machines share, settings={'workspace': …}, or a store that is no folder, settings={'stores': 'aws'}."
    return f"{wrong}. {mend}" if wrong else ""


def rehearse() -> None:
    """Do what can be done of that before a worker exists."""
    rehearse_on(open_memory())


@functools.lru_cache(maxsize=4)
def _backend(location: str) -> Backend:
    return with_results(with_uploads(replace(metered(_reopen(location)), carriers=carriers_of(_redis_url))))


def _reopen(location: str) -> Backend:
    platform, _, place = location.partition(":")
    known = {**_OPENERS, **_BORROWERS}
    if platform not in known:
        raise ConfigError(f"A worker was told to open {location!r}, and knows only: {', '.join(known)}.")
    reopen = cast("Callable[..., Backend]", resolve_name(known[platform]))
    return reopen(place, _reopen) if platform in _BORROWERS else reopen(place)


def _redis_url() -> str:
    """Return this process's own setting: an image has an environment alone, a machine the user's files, too."""
    told = os.environ.get("SMR_REDIS_URL", "")
    if told or importlib.util.find_spec("platformdirs") is None:
        return told
    from smr_notebook.config import from_machine  # noqa: PLC0415 - a cold start does not pay for what reads files

    return from_machine({}).redis_url
