"""The bookkeeping of the local service: who runs, waits, sleeps and is woken."""

from __future__ import annotations

import itertools
import json
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from smr_notebook.backends.local.pool import Action, Call, Fork, Pool, Retire, Run, Wake, death_notice


def pool_of(slots: int, seconds: float = 10.0) -> Pool:
    return Pool(slots, seconds, (f"call-{number}" for number in itertools.count(1)))


def runs(actions: list[Action]) -> list[bytes]:
    return [action.call.payload for action in actions if isinstance(action, Run)]


def test_calls_run_in_order_in_as_many_workers_as_slots() -> None:
    pool = pool_of(2)
    for payload in (b"a", b"b", b"c"):
        pool.submit(payload)
    assert pool.decide(0.0) == [Fork(1), Run(1, "call-1", Call(b"a")), Fork(2), Run(2, "call-2", Call(b"b"))]
    assert pool.decide(0.0) == []
    pool.finished(2, 0.0)
    assert pool.decide(0.0) == [Run(2, "call-3", Call(b"c"))]


def test_a_sleeper_gives_its_slot_to_the_next_and_takes_one_back_at_once() -> None:
    pool = pool_of(1)
    pool.submit(b"sleeper")
    pool.submit(b"next")
    pool.decide(0.0)
    pool.slept(1)
    assert runs(pool.decide(0.0)) == [b"next"]
    pool.awoke(1)
    assert pool.running == 2


def test_a_worker_runs_calls_of_one_tenant_only() -> None:
    pool = pool_of(1)
    for number, (tenant, forks) in enumerate([("a", 1), ("a", 1), ("b", 2), ("", 3), ("b", 2)]):
        pool.submit(b"", tenant)
        *_, run = pool.decide(0.0)
        assert isinstance(run, Run)
        assert run.worker == forks, number
        pool.finished(run.worker, 0.0)


def test_an_end_wakes_each_sleeper_once() -> None:
    pool = pool_of(3)
    for _ in range(3):
        pool.submit(b"")
    pool.decide(0.0)
    pool.slept(1)
    pool.slept(2)
    assert pool.decide(0.0) == []
    pool.finished(3, 0.0)
    assert pool.decide(0.0) == [Wake(1), Wake(2)]
    assert pool.decide(0.0) == []


def test_a_sleeper_is_woken_by_an_end_that_came_before_it_slept() -> None:
    pool = pool_of(2)
    pool.submit(b"looks")
    pool.submit(b"ends")
    pool.decide(0.0)
    pool.finished(2, 0.0)
    assert pool.decide(0.0) == []
    pool.slept(1)
    assert pool.decide(0.0) == [Wake(1)]
    pool.awoke(1)
    pool.slept(1)
    assert pool.decide(0.0) == []


def test_an_end_between_the_wake_up_and_the_next_sleep_is_told_at_that_sleep() -> None:
    pool = pool_of(3)
    for _ in range(3):
        pool.submit(b"")
    pool.decide(0.0)
    pool.slept(1)
    pool.finished(2, 0.0)
    assert pool.decide(0.0) == [Wake(1)]
    pool.finished(3, 0.0)
    assert pool.decide(0.0) == []
    pool.awoke(1)
    pool.slept(1)
    assert pool.decide(0.0) == [Wake(1)]


def test_idle_workers_beyond_the_slots_and_one_sleeper_retire() -> None:
    pool = pool_of(1)
    for _ in range(3):
        pool.submit(b"")
        pool.decide(0.0)
        pool.slept(pool.running + pool.sleeping)
    for worker in (1, 2, 3):
        pool.awoke(worker)
        pool.finished(worker, 0.0)
    assert pool.decide(0.0) == [Retire(1)]


def test_a_late_invocation_is_named_once_and_its_end_says_why() -> None:
    pool = pool_of(1, seconds=10.0)
    pool.submit(b"long")
    pool.decide(5.0)
    assert pool.next_time == 15.0
    assert pool.overdue(14.9) == []
    assert pool.overdue(15.0) == [1]
    assert pool.overdue(15.1) == []
    pool.lost(1, "killed by signal 9 (SIGKILL)")
    assert runs(pool.decide(16.0)) == [death_notice(b"long", "call-1", "ran longer than 10 seconds", {"late": True})]


def test_a_notice_holds_payloads_that_are_no_text() -> None:
    assert json.loads(death_notice(b'\xff"', "n", "r")) == {"failed": '�"', "invocation": "n", "reason": "r"}


