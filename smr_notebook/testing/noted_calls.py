"""A service that notes what it is called with, for tests that run each call when they want to. Needs no test library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from smr_notebook.control.messages import Message, decode
from smr_notebook.environment import environment
from smr_notebook.ports import ServiceLimits


@dataclass
class NotedCalls:
    """`Functions` that runs nothing.

    Attributes:
        calls: What it was called with and nobody has run, oldest first.
    """

    calls: list[Message] = field(default_factory=list)

    @property
    def limits(self) -> ServiceLimits:
        """See `ports.FunctionService.limits`: a service of a usual kind, with four workers."""
        return ServiceLimits(1 << 20, 900.0, 4, 0.0, 1 << 30, environment())

    def invoke(self, payload: bytes) -> None:
        """Note a message; nothing else is expected."""
        message = decode(payload)
        assert isinstance(message, Message), message
        self.calls.append(message)


@dataclass(frozen=True)
class AtOnce:
    """`Functions` that runs workers at once, so that a coordinator finds them done, and notes all else.

    Attributes:
        noted: Takes what is noted.
        work: Runs a worker.
    """

    noted: NotedCalls
    work: Callable[[Message], object]

    @property
    def limits(self) -> ServiceLimits:
        """See `ports.FunctionService.limits`."""
        return self.noted.limits

    def invoke(self, payload: bytes) -> None:
        """See `ports.FunctionService.invoke`."""
        message = decode(payload)
        if isinstance(message, Message) and message.works:
            self.work(message)
        else:
            self.noted.invoke(payload)
