"""Renewing the lease of a job while one step of its owner takes long: planning it, or gathering a phase of many runs.

Rules of this module:

* Whoever lost the lease takes it no more: what its owner does after that is as good as a zombie's.
* Nothing that goes wrong here may end the pulse of the process.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Self

from smr_notebook.control.ledger import Ledger
from smr_notebook.control.metering import Spending
from smr_notebook.control.pulse import Watch, pulse_of
from smr_notebook.errors import PlatformError, SmrError
from smr_notebook.ports import Clock
from smr_notebook.standing import Lease

_AGAIN = 1.0
"""Seconds after which a lease is renewed again that could not be."""


class Renewer:
    """Renews the lease of a job while a block runs, as a context.

    Args:
        ledger: The rows of the job.
        owner: Unique name of the invocation.
        clock: What time it is.
        seconds: How long the lease holds each time.
        spending: What the invocation uses.
        unwanted: Called, once, when somebody has asked for the end of the job meanwhile; `None` where the block ends soon anyway.

    Attributes:
        lease: The lease that stood last.
    """

    def __init__(
        self,
        ledger: Ledger,
        owner: str,
        clock: Clock,
        *,
        seconds: float,
        spending: Spending,
        unwanted: Callable[[], object] | None = None,
    ) -> None:
        self._ledger = ledger
        self._owner = owner
        self._clock = clock
        self._seconds = seconds
        self._spending = spending
        self._unwanted = unwanted
        self.lease = Lease("", 0, 0.0)
        self.watch: Watch | None = None
        self.patience = 0.0

    def take(self) -> bool:
        """Take or renew the lease, and return whether it is held. Raises `StoreError`."""
        now = self._clock.now()
        self.lease = self._ledger.take_lease(self._owner, now=now, seconds=self._seconds, usage=self._spending.usage(now))
        return self.lease.owner == self._owner

    def __enter__(self) -> Self:
        pulse_of(os.getpid()).join(self, first=self._seconds / 3)
        return self

    def __exit__(self, *_: object) -> None:
        pulse_of(os.getpid()).leave(self)

    def beat(self) -> float:
        """Renew the lease, and return in how many seconds to do so again: never where another one has it, or the job is gone."""
        try:
            held = self._ledger.lease()
            if held is None or held.owner != self._owner or not self.take():
                return math.inf
            if self._unwanted is not None and self._ledger.cancelled() is not None:
                self._unwanted()
                return math.inf
        except PlatformError:
            return _AGAIN
        except SmrError:
            return math.inf
        return self._seconds / 3