def test_who_ends_its_calls_soon_is_handed_some_before_it_asks() -> None:
    pool = pool_of(1)
    for payload in (b"a", b"b", b"c", b"d"):
        pool.submit(payload, "job")
    assert runs(pool.decide(0.0)) == [b"a"]
    pool.finished(1, 0.004)
    assert runs(pool.decide(0.004)) == [b"b", b"c", b"d"]
    assert (pool.running, pool.handed, len(pool.queue)) == (1, 2, 0)


def test_nobody_is_handed_more_than_some_milliseconds_of_work() -> None:
    pool = pool_of(1)
    for number in range(100):
        pool.submit(str(number).encode(), "job")
    pool.decide(0.0)
    pool.finished(1, 0.003)
    assert len(runs(pool.decide(0.003))) == 4


def test_calls_of_no_tenant_may_be_long_and_are_not_handed_ahead() -> None:
    pool = pool_of(1)
    for payload in (b"a", b"b", b"c"):
        pool.submit(payload)
    pool.decide(0.0)
    pool.finished(1, 0.001)
    assert runs(pool.decide(0.001)) == [b"b"]


def handed_three() -> Pool:
    """Return a pool whose only worker runs `b` since 0.001 and was handed `c` and `d`; a slot is free."""
    pool = pool_of(2)
    pool.submit(b"held", "other")
    for payload in (b"a", b"b", b"c", b"d"):
        pool.submit(payload, "job")
    pool.decide(0.0)
    pool.finished(2, 0.001)
    assert runs(pool.decide(0.001)) == [b"b", b"c", b"d"]
    return pool


def test_what_a_long_call_holds_up_runs_elsewhere() -> None:
    pool = handed_three()
    assert pool.next_time is not None
    assert runs(pool.decide(pool.next_time - 0.001)) == []
    late = pool.next_time
    pool.finished(1, late)
    assert pool.decide(late) == [Fork(3), Run(3, "call-6", Call(b"c", "job"))]
    assert [call.payload for call in pool.queue] == [b"d"]


def test_what_was_handed_to_a_worker_that_died_runs_elsewhere_and_the_one_it_ran_is_reported() -> None:
    pool = handed_three()
    pool.lost(2, "died")
    assert [call.payload for call in pool.queue] == [b"c", b"d"]
    assert [call.payload for call in pool.notices] == [death_notice(b"b", "call-3", "died")]


def test_what_was_handed_to_a_worker_that_retires_runs_elsewhere() -> None:
    pool = handed_three()
    pool.finished(2, 0.002, retires=True)
    assert [call.payload for call in pool.queue] == [b"c", b"d"]
    assert runs(pool.decide(0.002)) == [b"c"]


def test_a_sleeper_that_wants_to_rest_is_woken_after_that() -> None:
    pool = pool_of(2)
    pool.submit(b"looks")
    pool.submit(b"ends")
    pool.decide(0.0)
    pool.slept(1, until=0.5)
    pool.finished(2, 0.1)
    assert pool.decide(0.1) == []
    assert pool.next_time == 0.5
    assert pool.decide(0.5) == [Wake(1)]


def test_spares_are_made_while_nothing_is_to_be_done_and_serve_whoever_comes() -> None:
    pool = Pool(2, 10.0, map(str, itertools.count()), spares=2)
    assert pool.decide(0.0) == [Fork(1), Fork(2)]
    pool.submit(b"a", "job")
    assert pool.decide(0.0) == [Run(1, "0", Call(b"a", "job"))]
    pool.leaves(2)
    pool.finished(1, 0.1)
    assert pool.decide(0.1) == [Fork(3), Fork(4)]


