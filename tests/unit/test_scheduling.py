"""`decide` over snapshots written by hand, and over any snapshot at all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.control.scheduling import Decision, End, Expire, Gather, Launch, Stop, cap, decide
from smr_notebook.control.verdicts import MOST_KINDS
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
from smr_notebook.showing.amounts import brief
from smr_notebook.standing import Lease, Outcome, Settled, Snapshot
from smr_notebook.values.capacity import Capacity
from smr_notebook.values.usage import Rates

NOW = 1_000.0
POLICY = Policy(retries=2, lost_launches=3, lease=15.0, launch=60.0)
LOST = Failure(FailureKind.LOST, "HeartbeatsStopped", "silence")
CRASH = Failure(FailureKind.CRASH, "WorkerDied", "killed")
NOTHING = Snapshot({}, {}, {})


def plan(maps: int = 3, reducers: int = 2, *, policy: Policy = POLICY) -> Plan:
    stamp = Environment("3.11", 5, ())
    return Plan(
        "job",
        "",
        0.0,
        Format.TEXT,
        maps,
        reducers,
        combine=False,
        grouped_order=False,
        input_bytes=10,
        input_records=None,
        budget=1 << 20,
        policy=policy,
        environment=stamp,
    )


def task(number: int = 0, phase: Phase = Phase.MAP) -> TaskId:
    return TaskId(phase, number)


def attempt(
    state: AttemptState, of: TaskId, number: int = 1, *, expires: float = NOW + 10, owner: str = "w", failure: Failure | None = None
) -> Attempt:
    owner = "" if state is AttemptState.LAUNCHED else owner
    return Attempt(AttemptId(of, number), state, owner, expires, NOW - 5, NOW - 1, failure=failure)


def failed(of: TaskId, *failures: Failure, owner: str = "w") -> tuple[Attempt, ...]:
    return tuple(attempt(AttemptState.FAILED, of, number, owner=owner, failure=failure) for number, failure in enumerate(failures, start=1))


def user_error(record: str) -> Failure:
    return Failure(FailureKind.USER, "ValueError", "bad", function="map", record=record)


def commits(phase: Phase, count: int, *, seconds: float = 1.0) -> dict[TaskId, Commit]:
    ids = [AttemptId(task(number, phase), 1) for number in range(count)]
    return {id.task: Commit(id, "w", NOW, seconds, Numbers()) for id in ids}


def look(
    attempts: Mapping[TaskId, tuple[Attempt, ...]] | None = None,
    *,
    done: Mapping[TaskId, Commit] | None = None,
    manifests: dict[Phase, str] | None = None,
    cancel: str | None = None,
) -> Snapshot:
    return Snapshot(dict(attempts or {}), dict(done or {}), manifests or {}, cancel)


def decided(snapshot: Snapshot, of: Plan | None = None, *, concurrency: int = 10, queue_seconds: float = 0.0) -> Decision:
    return decide(of or plan(), snapshot, NOW, capacity=Capacity(concurrency, queue_seconds))


def launched(decision: Decision) -> list[AttemptId]:
    return [action.attempt for action in decision.actions if isinstance(action, Launch)]


def outcome(decision: Decision) -> Outcome:
    (end,) = decision.actions
    assert isinstance(end, End)
    return end.outcome


def test_what_failed_twice_is_tried_again_after_a_pause_and_looked_at_then() -> None:
    story = look({task(): failed(task(), CRASH, replace(LOST, message="again"))})
    decision = decided(story, plan(policy=replace(POLICY, pause=3.0)))
    assert launched(decision) == [AttemptId(task(1), 1), AttemptId(task(2), 1)]
    assert decision.wake_at == NOW - 1 + 3.0
    assert AttemptId(task(), 3) in launched(decided(story, plan(policy=replace(POLICY, pause=1.0))))


def test_a_new_job_launches_the_first_attempt_of_each_map_task() -> None:
    decision = decided(NOTHING)
    assert launched(decision) == [AttemptId(task(number), 1) for number in range(3)]
    assert decision.wake_at == NOW + POLICY.launch


def test_a_launch_may_wait_in_the_queue_before_it_counts_as_lost() -> None:
    (first, *_) = decided(NOTHING, queue_seconds=30).actions
    assert first == Launch(AttemptId(task(), 1), NOW + POLICY.launch + 30)


def test_live_attempts_are_left_alone_until_the_first_lease_ends() -> None:
    live = {task(n): (attempt(AttemptState.RUNNING, task(n), expires=NOW + 5 + n),) for n in range(3)}
    assert decided(look(live)) == Decision((), NOW + 5)


def test_reduce_tasks_wait_for_the_map_manifest() -> None:
    assert decided(look(done=commits(Phase.MAP, 3))) == Decision((Gather(Phase.MAP),), NOW)
    after = decided(look(done=commits(Phase.MAP, 3), manifests={Phase.MAP: "m"}))
    assert launched(after) == [AttemptId(task(number, Phase.REDUCE), 1) for number in range(2)]


def test_a_job_is_done_when_its_last_manifest_stands() -> None:
    end = outcome(decided(look(manifests={Phase.MAP: "m", Phase.REDUCE: "r"})))
    assert (end.state, end.manifest) == (JobState.DONE, "r")


def test_a_job_without_reduce_is_done_after_the_map_phase() -> None:
    end = outcome(decided(look(manifests={Phase.MAP: "m"}), plan(reducers=0)))
    assert (end.state, end.manifest) == (JobState.DONE, "m")


def test_an_ended_job_needs_nothing() -> None:
    ended = Snapshot({}, {}, {}, outcome=Outcome(JobState.FAILED, NOW))
    assert decided(ended) == Decision((), math.inf)


def test_an_expired_attempt_is_failed_before_it_is_replaced() -> None:
    silent = attempt(AttemptState.RUNNING, task(), expires=NOW)
    (action,) = decided(look({task(): (silent,)}), plan(maps=1)).actions
    assert isinstance(action, Expire)
    assert (action.attempt, action.failure.kind, action.failure.type) == (silent.id, FailureKind.LOST, "HeartbeatsStopped")
    after = decided(look({task(): failed(task(), LOST)}), plan(maps=1))
    assert launched(after) == [AttemptId(task(), 2)]


def test_a_task_may_fail_as_often_as_retries_say_and_once_more_ends_the_job() -> None:
    assert launched(decided(look({task(): failed(task(), CRASH, LOST)}), plan(maps=1))) == [AttemptId(task(), 3)]
    end = outcome(decided(look({task(): failed(task(), CRASH, LOST, CRASH)}), plan(maps=1)))
    assert (end.state, end.error) == (JobState.FAILED, "WorkerLostError")
    assert "Task 0 of the map phase failed 3 times" in end.message


def test_lost_launches_are_counted_apart_from_failures() -> None:
    swallowed = Failure(FailureKind.LOST, "LaunchLost", "nobody came")
    assert launched(decided(look({task(): failed(task(), swallowed, swallowed, owner="")}), plan(maps=1))) == [AttemptId(task(), 3)]
    end = outcome(decided(look({task(): failed(task(), *[swallowed] * 3, owner="")}), plan(maps=1)))
    assert end.error == "WorkerLostError"
    patient = plan(maps=1, policy=replace(POLICY, lost_launches=8))
    assert launched(decided(look({task(): failed(task(), *[swallowed] * 7, owner="")}), patient)) == [AttemptId(task(), 8)]


def test_the_same_error_at_the_same_record_ends_the_task_the_second_time() -> None:
    assert launched(decided(look({task(): failed(task(), user_error("a"), user_error("b"))}), plan(maps=1))) == [AttemptId(task(), 3)]
    end = outcome(decided(look({task(): failed(task(), user_error("a"), user_error("a"))}), plan(maps=1)))
    assert end.error == "TaskError"


@pytest.mark.parametrize("type", ["EnvironmentMismatchError", "InputChangedError", "InputFormatError"])
def test_what_no_attempt_can_heal_is_not_tried_again(type: str) -> None:
    hopeless = Failure(FailureKind.INPUT, type, "as it is")
    assert outcome(decided(look({task(): failed(task(), hopeless)}), plan(maps=1))).error == type


def test_failures_are_told_in_groups_with_the_number_of_tasks() -> None:
    alike = {task(n): failed(task(n), user_error("a"), user_error("a")) for n in (1, 2)}
    other = {task(0): failed(task(0), CRASH)}
    end = outcome(decided(look({**other, **alike})))
    assert [(sample.attempt.task.number, sample.failure.type, sample.tasks) for sample in end.failures] == [
        (1, "ValueError", 2),
        (0, "WorkerDied", 1),
    ]
    assert end.error == "TaskError"


def test_a_missing_input_is_told_behind_the_broken_deployment_that_explains_it() -> None:
    missing, broken = Failure(FailureKind.INPUT, "InputMissingError", "gone"), Failure(FailureKind.SYSTEM, "DeploymentError", "no bucket")
    end = outcome(decided(look({task(1): failed(task(1), missing), task(2): failed(task(2), broken)})))
    assert (end.error, [sample.failure.type for sample in end.failures]) == ("DeploymentError", ["DeploymentError", "InputMissingError"])
    own = outcome(decided(look({task(1): failed(task(1), *[user_error("a")] * 2), task(2): failed(task(2), broken)})))
    assert (own.error, [sample.failure.type for sample in own.failures]) == ("TaskError", ["ValueError", "DeploymentError"])


def test_an_outcome_fits_into_a_row_however_many_kinds_of_failure_there_are() -> None:
    kinds = {task(n): failed(task(n), *[replace(CRASH, type=f"Kind{n}")] * 3) for n in range(100)}
    end = outcome(decided(look(kinds), plan(100)))
    assert [sample.failure.type for sample in end.failures] == [f"Kind{n}" for n in range(MOST_KINDS)]


def test_a_failing_job_stops_what_lives_before_it_ends() -> None:
    live = attempt(AttemptState.LAUNCHED, task(1))
    snapshot = look({task(): failed(task(), CRASH, CRASH, CRASH), task(1): (live,)})
    assert decided(snapshot).actions == (Stop(live.id),)


def test_a_cancelled_job_stops_what_lives_and_launches_nothing() -> None:
    live = attempt(AttemptState.RUNNING, task(1))
    assert decided(look({task(1): (live,)}, cancel="enough")).actions == (Stop(live.id),)
    end = outcome(decided(look(cancel="enough")))
    assert (end.state, end.error, end.message) == (JobState.CANCELLED, "JobCancelled", "enough")


def test_a_job_that_is_done_cannot_be_cancelled() -> None:
    snapshot = look(manifests={Phase.MAP: "m", Phase.REDUCE: "r"}, cancel="too late")
    assert outcome(decided(snapshot)).state is JobState.DONE


def test_a_zombies_commit_saves_a_task_that_was_out_of_tries() -> None:
    snapshot = look({task(): failed(task(), CRASH, CRASH, CRASH)}, done=commits(Phase.MAP, 1))
    assert decided(snapshot, plan(maps=1)).actions == (Gather(Phase.MAP),)


def test_a_stopped_attempt_is_replaced_and_counts_as_no_failure() -> None:
    stopped = attempt(AttemptState.STOPPED, task())
    snapshot = look({task(): (stopped, *failed(task(), CRASH, CRASH))})
    assert launched(decided(snapshot, plan(maps=1))) == [AttemptId(task(), 4)]


def test_what_is_in_flight_is_capped() -> None:
    live = {task(n): (attempt(AttemptState.RUNNING, task(n)),) for n in range(2)}
    assert len(launched(decided(look(live), plan(maps=100), concurrency=3))) == 1
    assert len(launched(decided(look(live), plan(maps=100), concurrency=3, queue_seconds=60))) == 1, "nobody knows yet how long they take"


@pytest.mark.parametrize(("seconds", "most"), [(1.0, 2), (0.1, 20), (0.0, 128), (0.25, 8), (600.0, 2)])
def test_a_queue_takes_so_much_work_that_nobody_waits_and_no_more(seconds: float, most: int) -> None:
    snapshot = look(done=commits(Phase.MAP, 3, seconds=seconds))
    assert cap(snapshot, Phase.MAP, concurrency=2, queue_seconds=60) == most


CLOUD = Capacity(2000, 0.0, burst=1000.0, ramp=100.0)


def test_a_service_that_grows_is_asked_for_no_more_than_it_has() -> None:
    assert len(launched(decide(plan(maps=5000), NOTHING, NOW, capacity=CLOUD))) == 1000
    live = {task(n): (attempt(AttemptState.RUNNING, task(n)),) for n in range(1000)}  # launched five seconds ago
    decision = decide(plan(maps=5000), look(live), NOW, capacity=CLOUD)
    assert len(launched(decision)) == 450, "it began to grow when it was called, a little later"
    assert launched(decide(plan(maps=5000), look(live), NOW, capacity=replace(CLOUD, step=10.0))) == []
    later = decide(plan(maps=5000), look(live), NOW + 6, capacity=replace(CLOUD, step=10.0))
    assert len(launched(later)) == 1000
    full = {task(n): (attempt(AttemptState.RUNNING, task(n), expires=NOW + 30),) for n in range(1500)}
    waiting = decide(plan(maps=5000), look(full), NOW, capacity=CLOUD)
    assert (waiting.actions, waiting.wake_at) == ((), NOW + 1), "it is asked again soon"


def test_a_service_full_of_other_peoples_calls_is_asked_for_little() -> None:
    """It refuses instead of queueing, and has not begun what it was asked for long ago."""
    late = {task(n): (Attempt(AttemptId(task(n), 1), AttemptState.LAUNCHED, "", NOW + 30, NOW - 20, NOW - 20),) for n in range(5)}
    running = {task(n): (attempt(AttemptState.RUNNING, task(n)),) for n in range(5, 7)}
    assert launched(decide(plan(maps=100), look(late | running), NOW, capacity=Capacity(50))) == []
    assert len(launched(decide(plan(maps=100), look(late | running), NOW, capacity=Capacity(50, queue_seconds=60.0)))) == 43


def test_a_few_launches_that_were_lost_hold_nobody_up() -> None:
    late = {task(n): (Attempt(AttemptId(task(n), 1), AttemptState.LAUNCHED, "", NOW + 30, NOW - 20, NOW - 20),) for n in range(3)}
    assert len(launched(decide(plan(maps=100), look(late), NOW, capacity=Capacity(50)))) == 47


def test_what_is_entrusted_to_a_worker_is_launched_by_nobody_else_and_counts_as_in_flight() -> None:
    entrusted = {task(n): NOW + 20 for n in (1, 2)}
    decision = decide(plan(maps=6), NOTHING, NOW, capacity=Capacity(4), entrusted=entrusted)
    assert launched(decision) == [AttemptId(task(0), 1), AttemptId(task(3), 1)]
    assert decision.wake_at == NOW + 20
    again = decide(plan(maps=6), look({task(1): failed(task(1), CRASH)}), NOW, capacity=Capacity(9), entrusted=entrusted)
    assert AttemptId(task(1), 2) not in launched(again)
    assert decide(dear(0.15), NOTHING, NOW, capacity=Capacity(9), entrusted={task(5): NOW + 1}).actions == ()


def test_a_paused_attempt_is_continued_and_counts_as_no_failure() -> None:
    paused = tuple(attempt(AttemptState.PAUSED, task(), number) for number in range(1, 6))
    assert launched(decided(look({task(): paused}), plan(maps=1))) == [AttemptId(task(), 6)]


def test_behind_a_leg_tries_are_counted_anew() -> None:
    """So that a task of a hundred legs may lose more attempts than one that is done in a moment; but not at the same record."""
    of = task(0)
    crashed, paused = failed(of, CRASH)[0], attempt(AttemptState.PAUSED, of)
    states = [crashed, crashed, paused, crashed, crashed, paused, crashed, crashed]
    attempts = tuple(replace(one, id=AttemptId(of, number)) for number, one in enumerate(states, start=1))
    assert launched(decided(look({of: attempts}), plan(1))) == [AttemptId(of, 9)]
    assert outcome(decided(look({of: (*attempts, replace(crashed, id=AttemptId(of, 9)))}), plan(1))).error == "WorkerLostError"
    raised = [replace(one, failure=user_error("a")) if number in {2, 5} else one for number, one in enumerate(attempts, start=1)]
    assert outcome(decided(look({of: tuple(raised)}), plan(1))).error == "WorkerLostError"


def test_a_job_has_an_absolute_end() -> None:
    old = plan(policy=Policy(longest=NOW - 1))
    end = outcome(decided(NOTHING, old))
    assert (end.state, end.error) == (JobState.FAILED, "JobTimeoutError")
    assert end.message.startswith(f"The job has not ended within {brief(NOW - 1)}, which is all that it may take.")
    assert decided(NOTHING, plan(policy=Policy(longest=NOW + 1))).actions


def test_coordinators_are_counted() -> None:
    of = plan(policy=Policy(coordinators=50))
    assert launched(decided(replace(NOTHING, lease=Lease("w", 50, NOW + 1)), of))
    end = outcome(decided(replace(NOTHING, lease=Lease("w", 51, NOW + 1)), of))
    assert (end.error, end.message.partition(",")[0]) == ("JobTimeoutError", "The job has not ended with 50 coordinators")


def test_what_settled_counts_toward_the_end_of_a_phase() -> None:
    of = plan(maps=150, reducers=0)
    settled = {Phase.MAP: Settled(frozenset({0}), 100)}
    rest = {task(n): commit for n, commit in ((n, Commit(AttemptId(task(n), 1), "w", NOW, 1.0, Numbers())) for n in range(100, 150))}
    assert decided(Snapshot({}, rest, {}, settled=settled), of).actions == (Gather(Phase.MAP),)
    few = dict(list(rest.items())[:-1])
    assert launched(decided(Snapshot({}, few, {}, settled=settled), of)) == [AttemptId(task(149), 1)]


RATES = Rates("here", "today", "nobody", gb_second=0.01, invocation=0.0, put=0.0, get=0.0, row_write=0.0, row_read=0.0)


def dear(max_cost: float) -> Plan:
    """A job whose attempts, of ten seconds and a gigabyte, cost ten cents each."""
    return replace(plan(maps=100), rates=RATES, memory_bytes=1 << 30, max_cost=max_cost, estimate=Estimate(10.0, 10.0, 1.0, 10.0))


def test_nothing_is_launched_that_would_take_the_job_above_its_max_cost() -> None:
    assert len(launched(decided(NOTHING, dear(0.55), concurrency=50))) == 5
    live = {task(n): (attempt(AttemptState.RUNNING, task(n)),) for n in range(3)}
    assert len(launched(decided(look(live), dear(0.55), concurrency=50))) == 2
    assert len(launched(decided(NOTHING, dear(0.0), concurrency=50))) == 50


def test_a_job_that_cannot_go_on_within_its_max_cost_ends_when_nothing_is_in_flight() -> None:
    live = {task(n): (attempt(AttemptState.RUNNING, task(n)),) for n in range(5)}
    assert decided(look(live), dear(0.5)).actions == (), "what is in flight may end"
    end = outcome(decided(NOTHING, dear(0.05)))
    assert (end.state, end.error) == (JobState.FAILED, "BudgetExceededError")
    assert "stopped at its max_cost of $0.05: $0.00 is spent" in end.message
    assert "0 of 100 are done" in end.message
    assert "--max-cost DOLLARS`, goes on from there" in end.message


def test_what_is_done_is_not_lost_for_want_of_money() -> None:
    done = commits(Phase.MAP, 100, seconds=10.0)
    assert decided(look(done=done), dear(0.05)).actions == (Gather(Phase.MAP),)


# ---------------------------------------------------------------- any snapshot

times = st.floats(NOW - 100, NOW + 100)
failures = st.sampled_from([LOST, CRASH, user_error("a"), user_error("b"), Failure(FailureKind.INPUT, "InputMissingError", "gone")])


@st.composite
def histories(draw: st.DrawFn, of: TaskId) -> tuple[Attempt, ...]:
    ended = [AttemptState.FAILED, AttemptState.STOPPED, AttemptState.DONE, AttemptState.PAUSED]
    states = draw(st.lists(st.sampled_from(ended), max_size=4))
    states += draw(st.lists(st.sampled_from([AttemptState.LAUNCHED, AttemptState.RUNNING]), max_size=1))
    return tuple(
        attempt(
            state,
            of,
            number,
            expires=draw(times),
            owner=draw(st.sampled_from(["", "w"])),
            failure=draw(failures) if state is AttemptState.FAILED else None,
        )
        for number, state in enumerate(states, start=1)
    )


@st.composite
def situations(draw: st.DrawFn) -> tuple[Plan, Snapshot]:
    of = plan(maps=draw(st.integers(1, 5)), reducers=draw(st.integers(0, 3)))
    manifests = {phase: f"{phase}" for phase in of.phases[: draw(st.integers(0, len(of.phases)))]}
    begun = of.phases[: len(manifests) + 1]
    attempts: dict[TaskId, tuple[Attempt, ...]] = {}
    done: dict[TaskId, Commit] = {}
    for phase in begun:
        for number in range(of.tasks(phase)):
            history = draw(histories(task(number, phase)))
            if history:
                attempts[task(number, phase)] = history
            if phase in manifests or draw(st.booleans()):
                done[task(number, phase)] = Commit(AttemptId(task(number, phase), 1), "w", NOW, draw(st.floats(0, 100)), Numbers())
    return of, look(attempts, done=done, manifests=manifests, cancel=draw(st.sampled_from([None, None, None, "enough"])))


services = {"concurrency": st.integers(1, 4), "queue_seconds": st.sampled_from([0.0, 60.0])}


@given(situation=situations(), **services)
def test_a_committed_task_is_never_touched(situation: tuple[Plan, Snapshot], concurrency: int, queue_seconds: float) -> None:
    of, snapshot = situation
    decision = decided(snapshot, of, concurrency=concurrency, queue_seconds=queue_seconds)
    touched = [action.attempt.task for action in decision.actions if isinstance(action, Launch | Expire)]
    assert not set(touched) & snapshot.commits.keys()


@given(situation=situations(), **services)
def test_whoever_works_for_a_task_that_is_committed_is_stopped_and_the_committed_one_never(
    situation: tuple[Plan, Snapshot], concurrency: int, queue_seconds: float
) -> None:
    of, snapshot = situation
    decision = decided(snapshot, of, concurrency=concurrency, queue_seconds=queue_seconds)
    stopped = {action.attempt for action in decision.actions if isinstance(action, Stop)}
    live = {one.id for of_task in snapshot.attempts.values() for one in of_task if one.live}
    chosen = {commit.id for commit in snapshot.commits.values()}
    assert {one for one in live - chosen if one.task in snapshot.commits} <= stopped <= live - chosen


@given(situation=situations(), **services)
def test_the_cap_holds_and_numbers_go_on_without_gaps(situation: tuple[Plan, Snapshot], concurrency: int, queue_seconds: float) -> None:
    of, snapshot = situation
    launches = launched(decided(snapshot, of, concurrency=concurrency, queue_seconds=queue_seconds))
    if launches:
        phase = launches[0].task.phase
        tasks = [task(number, phase) for number in range(of.tasks(phase))]
        histories = [snapshot.attempts.get(one, ()) for one in tasks if one not in snapshot.commits]
        live = sum(attempt.live for history in histories for attempt in history)
        assert live + len(launches) <= cap(snapshot, phase, concurrency=concurrency, queue_seconds=queue_seconds)
        assert all(launch.number == len(snapshot.attempts.get(launch.task, ())) + 1 for launch in launches)
        assert all(not attempt.live for launch in launches for attempt in snapshot.attempts.get(launch.task, ()))


@given(situation=situations(), **services)
def test_there_is_always_something_to_do_or_to_wait_for(situation: tuple[Plan, Snapshot], concurrency: int, queue_seconds: float) -> None:
    of, snapshot = situation
    decision = decided(snapshot, of, concurrency=concurrency, queue_seconds=queue_seconds)
    assert decision.actions or NOW < decision.wake_at < math.inf
    ended = any(isinstance(action, Gather | End) for action in decision.actions)
    assert not ended or not any(isinstance(action, Launch) for action in decision.actions)


@given(situation=situations(), **services)
def test_a_phase_is_gathered_exactly_when_it_is_complete(situation: tuple[Plan, Snapshot], concurrency: int, queue_seconds: float) -> None:
    of, snapshot = situation
    decision = decided(snapshot, of, concurrency=concurrency, queue_seconds=queue_seconds)
    gathered = [action.phase for action in decision.actions if isinstance(action, Gather)]
    complete = [
        phase
        for phase in of.phases
        if phase not in snapshot.manifests and all(task(number, phase) in snapshot.commits for number in range(of.tasks(phase)))
    ]
    assert gathered == ([] if snapshot.cancel else complete[:1])


# ---------------------------------------------------------------- memory

HUNGRY = Failure(FailureKind.CRASH, "OutOfMemoryError", "ended")
SIZES = (1 << 30, 2 << 30)


def hungry(of: TaskId, *sizes: int) -> tuple[Attempt, ...]:
    attempts = failed(of, *(HUNGRY for _ in sizes))
    return tuple(replace(attempt, size=size) for attempt, size in zip(attempts, sizes, strict=True))


def sizes_launched(decision: Decision) -> list[int]:
    return [action.size for action in decision.actions if isinstance(action, Launch)]


def test_what_ran_out_of_memory_is_launched_once_with_the_next_size() -> None:
    of = replace(plan(1, 0), memory_sizes=SIZES)
    assert sizes_launched(decided(look({}), of)) == [0]
    assert sizes_launched(decided(look({task(): hungry(task(), 0)}), of)) == [1]
    end = outcome(decided(look({task(): hungry(task(), 0, 1)}), of))
    assert (end.state, end.error) == (JobState.FAILED, "OutOfMemoryError")


def test_where_there_is_one_size_want_of_memory_ends_the_task() -> None:
    assert outcome(decided(look({task(): hungry(task(), 0)}), plan(1, 0))).error == "OutOfMemoryError"


def test_want_of_memory_is_no_failure_that_retries_count() -> None:
    of = replace(plan(1, 0, policy=replace(POLICY, retries=0)), memory_sizes=SIZES)
    assert sizes_launched(decided(look({task(): hungry(task(), 0)}), of)) == [1]


def test_a_task_that_ran_out_of_memory_keeps_its_larger_size() -> None:
    of = replace(plan(1, 0), memory_sizes=SIZES)
    crashed = replace(attempt(AttemptState.FAILED, task(), 2, failure=CRASH), size=1)
    assert sizes_launched(decided(look({task(): (*hungry(task(), 0), crashed)}), of)) == [1]
    paused = replace(attempt(AttemptState.PAUSED, task(), 2), size=1)
    assert sizes_launched(decided(look({task(): (*hungry(task(), 0), paused)}), of)) == [1], "also behind a leg"


@given(st.lists(st.sampled_from([HUNGRY, CRASH, LOST]), max_size=8), st.integers(1, 3))
def test_a_task_is_never_launched_at_a_size_that_was_too_little_or_that_there_is_not(failures: list[Failure], count: int) -> None:
    of = replace(plan(1, 0), memory_sizes=tuple((number + 1) << 30 for number in range(count)))
    attempts: tuple[Attempt, ...] = ()
    for number, failure in enumerate(failures, start=1):
        decision = decided(look({task(): attempts} if attempts else {}), of)
        if not sizes_launched(decision):
            assert outcome(decision).state is JobState.FAILED
            return
        (size,) = sizes_launched(decision)
        assert size < count
        assert all(before.size < size for before in attempts if before.failure == HUNGRY)
        attempts += (replace(attempt(AttemptState.FAILED, task(), number, failure=failure), size=size),)


def test_a_record_that_hangs_twice_ends_the_task_and_different_ones_do_not() -> None:
    def hangs(record: str) -> Failure:
        return Failure(FailureKind.SYSTEM, "TaskTimeoutError", "no record", function="map", record=record)

    assert outcome(decided(look({task(): failed(task(), hangs("a"), hangs("a"))}), plan(1))).error == "TaskTimeoutError"
    assert launched(decided(look({task(): failed(task(), hangs("a"), hangs("b"))}), plan(1))) == [AttemptId(task(), 3)]
    assert launched(decided(look({task(): failed(task(), hangs(""), hangs(""))}), plan(1))) == [AttemptId(task(), 3)]


def test_an_attempt_with_more_memory_costs_more_of_what_a_job_may() -> None:
    """Ten cents in the smaller size, twenty in the next."""
    of = replace(dear(0.55), memory_sizes=(1 << 30, 2 << 30))
    begun = {task(0): hungry(task(0), 0)}
    tight, spent = replace(of, max_cost=0.15), decided(look(begun), replace(of, max_cost=0.25))
    assert outcome(decided(look(begun), tight)).error == "BudgetExceededError"
    assert len(launched(spent)) == 1
    assert launched(decided(look(begun), of, concurrency=50)) == [AttemptId(task(0), 2), AttemptId(task(1), 1)]


@given(st.integers(1, 100), st.integers(0, 200), st.sampled_from([0.0, 1.0, 60.0]))
def test_a_job_takes_no_more_than_it_wants(concurrency: int, most: int, queue_seconds: float) -> None:
    whole = Capacity(concurrency, queue_seconds)
    within = whole.within(most)
    if 0 < most < concurrency:
        assert within == Capacity(most, 0.0)
        assert len(launched(decide(plan(maps=1000), look(), NOW, capacity=within))) == most
    else:
        assert within == whole
