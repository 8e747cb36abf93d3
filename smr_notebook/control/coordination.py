"""One step of a coordinator: hold the lease, look, decide, act.

Theory. All state is in the table, so a coordinator is nothing but a lease: any process may become it, and it may die
between any two lines. What it keeps in memory are hints (what need not be read again, which call was refused), and losing them
costs time, never the answer.

Rules of this module:

* An attempt is written down before it is invoked: a launch that is lost then expires, and one that is doubled is claimed once.
* A call that the service refuses is made again, later and later, under the same attempt with a new launch lease; nothing
  else is launched until it is taken. A coordinator that follows another makes all calls again that nobody answered, for it
  cannot know whether they were made, or are still queued somewhere: a doubled call is claimed once.
* A look is acted on, and told of, under the lease that it was made under. Who lost the lease since, and gets it back, looks again: another
  one coordinated meanwhile, and may have ended the job.
* A job that is to end makes no more calls, whoever refused them before.
* Of a job that failed or was cancelled nothing goes on: attempts notice at their next heartbeat, and what does not end then is ended by the
  platform, where that can be done.
* Data that only a running job needs is deleted when the job is done and left nothing out, which another job may go on from: after the
  outcome stands, and as far as the store can.
* Where a platform has alarms, one is set for the case that everybody who could notice the end of this coordinator ends too: before
  anything else, because whoever dies between two lines leaves no other trace.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from functools import partial

from smr_notebook.control.attempts import persist
from smr_notebook.control.backoff import Backoff
from smr_notebook.control.carrying import Box
from smr_notebook.control.costs import spent
from smr_notebook.control.launching import launch
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.looking import Looks
from smr_notebook.control.manifests import gather, read_manifest
from smr_notebook.control.messages import coordinate, encode
from smr_notebook.control.metering import Spending
from smr_notebook.control.progress import progress
from smr_notebook.control.proof import proof_line
from smr_notebook.control.renewing import Renewer
from smr_notebook.control.row_keys import page_of
from smr_notebook.control.scheduling import Action, Decision, End, Expire, Gather, Launch, Stop, decide
from smr_notebook.control.snapshots import with_done
from smr_notebook.control.stages import call_followers
from smr_notebook.control.verdicts import broken_outcome
from smr_notebook.control.watchdog import Watchdog
from smr_notebook.errors import CorruptObjectError, StoreError
from smr_notebook.model import AttemptId, AttemptState, JobState, Plan
from smr_notebook.ports import Backend
from smr_notebook.standing import Lease, Outcome, Progress, Snapshot
from smr_notebook.values.usage import Usage

PUBLISH_EVERY = 0.1
"""Seconds between two progress rows, as long as the job's state is the same; where looks are rare, each look has one."""

_EVICT_SECONDS = 4.0
"""Seconds after the heartbeat that tells an attempt to end: more than it takes to end by itself, or to be ended by its own process."""

_BACKOFF = (0.1, 5.0)
"""Seconds: first and longest wait after a call that was refused, or a port that could not be reached."""


