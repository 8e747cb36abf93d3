"""The time of an attempt: when it winds up, and records that take too long or never end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pytest

from smr_notebook.control.attempts import claim
from smr_notebook.control.heart import ABANDONED, Heart, ends_of
from smr_notebook.control.troubles import idle_seconds
from smr_notebook.dataflow.inputs import RecordBlock
from smr_notebook.dataflow.meter import AttemptStopped, Meter
from smr_notebook.model import AttemptState, Leg, Numbers, Part, Policy, Position
from smr_notebook.testing.job_by_hand import Job, claims, functions
from smr_notebook.testing.pair_tasks import run_map_to_part


class Attempted:
    """One attempt of 15 minutes, whose heart beats whenever its records take time."""

    def __init__(self, job: Job, *, in_vain: int = 0, policy: Policy | None = None) -> None:
        next(job.looking())
        (message, *_) = job.service.calls
        mine = claim(job.ledger, message.attempt_id, owner="w", clock=job.clock, lease=15)
        assert mine is not None
        self.job = job
        self.meter = Meter()
        self.context = job.context(seconds=900.0)
        self.abandoned: list[int] = []
        policy = policy or Policy(heartbeat=5.0, margin=60.0)
        self.idles: list[float] = []
        self.attempt = message.attempt_id
        ends = ends_of(self.context, policy, now=job.clock.now(), in_vain=in_vain, abandon=self.abandoned.append)
        self.heart = Heart(mine, self.meter, policy, ends=ends, clock=job.clock)
        self._next = job.clock.now() + 5.0

    def map(self, seconds: float) -> Iterator[tuple[int, int]]:
        """Map a record that takes so long."""
        until = self.job.clock.now() + seconds
        while self.job.clock.now() < until:
            self.job.clock.sleep(min(until, max(self._next, self.job.clock.now())) - self.job.clock.now())
            if self.job.clock.now() >= self._next and not self.abandoned:
                self._next = self.job.clock.now() + self.heart.beat()
                self.idles.append(idle_seconds(self.job.ledger.attempts(self.attempt.task)[0]))
        yield 1, 1

    def trickle(self, seconds: float) -> Iterator[tuple[int, int]]:
        """Map a record that takes so long, and yields all the time."""
        for _ in range(int(seconds)):
            yield from self.map(1.0)

    def run(self, records: Iterable[float], *, map: Callable[[float], Iterator[tuple[int, int]]] | None = None) -> Position | None:
        """Map records; return where the attempt ended before them."""
        blocks = [RecordBlock("items", list(records), 1, lambda _: -1, begin=0)]
        return run_map_to_part(functions(map or self.map, reduce=False), blocks, Nowhere(), meter=self.meter).position


class Nowhere:
    """Takes rows."""

    def add(self, keys: list[object], values: list[object], groups: list[object] | None = None) -> None:
        assert len(keys) == len(values)

    def close(self) -> Part:
        return Part(0, ())

    def abort(self) -> None:
        return


@pytest.mark.parametrize("seconds", [0.1, 1.0, 7.0, 61.0, 70.0, 100.0, 180.0, 299.0, 400.0, 500.0, 850.0])
def test_an_attempt_winds_up_while_there_is_time_for_another_record_like_its_longest(job: Job, seconds: float) -> None:
    attempted = Attempted(job)
    position = attempted.run(seconds for _ in range(10_000))
    assert position is not None
    assert job.clock.now() <= attempted.context.deadline - 45.0, "there is time to publish"
    assert position.done == pytest.approx(min(840.0, max(900.0 - 60.0 - seconds, seconds)) / seconds, rel=0.2, abs=1)
    assert attempted.abandoned == []


def test_an_attempt_has_half_as_much_time_where_one_before_it_came_to_nothing(job: Job) -> None:
    """So that a long record which comes late, and ended the one before, is another leg's first."""
    attempted = Attempted(job, in_vain=1)
    position = attempted.run([*(1.0 for _ in range(800)), 600.0])
    assert position is not None
    assert position.done == pytest.approx(450, abs=10)


def test_the_attempts_in_vain_are_those_since_the_last_leg(job: Job) -> None:
    next(job.looking())
    task = job.service.calls[0].attempt_id.task
    found = []
    for mine in claims(job, task, 5):
        found.append(mine.in_vain)
        if mine.id.number == 3:
            job.ledger.put_leg(Leg(mine.id, "w3", 0.0, 1, Position(1), 1.0, Numbers()))
    assert found == [0, 1, 2, 0, 1]


def test_a_record_that_takes_longer_than_an_invocation_is_told_as_that(job: Job) -> None:
    attempted = Attempted(job)
    with pytest.raises(AttemptStopped):
        attempted.run([10.0, 1_000.0])
    assert attempted.abandoned == [ABANDONED]
    (told,) = [attempt for (attempt,) in job.ledger.snapshot().attempts.values() if attempt.state is AttemptState.FAILED]
    assert told.failure is not None
    assert told.failure.type == "TaskTimeoutError"
    assert told.changed < attempted.context.deadline


def test_a_record_that_began_late_is_not_told_so(job: Job) -> None:
    attempted = Attempted(job)
    attempted.run([*(1.0 for _ in range(700)), 400.0])
    assert job.clock.now() > attempted.context.deadline
    assert not any(attempt.failure for of_task in job.ledger.snapshot().attempts.values() for attempt in of_task)


def test_a_record_that_takes_longer_than_its_policy_allows_is_ended_with_its_name_and_line(job: Job) -> None:
    attempted = Attempted(job, policy=Policy(heartbeat=5.0, margin=60.0, stall=120.0))
    with pytest.raises(AttemptStopped):
        attempted.run([10.0, 10.0, 500.0])
    (told,) = [attempt for (attempt,) in job.ledger.snapshot().attempts.values() if attempt.state is AttemptState.FAILED]
    assert told.failure is not None
    assert (told.failure.type, told.failure.record, told.failure.record_number) == ("TaskTimeoutError", "500.0", 3)
    assert told.failure.message.startswith("no record was finished for 1")
    assert "record_timeout" in told.failure.message
    assert "map" in [frame.function for frame in told.failure.frames]


def test_a_heartbeat_tells_when_something_was_last_finished(job: Job) -> None:
    attempted = Attempted(job)
    began = job.clock.now()
    attempted.run([1.0, 1.0, 100.0, 1.0])
    idle = attempted.idles
    assert max(idle) == pytest.approx(98.0, abs=6.0)
    assert idle[0] <= 5.0
    assert job.clock.now() - began == 103.0


def test_a_record_that_yields_for_long_is_not_taken_for_one_that_hangs(job: Job) -> None:
    attempted = Attempted(job, policy=Policy(heartbeat=5.0, margin=60.0, stall=120.0))
    attempted.run([700.0], map=attempted.trickle)
    assert attempted.abandoned == []


@pytest.mark.parametrize("stall", [0.0, 600.0])
def test_a_long_record_is_left_alone_where_it_may_take_long(job: Job, stall: float) -> None:
    attempted = Attempted(job, policy=Policy(heartbeat=5.0, margin=60.0, stall=stall))
    position = attempted.run([10.0, 500.0, 10.0])
    assert position is not None
    assert position.done == 2, "its time is up, and that is all"
    assert attempted.abandoned == []
    assert job.ledger.attempts(attempted.attempt.task)[0].failure is None
