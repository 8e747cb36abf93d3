"""Emulated AWS under torment: sandboxes of functions, the emulator's answers, and lost and doubled events.

Functions run under AWS's own runtime client, bucket and table are an emulator's, and all calls to these two go through a proxy that refuses
some of them as AWS does.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final
from uuid import uuid4

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.sessions.session import Session
from smr_notebook.testing.chaos.arena import Arena
from smr_notebook.testing.chaos.torments import freeze_one, kill_one
from smr_notebook.testing.cloud import Shape, deployed
from smr_notebook.testing.emulators import FaultProxy, aws_environment, emulator, fault_proxy
from smr_notebook.testing.lambdas.service import Service
from smr_notebook.testing.lambdas.settings import Faults

LEASE: Final = 4.0

_REFUSALS: Final[tuple[dict[str, Any], ...]] = (
    {"service": "s3", "error": {"code": "SlowDown", "status": 503}},
    {"service": "s3", "error": {"code": "InternalError", "status": 500}},
    {"service": "s3", "error": {"code": "ServiceUnavailable", "status": 503}},
    {"service": "dynamodb", "error": {"code": "ProvisionedThroughputExceededException", "status": 400}},
    {"service": "dynamodb", "error": {"code": "ThrottlingException", "status": 400}},
    {"service": "dynamodb", "error": {"code": "InternalServerError", "status": 500}},
    {"service": "s3", "reset": True},
    {"service": "dynamodb", "reset": True},
)


@contextmanager
def cloud_arena(python: str, folder: Path) -> Iterator[Arena]:
    """Deploy on an emulator, and take it down afterwards.

    Args:
        python: The Python that has ministack.
        folder: For what emulator and proxy write.
    """
    shape = Shape(
        stack=f"chaos{uuid4().hex[:8]}",
        account_limit=8,
        seconds=20.0,
        lease_seconds=LEASE,
        faults=Faults(lost_every=23, doubled_every=11),
    )
    with (
        emulator(python, folder) as endpoint,
        fault_proxy(endpoint, folder) as proxy,
        _environment(aws_environment(proxy.url)),
        deployed(proxy.url, Clients(), shape) as service,
        _environment(service.access),
    ):
        thaws: list[threading.Timer] = []
        seen = _Seen(service, proxy)
        torments = [
            (kill_one(lambda: _busy(service), "a sandbox"), 4),
            (freeze_one(lambda: _busy(service), "a sandbox", lease=LEASE, thaws=thaws), 2),
            (seen.refuse, 4),
        ]
        try:
            yield Arena(Session("aws", stack=shape.stack), torments, thaws, seen.since_last)
        finally:
            for timer in thaws:
                timer.join()


def _busy(service: Service) -> Sequence[int]:
    """Return processes of sandboxes that run a call."""
    boxes = [box for of_function in service.status().sandboxes.values() for box in of_function if box.busy]
    return [pid for box in boxes for pid in box.members]


class _Seen:
    """Counts what befell calls and events without a blow of its own."""

    def __init__(self, service: Service, proxy: FaultProxy) -> None:
        self._service = service
        self._proxy = proxy
        self._counted: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    def refuse(self, random: Random) -> None:
        """Have some of the next calls refused, or their connections reset. They are counted when they are."""
        rules = random.sample(_REFUSALS, 3)
        self._set(*({**rule, "times": random.randint(1, 4), "probability": 0.5} for rule in rules))

    def _set(self, *rules: Mapping[str, Any]) -> None:
        """Replace the rules of the proxy, which forgets then what it refused by those before."""
        self._refused += Counter(f"refused {what.split()[0]} ({what.partition(' ')[2]})" for what in self._proxy.fired())
        self._proxy.set(*rules)

    def since_last(self) -> Counter[str]:
        """Return what happened since this was called last."""
        counts = self._service.status().counts
        now = Counter({f"{name} event": counts.get(name, 0) for name in ("lost", "doubled")})
        new = now - self._counted
        self._counted = now
        self._set()
        refused, self._refused = self._refused, Counter()
        return new + refused


@contextmanager
def _environment(changes: Mapping[str, Any]) -> Iterator[None]:
    """Set variables of this process, `None` for none, until the block ends."""
    before = {name: os.environ.get(name) for name in changes}
    _set(changes)
    try:
        yield
    finally:
        _set(before)


def _set(changes: Mapping[str, Any]) -> None:
    for name, value in changes.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
