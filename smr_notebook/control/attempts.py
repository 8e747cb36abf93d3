"""The ledger's side of one attempt: claim, heartbeat, commit, end. The three places where control meets the data plane.

Rules of this module:

* A doubled call finds the attempt claimed and goes away quietly; so does one whose attempt was expired or stopped.
* Whoever lost the claim may still commit: the first commit wins, and a zombie's work is as good as any.
* An output is dropped only when another attempt's commit was seen to stand, because a commit whose reply was lost
  stands too.
* A table that cannot be reached is tried again some times. A heartbeat is not: the next one follows anyway.
* A heartbeat brings back whether the job is wanted at all: also where nobody coordinates, and where an attempt began after its end.
* An attempt whose time is up publishes a *leg*, and the next one begins where it ended. Of two attempts that began at the same place,
  the first to publish or to commit is the one that counts; a commit says what all legs before it gave, so that nobody adds them up again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from smr_notebook.control.backoff import Backoff
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Claimed, Ledger, Report
from smr_notebook.control.metering import Spending
from smr_notebook.errors import StoreError
from smr_notebook.model import AttemptId, AttemptState, Commit, Failure, Leg, Numbers, Part, Position, Receipt
from smr_notebook.ports import Clock
from smr_notebook.values.tolerance import BadFile
from smr_notebook.values.usage import Tally

T = TypeVar("T")

_TRIES = 6
_BACKOFF = (0.05, 1.0)
"""Tries, and seconds before the second and the last of them, for a row that must be written."""

_LOOKS_EACH_LEASE = 3
"""How often an attempt reads the rows of its job: at the first beat and then. A thousand workers that did so with each beat would be much
of what the partition of these rows can serve. Where there is a coordinator, it stops the attempt's own row, which each beat meets."""

_LAST_ROWS = 1
"""Rows that an attempt writes after it told what it used: its commit, or its end."""


@dataclass(frozen=True, slots=True)
class Output:
    """What the data plane gave: what a commit or a leg says besides who, when and how much. `position` is set where a next leg begins."""

    receipt: Receipt | None = None
    part: Part | None = None
    checksum: int = 0
    groups: int = 0
    position: Position | None = None
    bad: BadFile | None = None


