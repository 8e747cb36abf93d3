"""What is deployed in a service, and the troubles that it has: plain values, which can be written as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

ACCOUNT: Final = "000000000000"
REGION: Final = "us-east-1"

REQUEST_BYTES: Final = 6 << 20
"""Largest payload of a call that waits for its answer."""

EVENT_BYTES: Final = 1 << 20
"""Largest payload of a call that does not wait."""

RESPONSE_BYTES: Final = 6 << 20
"""Largest answer."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function as it is deployed.

    Attributes:
        name: Its name.
        handler: `module.function`, as the runtime client wants it.
        folder: Where its code lies: the current folder of its processes.
        environment: Variables of its environment.
        seconds: Longest time that an invocation may run. Not scaled.
        memory_mb: What it is told of its memory, and what it is held to if the service `kills_hogs`.
        reserved: Concurrency that is its own, of which it gets no more; `None` for a share in the account's.
        retries: Further tries of an event whose invocation failed.
        event_age: Seconds that an event may wait, to be scaled.
        on_failure: Function that is told of events that were given up, as from a queue; empty for none.
        recursive: Whether it may call itself in a long chain (`RecursiveLoop: Allow`).
    """

    name: str
    handler: str
    folder: str = "."
    environment: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 900.0
    memory_mb: int = 512
    reserved: int | None = None
    retries: int = 2
    event_age: float = 21_600.0
    on_failure: str = ""
    recursive: bool = False

    @property
    def arn(self) -> str:
        """How AWS calls it."""
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.name}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The first `times` calls of a function are answered with an error, and do nothing."""

    function: str
    code: str
    status: int
    times: int


@dataclass(frozen=True, slots=True)
class Faults:
    """The troubles of a service.

    Attributes:
        lost_every: Each so many-th event is accepted and never run; 0 for none.
        doubled_every: Each so many-th event is run twice, under the same request id; 0 for none.
        concurrency: What others leave of the account's concurrency, though the account says nothing of it; `None` for all.
        refusals: Calls that are refused.
    """

    lost_every: int = 0
    doubled_every: int = 0
    concurrency: int | None = None
    refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """What a service is started with.

    Attributes:
        functions: What is deployed.
        account_limit: Invocations of all functions that may run at once.
        time_scale: What AWS's waits are multiplied by.
        faults: The troubles.
        logs: Folder for what the sandboxes print, a file for each; empty for a temporary one.
        freezes: Whether a sandbox that waits for its next event is frozen.
        kills_hogs: Whether a process of a sandbox is killed when it takes more than the function's memory.
    """

    functions: tuple[Function, ...]
    account_limit: int = 1000
    time_scale: float = 1.0
    faults: Faults = field(default_factory=Faults)
    logs: str = ""
    freezes: bool = True
    kills_hogs: bool = False
