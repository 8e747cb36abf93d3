"""One step of a coordinator: hold the lease, look, decide, act.

Theory. All state is in the table, so a coordinator is nothing but a lease: any process may become it, and it may die
between any two lines. What it keeps in memory are hints (how fast to look, which call was refused), and losing them
costs time, never the answer.

Rules of this module:

* An attempt is written down before it is invoked: a launch that is lost then expires, and one that is doubled is claimed once.
* A call that the service refuses is made again, later and later, under the same attempt with a new launch lease; nothing
  else is launched until it is taken. A coordinator that follows another makes all calls again that nobody answered, for it
  cannot know whether they were made, or are still queued somewhere: a doubled call is claimed once.
* Data that only a running job needs is deleted when the job is done: after the outcome stands, and as far as the store can.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from functools import partial

from smr_notebook.control.attempts import persist
from smr_notebook.control.backoff import Backoff
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.manifests import gather, read_manifest
from smr_notebook.control.messages import attempt_message, coordinate, encode
from smr_notebook.control.progress import progress
from smr_notebook.control.proof import proof_line
from smr_notebook.control.scheduling import Action, Decision, End, Expire, Gather, Launch, Stop, decide
from smr_notebook.errors import CorruptObjectError, JobError, ServiceError, SmrError, StoreError, ThrottledError
from smr_notebook.model import (
    AttemptId,
    AttemptState,
    Failure,
    FailureKind,
    JobState,
    Lease,
    Outcome,
    Phase,
    Plan,
    Progress,
    Snapshot,
)
from smr_notebook.ports import Backend

PUBLISH_EVERY = 0.1
"""Seconds between two progress rows, as long as the job's state is the same."""

_BACKOFF = (0.1, 5.0)
"""Seconds: first and longest wait after a call that was refused, or a port that could not be reached."""


