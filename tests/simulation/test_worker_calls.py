"""The calls of workers: what is claimed, what hearts tell, what losers leave behind."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from smr_notebook.control.attempts import Claim, Output, claim
from smr_notebook.control.heart import ABANDONED, GRACE, Ends, Heart
from smr_notebook.control.keys import keys_of
from smr_notebook.control.layout import Layout
from smr_notebook.control.logs import Uncaught
from smr_notebook.control.messages import AttemptRange, DeathNotice, attempt_message
from smr_notebook.control.plans import write_plan
from smr_notebook.control.pulse import pulse_of
from smr_notebook.control.worker import deliver, handle_death, run_attempt
from smr_notebook.dataflow.meter import Meter
from smr_notebook.environment import environment
from smr_notebook.model import AttemptId, AttemptState, FailureKind, Numbers, Position, Receipt
from smr_notebook.testing.job_by_hand import ITEMS, POLICY, Job, attempt_of, claims, functions, survive
from smr_notebook.testing.waiting import wait_until


def test_a_doubled_call_goes_away_quietly(job: Job) -> None:
    coordinator = job.looking()
    next(coordinator)
    (message, *_) = job.service.calls
    job.work()
    before = job.backend.table.query("3f9a")
    run_attempt(job.backend, message, job.context(), abandon=survive)
    assert job.backend.table.query("3f9a") == before


def test_an_attempt_whose_task_is_committed_stops_before_it_works(job: Job) -> None:
    next(job.looking())
    (message, *_) = job.service.calls
    job.work()
    late = replace(message.attempt_id, number=2)
    job.ledger.launch(late, now=job.clock.now(), expires=job.clock.now() + 60)
    run_attempt(job.backend, replace(message, attempt=2), job.context(), abandon=survive)
    assert job.ledger.snapshot().attempts[late.task][1].state is AttemptState.STOPPED
    assert list(job.backend.objects.list_prefix(Layout("3f9a").attempt(late) + "/")) == []


@pytest.mark.parametrize("claimed", [False, True])
def test_a_worker_launches_others_before_its_own_work_if_that_is_its_own(job: Job, claimed: bool) -> None:
    """Of a doubled call, the one that claims the attempt launches."""
    next(job.looking())
    (message, *_), job.service.calls = job.service.calls, []
    if claimed:
        assert claim(job.ledger, message.attempt_id, owner="another", clock=job.clock, lease=15) is not None
    job.backend = replace(job.backend, branching=2)
    run_attempt(job.backend, replace(message, then=(AttemptRange(4, 7, 1),)), job.context(), abandon=survive)
    called = [call for call in job.service.calls if call.works]
    both = [(4, (AttemptRange(5, 5, 1),)), (6, (AttemptRange(7, 7, 1),))]
    assert [(call.task, call.then) for call in called] == ([] if claimed else both)


def test_a_worker_launches_no_others_for_a_job_that_is_to_end(job: Job) -> None:
    """Nobody would stop them: their rows would come after the last look of the coordinator."""
    next(job.looking())
    (message, *_), job.service.calls = job.service.calls, []
    job.backend = replace(job.backend, branching=2)
    job.ledger.request_cancel("enough", job.clock.now())
    run_attempt(job.backend, replace(message, then=(AttemptRange(4, 7, 1),)), job.context(), abandon=survive)
    assert [call for call in job.service.calls if call.works] == []


def test_a_loser_that_dies_leaves_nothing_but_a_leg_that_the_commit_goes_on_from(job: Job) -> None:
    """Whoever publishes a leg may be stopped as a loser before it can say so, and die after the continuation has committed."""
    next(job.looking())
    task = job.service.calls[0].attempt_id.task
    held: list[Claim] = []
    for number in (1, 2, 3):
        attempt = AttemptId(task, number)
        job.ledger.launch(attempt, now=job.clock.now(), expires=job.clock.now() + 60, speculative=number > 1)
        job.backend.objects.put(f"{Layout('3f9a').attempt(attempt)}/run", b"")
        if number == 3:
            leg = Output(receipt=Receipt(held[0].id, f"{Layout('3f9a').attempt(held[0].id)}/run", 0, 0, 0, 0))
            assert held[0].publish(leg, Position(3), Numbers())
        claimed = claim(job.ledger, attempt, owner=f"w{number}", clock=job.clock, lease=15)
        assert claimed is not None
        held.append(claimed)
    assert held[2].commit(Output(), Numbers())
    for number in (1, 2):
        job.ledger.stop(AttemptId(task, number), job.clock.now())
        message = attempt_message("3f9a", AttemptId(task, number))
        handle_death(job.backend, DeathNotice(message, f"w{number}", "killed by signal 9"))
    left = [info.key for info in job.backend.objects.list_prefix(f"jobs/3f9a/{task}/")]
    assert left == [f"jobs/3f9a/{task}/001/run", f"jobs/3f9a/{task}/003/run"]


def test_what_loses_is_stopped_and_leaves_nothing(job: Job) -> None:
    """Be it an output or a leg: another attempt's stands."""
    next(job.looking())
    task = job.service.calls[0].attempt_id.task
    mine = list(claims(job, task, 5))
    for held in mine:
        job.backend.objects.put(f"{Layout('3f9a').attempt(held.id)}/run", b"")
    for held, position in zip(mine, (Position(3), Position(5), None, None), strict=False):
        deliver(job.backend, "3f9a", held, Output(position=position), numbers=Numbers())
    states = [attempt.state for attempt in job.ledger.snapshot().attempts[task]]
    assert states == [AttemptState.PAUSED, AttemptState.STOPPED, AttemptState.DONE, AttemptState.STOPPED, AttemptState.RUNNING]
    left = [info.key.split("/")[4] for info in job.backend.objects.list_prefix("jobs/3f9a/map/")]
    assert left == ["001", "003", "005"]


