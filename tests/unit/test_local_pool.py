"""The bookkeeping of the local service: who runs, waits, sleeps and is woken."""

from __future__ import annotations

import itertools
import json

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
    pool.finished(2)
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
        pool.finished(run.worker)


def test_an_end_wakes_each_sleeper_once() -> None:
    pool = pool_of(3)
    for _ in range(3):
        pool.submit(b"")
    pool.decide(0.0)
    pool.slept(1)
    pool.slept(2)
    assert pool.decide(0.0) == []
    pool.finished(3)
    assert pool.decide(0.0) == [Wake(1), Wake(2)]
    assert pool.decide(0.0) == []


def test_a_sleeper_is_woken_by_an_end_that_came_before_it_slept() -> None:
    pool = pool_of(2)
    pool.submit(b"looks")
    pool.submit(b"ends")
    pool.decide(0.0)
    pool.finished(2)
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
    pool.finished(2)
    assert pool.decide(0.0) == [Wake(1)]
    pool.finished(3)
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
        pool.finished(worker)
    assert pool.decide(0.0) == [Retire(1)]


def test_a_late_invocation_is_named_once_and_its_end_says_why() -> None:
    pool = pool_of(1, seconds=10.0)
    pool.submit(b"long")
    pool.decide(5.0)
    assert pool.next_expiry == 15.0
    assert pool.overdue(14.9) == []
    assert pool.overdue(15.0) == [1]
    assert pool.overdue(15.1) == []
    pool.lost(1, "killed by signal 9 (SIGKILL)")
    assert runs(pool.decide(16.0)) == [death_notice(b"long", "call-1", "ran longer than 10 seconds")]


def test_a_notice_holds_payloads_that_are_no_text() -> None:
    assert json.loads(death_notice(b'\xff"', "n", "r")) == {"failed": '�"', "invocation": "n", "reason": "r"}


class AnyHistory(RuleBasedStateMachine):
    """Whatever happens in whatever order: no call is lost, doubled or reported twice, and no slot is exceeded by a start."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = pool_of(2)
        self.now = 0.0
        self.calls = 0
        self.alive: set[int] = set()
        self.busy: dict[int, Call] = {}
        self.asleep: set[int] = set()
        self.done: list[bytes] = []
        self.failed: list[bytes] = []
        self.notices: list[str] = []
        self.tenants: dict[int, str] = {}

    def carry_out(self) -> None:
        for action in self.pool.decide(self.now):
            if isinstance(action, Fork):
                assert action.worker not in self.alive
                self.alive.add(action.worker)
            elif isinstance(action, Run):
                assert action.worker in self.alive - set(self.busy)
                assert self.tenants.setdefault(action.worker, action.call.tenant) == action.call.tenant
                self.busy[action.worker] = action.call
                assert len(set(self.busy) - self.asleep) <= max(2, self.woken)
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
        self.awake_before = len(set(self.busy) - self.asleep)
        self.carry_out()

    @rule()
    def submit(self) -> None:
        self.calls += 1
        self.pool.submit(str(self.calls).encode(), "ab"[self.calls % 2])
        self.decide()

    @precondition(lambda self: set(self.busy) - self.asleep)
    @rule(data=st.data())
    def sleep(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(set(self.busy) - self.asleep)))
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

    @precondition(lambda self: set(self.busy) - self.asleep)
    @rule(data=st.data(), raises=st.booleans(), retires=st.booleans())
    def finish(self, data: st.DataObject, *, raises: bool, retires: bool) -> None:
        worker = data.draw(st.sampled_from(sorted(set(self.busy) - self.asleep)))
        self.end(worker, failed=raises)
        self.pool.finished(worker, reason="raised" if raises else None, retires=retires)
        if retires:
            self.alive.remove(worker)
        self.decide()

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.alive)))
        if worker in self.busy:
            self.end(worker, failed=True)
        self.alive.remove(worker)
        self.asleep.discard(worker)
        self.pool.lost(worker, "died")
        self.decide()

    def end(self, worker: int, *, failed: bool) -> None:
        call = self.busy.pop(worker)
        (self.failed if failed else self.done).append(call.payload) if not call.notice else None

    @invariant()
    def every_call_is_somewhere_once(self) -> None:
        queued = [call.payload for call in self.pool.queue if not call.notice]
        running = [call.payload for call in self.busy.values() if not call.notice]
        assert sorted(map(int, queued + running + self.done + self.failed)) == list(range(1, self.calls + 1))

    @invariant()
    def every_failed_call_is_reported_once(self) -> None:
        queued = [json.loads(call.payload)["failed"] for call in self.pool.queue if call.notice]
        assert sorted(self.notices + queued) == sorted(payload.decode() for payload in self.failed)

    @invariant()
    def no_slot_is_left_empty_while_calls_wait(self) -> None:
        assert not self.pool.queue or len(set(self.busy) - self.asleep) >= 2

    @invariant()
    def the_counts_agree(self) -> None:
        assert (self.pool.running, self.pool.sleeping) == (len(self.busy) - len(self.asleep), len(self.asleep))


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