class AnyHistory(RuleBasedStateMachine):
    """Whatever happens in whatever order: no call is lost, and none reported twice; none is doubled but behind one that took long.

    No slot is exceeded by a start.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pool = pool_of(2)
        self.now = 0.0
        self.calls = 0
        self.alive: set[int] = set()
        self.handed: dict[int, list[Call]] = {}
        self.asleep: set[int] = set()
        self.held_up: set[bytes] = set()
        self.done: list[bytes] = []
        self.failed: list[bytes] = []
        self.notices: list[str] = []
        self.tenants: dict[int, str] = {}

    @property
    def busy(self) -> set[int]:
        return {worker for worker, calls in self.handed.items() if calls}

    def carry_out(self) -> None:
        for action in self.pool.decide(self.now):
            if isinstance(action, Fork):
                assert action.worker not in self.alive
                self.alive.add(action.worker)
            elif isinstance(action, Run):
                assert action.worker in self.alive - self.asleep
                assert action.call.tenant or action.worker not in self.busy
                assert self.tenants.setdefault(action.worker, action.call.tenant) == action.call.tenant
                self.handed.setdefault(action.worker, []).append(action.call)
                assert len(self.busy - self.asleep) <= max(2, self.woken) + action.call.notice
                if action.call.notice:
                    self.notices.append(json.loads(action.call.payload)["failed"])
            elif isinstance(action, Retire):
                assert action.worker not in self.busy
                self.alive.remove(action.worker)
            else:
                assert action.worker in self.asleep

    @property
    def woken(self) -> int:
        """Invocations awake before this decision: sleepers that came back may exceed the slots."""
        return self.awake_before

    def decide(self) -> None:
        self.awake_before = len(self.busy - self.asleep)
        self.carry_out()

    @rule(seconds=st.sampled_from([0.001, 0.01, 0.1]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.held_up |= {call.payload for calls in self.handed.values() for call in calls[1:]}
        self.decide()

    @rule()
    def submit(self) -> None:
        self.calls += 1
        self.pool.submit(str(self.calls).encode(), "ab"[self.calls % 2])
        self.decide()

    @precondition(lambda self: self.busy - self.asleep)
    @rule(data=st.data())
    def sleep(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.busy - self.asleep)))
        self.asleep.add(worker)
        self.pool.slept(worker)
        self.decide()

    @precondition(lambda self: self.asleep)
    @rule(data=st.data())
    def awake(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.asleep)))
        self.asleep.remove(worker)
        self.pool.awoke(worker)
        self.decide()

    @precondition(lambda self: self.busy - self.asleep)
    @rule(data=st.data(), raises=st.booleans(), retires=st.booleans())
    def finish(self, data: st.DataObject, *, raises: bool, retires: bool) -> None:
        worker = data.draw(st.sampled_from(sorted(self.busy - self.asleep)))
        self.end(worker, failed=raises)
        self.pool.finished(worker, self.now, reason="raised" if raises else None, retires=retires)
        if retires:
            self.handed.pop(worker)
            self.alive.remove(worker)
        self.decide()

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.alive)))
        if worker in self.busy:
            self.end(worker, failed=True)
        self.handed.pop(worker, None)
        self.alive.remove(worker)
        self.asleep.discard(worker)
        self.pool.lost(worker, "died")
        self.decide()

    def end(self, worker: int, *, failed: bool) -> None:
        call = self.handed[worker].pop(0)
        (self.failed if failed else self.done).append(call.payload) if not call.notice else None

    @invariant()
    def every_call_is_somewhere_once_or_was_held_up(self) -> None:
        queued = [call.payload for call in self.pool.queue]
        running = [call.payload for calls in self.handed.values() for call in calls if not call.notice]
        found = Counter(queued + running + self.done + self.failed)
        assert sorted(map(int, found)) == list(range(1, self.calls + 1))
        assert {payload for payload, times in found.items() if times > 1} <= self.held_up

    @invariant()
    def every_failed_call_is_reported_once(self) -> None:
        queued = [json.loads(call.payload)["failed"] for call in self.pool.notices]
        assert sorted(self.notices + queued) == sorted(payload.decode() for payload in self.failed)

    @invariant()
    def no_slot_is_left_empty_while_calls_wait(self) -> None:
        assert not (self.pool.queue or self.pool.notices) or len(self.busy - self.asleep) >= 2

    @invariant()
    def a_notice_waits_for_no_other_call(self) -> None:
        assert not self.pool.notices or any(call.notice for calls in self.handed.values() for call in calls)

    @invariant()
    def the_counts_agree(self) -> None:
        assert (self.pool.running, self.pool.sleeping) == (len(self.busy) - len(self.asleep), len(self.asleep))


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=min(60, settings().max_examples), stateful_step_count=40)


def test_a_tenant_that_is_evicted_is_dropped_from_the_queue_ended_in_time_and_told_to_nobody() -> None:
    pool = pool_of(2)
    for payload, tenant in ((b"a1", "a"), (b"b1", "b"), (b"a2", "a"), (b"b2", "b")):
        pool.submit(payload, tenant)
    assert runs(pool.decide(0.0)) == [b"a1", b"b1"]
    pool.evict("a", 5.0)
    assert [call.payload for call in pool.queue] == [b"b2"]
    assert pool.overdue(4.0) == []
    assert pool.next_time == 5.0
    assert pool.overdue(5.0) == [1]
    pool.lost(1, "killed")
    assert runs(pool.decide(5.0)) == [b"b2"]  # and no notice of a death
    pool.submit(b"a3", "a")  # whoever calls it again is run again
    pool.finished(2, 6.0)
    assert runs(pool.decide(6.0)) == [b"a3"]


def test_what_was_handed_ahead_to_an_evicted_worker_has_no_more_time_than_what_it_ran() -> None:
    pool = pool_of(1)
    pool.submit(b"first", "a")
    pool.decide(0.0)
    pool.finished(1, 0.001)  # so short that the next ones are handed ahead
    for payload in (b"second", b"third"):
        pool.submit(payload, "a")
    assert runs(pool.decide(0.001)) == [b"second", b"third"]
    pool.evict("a", 5.0)
    pool.finished(1, 1.0)
    assert pool.overdue(5.0) == [1]
    pool.lost(1, "killed")
    assert pool.empty


def large_pool(slots: int, weights: tuple[int, ...]) -> Pool:
    return Pool(slots, 10.0, (f"call-{number}" for number in itertools.count(1)), weights=weights)


def test_a_call_that_needs_the_memory_of_several_waits_for_their_slots_and_nobody_behind_it_passes() -> None:
    pool = large_pool(3, (1, 2))
    for payload in (b"a", b"b"):
        pool.submit(payload, "job")
    assert runs(pool.decide(0.0)) == [b"a", b"b"]
    pool.submit(b"large", "job", size=1)
    pool.submit(b"c", "job")
    assert runs(pool.decide(0.0)) == []
    pool.finished(1, 1.0)
    assert runs(pool.decide(1.0)) == [b"large"]
    pool.finished(2, 2.0)
    assert runs(pool.decide(2.0)) == [b"c"]


def test_a_call_of_no_tenant_passes_one_that_waits_for_memory() -> None:
    pool = large_pool(2, (1, 2))
    pool.submit(b"a", "job")
    pool.decide(0.0)
    pool.submit(b"large", "job", size=1)
    pool.submit(b"coordinator")
    assert runs(pool.decide(0.0)) == [b"coordinator"]


def test_a_notice_of_a_death_waits_for_nobody() -> None:
    """Else the lease of who died would pass first, and nobody would know why."""
    pool = large_pool(2, (1, 2))
    for payload in (b"a", b"b"):
        pool.submit(payload, "job")
    pool.decide(0.0)
    pool.submit(b"large", "job", size=1)
    pool.submit(b"c", "job")
    pool.lost(1, "died")
    pool.lost(2, "died too")
    first, second = (
        death_notice(payload, f"call-{number}", reason) for payload, number, reason in ((b"a", 1, "died"), (b"b", 2, "died too"))
    )
    assert runs(pool.decide(1.0)) == [first, second]
    pool.submit(b"d", "job")
    pool.decide(1.0)
    assert pool.running == 2


def test_one_notice_at_a_time_runs_beyond_the_slots() -> None:
    pool = large_pool(2, (1, 2))
    pool.submit(b"a", "job")
    pool.decide(0.0)
    pool.lost(1, "died")
    pool.submit(b"large", "job", size=1)
    notice = death_notice(b"a", "call-1", "died")
    assert runs(pool.decide(0.0)) == [notice]
    pool.finished(2, 1.0)
    assert runs(pool.decide(1.0)) == [b"large"]
    pool.submit(b"b", "job")
    pool.notices.extend(Call(payload, notice=True) for payload in (b"one", b"two"))
    assert runs(pool.decide(1.0)) == [b"one"]


def test_the_largest_call_runs_alone_and_never_waits_for_more_than_there_is() -> None:
    pool = large_pool(2, (1, 2))
    pool.submit(b"large", "job", size=1)
    pool.submit(b"a", "job")
    assert runs(pool.decide(0.0)) == [b"large"]
    assert list(pool.working()) == [(1, 1)]
    pool.finished(1, 5.0)
    assert runs(pool.decide(5.0)) == [b"a"]


def test_where_there_is_one_size_a_larger_one_is_not_waited_for() -> None:
    pool = pool_of(2)
    pool.submit(b"a", "job", size=1)
    assert runs(pool.decide(0.0)) == [b"a"]


def test_a_death_notice_carries_what_else_is_known() -> None:
    pool = pool_of(1)
    pool.submit(b"a", "job")
    pool.decide(0.0)
    pool.lost(1, "ended", {"memory": True, "resident": 7})
    (call,) = pool.notices
    assert json.loads(call.payload) == {"failed": "a", "invocation": "call-1", "reason": "ended", "memory": True, "resident": 7}
