"""Jobs that read the results of others: they wait without anybody waiting, begin when the others end, and end with their errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import gettempdir
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import smr_notebook as smr
from smr_notebook.backends.memory.alarms import MemoryAlarms
from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.backends.memory.platform import open_memory
from smr_notebook.config import Settings
from smr_notebook.control.coordinator import revive, run_coordinator
from smr_notebook.control.driving import run_driver
from smr_notebook.control.expiry import remove_expired, remove_job
from smr_notebook.control.keys import keys_of
from smr_notebook.control.ledger import Ledger, list_jobs
from smr_notebook.control.messages import Message, Role
from smr_notebook.control.plans import is_planned, read_plan
from smr_notebook.control.worker import run_attempt
from smr_notebook.errors import (
    ConfigError,
    CorruptObjectError,
    InputEmptyError,
    InputMissingError,
    JobCancelled,
    JobTimeoutError,
    PlanError,
    PriorJobError,
)
from smr_notebook.job.handle import Job
from smr_notebook.model import JobState, Phase
from smr_notebook.ports import Context
from smr_notebook.sessions.session import Session
from smr_notebook.standing import Outcome
from smr_notebook.testing.noted_calls import AtOnce, NotedCalls


class Cloud:
    """A platform whose calls are run one by one, in an order of the test's."""

    def __init__(self, folder: Path, *, plans: bool = False) -> None:
        self.service = NotedCalls()
        self.clock = SimulatedClock(1_000.0)
        self.alarms = MemoryAlarms(self.clock, self.service.invoke)
        self.backend = replace(
            open_memory(),
            functions=self.service,
            clock=self.clock,
            poll=(0.1, 1.0),
            plans=plans,
            alarms=self.alarms,
        )
        self.session = Session(settings=Settings(workspace=folder), backend=self.backend)
        self.backend = self.session.backend
        self._count = 0

    def run(self, job: Job | None = None, *, pick: Callable[[list[Message]], Message] = lambda calls: calls[0]) -> None:
        """Run what was called, and what that calls: of one job, or of all."""
        while calls := [message for message in self.service.calls if job is None or message.job == job.id]:
            message = pick(calls)
            self.service.calls.remove(message)
            self.run_one(message)

    def run_one(self, message: Message) -> None:
        self._count += 1
        context = Context("memory:", f"{message.role}-{self._count}", self.clock.now() + 900, 1 << 30, self.clock)
        if message.role is Role.COORDINATOR:
            inline = replace(self.backend, functions=AtOnce(self.service, self.run_one))
            run_coordinator(inline, message, replace(context, deadline=self.clock.now() + 1e6))
        elif message.role is Role.DRIVER:
            run_driver(self.backend, message, context)
        else:
            run_attempt(self.backend, message, context)


@pytest.fixture(params=[False, True], ids=["planned-here", "planned-there"])
def cloud(tmp_path: Path, request: pytest.FixtureRequest) -> Cloud:
    return Cloud(tmp_path, plans=request.param)


def by_rest(item: int) -> Iterator[tuple[int, int]]:
    yield item % 5, item


def by_parity(row: tuple[int, int]) -> Iterator[tuple[str, int]]:
    key, value = row
    yield ("even" if key % 2 == 0 else "odd"), value


def fails(item: object) -> Iterator[tuple[int, int]]:
    raise ValueError(f"no {item}")


FIRST = {key: sum(range(key, 20, 5)) for key in range(5)}
SECOND = {"even": FIRST[0] + FIRST[2] + FIRST[4], "odd": FIRST[1] + FIRST[3]}


def first(cloud: Cloud, **options: Any) -> Job:
    job: Job = cloud.session.map_reduce(by_rest, sum, range(20), reducers=3, **options)
    return job


def second(cloud: Cloud, job: Job, **options: Any) -> Job:
    after: Job = cloud.session.map_reduce(by_parity, sum, job, **options)
    return after