class Coordinator:
    """One invocation's coordination of one job.

    Args:
        backend: The platform.
        plan: The plan of the job.
        owner: Unique name of the invocation: the lease is held under it.
        until: Time at which it must have handed over.
        watchdog: The alarm of the job.
    """

    def __init__(self, backend: Backend, plan: Plan, owner: str, *, until: float, watchdog: Watchdog) -> None:
        self._backend = backend
        self._plan = plan
        self._owner = owner
        self._until = until
        self._ledger = Ledger(backend.table, plan.job)
        self._looks = Looks(backend.table, plan, parallel=backend.parallel)
        self._watchdog = watchdog
        self._box = Box(backend, plan)
        self._spending = Spending(backend.tally, backend.clock.now())
        self._lease: Lease | None = None
        self._looked_in = 0
        self._published: Progress | None = None
        self._unanswered: set[AttemptId] | None = None
        self._entrusted: dict[AttemptId, float] = {}
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
        self._watchdog.arm()
        if not self._holds_lease():
            return None
        self._looked_in = self._epoch
        snapshot = self._looks.look()
        decision = self._decide(snapshot)
        if snapshot.outcome is not None:
            return None if self._conclude(snapshot, snapshot.outcome) else self._now()
        if self._box.due:
            with self._renewer():  # a stream takes longer to be made than a lease lasts
                self._box.hold(lambda: self._ledger.outcome() is not None)
        if not self._act([*self._calls_again(snapshot, decision), *decision.actions], snapshot):
            return self._now() if self._holds_lease() else None
        changed = self._publish(snapshot)
        return self._next_look(decision, changed=changed)

    def fail(self, error: Exception) -> bool:
        """End the job with an error that repetition cannot heal, and return whether the end is told. Raises `StoreError` as `step` does."""
        outcome = self._ledger.put_outcome(broken_outcome(error, who="coordinator", now=self._now()))
        try:
            snapshot = self._looks.look()
        except CorruptObjectError:  # the rows themselves are what cannot be read
            snapshot = Snapshot({}, {}, {})
        for attempt in (attempt for of_task in with_done(snapshot).attempts.values() for attempt in of_task if attempt.live):
            self._ledger.stop(attempt.id, self._now())
        return self._conclude(replace(snapshot, outcome=outcome), outcome)

    def hand_over(self) -> None:
        """Give the lease back and call a fresh coordinator."""
        self._ledger.expire_lease(self._owner, self._now(), usage=self._usage())
        self._backend.functions.invoke(encode(coordinate(self._plan.job)))

    # ------------------------------------------------------------ look

    def _holds_lease(self) -> bool:
        now, seconds = self._now(), self._plan.policy.coordinator_lease
        if self._lease is None or self._lease.expires - now < seconds * 2 / 3:
            self._lease = self._ledger.take_lease(self._owner, now=now, seconds=seconds, usage=self._usage())
        return self._lease.owner == self._owner and not self._lease.expired(now)

    @property
    def _epoch(self) -> int:
        return self._lease.epoch if self._lease else 0

    def _may_act(self) -> bool:
        return self._holds_lease() and self._epoch == self._looked_in

    def _renewer(self) -> Renewer:
        seconds = self._plan.policy.coordinator_lease
        return Renewer(self._ledger, self._owner, self._backend.clock, seconds=seconds, spending=self._spending)

    def _usage(self) -> Usage:
        return self._spending.usage(self._now())

    def _decide(self, snapshot: Snapshot) -> Decision:
        now = self._now()
        self._entrusted = {
            attempt: until
            for attempt, until in self._entrusted.items()
            if until > now and not snapshot.begun(attempt) and page_of(attempt.task) not in snapshot.settled_in(attempt.task.phase).pages
        }
        entrusted = {attempt.task: until for attempt, until in self._entrusted.items()}
        capacity = self._backend.functions.limits.capacity.within(self._plan.policy.concurrency)
        return decide(self._plan, snapshot, now, capacity=capacity, entrusted=entrusted)

    def _calls_again(self, snapshot: Snapshot, decision: Decision) -> list[Launch]:
        """Return the launches that stand written down but may never have been taken by the service, with a new lease, when they are due."""
        now = self._now()
        launched = {
            attempt.id: attempt.size
            for task, attempts in snapshot.attempts.items()
            if task not in snapshot.commits
            for attempt in attempts
            if attempt.state is AttemptState.LAUNCHED
        }
        self._unanswered = set(launched) if self._unanswered is None else self._unanswered & set(launched)
        if now < self._quiet_until or any(isinstance(action, Stop) for action in decision.actions):
            return []
        expires = now + self._plan.policy.launch + self._backend.functions.limits.queue_seconds
        backups = {attempt.id for of_task in snapshot.attempts.values() for attempt in of_task if attempt.speculative}
        again = sorted(self._unanswered)
        return [Launch(attempt, expires, speculative=attempt in backups, size=launched[attempt]) for attempt in again]

    # ------------------------------------------------------------ act

    def _act(self, actions: list[Action], snapshot: Snapshot) -> bool:
        """Carry out what was decided, as far as there is time, and return whether nobody else coordinated since the look."""
        launches = [action for action in actions if isinstance(action, Launch)]
        if not self._may_act():
            return False
        if launches and self._may_launch():
            self._launch(launches)
        for action in actions:
            if not self._may_act():
                return False
            if self._now() >= self._until:
                break
            self._do(action, snapshot)
        return True

    def _do(self, action: Action, snapshot: Snapshot) -> None:
        match action:
            case Launch():
                return
            case Expire(attempt, failure):
                self._ledger.expire(attempt, failure, self._now())
            case Stop(attempt):
                self._ledger.stop(attempt, self._now())
            case Gather(phase):
                commits = self._looks.commits(snapshot, phase)
                cost = spent(self._plan, snapshot) if self._plan.rates else None
                with self._renewer():
                    gather(self._plan, phase, commits, cost=cost, objects=self._backend.objects, ledger=self._ledger)
            case End(outcome):
                proof = self._proof() if outcome.state is JobState.DONE else ""
                self._ledger.put_outcome(replace(outcome, proof=proof))

    def _may_launch(self) -> bool:
        return self._quiet_until <= self._now() < self._until and self._may_act()

    def _launch(self, launches: list[Launch]) -> None:
        attempts = {launched.attempt for launched in launches}
        self._unanswered = (self._unanswered or set()) | attempts
        self._looks.began(attempt.task for attempt in attempts)
        launched = launch(self._backend, self._ledger, self._plan.job, launches, proceed=self._may_launch)
        self._unanswered -= launched.answered | launched.entrusted
        until = self._now() + self._plan.policy.launch
        self._entrusted |= dict.fromkeys(sorted(launched.entrusted), until)
        if launched.refused:
            self._quiet_until = self._now() + self._throttle.next()
        else:
            self._throttle.reset()

    def _proof(self) -> str:
        first, last = self._plan.phases[0], self._plan.phases[-1]
        mapped = read_manifest(self._backend.objects, self._ledger, first, job=self._plan.job)
        reduced = read_manifest(self._backend.objects, self._ledger, last, job=self._plan.job) if last is not first else None
        return proof_line(self._plan, mapped, reduced)

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
        call_followers(self._backend, self._plan.job)
        standing = self._ledger.put_progress(told)
        if standing != told and standing.epoch <= told.epoch:
            return False
        self._watchdog.call_off()
        if outcome.state is not JobState.DONE and self._backend.evict is not None:
            self._backend.evict(self._plan.job, self._plan.policy.heartbeat + _EVICT_SECONDS)
        complete = not (told.map.numbers.records_bad or told.reduce.numbers.records_bad)
        if outcome.state is JobState.DONE and complete and not self._backend.expires:
            layout = Layout(self._plan.job)
            runs = [*map(layout.phase, self._plan.phases[:-1]), layout.index] if self._plan.reducers else []
            runs += [layout.merged_index] if self._plan.merging else []
            for prefix in [layout.input, layout.splits, *runs]:
                with suppress(StoreError):  # what is left goes when the job expires
                    persist(self._backend.clock, partial(self._backend.objects.delete_prefix, prefix))
        self._box.remove()
        self._ledger.expire_lease(self._owner, self._now(), usage=self._usage())
        return True

    def _progress(self, snapshot: Snapshot) -> Progress:
        lease = self._lease or Lease(self._owner, 0, self._now())
        return progress(self._plan, snapshot, self._now(), lease=replace(lease, usage=self._usage()))

    def _next_look(self, decision: Decision, *, changed: bool) -> float:
        if changed:
            self._pace.reset()
        return min(decision.wake_at, self._now() + self._pace.next())

    def _now(self) -> float:
        return self._backend.clock.now()


def _stage(told: Progress) -> tuple[object, ...]:
    return (
        told.state,
        *((phase.done, phase.running, phase.launched, phase.retried, phase.failed) for phase in (told.map, told.merge, told.reduce)),
    )
