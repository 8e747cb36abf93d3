"""Jobs that read the results of other jobs: what they wait for, who calls them when that has ended, and why they cannot go on.

Theory. A job whose input is another job's result stands as soon as it is submitted, with a request instead of a plan, and it is planned
when the other one has ended. Nothing waits for that: no process, no invocation. Its driver looks, finds that there is nothing to plan yet,
and ends without having taken the lease. It is called again by the end of the other job.

Rows: the entry of a job names the jobs that it reads (`JobEntry.after`); and `after/<job>` holds one row for each job that reads it,
written before that job stands. So of the two, the end of the one job and the first look of the other, the later one sees what the earlier
one wrote, and calls.

Rules of this module:

* Whoever tells the end of a job first calls those that wait for it: an end that is told twice calls twice, and one that is told calls once
  at least. What the service refuses then is called by whoever watches, or by the alarm of the job that waits.
* Whoever watches a job that waits looks after those that it waits for, too: they may have lost their coordinator.
* A job ends as soon as one of those that it reads has failed, was cancelled or is gone: its error names it, and what it ended with.
* To cancel a job is to cancel no other one.
* The time that a job may take begins when there is nothing more to wait for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from smr_notebook.control.backoff import PASSING, Backoff
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.messages import coordinate, encode
from smr_notebook.control.row_keys import followers_of
from smr_notebook.control.rows import JobEntry
from smr_notebook.errors import InputMissingError, PlatformError, PriorJobError
from smr_notebook.model import JobState
from smr_notebook.ports import Backend, Table
from smr_notebook.standing import Outcome, PhaseProgress, Progress

_TRIES: Final = 5
_BACKOFF: Final = (0.1, 2.0)
"""Tries, and seconds before the second and the last of them, to call a job that waits."""


def note_reading(table: Table, job: str, after: Iterable[str]) -> None:
    """Say that a job reads the results of others, before it stands. Raises `StoreError`."""
    for prior in dict.fromkeys(after):
        table.put(followers_of(prior), job, b"{}", expect=0)


def tell_waiting(table: Table, entry: JobEntry) -> None:
    """Tell the watchers of a job, before it stands, what it waits for. Raises `StoreError`."""
    waits = waits_for(table, entry)
    if waits:
        nothing, now = PhaseProgress(), entry.created
        told = Progress(JobState.SUBMITTED, nothing, nothing, started=now, updated=now, epoch=0, lease_expires=0.0, waits=waits)
        Ledger(table, entry.job).put_progress(told)


def call_followers(backend: Backend, job: str) -> None:
    """Call all jobs that read the result of one that has an outcome.

    Raises:
        StoreError: The table cannot be reached.
    """
    for row in backend.table.query(followers_of(job)):
        with suppress(PlatformError):  # whoever watches it calls it, or its alarm
            _call(backend, row.key)


def _call(backend: Backend, job: str) -> None:
    """Call a coordinator of a job. Raises `PlatformError` when some tries were in vain."""
    backoff = Backoff(*_BACKOFF)
    for _ in range(_TRIES - 1):
        try:
            return backend.functions.invoke(encode(coordinate(job)))
        except PASSING:
            backend.clock.sleep(backoff.next())
    return backend.functions.invoke(encode(coordinate(job)))


def waits_for(table: Table, entry: JobEntry) -> tuple[str, ...]:
    """Return the jobs that a job waits for: those of which it reads the results, and which have not ended."""
    return tuple(prior for prior in entry.after if (ledger := Ledger(table, prior)).outcome() is None and ledger.job() is not None)


def may_begin(table: Table, entry: JobEntry) -> float:
    """Return since when a job has nothing to wait for; never, as long as it has."""
    outcomes = [Ledger(table, prior).outcome() for prior in entry.after]
    if any(outcome is None for outcome in outcomes) and waits_for(table, entry):
        return math.inf
    return max([entry.created, *(outcome.at for outcome in outcomes if outcome is not None)])


def spoiled_outcome(table: Table, entry: JobEntry, *, now: float) -> Outcome | None:
    """Return how a job ends because one that it reads has no result; `None` where that may still come, or is there.

    Args:
        table: Where their rows are.
        entry: Its entry.
        now: The time.
    """
    for prior in entry.after:
        ledger = Ledger(table, prior)
        outcome = ledger.outcome()
        if outcome is not None and outcome.state is not JobState.DONE:
            return Outcome(JobState.FAILED, now, error=PriorJobError.__name__, message=why_no_result(prior, outcome))
        if outcome is None and ledger.job() is None:
            return Outcome(JobState.FAILED, now, error=InputMissingError.__name__, message=why_gone(prior))
    return None


def is_waiting(table: Table, entry: JobEntry) -> bool:
    """Whether a job waits for others: not where it is to end, because it is to be cancelled, or one of them has no result."""
    if not waits_for(table, entry) or Ledger(table, entry.job).cancelled() is not None:
        return False
    return spoiled_outcome(table, entry, now=0.0) is None


def held_up_by(table: Table, entry: JobEntry) -> tuple[str, ...]:
    """Return the jobs that a job waits for in the end: those behind the ones that wait themselves. None where it does not wait.

    Raises:
        StoreError: The table cannot be reached.
    """
    found = list(waits_for(table, entry)) if is_waiting(table, entry) else []
    seen: set[str] = set()
    at_work: list[str] = []
    while found:
        prior = found.pop()
        if prior in seen:
            continue
        seen.add(prior)
        standing = Ledger(table, prior).job()
        if standing is not None and is_waiting(table, standing):
            found += waits_for(table, standing)
        else:
            at_work.append(prior)
    return tuple(at_work)


def why_no_result(prior: str, outcome: Outcome) -> str:
    """Return what is said of a job that ended without the result that another one reads."""
    if outcome.state is JobState.CANCELLED:
        return f"Job {prior}, whose result is the input, was cancelled ({outcome.message or 'nobody says why'}). {_mend(prior)}"
    if outcome.error == PriorJobError.__name__:
        return f"Job {prior}, whose result is the input, could not begin. {outcome.message}"
    first = outcome.failures[0].failure if outcome.failures else None
    error, message = (first.type, first.message) if first is not None else (outcome.error, outcome.message)
    return f"Job {prior}, whose result is the input, failed: {error}: {message.rstrip('.')}. {_mend(prior)}"


def why_gone(prior: str) -> str:
    """Return what is said of a job that was removed."""
    return f"Job {prior}, whose result is the input, is gone: it was removed with all that it stored. Submit both again."


def _mend(prior: str) -> str:
    return (
        f"attach({prior!r}).errors() tells more, and retry_failed() makes a job of it that can be the input of this one, submitted again."
    )
