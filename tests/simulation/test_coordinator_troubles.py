"""What coordinators make of a platform in trouble: calls that are refused, stores that are full, rows and objects that are gone."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pytest

from smr_notebook.control.attempts import Output, claim
from smr_notebook.control.coordinator import revive
from smr_notebook.control.layout import Layout
from smr_notebook.control.messages import DeathNotice, Role, coordinate
from smr_notebook.control.worker import deliver, handle_death
from smr_notebook.errors import AccessDeniedError, ServiceError, ThrottledError
from smr_notebook.model import AttemptId, AttemptState, JobState, Numbers, Phase
from smr_notebook.ports import ServiceLimits
from smr_notebook.standing import Outcome
from smr_notebook.testing.job_by_hand import Job, Service


def test_a_refused_call_is_made_again_under_the_same_attempt(job: Job) -> None:
    job.service.refuses = ThrottledError("later")
    coordinator = job.looking()
    for _ in range(5):
        job.clock.sleep(next(coordinator) - job.clock.now())
    assert all(len(attempts) == 1 for attempts in job.ledger.snapshot().attempts.values())
    job.service.refuses = None
    while not job.service.calls:
        job.clock.sleep(next(coordinator) - job.clock.now())
    assert {message.attempt for message in job.service.calls} == {1}
    assert len(job.service.calls) == 2


def test_a_service_that_cannot_be_reached_ends_the_job_with_its_words(job: Job) -> None:
    job.service.refuses = ServiceError("the service does not start: no space left")
    for wake_at in job.looking():
        job.clock.sleep(wake_at - job.clock.now())
    outcome = job.ledger.outcome()
    assert outcome is not None
    assert (outcome.state, outcome.error) == (JobState.FAILED, "WorkerLostError")
    assert outcome.failures[0].failure.message == "the service does not start: no space left"


@pytest.mark.parametrize("damage", [None, b"damaged"])
def test_a_job_whose_plan_cannot_be_read_fails_for_its_watchers(job: Job, damage: bytes | None) -> None:
    key = Layout("3f9a").plan
    job.backend.objects.delete_prefix(key)
    if damage:
        job.backend.objects.put(key, damage)
    assert list(job.looking()) == []
    outcome, progress = job.ledger.outcome(), job.ledger.progress()
    assert outcome is not None
    assert progress is not None
    assert outcome.error == ("CorruptObjectError" if damage else "ObjectNotFoundError")
    assert progress.state is JobState.FAILED


def test_a_run_that_is_gone_ends_the_job_with_its_name(job: Job) -> None:
    for _ in job.looking():
        job.work()
        job.backend.objects.delete_prefix(Layout("3f9a").phase(Phase.MAP))
    outcome = job.ledger.outcome()
    assert outcome is not None
    assert (outcome.state, outcome.error) == (JobState.FAILED, "CorruptObjectError")


def test_a_deleted_job_is_left_alone(job: Job) -> None:
    coordinator = job.looking()
    next(coordinator)
    job.backend.table.delete_group("3f9a")
    assert next(coordinator, None) is None
    assert list(job.looking()) == []
    assert not revive(job.backend, "3f9a")


def test_a_dead_worker_is_told_at_once(job: Job) -> None:
    next(job.looking())
    (message, *_) = job.service.calls
    job.ledger.claim(message.attempt_id, owner="w1", now=job.clock.now(), lease=15)
    handle_death(job.backend, DeathNotice(message, "a double", "killed by signal 9"))
    assert job.ledger.snapshot().attempts[message.attempt_id.task][0].live
    handle_death(job.backend, DeathNotice(message, "w1", "killed by signal 9"))
    failure = job.ledger.snapshot().attempts[message.attempt_id.task][0].failure
    assert failure is not None
    assert (failure.kind, failure.message) == ("crash", "killed by signal 9")


def test_a_worker_that_died_behind_its_commit_has_done_its_work(job: Job) -> None:
    next(job.looking())
    (message, *_) = job.service.calls
    mine = claim(job.ledger, message.attempt_id, owner="w1", clock=job.clock, lease=15)
    assert mine is not None
    deliver(job.backend, "3f9a", mine, Output(), numbers=Numbers())
    handle_death(job.backend, DeathNotice(message, "w1", "killed by signal 9"))
    (attempt,) = job.ledger.snapshot().attempts[message.attempt_id.task]
    assert (attempt.state, attempt.failure) == (AttemptState.DONE, None)


def test_a_dead_coordinator_is_followed_by_another_but_not_for_ever(job: Job) -> None:
    notice = DeathNotice(coordinate("3f9a"), "first", "killed by signal 9")
    next(job.looking("first"))
    job.service.calls.clear()
    handle_death(job.backend, replace(notice, invocation="another"))
    assert job.service.calls == []
    handle_death(job.backend, notice)
    while job.service.calls:
        message = job.service.calls.pop()
        assert message.role is Role.COORDINATOR
        handle_death(job.backend, replace(notice, message=message))
    outcome = job.ledger.outcome()
    assert outcome is not None
    assert outcome.error == "WorkerLostError"
    assert "failed 9 times one after the other; the last time: killed by signal 9" in outcome.message


def test_whoever_watches_revives_a_job_without_a_coordinator(job: Job) -> None:
    assert not revive(job.backend, "3f9a")  # the first one may still be on its way
    job.clock.sleep(11)
    assert revive(job.backend, "3f9a")
    job.service.calls.clear()
    next(job.looking())
    assert not revive(job.backend, "3f9a")
    job.clock.sleep(11)
    assert revive(job.backend, "3f9a")


@pytest.mark.parametrize("noticed", [False, True])
def test_an_end_that_its_coordinator_died_before_telling_is_told_by_the_next_one(job: Job, noticed: bool) -> None:
    next(job.looking("first"))
    job.service.calls.clear()
    job.ledger.put_outcome(Outcome(JobState.FAILED, job.clock.now()))
    if noticed:
        handle_death(job.backend, DeathNotice(coordinate("3f9a"), "first", "killed by signal 9"))
    else:
        job.clock.sleep(11)
        assert revive(job.backend, "3f9a")
    assert [message.role for message in job.service.calls] == [Role.COORDINATOR]
    assert list(job.looking()) == []
    progress = job.ledger.progress()
    assert progress is not None
    assert progress.state is JobState.FAILED
    job.clock.sleep(11)
    assert not revive(job.backend, "3f9a")


def test_a_worker_that_finishes_revives_a_job_without_a_coordinator(job: Job) -> None:
    next(job.looking())
    job.clock.sleep(11)
    job.work()
    assert {message.role for message in job.service.calls} == {Role.COORDINATOR}


def test_a_row_that_cannot_be_read_ends_the_job_with_its_name(job: Job) -> None:
    coordinator = job.looking()
    next(coordinator)
    row = job.backend.table.query("3f9a", "task/")[0]
    job.backend.table.put("3f9a", row.key, row.value.replace(b'"v":2', b'"v":3'), expect=row.version)
    assert len(list(itertools.islice(coordinator, 10))) < 10
    outcome, progress = job.ledger.outcome(), job.ledger.progress()
    assert outcome is not None
    assert progress is not None
    assert (outcome.state, outcome.error, progress.state) == (JobState.FAILED, "FormatVersionError", JobState.FAILED)


def test_a_call_that_is_refused_again_and_again_is_made_later_and_later(job: Job) -> None:
    job.service.refuses = ThrottledError("later")
    coordinator, until = job.looking(), job.clock.now() + 300.0
    while job.clock.now() < until:
        job.clock.sleep(next(coordinator) - job.clock.now())
    assert 60 <= job.service.refused < 70, "each five seconds at last"


def test_a_store_that_takes_nothing_for_long_ends_the_job_with_its_words(job: Job) -> None:
    job.backend.objects.full = "manifest/map"  # type: ignore[attr-defined]
    for wake_at in job.looking():
        job.work()
        job.clock.sleep(wake_at - job.clock.now())
    outcome, progress = job.ledger.outcome(), job.ledger.progress()
    assert outcome is not None
    assert progress is not None
    assert (outcome.error, outcome.message, progress.state) == ("StoreError", "no space left on device", JobState.FAILED)
    assert 600.0 < job.clock.now() - 1_000.0 < 700.0


def test_a_store_that_deletes_nothing_keeps_no_coordinator_busy(job: Job) -> None:
    job.backend.objects.keeps = True  # type: ignore[attr-defined]
    assert job.run() is JobState.DONE
    lease = job.ledger.lease()
    assert lease is not None
    assert lease.expired(job.clock.now())


@dataclass
class Silent:
    """Does not tell its limits as long as there is trouble."""

    service: Service
    trouble: Exception | None = None

    @property
    def limits(self) -> ServiceLimits:
        if self.trouble is not None:
            raise self.trouble
        return self.service.limits

    def invoke(self, payload: bytes) -> None:
        self.service.invoke(payload)


@pytest.mark.parametrize("trouble", [ThrottledError("fewer calls"), ServiceError("nobody answers")])
def test_a_service_that_does_not_answer_for_a_while_ends_no_job(job: Job, trouble: Exception) -> None:
    silent = Silent(job.service, trouble)
    job.backend = replace(job.backend, functions=silent)
    coordinator = job.looking()
    for _ in range(5):
        job.clock.sleep(next(coordinator) - job.clock.now())
    assert job.ledger.outcome() is None
    silent.trouble = None
    for _ in coordinator:
        job.work()
    outcome = job.ledger.outcome()
    assert outcome is not None
    assert outcome.state is JobState.DONE


def test_a_service_that_does_not_answer_for_long_ends_the_job_with_its_words(job: Job) -> None:
    job.backend = replace(job.backend, functions=Silent(job.service, ThrottledError("fewer calls")))
    for wake_at in job.looking():
        job.clock.sleep(wake_at - job.clock.now())
    outcome = job.ledger.outcome()
    assert outcome is not None
    assert (outcome.error, outcome.message) == ("ThrottledError", "fewer calls")


def test_a_coordinator_that_fails_stops_what_lives(job: Job) -> None:
    coordinator = job.looking()
    next(coordinator)
    (message, *_) = job.service.calls
    job.work()
    job.service.refuses = AccessDeniedError("lambda:InvokeFunction is not allowed")
    claimed = AttemptId(replace(message.attempt_id.task, number=5), 1)
    job.ledger.launch(claimed, now=job.clock.now(), expires=job.clock.now() + 60)
    job.ledger.claim(claimed, owner="w", now=job.clock.now(), lease=60)
    for _ in itertools.islice(coordinator, 5):
        job.clock.sleep(1)
    outcome = job.ledger.outcome()
    assert outcome is not None
    assert (outcome.state, outcome.error) == (JobState.FAILED, "AccessDeniedError")
    assert not any(attempt.live for of_task in job.ledger.snapshot().attempts.values() for attempt in of_task)
