"""Launches as a tree: which calls are made by whom, and what a refusal leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.control.launching import FLAT, ROOTS, launch, launch_rest, plan_branches, ranges_of, shares
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.messages import Message, decode
from smr_notebook.control.rows import JobEntry
from smr_notebook.control.scheduling import Launch
from smr_notebook.environment import environment
from smr_notebook.errors import AccessDeniedError, PayloadTooLargeError, PlatformError, ServiceError, ThrottledError
from smr_notebook.model import AttemptId, AttemptState, Phase, Policy, TaskId
from smr_notebook.ports import Backend, ServiceLimits


@dataclass
class Calls:
    """A function service that takes down what it is called with; the calls whose numbers are in `refuses` it refuses."""

    refuses: dict[int, PlatformError] = field(default_factory=dict)
    taken: list[Message] = field(default_factory=list)
    asked: int = 0

    @property
    def limits(self) -> ServiceLimits:
        return ServiceLimits(1 << 20, 900.0, 1000, 0.0, 1 << 30, environment())

    def invoke(self, payload: bytes) -> None:
        self.asked += 1
        if self.asked in self.refuses:
            raise self.refuses[self.asked]
        message = decode(payload)
        assert isinstance(message, Message)
        self.taken.append(message)


def platform(calls: Calls, *, branching: int = 0, parallel: int = 1) -> Backend:
    table = MemoryTable()
    Ledger(table, "job").create_job(JobEntry("job", "", 0.0, "plan"))
    return Backend(
        name="memory",
        location="memory:",
        objects=MemoryStore(),
        table=table,
        functions=calls,
        clock=SimulatedClock(100.0),
        sources={},
        policy=Policy(),
        poll=(0.1, 1.0),
        branching=branching,
        parallel=parallel,
    )


def attempts(count: int, number: int = 1) -> list[AttemptId]:
    return [AttemptId(TaskId(Phase.MAP, task), number) for task in range(count)]


def launched(backend: Backend, wanted: Sequence[AttemptId]) -> tuple[frozenset[AttemptId], bool]:
    ledger = Ledger(backend.table, "job")
    done = launch(backend, ledger, "job", [Launch(attempt, 160.0) for attempt in wanted], proceed=lambda: True)
    assert not done.answered & done.entrusted
    return done.answered | done.entrusted, done.refused


def called(backend: Backend, calls: Calls) -> list[AttemptId]:
    """Let each worker that was called launch others, and return all attempts that were called."""
    found, ledger = [], Ledger(backend.table, "job")
    while calls.taken:
        message = calls.taken.pop()
        found.append(message.attempt_id)
        assert ledger.claim(message.attempt_id, owner="w", now=100.0, lease=10.0), "it was written down before it was called"
        launch_rest(backend, ledger, message)
    return sorted(found)


@pytest.mark.parametrize("count", [0, 1, 5, 40, 333, 2000])
@pytest.mark.parametrize("branching", [0, 2, 32])
@pytest.mark.parametrize("parallel", [1, 8])
def test_every_attempt_is_called_once_whoever_calls_it(count: int, branching: int, parallel: int) -> None:
    calls = Calls()
    backend = platform(calls, branching=branching, parallel=parallel)
    answered, refused = launched(backend, attempts(count))
    assert (answered, refused) == (frozenset(attempts(count)), False)
    by_coordinator = len(calls.taken)
    assert called(backend, calls) == attempts(count)
    assert by_coordinator == count if not branching or count <= FLAT * branching else by_coordinator <= ROOTS


@given(st.lists(st.integers()), st.integers(1, 9))
def test_shares_are_the_whole_in_order_and_of_one_size(items: list[int], most: int) -> None:
    cut = shares(items, most)
    assert [item for share in cut for item in share] == items
    sizes = {len(share) for share in cut}
    assert len(cut) <= most
    assert 0 not in sizes
    assert not sizes or max(sizes) - min(sizes) <= 1


@given(st.sets(st.integers(0, 30)), st.integers(1, 3))
def test_ranges_name_all_attempts_and_no_others(tasks: set[int], number: int) -> None:
    wanted = [AttemptId(TaskId(Phase.MAP, task), number) for task in sorted(tasks)]
    named = [(task, found.attempt) for found in ranges_of(wanted) for task in range(found.first, found.last + 1)]
    assert named == [(attempt.task.number, attempt.number) for attempt in wanted]


def test_who_launches_for_others_writes_them_down() -> None:
    """The coordinator writes one row for each branch, and a call that is doubled is claimed once, so that it launches once."""
    calls = Calls()
    backend = platform(calls, branching=4)
    launched(backend, attempts(1000))
    ledger = Ledger(backend.table, "job")
    assert len(ledger.snapshot().attempts) == len(calls.taken) == ROOTS
    assert called(backend, calls) == attempts(1000)
    assert len(ledger.snapshot().attempts) == 1000


def test_a_worker_of_a_large_tree_calls_no_more_than_it_may() -> None:
    calls = Calls()
    backend = platform(calls, branching=4)
    launched(backend, attempts(1000))
    first = calls.taken[0]
    calls.taken.clear()
    launch_rest(backend, Ledger(backend.table, "job"), first)
    assert len(calls.taken) == 4


def test_a_refusal_ends_the_round_and_what_was_not_called_stays_unanswered() -> None:
    calls = Calls(refuses={3: ThrottledError("later")})
    backend = platform(calls)
    answered, refused = launched(backend, attempts(5))
    assert (answered, refused) == (frozenset(attempts(2)), True)
    assert calls.asked == 3


def test_a_branch_whose_call_fails_is_buried_and_tried_again_as_the_next_attempt() -> None:
    calls = Calls(refuses={1: ServiceError("no such function")})
    backend = platform(calls, branching=1)
    answered, _ = launched(backend, attempts(20))
    first = plan_branches(attempts(20), branching=1)[0]
    standing = Ledger(backend.table, "job").snapshot().attempts
    assert [task for task, (attempt,) in standing.items() if attempt.state is AttemptState.FAILED] == [first[0].task]
    assert set(first) & answered == {first[0]}, "the others are nobody's, and launched with the next look"


def test_what_somebody_claimed_meanwhile_is_not_called_again() -> None:
    calls = Calls()
    backend = platform(calls)
    launched(backend, attempts(3))
    Ledger(backend.table, "job").claim(attempts(3)[1], owner="w", now=100.0, lease=10.0)
    calls.taken.clear()
    again = replace(Launch(attempts(3)[0], 170.0))
    ledger = Ledger(backend.table, "job")
    launch(backend, ledger, "job", [replace(again, attempt=one) for one in attempts(3)], proceed=lambda: True)
    assert [message.task for message in calls.taken] == [0, 2]


@pytest.mark.parametrize("parallel", [1, 8])
def test_who_launches_for_others_does_its_own_work_whatever_becomes_of_theirs(parallel: int) -> None:
    calls = Calls()
    backend = platform(calls, branching=4, parallel=parallel)
    launched(backend, attempts(100))
    (first, *_), calls.taken = calls.taken, []
    calls.asked = 0
    calls.refuses = {1: AccessDeniedError("not allowed"), 2: PayloadTooLargeError("too large"), 3: ThrottledError("later")}
    launch_rest(backend, Ledger(backend.table, "job"), first)
    assert len(calls.taken) == 1


@pytest.mark.parametrize("parallel", [1, 8])
def test_a_service_that_may_not_be_called_is_no_lost_launch(parallel: int) -> None:
    calls = Calls(refuses={2: AccessDeniedError("not allowed")})
    with pytest.raises(AccessDeniedError):
        launched(platform(calls, parallel=parallel), attempts(5))


def test_nobody_goes_on_who_may_not() -> None:
    calls = Calls()
    backend = platform(calls)
    done = launch(backend, Ledger(backend.table, "job"), "job", [Launch(one, 160.0) for one in attempts(3)], proceed=lambda: False)
    assert (done.answered, calls.taken) == (frozenset(), [])