class Claim:
    """An attempt that this invocation holds. Used by one thread at a time.

    Args:
        ledger: The rows of the job.
        claimed: The attempt's row as it was claimed, and the legs before it.
        clock: What time it is.
        spending: What this invocation uses.
    """

    def __init__(self, ledger: Ledger, claimed: Claimed, clock: Clock, spending: Spending) -> None:
        self._ledger = ledger
        self._held = claimed.held
        self._legs = claimed.legs
        self._in_vain = claimed.in_vain
        self._clock = clock
        self._spending = spending
        self._owner = claimed.held.attempt.owner
        self._since = self._look_at = clock.now()

    @property
    def id(self) -> AttemptId:
        """Which attempt."""
        return self._held.attempt.id

    @property
    def owner(self) -> str:
        """Unique name of the invocation that holds it."""
        return self._owner

    @property
    def after(self) -> Position | None:
        """Where the legs before it ended, or `None` when it begins at the beginning."""
        return self._legs[-1].position if self._legs else None

    @property
    def in_vain(self) -> int:
        """How many attempts before it brought the task no further than it was. One that works beside it may still do so."""
        return self._in_vain

    def beat(self, numbers: Numbers, *, lease: float, moved: float = 0.0) -> str | None:
        """Prolong the lease by `lease` seconds and report the counts, and when something was last finished (0: not told).

        Returns:
            Why the attempt should end, or `None` to go on.

        Raises:
            StoreError: The table cannot be reached. The next beat may.
        """
        report, now = replace(self._report(numbers), moved=moved), self._clock.now()
        standing = self._ledger.heartbeat(self._held, report, now=now, lease=lease)
        if not standing.by(self._owner):
            return f"attempt {self.id} is {standing.attempt.state}"
        self._held = standing
        if now < self._look_at:
            return None
        self._look_at = now + lease / _LOOKS_EACH_LEASE
        return self._ledger.unwanted()

    def commit(self, output: Output, numbers: Numbers) -> bool:
        """Offer the output for the task, behind the legs before it, and return whether it is the one that stands.

        Raises:
            StoreError: The table cannot be reached; whether the commit stands is unknown.
        """
        now, legs = self._clock.now(), self._legs
        parts = [leg.part for leg in legs] + [output.part]
        files = [file for part in parts if part is not None for file in part.files]
        offered = Commit(
            self.id,
            self._owner,
            now,
            now - self._since + sum(leg.seconds for leg in legs),
            sum((leg.numbers for leg in legs), start=numbers),
            receipts=tuple(receipt for receipt in (*(leg.receipt for leg in legs), output.receipt) if receipt is not None),
            part=replace(output.part, files=tuple(files)) if output.part else None,
            checksum=(sum(leg.checksum for leg in legs) + output.checksum) % 2**64,
            groups=sum(leg.groups for leg in legs) + output.groups,
            usage=self._report(numbers).usage,
            bad=tuple(bad for bad in (*(leg.bad for leg in legs), output.bad) if bad is not None),
        )
        standing = persist(self._clock, lambda: self._ledger.commit(offered))
        return standing.id == offered.id and standing.owner == offered.owner

    def publish(self, output: Output, position: Position, numbers: Numbers) -> bool:
        """Offer the output as the next leg of the task, which ends at `position`, and return whether it is the one that stands.

        Raises:
            StoreError: The table cannot be reached; whether the leg stands is unknown.
        """
        now = self._clock.now()
        offered = Leg(
            self.id,
            self._owner,
            now,
            len(self._legs) + 1,
            position,
            now - self._since,
            numbers,
            receipt=output.receipt,
            part=output.part,
            checksum=output.checksum,
            groups=output.groups,
            bad=output.bad,
        )
        standing = persist(self._clock, lambda: self._ledger.put_leg(offered))
        return standing.id == offered.id and standing.owner == offered.owner

    def end(self, state: AttemptState, numbers: Numbers, failure: Failure | None = None) -> None:
        """Give the attempt its final state, unless it has one.

        Raises:
            StoreError: The table cannot be reached; the attempt will expire.
        """
        report = self._report(numbers)
        persist(self._clock, lambda: self._ledger.finish(self._held, state, report, now=self._clock.now(), failure=failure))

    def _report(self, numbers: Numbers) -> Report:
        return Report(numbers, self._spending.usage(self._clock.now(), row_writes=_LAST_ROWS))


def claim(ledger: Ledger, attempt: AttemptId, *, owner: str, clock: Clock, lease: float, tally: Tally | None = None) -> Claim | None:
    """Claim a launched attempt, if there is still something to do for it.

    Args:
        ledger: The rows of the job.
        attempt: Which attempt.
        owner: Unique name of this invocation.
        clock: What time it is.
        lease: Seconds until the first heartbeat must have come.
        tally: Counts what this process uses, where anybody bills it.

    Returns:
        The claim, or `None`: it was never launched, has ended, is another's, or its task has a commit already.

    Raises:
        StoreError: The table cannot be reached; the launch will expire.
    """
    spending = Spending(tally, clock.now())
    claimed = persist(clock, lambda: ledger.claim(attempt, owner=owner, now=clock.now(), lease=lease))
    return Claim(ledger, claimed, clock, spending) if claimed is not None else None


def rests_on(commit: Commit, attempt: AttemptId, *, job: str) -> bool:
    """Whether a commit names anything that an attempt wrote: it chose that attempt, or goes on from its leg."""
    layout, files = Layout(job), commit.part.files if commit.part else ()
    written = (f"{layout.attempt(attempt)}/", layout.bad(attempt))
    named = [*(receipt.key for receipt in commit.receipts), *(file.key for file in files), *(bad.key for bad in commit.bad)]
    return any(key.startswith(written) for key in named)


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