@pytest.mark.parametrize(("invocation", "kind", "type"), [("", FailureKind.LOST, "LaunchDropped"), ("w", FailureKind.CRASH, "WorkerDied")])
def test_a_call_that_was_dropped_says_nothing_of_its_task(job: Job, invocation: str, kind: FailureKind, type: str) -> None:
    next(job.looking())
    (message, *_) = job.service.calls
    handle_death(job.backend, DeathNotice(message, invocation, "the service says why"))
    failure = attempt_of(job, message).failure
    assert failure is not None
    assert (failure.kind, failure.type, failure.message) == (kind, type, "the service says why")


def test_a_worker_of_another_environment_refuses(job: Job) -> None:
    next(job.looking())
    other = replace(environment(), python="2.7")
    job.backend.objects.delete_prefix(Layout("3f9a").plan)
    write_plan(job.backend.objects, replace(job.plan, environment=other), [], keys_of(job.backend.table))
    job.work()
    failures = [attempt.failure for attempts in job.ledger.snapshot().attempts.values() for attempt in attempts]
    assert {failure.type for failure in failures if failure} == {"EnvironmentMismatchError"}


def endless(item: int) -> Iterator[tuple[int, int]]:
    while True:
        yield item, 1


def test_an_attempt_that_is_stopped_while_it_works_ends_and_commits_nothing() -> None:
    job = Job(functions(endless), ITEMS)
    next(job.looking())
    (message, *_) = job.service.calls
    worker = threading.Thread(target=run_attempt, args=(job.backend, message, job.context()), kwargs={"abandon": survive})
    worker.start()
    wait_until(lambda: attempt_of(job, message).state is AttemptState.RUNNING)
    job.ledger.stop(message.attempt_id, job.clock.now())
    worker.join()
    assert attempt_of(job, message).state is AttemptState.STOPPED
    assert job.ledger.committed(message.attempt_id.task) is None
    assert list(job.backend.objects.list_prefix(Layout("3f9a").attempt(message.attempt_id) + "/")) == []


def test_a_heart_reports_and_asks_the_stream_to_end_and_abandons_what_does_not(job: Job) -> None:
    next(job.looking())
    (message, *_) = job.service.calls
    mine = claim(job.ledger, message.attempt_id, owner="w", clock=job.clock, lease=15)
    assert mine is not None
    meter, abandoned = Meter(), list[int]()
    meter.records_read = 7
    with Heart(mine, meter, POLICY, ends=Ends(math.inf, math.inf, abandoned.append, None), clock=job.clock, grace=0.0):
        wait_until(lambda: attempt_of(job, message).numbers.records_read == 7)
        job.ledger.stop(message.attempt_id, job.clock.now())
        wait_until(lambda: abandoned)
    assert meter.stopped == f"attempt {message.attempt_id} is stopped"
    assert abandoned == [ABANDONED]


def test_an_attempt_is_asked_to_end_before_its_log_is_put_which_may_take_long(job: Job) -> None:
    next(job.looking())
    (message, *_) = job.service.calls
    mine = claim(job.ledger, message.attempt_id, owner="w", clock=job.clock, lease=15)
    assert mine is not None
    meter, asked = Meter(), list[bool]()

    class Slow(Uncaught):
        def beat(self) -> None:
            asked.append(meter.stopped is not None)

    heart = Heart(mine, meter, POLICY, ends=Ends(math.inf, math.inf, survive, None), clock=job.clock, output=Slow())
    heart.beat()
    job.ledger.stop(message.attempt_id, job.clock.now())
    assert heart.beat() == GRACE
    assert asked == [False, True]


def test_a_heart_stops_with_its_block(job: Job) -> None:
    next(job.looking())
    (message, *_) = job.service.calls
    mine = claim(job.ledger, message.attempt_id, owner="w", clock=job.clock, lease=15)
    assert mine is not None
    meter = Meter()
    with Heart(mine, meter, POLICY, ends=Ends(math.inf, math.inf, survive, None), clock=job.clock):
        wait_until(lambda: attempt_of(job, message).numbers.resident_bytes > 0)
    assert meter.stopped is None
    told = attempt_of(job, message)
    meter.records_read = 99
    bystander = Bystander()
    pulse_of(os.getpid()).join(bystander, first=0.0)
    wait_until(lambda: bystander.beats > 3)
    pulse_of(os.getpid()).leave(bystander)
    assert attempt_of(job, message) == told


class Bystander:
    """Something else in this process that the pulse beats for, as often as a heart of these tests would want."""

    watch = None
    patience = 0.0

    def __init__(self) -> None:
        self.beats = 0

    def beat(self) -> float:
        self.beats += 1
        return POLICY.heartbeat