class Coordinator:
    """One invocation's coordination of one job.

    Args:
        backend: The platform.
        plan: The plan of the job.
        owner: Unique name of the invocation: the lease is held under it.
        until: Time at which it must have handed over.
    """

    def __init__(self, backend: Backend, plan: Plan, owner: str, *, until: float = math.inf) -> None:
        self._backend = backend
        self._plan = plan
        self._owner = owner
        self._until = until
        self._ledger = Ledger(backend.table, plan.job)
        self._lease: Lease | None = None
        self._published: Progress | None = None
        self._unanswered: set[AttemptId] | None = None
        self._quiet_until = -math.inf
        self._throttle = Backoff(*_BACKOFF)
        self._pace = Backoff(*backend.poll)

    def step(self) -> float | None:
        """Look once and act on it.

        Returns:
            When to look again, or `None` when there is nothing left to do here: the job has ended, or another one coordinates it.

        Raises:
            StoreError: A port cannot be reached. Nothing is lost: call `step` again.
            ConservationError, CorruptObjectError: The job cannot have an answer.
        """
        if not self._holds_lease():
            return None
        snapshot = self._ledger.snapshot()
        decision = self._decide(snapshot)
        if snapshot.outcome is not None:
            return None if self._conclude(snapshot, snapshot.outcome) else self._now()
        for action in (*self._calls_again(snapshot), *decision.actions):
            if not self._holds_lease():
                return None
            if self._now() >= self._until:
                break
            self._act(action, snapshot)
        changed = self._publish(snapshot)
        return self._next_look(decision, changed=changed)

    def fail(self, error: Exception) -> bool:
        """End the job with an error that repetition cannot heal, and return whether the end is told. Raises `StoreError` as `step` does."""
        name = type(error).__name__ if isinstance(error, SmrError) else JobError.__name__
        text = str(error) if isinstance(error, SmrError) else f"The coordinator failed with {type(error).__name__}: {error}"
        outcome = self._ledger.put_outcome(Outcome(JobState.FAILED, self._now(), error=name, message=text))
        try:
            snapshot = self._ledger.snapshot()
        except CorruptObjectError:  # the rows themselves are what cannot be read
            snapshot = Snapshot({}, {}, {}, outcome=outcome)
        return self._conclude(snapshot, outcome)

    def hand_over(self) -> None:
        """Give the lease back and call a fresh coordinator."""
        self._ledger.expire_lease(self._owner, self._now())
        self._backend.functions.invoke(encode(coordinate(self._plan.job)))

    # ------------------------------------------------------------ look

    def _holds_lease(self) -> bool:
        now, seconds = self._now(), self._plan.policy.coordinator_lease
        if self._lease is None or self._lease.expires - now < seconds * 2 / 3:
            self._lease = self._ledger.take_lease(self._owner, now=now, seconds=seconds)
        return self._lease.owner == self._owner and not self._lease.expired(now)

    def _decide(self, snapshot: Snapshot) -> Decision:
        limits = self._backend.functions.limits
        return decide(self._plan, snapshot, self._now(), concurrency=limits.concurrency, queue_seconds=limits.queue_seconds)

    def _calls_again(self, snapshot: Snapshot) -> list[Launch]:
        """Return the launches that stand written down but may never have been taken by the service, with a new lease, when they are due."""
        now = self._now()
        launched = {
            attempt.id
            for task, attempts in snapshot.attempts.items()
            if task not in snapshot.commits
            for attempt in attempts
            if attempt.state is AttemptState.LAUNCHED
        }
        self._unanswered = launched if self._unanswered is None else self._unanswered & launched
        if now < self._quiet_until:
            return []
        expires = now + self._plan.policy.launch + self._backend.functions.limits.queue_seconds
        return [Launch(attempt, expires) for attempt in sorted(self._unanswered)]

    # ------------------------------------------------------------ act

    def _act(self, action: Action, snapshot: Snapshot) -> None:
        match action:
            case Launch():
                if self._now() >= self._quiet_until:
                    self._launch(action)
            case Expire(attempt, failure):
                self._ledger.expire(attempt, failure, self._now())
            case Stop(attempt):
                self._ledger.stop(attempt, self._now())
            case Gather(phase):
                gather(self._plan, snapshot, phase, objects=self._backend.objects, ledger=self._ledger)
            case End(outcome):
                proof = self._proof() if outcome.state is JobState.DONE else ""
                self._ledger.put_outcome(replace(outcome, proof=proof))

    def _launch(self, launch: Launch) -> None:
        now = self._now()
        self._unanswered = {*(self._unanswered or ()), launch.attempt}
        standing = self._ledger.launch(launch.attempt, now=now, expires=launch.expires)
        if standing.state is AttemptState.LAUNCHED and standing.expires == launch.expires:
            try:
                self._backend.functions.invoke(encode(attempt_message(self._plan.job, launch.attempt)))
            except ThrottledError:
                self._quiet_until = now + self._throttle.next()
                return
            except ServiceError as error:
                failure = Failure(FailureKind.LOST, type(error).__name__, str(error))
                self._ledger.bury(launch.attempt, owner="", failure=failure, now=now)
                self._quiet_until = now + self._throttle.next()
                return
        self._unanswered.discard(launch.attempt)
        self._throttle.reset()

    def _proof(self) -> str:
        mapped, *reduced = (read_manifest(self._backend.objects, self._ledger, phase, job=self._plan.job) for phase in self._plan.phases)
        return proof_line(self._plan, mapped, reduced[0] if reduced else None)

    # ------------------------------------------------------------ tell

    def _publish(self, snapshot: Snapshot) -> bool:
        """Write the progress row if it is due, and return whether a task went on since the last one."""
        before, told = self._published, self._progress(snapshot)
        if before is None or told.state != before.state or told.updated - before.updated >= PUBLISH_EVERY:
            self._ledger.put_progress(told)
            self._published = told
        return before is None or _stage(told) != _stage(before)

    def _conclude(self, snapshot: Snapshot, outcome: Outcome) -> bool:
        """Tell the end, drop what only a running job needs, and give the lease back; return whether the end is told."""
        told = self._progress(snapshot)
        standing = self._ledger.put_progress(told)
        if standing != told and standing.epoch <= told.epoch:
            return False
        if outcome.state is JobState.DONE:
            layout = Layout(self._plan.job)
            for prefix in [layout.input, layout.splits] + ([layout.phase(Phase.MAP), layout.index] if self._plan.reducers else []):
                with suppress(StoreError):  # what is left goes when the job expires
                    persist(self._backend.clock, partial(self._backend.objects.delete_prefix, prefix))
        self._ledger.expire_lease(self._owner, self._now())
        return True

    def _progress(self, snapshot: Snapshot) -> Progress:
        return progress(self._plan, snapshot, self._now(), lease=self._lease or Lease(self._owner, 0, self._now()))

    def _next_look(self, decision: Decision, *, changed: bool) -> float:
        if changed:
            self._pace.reset()
        return min(decision.wake_at, self._now() + self._pace.next())

    def _now(self) -> float:
        return self._backend.clock.now()


def _stage(told: Progress) -> tuple[object, ...]:
    return (told.state, *((phase.done, phase.running, phase.launched, phase.retried, phase.failed) for phase in (told.map, told.reduce)))