def answer(job: Job) -> dict[Any, Any]:
    assert job.status().state.ended, "it would be waited for in vain"
    return dict(job.result().itertuples(index=False, name=None))


def test_a_job_waits_for_another_one_and_begins_when_that_ends(cloud: Cloud) -> None:
    one = first(cloud)
    two = second(cloud, one)
    cloud.run(two)
    assert cloud.service.calls, "the first one has not begun"
    assert not is_planned(cloud.backend.objects, two.id)
    assert Ledger(cloud.backend.table, two.id).lease() is None, "nobody has to give anything back"
    assert two.status().waits == (one.id,)
    assert f"waits for {one.id}" in repr(two)
    assert f"{two.id} so far: nothing yet, it waits for {one.id}\n" in repr(two.so_far())
    cloud.run()
    assert (answer(one), answer(two)) == (FIRST, SECOND)
    assert two.status().waits == ()
    assert two.proof == "1 split · 5 records read = mapped · 2 groups · 5 pairs → 2 combined = reduced"


def test_a_job_that_has_ended_is_read_at_once(cloud: Cloud) -> None:
    one = first(cloud)
    cloud.run()
    two = second(cloud, cloud.session.attach(one.id))
    assert two.status().waits == ()
    cloud.run()
    assert answer(two) == SECOND


def test_stages_follow_each_other_by_themselves(cloud: Cloud) -> None:
    """Five jobs, submitted before any of them begins."""
    last = first(cloud)
    for _ in range(3):
        last = cloud.session.map_reduce(lambda row: [row], lambda key, values: sum(values) + 1, last)
    end = cloud.session.map_reduce(by_parity, sum, last)
    cloud.run()
    assert answer(last) == {key: value + 3 for key, value in FIRST.items()}
    assert answer(end) == {"even": SECOND["even"] + 9, "odd": SECOND["odd"] + 6}


def test_two_jobs_may_read_the_same_one(cloud: Cloud) -> None:
    one = first(cloud)
    two, three = second(cloud, one), second(cloud, one)
    cloud.run()
    assert answer(two) == answer(three) == SECOND


def test_the_other_kinds_of_jobs_read_results_too(cloud: Cloud) -> None:
    one = first(cloud)
    frames = cloud.session.map_frames(lambda frame: frame.assign(twice=2 * frame["value"]), None, one)
    totals = cloud.session.aggregate(frames, by={"odd": "key"}, total=smr.sum("twice"))
    rows = cloud.session.map_reduce(lambda row: [(row["odd"], row["total"])], None, totals)
    cloud.run()
    assert list(frames.result().columns) == ["key", "value", "twice"]
    assert answer(rows) == {key: 2 * value for key, value in FIRST.items()}


def test_a_job_that_fails_ends_those_that_read_it(cloud: Cloud) -> None:
    one = cloud.session.map_reduce(fails, sum, [1])
    two = second(cloud, one, name="second")
    three = second(cloud, two)
    cloud.run()
    with pytest.raises(PriorJobError, match=rf"Job {one.id}, whose result is the input, failed: ValueError: no 1\. attach\('{one.id}'\)"):
        two.result()
    with pytest.raises(
        PriorJobError, match=rf"Job {two.id}, whose result is the input, could not begin\. Job {one.id}, .*ValueError: no 1"
    ):
        three.result()


def test_a_job_that_is_cancelled_ends_those_that_read_it(cloud: Cloud) -> None:
    one = first(cloud)
    two = second(cloud, one)
    one.cancel()
    cloud.run()
    with pytest.raises(PriorJobError, match=f"Job {one.id}, whose result is the input, was cancelled"):
        two.result()


def test_to_cancel_a_job_that_waits_is_to_cancel_no_other(cloud: Cloud) -> None:
    one = first(cloud)
    two = second(cloud, one)
    cloud.run(two)
    assert two.cancel()
    cloud.run(two)
    with pytest.raises(JobCancelled):
        two.result()
    cloud.run()
    assert answer(one) == FIRST


