"""What travels between whoever calls, a task of the cluster, and the host of a worker.

Rules of this module:

* A call names code (`module:function`) and never carries it; it carries no credentials either. How to reach the scheduler, its certificates
  included, a host hears from the worker that started it, by a socket that nobody else has.
* The key of a task is the beginning of the name of each invocation that runs it: the cluster runs a task again whose worker left it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from smr_notebook.backends.tenants import Invocation
from smr_notebook.model import Environment

GROUPS: Final = ("smr-notebook", "smr-notebook-coordinator")
"""First part of the key of a task: of one that runs somebody's functions, and of one that does not."""

LOST: Final = "smr_notebook_lost"
"""The annotation of a task that it is there at all: a worker left the cluster that had it."""


class Call(msgspec.Struct, frozen=True, array_like=True):
    """A call of a handler, as a task of the cluster gets it.

    Attributes:
        handler: `module:function` that is called.
        tenant: `module:function` that tells whose call a payload is; an empty text is its answer for one that runs nobody's functions.
        location: What the handler is told of where it works.
        seconds: How long it may run.
        environment: What the worker must have.
        preload: Modules that the handler needs.
        payload: What it is called with.
    """

    handler: str
    tenant: str
    location: str
    seconds: float
    environment: Environment
    preload: tuple[str, ...]
    payload: bytes


class Greeting(msgspec.Struct, frozen=True, array_like=True):
    """The first that a host hears.

    Attributes:
        handler: As in `Call`.
        tenant: As in `Call`.
        preload: As in `Call`.
        scheduler: Address of the scheduler.
        security: How to speak with it: a pickled `distributed.Security`.
        leaves: The host leaves when it has had nothing to do for so many seconds.
    """

    handler: str
    tenant: str
    preload: tuple[str, ...]
    scheduler: str
    security: bytes
    leaves: float


class Order(msgspec.Struct, frozen=True, array_like=True):
    """One call, as a host gets it."""

    invocation: Invocation
    payload: bytes


class Fate(msgspec.Struct, frozen=True, array_like=True):
    """What became of a call.

    Attributes:
        reason: Why there is no answer; `None` where there is one.
        stack: Python's stack when the process ended, if it left one.
        late: Whether its time was up.
        left: Whether the host had left, so that nothing was begun.
    """

    reason: str | None = None
    stack: str = ""
    late: bool = False
    left: bool = False


def name_of(key: object) -> str:
    """Return how the names of the invocations begin that run a task, by its key."""
    return "-".join(map(str, key)) if isinstance(key, tuple) else str(key)


def notice_of(payload: bytes, invocation: str, fate: Fate) -> bytes:
    """Return the payload that tells of a call without an answer, as `ports.FunctionService.invoke` describes it.

    Args:
        payload: Of the call.
        invocation: Its name, or the beginning of that; empty where it never ran.
        fate: What became of it.
    """
    notice: dict[str, object] = {"failed": payload.decode("utf-8", "replace"), "invocation": invocation, "reason": fate.reason}
    notice |= {"stack": fate.stack} if fate.stack else {}
    notice |= {"late": True} if fate.late else {}
    return msgspec.json.encode(notice)
