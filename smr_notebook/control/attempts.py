"""The ledger's side of one attempt: claim, heartbeat, commit, end. The three places where control meets the data plane.

Rules of this module:

* A doubled call finds the attempt claimed and goes away quietly; so does one whose attempt was expired or stopped.
* Whoever lost the claim may still commit: the first commit wins, and a zombie's work is as good as any.
* An output is dropped only when another attempt's commit was seen to stand, because a commit whose reply was lost
  stands too.
* A table that cannot be reached is tried again some times. A heartbeat is not: the next one follows anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from smr_notebook.control.backoff import Backoff
from smr_notebook.control.ledger import Held, Ledger
from smr_notebook.errors import StoreError
from smr_notebook.model import AttemptId, AttemptState, Commit, Failure, Numbers, Part, Receipt
from smr_notebook.ports import Clock

T = TypeVar("T")

_TRIES = 6
_BACKOFF = (0.05, 1.0)
"""Tries, and seconds before the second and the last of them, for a row that must be written."""


@dataclass(frozen=True, slots=True)
class Output:
    """What the data plane gave: what a commit says besides who, when and how much."""

    receipt: Receipt | None = None
    part: Part | None = None
    checksum: int = 0
    groups: int = 0


class Claim:
    """An attempt that this invocation holds. Used by one thread at a time.

    Args:
        ledger: The rows of the job.
        held: The attempt's row as it was claimed.
        clock: What time it is.
    """

    def __init__(self, ledger: Ledger, held: Held, clock: Clock) -> None:
        self._ledger = ledger
        self._held = held
        self._clock = clock
        self._owner = held.attempt.owner
        self._since = clock.now()

    @property
    def id(self) -> AttemptId:
        """Which attempt."""
        return self._held.attempt.id

    @property
    def owner(self) -> str:
        """Unique name of the invocation that holds it."""
        return self._owner

    def beat(self, numbers: Numbers, *, lease: float) -> str | None:
        """Prolong the lease by `lease` seconds and report the counts.

        Returns:
            Why the attempt should end, or `None` to go on.

        Raises:
            StoreError: The table cannot be reached. The next beat may.
        """
        standing = self._ledger.heartbeat(self._held, numbers, now=self._clock.now(), lease=lease)
        if standing.by(self._owner):
            self._held = standing
            return None
        return f"attempt {self.id} is {standing.attempt.state}"

    def commit(self, output: Output, numbers: Numbers) -> bool:
        """Offer the output for the task, and return whether it is the one that stands.

        Raises:
            StoreError: The table cannot be reached; whether the commit stands is unknown.
        """
        now = self._clock.now()
        offered = Commit(
            self.id,
            self._owner,
            now,
            now - self._since,
            numbers,
            receipt=output.receipt,
            part=output.part,
            checksum=output.checksum,
            groups=output.groups,
        )
        standing = persist(self._clock, lambda: self._ledger.commit(offered))
        return standing.id == offered.id and standing.owner == offered.owner

    def end(self, state: AttemptState, numbers: Numbers, failure: Failure | None = None) -> None:
        """Give the attempt its final state, unless it has one.

        Raises:
            StoreError: The table cannot be reached; the attempt will expire.
        """
        persist(self._clock, lambda: self._ledger.finish(self._held, state, now=self._clock.now(), numbers=numbers, failure=failure))


def claim(ledger: Ledger, attempt: AttemptId, *, owner: str, clock: Clock, lease: float) -> Claim | None:
    """Claim a launched attempt, if there is still something to do for it.

    Args:
        ledger: The rows of the job.
        attempt: Which attempt.
        owner: Unique name of this invocation.
        clock: What time it is.
        lease: Seconds until the first heartbeat must have come.

    Returns:
        The claim, or `None`: it was never launched, has ended, is another's, or its task has a commit already.

    Raises:
        StoreError: The table cannot be reached; the launch will expire.
    """
    held = persist(clock, lambda: ledger.claim(attempt, owner=owner, now=clock.now(), lease=lease))
    if held is None:
        return None
    mine = Claim(ledger, held, clock)
    if persist(clock, lambda: ledger.committed(attempt.task)) is not None:
        mine.end(AttemptState.STOPPED, Numbers())
        return None
    return mine


def persist(clock: Clock, action: Callable[[], T]) -> T:
    """Return what `action` gives, trying again while the table cannot be reached.

    Raises:
        StoreError: The last try failed too.
    """
    backoff = Backoff(*_BACKOFF)
    for _ in range(_TRIES - 1):
        try:
            return action()
        except StoreError:
            clock.sleep(backoff.next())
    return action()