def test_a_job_that_was_removed_is_told_so(cloud: Cloud) -> None:
    one = first(cloud)
    cloud.run()
    two = second(cloud, one)
    remove_job(cloud.backend.objects, cloud.backend.table, one.id)
    cloud.run()
    with pytest.raises(InputMissingError, match=f"Job {one.id}, whose result is the input, is gone"):
        two.result()


def test_a_part_that_is_gone_or_rotten_is_how_the_job_ends(cloud: Cloud) -> None:
    one = first(cloud)
    cloud.run()
    (key, *_), store = [file.key for part in one.parts() for file in part.files], cloud.backend.objects
    whole = store.get(key)
    rotten = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
    for data, error, said in ((rotten, CorruptObjectError, "is not what was written"), (None, InputMissingError, "is gone")):
        store.delete_prefix(key)
        if data is not None:
            store.put(key, [data])
        two = second(cloud, one, retries=0)
        cloud.run()
        with pytest.raises(error, match=f"a part of the result of job {one.id}, {said}"):
            two.result()


def test_a_result_without_rows_is_nothing_to_map_over(cloud: Cloud) -> None:
    one = cloud.session.map_reduce(lambda _: None, sum, [1])
    two = second(cloud, one)
    cloud.run()
    with pytest.raises(InputEmptyError, match=f"The result of job {one.id} has no rows"):
        two.result()


