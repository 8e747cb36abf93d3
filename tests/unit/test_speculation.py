"""Which tasks get a backup, over snapshots written by hand and over any snapshot at all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.control.progress import progress
from smr_notebook.control.scheduling import Decision, End, Expire, Gather, Launch, Stop, decide
from smr_notebook.control.snapshots import settle, used
from smr_notebook.control.speculation import MOST_ALIVE, at_rest
from smr_notebook.control.verdicts import out_of_tries
from smr_notebook.model import (
    Attempt,
    AttemptId,
    AttemptState,
    Commit,
    Environment,
    Estimate,
    Failure,
    FailureKind,
    Format,
    JobState,
    Numbers,
    Phase,
    Plan,
    Policy,
    TaskId,
)
from smr_notebook.standing import Lease, Settled, Snapshot
from smr_notebook.values.capacity import Capacity
from smr_notebook.values.stragglers import Speculation
from smr_notebook.values.usage import Rates, Usage

NOW = 1_000.0
RULE = Speculation(tasks=10, done=0.5, factor=3.0, seconds=5.0, share=0.1)
RUNNING, LAUNCHED, FAILED = AttemptState.RUNNING, AttemptState.LAUNCHED, AttemptState.FAILED
CRASH = Failure(FailureKind.CRASH, "WorkerDied", "killed")


def plan(maps: int = 10, *, rule: Speculation | None = RULE) -> Plan:
    return Plan(
        "job",
        "",
        0.0,
        Format.TEXT,
        maps,
        2,
        combine=False,
        grouped_order=False,
        input_bytes=10,
        input_records=None,
        budget=1 << 20,
        policy=Policy(speculation=rule),
        environment=Environment("3.11", 5, ()),
    )


def attempt(of: int, number: int = 1, *, ran: float = 100.0, state: AttemptState = RUNNING, backup: bool = False) -> Attempt:
    """Return an attempt of a map task that was claimed so many seconds ago, and last heard of a second ago."""
    id = AttemptId(TaskId(Phase.MAP, of), number)
    claimed, owner = (0.0, "") if state is LAUNCHED else (NOW - ran, f"w{number}")
    failure = CRASH if state is FAILED else None
    return Attempt(id, state, owner, NOW + 10, NOW - ran - 1, NOW - 1, claimed=claimed, failure=failure, speculative=backup)


def commits(count: int, *, seconds: float = 2.0) -> dict[TaskId, Commit]:
    ids = [AttemptId(TaskId(Phase.MAP, number), 1) for number in range(count)]
    return {id.task: Commit(id, "w", NOW, seconds, Numbers()) for id in ids}


def look(*live: Attempt, done: Mapping[TaskId, Commit] | None = None) -> Snapshot:
    """Return what stands when nine tasks of ten are done, each after two seconds, and some attempts are there besides."""
    attempts: dict[TaskId, tuple[Attempt, ...]] = {}
    for one in live:
        attempts[one.id.task] = (*attempts.get(one.id.task, ()), one)
    return Snapshot(attempts, dict(commits(9) if done is None else done), {})


def decided(snapshot: Snapshot, of: Plan | None = None, *, concurrency: int = 10) -> Decision:
    return decide(of or plan(), snapshot, NOW, capacity=Capacity(concurrency))


def backups(decision: Decision) -> list[AttemptId]:
    launches = [action for action in decision.actions if isinstance(action, Launch)]
    assert all(launch.speculative for launch in launches)
    return [launch.attempt for launch in launches]


def backup_of(task: int, number: int = 2) -> AttemptId:
    return AttemptId(TaskId(Phase.MAP, task), number)


def test_an_attempt_that_takes_long_gets_a_backup() -> None:
    assert backups(decided(look(attempt(9)))) == [backup_of(9)]


@pytest.mark.parametrize(
    ("ran", "usual", "slow"),
    [(6.0, 2.0, True), (5.9, 2.0, False), (29.0, 10.0, False), (30.0, 10.0, True), (4.9, 0.01, False), (5.0, 0.01, True)],
)
def test_long_is_three_times_the_median_and_some_seconds(ran: float, usual: float, *, slow: bool) -> None:
    decision = decided(look(attempt(9, ran=ran), done=commits(9, seconds=usual)))
    assert backups(decision) == ([backup_of(9)] if slow else [])
    if not slow:
        assert decision.wake_at == pytest.approx(NOW + max(3 * usual, 5.0) - ran), "it is looked at when it will be"


def test_one_task_that_took_long_does_not_change_what_is_usual() -> None:
    done = commits(9)
    done |= {TaskId(Phase.MAP, 0): replace(done[TaskId(Phase.MAP, 0)], seconds=5_000.0)}
    assert backups(decided(look(attempt(9, ran=6.0), done=done))) == [backup_of(9)]


def test_what_settled_counts_as_done_and_usual() -> None:
    settled = Settled(frozenset({0}), tasks=100, seconds=1_000.0)
    there = Snapshot({TaskId(Phase.MAP, 100): (attempt(100, ran=29.0),)}, {}, {}, settled={Phase.MAP: settled})
    assert backups(decided(there, plan(101))) == []
    assert backups(decided(replace(there, attempts={TaskId(Phase.MAP, 100): (attempt(100, ran=30.0),)}), plan(101))) == [backup_of(100)]


def test_a_small_phase_has_no_backups() -> None:
    small = commits(8)
    assert backups(decided(look(attempt(8), done=small), plan(9))) == []
    assert backups(decided(look(attempt(8), done=small), plan(9, rule=replace(RULE, tasks=9)))) == [backup_of(8)]


def test_half_of_a_phase_is_done_before() -> None:
    slow = [attempt(number) for number in range(5, 10)]
    assert backups(decided(look(*slow, done=commits(5)), concurrency=20)) == [backup_of(5)]
    assert backups(decided(look(attempt(4), *slow, done=commits(4)), concurrency=20)) == []


def test_who_wants_no_backups_gets_none() -> None:
    assert decided(look(attempt(9)), plan(rule=None)) == Decision((), NOW + 10)


def test_nothing_has_a_backup_while_something_waits_to_be_launched() -> None:
    done = commits(8)
    (first,) = decided(look(attempt(9), done=done)).actions
    assert isinstance(first, Launch)
    assert (first.attempt, first.speculative) == (backup_of(8, 1), False)
    entrusted = {TaskId(Phase.MAP, 8): NOW + 20}
    assert decide(plan(), look(attempt(9), done=done), NOW, capacity=Capacity(9), entrusted=entrusted).actions == ()


def test_a_backup_takes_nobodys_place() -> None:
    assert backups(decided(look(attempt(9)), concurrency=1)) == []
    assert backups(decided(look(attempt(9), attempt(8), done=commits(8)), concurrency=2)) == []
    queueing = Capacity(2, queue_seconds=60.0)  # it would take many more calls of such tasks, and let them wait
    assert decide(plan(), look(attempt(9), attempt(8), done=commits(8, seconds=0.01)), NOW, capacity=queueing).actions == ()


def test_a_part_of_the_tasks_has_backups_at_once_the_slowest_first() -> None:
    slow = [attempt(number, ran=100.0 + number) for number in range(40, 60)]
    decision = decided(look(*slow, done=commits(40)), plan(60), concurrency=200)
    assert backups(decision) == [backup_of(number) for number in (59, 58, 57, 56, 55, 54)]
    there = [attempt(number, 2, ran=1.0, backup=True) for number in (59, 58, 57, 56)]
    decision = decided(look(*slow, *there, done=commits(40)), plan(60), concurrency=200)
    assert backups(decision) == [backup_of(55), backup_of(54)]


def test_a_task_never_has_two_backups() -> None:
    for second in (RUNNING, LAUNCHED, FAILED, AttemptState.STOPPED):
        both = look(attempt(39), attempt(39, 2, backup=True, state=second), done=commits(39))
        assert backups(decided(both, plan(40), concurrency=99)) == [], "nor after the first one failed"


def test_an_attempt_behind_a_leg_has_no_backup_while_one_from_before_still_works() -> None:
    three = (attempt(39), attempt(39, 2, backup=True, state=AttemptState.PAUSED), attempt(39, 3))
    assert backups(decided(look(*three, done=commits(39)), plan(40), concurrency=99)) == []


def test_a_backup_has_no_backup() -> None:
    left = look(attempt(39, state=FAILED), attempt(39, 2, backup=True), done=commits(39))
    assert backups(decided(left, plan(40), concurrency=99)) == []


def test_a_launch_that_nobody_began_needs_no_backup() -> None:
    assert backups(decided(look(attempt(9, state=LAUNCHED)))) == []


def test_a_backup_costs_no_more_than_may_be_spent() -> None:
    rates = Rates("here", "today", "nobody", gb_second=0.01, invocation=0.0, put=0.0, get=0.0, row_write=0.0, row_read=0.0)
    dear = replace(plan(), rates=rates, memory_bytes=1 << 30, estimate=Estimate(2.0, 2.0, 0.1, 0.2))
    spent = {task: replace(commit, usage=Usage(seconds=2.0)) for task, commit in commits(9).items()}
    attempts: dict[TaskId, tuple[Attempt, ...]] = {}
    attempts |= {task: (attempt(task.number, ran=2.0),) for task in spent}
    attempts[TaskId(Phase.MAP, 9)] = (attempt(9),)
    there = Snapshot(attempts, spent, {})
    whole = 0.01 * (9 * 2.0 + 99.0)  # what was told, and what the slow one has used so far
    assert backups(decided(there, replace(dear, max_cost=whole + 0.045))) == [backup_of(9)]
    assert decided(there, replace(dear, max_cost=whole + 0.035)).actions == ()


def test_a_backup_goes_on_behind_the_last_leg() -> None:
    paused = attempt(9, 1, state=AttemptState.PAUSED)
    assert backups(decided(look(paused, attempt(9, 2)))) == [backup_of(9, 3)]


# ---------------------------------------------------------------- two attempts of one task


def test_while_one_lives_a_failed_one_is_not_replaced_and_ends_nothing() -> None:
    hopeless = replace(CRASH, type="EnvironmentMismatchError")
    for failure in (CRASH, hopeless):
        failed = replace(attempt(9, 2, backup=True, state=FAILED), failure=failure)
        assert decided(look(attempt(9), failed)).actions == ()
        first = replace(attempt(9, state=FAILED), failure=failure)
        assert decided(look(first, attempt(9, 2, backup=True))).actions == ()


def test_a_backup_that_failed_is_no_failure_of_its_task() -> None:
    policy = Policy(retries=2)
    originals = [attempt(9, number, state=FAILED) for number in (1, 3)]
    lost = [attempt(9, number, state=FAILED, backup=True) for number in (2, 4)]
    attempts = sorted((*originals, *lost), key=lambda one: one.id)
    assert not out_of_tries(attempts, policy)
    assert out_of_tries([*attempts, attempt(9, 5, state=FAILED)], policy)


def test_the_same_error_at_the_same_record_is_the_same_for_a_backup() -> None:
    error = Failure(FailureKind.USER, "ValueError", "bad", function="map", record="a")
    first, second = (replace(attempt(9, number, state=FAILED, backup=number == 2), failure=error) for number in (1, 2))
    (end,) = decided(look(first, second)).actions
    assert isinstance(end, End)
    assert (end.outcome.state, end.outcome.error) == (JobState.FAILED, "TaskError")


def test_the_loser_is_stopped_and_the_phase_ends_at_once() -> None:
    loser, winner = attempt(9), attempt(9, 2, backup=True)
    done = commits(9) | {winner.id.task: Commit(winner.id, "w2", NOW, 2.0, Numbers())}
    assert decided(look(loser, winner, done=done)).actions == (Stop(loser.id), Gather(Phase.MAP))
    done[winner.id.task] = replace(done[winner.id.task], id=loser.id)
    assert decided(look(loser, winner, done=done)).actions == (Stop(winner.id), Gather(Phase.MAP)), "and so the other way round"


def test_a_loser_of_an_earlier_phase_is_stopped_too() -> None:
    loser, winner = attempt(9), attempt(9, 2, backup=True)
    done = commits(9) | {winner.id.task: Commit(winner.id, "w2", NOW, 2.0, Numbers())}
    there = replace(look(loser, winner, done=done), manifests={Phase.MAP: "m"})
    assert Stop(loser.id) in decided(there).actions
    ended = replace(there, manifests={Phase.MAP: "m", Phase.REDUCE: "r"})
    assert Stop(loser.id) in decided(ended).actions


def test_a_loser_is_stopped_before_a_cancelled_job_ends() -> None:
    loser, winner = attempt(8), attempt(8, 2, backup=True)
    done = {winner.id.task: Commit(winner.id, "w2", NOW, 2.0, Numbers())}
    there = replace(look(loser, winner, attempt(9), done=done), cancel="enough")
    assert decided(there).actions == (Stop(loser.id), Stop(attempt(9).id))


def test_a_task_goes_on_behind_a_new_leg_though_an_attempt_that_began_before_still_works() -> None:
    """That one cannot publish any more, but commit: whoever is first."""
    paused = replace(attempt(9, state=AttemptState.PAUSED), changed=NOW - 10)
    before = replace(attempt(9, 2, backup=True), claimed=NOW - 20)
    (first,) = decided(look(paused, before)).actions
    assert isinstance(first, Launch)
    assert (first.attempt, first.speculative) == (backup_of(9, 3), False)
    behind = replace(before, claimed=NOW - 5)
    assert decided(look(paused, behind)).actions == ()
    assert not at_rest([paused, replace(before, claimed=0.0, state=LAUNCHED)]), "it will go on behind that leg"
    assert not at_rest([paused, before, attempt(9, 3)]), "there are two already"


def test_a_task_goes_on_behind_the_leg_of_a_backup_too() -> None:
    assert at_rest([attempt(9), attempt(9, 2, backup=True, state=AttemptState.PAUSED)])


# ---------------------------------------------------------------- what is told


LEASE = Lease("w", 1, NOW + 10)


def test_two_attempts_of_a_task_are_counted_and_what_they_read_is_read_once() -> None:
    first = replace(attempt(9), numbers=Numbers(records_read=10))
    second = replace(attempt(9, 2, backup=True), numbers=Numbers(records_read=30))
    found = progress(plan(), look(first, second), NOW, lease=LEASE).map
    assert (found.running, found.speculative, found.retried, found.failed) == (2, 1, 0, 0)
    assert found.numbers.records_read == 30


def test_what_an_attempt_reads_that_began_before_the_newest_leg_is_counted_with_the_leg() -> None:
    paused = replace(attempt(9, state=AttemptState.PAUSED), changed=NOW - 10, numbers=Numbers(records_read=10))
    before = replace(attempt(9, 2, backup=True), claimed=NOW - 20, numbers=Numbers(records_read=8))
    assert progress(plan(), look(paused, before), NOW, lease=LEASE).map.numbers.records_read == 10
    behind = replace(attempt(9, 3), numbers=Numbers(records_read=1))
    assert progress(plan(), look(paused, before, behind), NOW, lease=LEASE).map.numbers.records_read == 11


def test_backups_of_settled_tasks_stay_counted() -> None:
    done = {TaskId(Phase.MAP, 0): Commit(backup_of(0), "w2", NOW, 2.0, Numbers())}
    both = [(attempt(0, state=AttemptState.STOPPED), attempt(0, 2, backup=True))]
    assert settle(settle(Settled(), 0, done, both), 1, done, both).progress.speculative == 2


def test_a_loser_costs_what_it_used_until_it_was_stopped_and_no_more() -> None:
    loser = replace(attempt(9, ran=100.0, state=AttemptState.STOPPED), changed=NOW - 40, usage=Usage(seconds=55.0))
    assert used([(loser,)], {}).seconds == 60.0


# ---------------------------------------------------------------- any snapshot


@st.composite
def attempts_of(draw: st.DrawFn, task: int) -> tuple[Attempt, ...]:
    """Return what may stand of a task: any number of ended attempts, then up to two that live."""
    states = draw(st.lists(st.sampled_from([FAILED, AttemptState.PAUSED, AttemptState.STOPPED]), max_size=2))
    states += draw(st.lists(st.sampled_from([RUNNING, LAUNCHED]), max_size=2))
    return tuple(
        attempt(task, number, ran=draw(st.floats(0, 100)), state=state, backup=number > 1 and draw(st.booleans()))
        for number, state in enumerate(states, start=1)
    )


@st.composite
def phases(draw: st.DrawFn) -> Snapshot:
    done = draw(st.integers(0, 20))
    open_tasks = [draw(attempts_of(task)) for task in range(done, 20)]
    return look(*(one for of_task in open_tasks for one in of_task), done=commits(done))


@given(there=phases(), concurrency=st.integers(1, 60))
def test_no_task_ever_has_three_attempts_that_live(there: Snapshot, concurrency: int) -> None:
    decision = decided(there, plan(20), concurrency=concurrency)
    for action in decision.actions:
        if isinstance(action, Launch):
            of_task = there.attempts.get(action.attempt.task, ())
            assert sum(one.live for one in of_task) < MOST_ALIVE
            assert action.attempt.number == len(of_task) + 1
            assert action.attempt.task not in there.commits


@given(there=phases(), concurrency=st.integers(1, 60))
def test_backups_never_keep_anything_from_being_launched(there: Snapshot, concurrency: int) -> None:
    """Whoever has none of them launches whatever they do, and more often looks later than sooner."""
    with_them, without = decided(there, plan(20), concurrency=concurrency), decided(there, plan(20, rule=None), concurrency=concurrency)
    plain = tuple(action for action in with_them.actions if not (isinstance(action, Launch) and action.speculative))
    assert plain == without.actions
    speculative = [action for action in with_them.actions if isinstance(action, Launch) and action.speculative]
    if speculative:
        live = sum(one.live for of_task in there.attempts.values() for one in of_task)
        assert not any(isinstance(action, Launch | Expire | Gather) for action in plain)
        assert live + len(speculative) <= concurrency
    assert with_them.actions or NOW < with_them.wake_at < math.inf