def test_what_a_job_left_out_is_a_warning_of_the_next_one(cloud: Cloud) -> None:
    one = cloud.session.map_reduce(lambda item: [(item, 1 // item)], sum, [0, 1, 2, 3], on_error="skip", max_bad=0.5)
    two = cloud.session.map_reduce(lambda row: [row], sum, one)
    cloud.run()
    assert any(f"Job {one.id}, whose result is the input, left out 1 records" in warning for warning in two.warnings)


def test_a_job_is_kept_as_long_as_one_that_reads_it(cloud: Cloud) -> None:
    one = first(cloud)
    cloud.run()
    cloud.clock.sleep(100 * 86_400.0)
    two = second(cloud, one)
    objects, table, now = cloud.backend.objects, cloud.backend.table, cloud.clock.now()
    assert remove_expired(objects, table, now=now, keep_seconds=7 * 86_400.0) == ()
    cloud.run()
    assert answer(two) == SECOND
    assert set(remove_expired(objects, table, now=now + 100 * 86_400.0, keep_seconds=7 * 86_400.0)) == {one.id, two.id}
    assert table.query(f"after/{one.id}") == []


def test_a_job_that_waits_for_longer_than_jobs_are_kept_stays(cloud: Cloud) -> None:
    one = first(cloud)
    two = second(cloud, one)
    objects, table, week = cloud.backend.objects, cloud.backend.table, 7 * 86_400.0
    cloud.run(two)
    cloud.clock.sleep(3 * week)
    Ledger(table, one.id).take_lease("slow", now=cloud.clock.now(), seconds=10)
    assert remove_expired(objects, table, now=cloud.clock.now(), keep_seconds=week) == ()
    cloud.clock.sleep(20)
    cloud.run()
    assert answer(two) == SECOND


def test_jobs_that_nobody_looks_after_any_more_go_together(cloud: Cloud) -> None:
    one = first(cloud)
    two = second(cloud, one)
    cloud.clock.sleep(8 * 86_400.0)
    gone = remove_expired(cloud.backend.objects, cloud.backend.table, now=cloud.clock.now(), keep_seconds=7 * 86_400.0)
    assert set(gone) == {one.id, two.id}


def test_an_end_that_its_coordinator_did_not_live_to_tell_calls_those_that_wait(cloud: Cloud) -> None:
    """The next one tells it, and calls them before: of two deaths in a row none lets them wait for ever."""
    one = first(cloud)
    two = second(cloud, one)
    cloud.run(two)
    cloud.service.calls.clear()
    Ledger(cloud.backend.table, one.id).put_outcome(Outcome(JobState.CANCELLED, cloud.clock.now(), message="enough"))
    cloud.clock.sleep(60)
    assert revive(cloud.backend, one.id)
    cloud.run()
    with pytest.raises(PriorJobError, match="was cancelled"):
        two.result()


def test_to_wait_takes_none_of_the_time_that_a_job_may(cloud: Cloud) -> None:
    one = first(cloud)
    two = second(cloud, one)
    cloud.run(two)
    cloud.clock.sleep(cloud.backend.policy.longest - 10)
    Ledger(cloud.backend.table, one.id).take_lease("slow", now=cloud.clock.now(), seconds=5)
    cloud.clock.sleep(8)
    cloud.run()
    assert answer(one) == FIRST
    cloud.clock.sleep(cloud.backend.policy.longest / 2)
    cloud.run()
    assert answer(two) == SECOND
    assert read_plan(cloud.backend.objects, two.id, keys_of(cloud.backend.table)).created > 1_000.0 + cloud.backend.policy.longest / 2


def test_a_job_that_nobody_plans_once_it_may_begin_ends(cloud: Cloud) -> None:
    one = first(cloud)
    two = second(cloud, one)
    cloud.run(one)
    cloud.service.calls.clear()
    cloud.clock.sleep(cloud.backend.policy.longest + 10)
    revive(cloud.backend, two.id)
    cloud.run()
    with pytest.raises(JobTimeoutError):
        two.result()


def test_whoever_watches_a_job_that_waits_looks_after_the_other_one(cloud: Cloud) -> None:
    one = first(cloud)
    two = second(cloud, one)
    cloud.service.calls.clear()  # all calls are lost
    cloud.clock.sleep(60)
    assert not revive(cloud.backend, two.id), "it cannot begin"
    assert {message.job for message in cloud.service.calls} == {one.id}
    cloud.run(one)
    cloud.service.calls.clear()  # so is the one that the end of the first made
    assert revive(cloud.backend, two.id)
    cloud.run()
    assert answer(two) == SECOND


def test_many_jobs_that_wait_for_many_are_looked_after_once(cloud: Cloud) -> None:
    """Each stage reads both jobs of the one before: thousands of ways lead to the first, and nobody goes them all."""
    one = first(cloud)
    stage = [one, one]
    for _ in range(12):
        stage = [cloud.session.map_reduce(None, sum, [smr.mapped(lambda row: [row], job) for job in stage]) for _ in range(2)]
    cloud.service.calls.clear()
    cloud.clock.sleep(60)
    assert not revive(cloud.backend, stage[0].id)
    assert [message.job for message in cloud.service.calls] == [one.id]


def test_a_plan_warning_is_told_by_whoever_watches(cloud: Cloud) -> None:
    """It was not planned where it was submitted."""
    one = cloud.session.map_reduce(lambda item: [(item, 1 // item)], sum, [0, 1, 2, 3], on_error="skip", max_bad=0.5)
    two = cloud.session.map_reduce(lambda row: [row], sum, one)
    cloud.run()
    with pytest.warns(smr.PlanWarning, match="left out 1 records"):
        two.wait()


def test_alarms_go_on_with_both_while_nobody_watches(cloud: Cloud) -> None:
    one = first(cloud)
    two = second(cloud, one)
    cloud.run(two)
    for job in (one, two):
        cloud.service.calls.clear()  # that of the first job is lost, and then that of its end
        cloud.clock.sleep(2_000)
        cloud.alarms.ring()
        assert {message.job for message in cloud.service.calls} == {two.id}
        cloud.run(two)
        cloud.run(job)
    assert (answer(one), answer(two)) == (FIRST, SECOND)
    assert cloud.alarms.next_at is None


def test_nothing_can_be_said_of_a_job_over_a_result_that_is_not_there(cloud: Cloud) -> None:
    one = first(cloud)
    with pytest.raises(PlanError, match=f"Job {one.id}, whose result is the input, has not ended"):
        cloud.session.plan(by_parity, sum, one)
    with pytest.raises(PlanError, match="has not ended"):
        cloud.session.preview(by_parity, sum, one)
    cloud.run()
    assert cloud.session.plan(by_parity, sum, one).plan.input_records == 5
    assert dict(cloud.session.preview(by_parity, sum, one).result.itertuples(index=False, name=None)) == SECOND
    with pytest.raises(PlanError, match="format=csv says how objects are read, and the input is the result of a job"):
        cloud.session.map_reduce(by_parity, sum, one, format="csv")


def test_a_job_of_another_workspace_is_refused(cloud: Cloud, tmp_path: Path) -> None:
    other = Session(settings=Settings(workspace=tmp_path), backend=replace(cloud.backend, location="memory:other"))
    with pytest.raises(ConfigError, match="is a job of another workspace"):
        other.map_reduce(by_parity, sum, first(cloud))


def test_a_job_that_failed_goes_on_over_the_same_result(cloud: Cloud) -> None:
    one = first(cloud)
    two = cloud.session.map_reduce(fails, sum, one, retries=0)
    cloud.run()
    assert two.status().state is JobState.FAILED
    three = two.retry_failed(map=by_parity)
    cloud.run()
    assert answer(three) == SECOND
    assert {entry.job: entry.after for entry in list_jobs(cloud.backend.table)} == {one.id: (), two.id: (one.id,), three.id: (one.id,)}
    cloud.clock.sleep(10 * 86_400.0)
    four = cloud.session.map_reduce(lambda row: [("all", row[1])], sum, three)
    gone = remove_expired(cloud.backend.objects, cloud.backend.table, now=cloud.clock.now() + 1, keep_seconds=86_400.0)
    assert gone == (), "each stands on the one before"
    cloud.run()
    assert answer(four) == {"all": sum(range(20))}


@pytest.mark.parametrize("seed", range(12))
def test_calls_that_are_lost_doubled_and_late_change_no_answer(tmp_path: Path, seed: int) -> None:
    """Three stages, one of them cancelled now and then, while somebody looks from time to time."""
    random = Random(seed)
    cloud = Cloud(tmp_path, plans=random.random() < 0.5)
    one = first(cloud)
    two = second(cloud, one)
    three = cloud.session.map_reduce(lambda row: [(row[0], row[1] + 1)], sum, two)
    jobs, cancelled = [one, two, three], random.random() < 0.3
    for turn in range(400):
        if all(job.status().state.ended for job in jobs):
            break
        if cancelled and turn == seed % 7:
            random.choice(jobs).cancel()
        _one_turn(cloud, random, jobs)
    states = [job.status().state for job in jobs]
    expected = [FIRST, SECOND, {key: value + 1 for key, value in SECOND.items()}]
    for job, state, right in zip(jobs, states, expected, strict=True):
        assert state.ended
        assert answer(job) == right if state is JobState.DONE else cancelled
    if not cancelled:
        assert states == [JobState.DONE] * 3
    elif JobState.CANCELLED in states:
        at = states.index(JobState.CANCELLED)
        assert states == [JobState.DONE] * at + [JobState.CANCELLED] + [JobState.FAILED] * (2 - at)


def _one_turn(cloud: Cloud, random: Random, jobs: list[Job]) -> None:
    """Let one call arrive, or be lost, or twice; or let time pass, alarms ring and somebody look."""
    calls = cloud.service.calls
    if calls and random.random() < 0.7:
        message = calls.pop(random.randrange(len(calls)))
        fate = random.random()
        if fate < 0.3:
            return
        if fate < 0.5:
            calls.append(message)
        cloud.run_one(message)
        return
    cloud.clock.sleep(random.choice([1.0, 20.0, 400.0]))
    if random.random() < 0.5:
        cloud.alarms.ring()
    else:
        revive(cloud.backend, random.choice(jobs).id)


def test_the_parts_of_a_job_that_was_gone_on_from_are_read_where_they_lie(cloud: Cloud) -> None:
    """Some lie with the job before: what is read names the job that was given."""
    one = cloud.session.map_reduce(by_rest, lambda key, values: sum(values) // (key != 3), range(20), reducers=3, retries=0)
    cloud.run()
    mended = one.retry_failed(reduce=lambda key, values: sum(values))
    cloud.run()
    assert {file.key.split("/")[1] for part in mended.parts() for file in part.files} == {one.id, mended.id}
    two = cloud.session.map_reduce(lambda source, row: [(source, row[1])], sum, mended)
    cloud.run()
    assert answer(two) == {mended.id: sum(range(20))}
    assert Ledger(cloud.backend.table, two.id).manifest(Phase.REDUCE) is not None


ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(-3, 3)), min_size=1, max_size=30)


@given(st.lists(ROWS, min_size=1, max_size=4), st.integers(0, 3), st.booleans())
@settings(max_examples=8)
def test_several_inputs_give_what_their_pairs_in_order_give(inputs: list[list[tuple[int, int]]], reducers: int, here: bool) -> None:
    """Some lists, and the result of a job, each with its own function; the values of a group stand in the order of the inputs."""
    cloud = Cloud(Path(gettempdir()), plans=not here)
    one = first(cloud)
    named = [smr.mapped(lambda row, at=at: [(row[0], (at, row[1]))], rows) for at, rows in enumerate(inputs)]
    named.append(smr.mapped(lambda row: [(row[0], ("job", row[1]))], one))
    two = cloud.session.map_reduce(None, list, named, reducers=reducers or None)
    cloud.run()
    pairs = [(key, (at, value)) for at, rows in enumerate(inputs) for key, value in rows] + [(key, ("job", FIRST[key])) for key in FIRST]
    assert answer(two) == {key: [value for found, value in pairs if found == key] for key in {key for key, _ in pairs}}


def test_a_job_that_goes_on_from_one_that_waited_waits_likewise(cloud: Cloud) -> None:
    """It was never planned: whoever ends what it waits for calls it, its watchers are told, and it is cancelled like any other."""
    one = first(cloud)
    two = second(cloud, one)
    cloud.run(two)
    two.cancel()
    cloud.run(two)
    three, four = two.resume(), two.retry_failed(map=by_parity)
    for job in (three, four):
        cloud.run(job)
        assert job.status().waits == (one.id,)
    assert four.cancel()
    cloud.run(four)
    with pytest.raises(JobCancelled):
        four.result()
    cloud.run()
    assert (answer(one), answer(three)) == (FIRST, SECOND)
    assert three.status().waits == ()


def test_a_job_that_waited_is_not_old_when_it_may_begin_at_last_or_has_just_ended(cloud: Cloud) -> None:
    """Nobody ever coordinated it: it is left alone since it could begin, or ended, and not since it was submitted."""
    one = first(cloud)
    begins, ends = second(cloud, one), second(cloud, one)
    objects, table, week = cloud.backend.objects, cloud.backend.table, 7 * 86_400.0
    cloud.clock.sleep(3 * week)
    Ledger(table, one.id).take_lease("slow", now=cloud.clock.now(), seconds=10)
    ends.cancel()
    cloud.run(ends)
    assert ends.status().state is JobState.CANCELLED
    cloud.clock.sleep(20)
    cloud.run(one)
    cloud.service.calls.clear()  # that of its end is lost, or late
    assert remove_expired(objects, table, now=cloud.clock.now(), keep_seconds=week) == ()
    assert revive(cloud.backend, begins.id)
    cloud.run()
    assert answer(begins) == SECOND
    assert set(remove_expired(objects, table, now=cloud.clock.now() + 2 * week, keep_seconds=week)) == {one.id, begins.id, ends.id}
