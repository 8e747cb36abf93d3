"""Looks that read only what can change say the same as reading everything."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.control.costs import used_by
from smr_notebook.control.ledger import Ledger, Report
from smr_notebook.control.looking import Looks
from smr_notebook.control.progress import progress
from smr_notebook.control.row_keys import GROUPS, PAGE, group_of, groups_of, kind_of, page_of, page_rows, task_rows
from smr_notebook.control.rows import JobEntry
from smr_notebook.control.scheduling import decide
from smr_notebook.environment import environment
from smr_notebook.errors import JobNotFoundError
from smr_notebook.model import AttemptId, AttemptState, Commit, Format, Numbers, Phase, Plan, Policy, TaskId
from smr_notebook.ports import Row
from smr_notebook.standing import Lease
from smr_notebook.values.capacity import Capacity
from smr_notebook.values.usage import Usage

NOW = 1_000.0
LEASE = Lease("me", 1, NOW + 10)


def plan(maps: int) -> Plan:
    return Plan(
        "job",
        "",
        NOW,
        Format.TEXT,
        maps,
        0,
        combine=False,
        grouped_order=False,
        input_bytes=1,
        input_records=None,
        budget=1,
        policy=Policy(),
        environment=environment(),
    )


class CountingTable(MemoryTable):
    """Counts the rows that it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.given = 0

    def query(self, group: str, prefix: str = "") -> list[Row]:
        rows = super().query(group, prefix)
        self.given += len(rows)
        return rows


def job(table: MemoryTable) -> Ledger:
    ledger = Ledger(table, "job")
    ledger.create_job(JobEntry("job", "", NOW, "plan"))
    return ledger


def begin(ledger: Ledger, tasks: Sequence[int], *, now: float = NOW) -> None:
    for number in tasks:
        ledger.launch(AttemptId(TaskId(Phase.MAP, number), 1), now=now, expires=NOW + 60)


def finish(ledger: Ledger, tasks: Sequence[int]) -> None:
    for number in tasks:
        attempt = AttemptId(TaskId(Phase.MAP, number), 1)
        claimed = ledger.claim(attempt, owner="w", now=NOW, lease=15)
        assert claimed is not None
        ledger.commit(Commit(attempt, "w", NOW, 2.0, Numbers(1, 1, 1, 1, 1)))
        ledger.finish(claimed.held, AttemptState.DONE, Report(Numbers(1, 1, 1, 1, 1), Usage(1.0, 0, 2, 3, 4, 5)), now=NOW)


def test_a_settled_page_is_never_read_again() -> None:
    table = CountingTable()
    ledger, of = job(table), plan(3 * PAGE)
    begin(ledger, range(2 * PAGE))
    finish(ledger, range(PAGE))
    looks = Looks(table, of, parallel=1)
    first = looks.look()
    assert (first.settled_in(Phase.MAP).pages, first.settled_in(Phase.MAP).tasks) == (frozenset({0}), PAGE)
    table.given = 0
    second = looks.look()
    assert second == first
    assert table.given == 1 + PAGE, "the entry of the job, and the rows of the page that is at work"
    finish(ledger, range(PAGE, 2 * PAGE))
    looks.look()
    table.given = 0
    looks.look()
    assert table.given == 1
    assert [commit.id.task.number for commit in looks.commits(looks.look(), Phase.MAP)] == list(range(2 * PAGE))


def test_a_page_is_not_settled_while_another_attempt_may_be_at_work() -> None:
    table = MemoryTable()
    ledger, of = job(table), plan(1)
    begin(ledger, [0])
    ledger.commit(Commit(AttemptId(TaskId(Phase.MAP, 0), 2), "other", NOW, 2.0, Numbers()))
    looks = Looks(table, of, parallel=1)
    assert not looks.look().settled, "also when its lease has ended: it may yet come back to life"
    ledger.stop(AttemptId(TaskId(Phase.MAP, 0), 1), NOW + 62)
    assert looks.look().settled_in(Phase.MAP).tasks == 1


def test_a_page_that_begins_is_looked_at() -> None:
    table = MemoryTable()
    ledger, of = job(table), plan(2 * PAGE)
    looks = Looks(table, of, parallel=1)
    looks.look()
    task = TaskId(Phase.MAP, PAGE + 3)
    begin(ledger, [task.number])
    assert task not in looks.look().attempts
    looks.began([task])
    assert task in looks.look().attempts


def test_looks_side_by_side_see_the_same() -> None:
    table = MemoryTable()
    ledger, of = job(table), plan(20 * PAGE)
    begin(ledger, range(0, 20 * PAGE, 7))
    assert Looks(table, of, parallel=8).look() == Looks(table, of, parallel=1).look()


def test_a_job_that_is_gone_is_told_so() -> None:
    with pytest.raises(JobNotFoundError):
        Looks(MemoryTable(), plan(1), parallel=1).look()


@given(
    steps=st.lists(st.tuples(st.sampled_from(["begin", "finish", "look"]), st.integers(0, 2 * PAGE + 4)), max_size=30),
    whole=st.sets(st.integers(0, 2)),
)
def test_what_a_look_leaves_out_is_in_its_sums(steps: list[tuple[str, int]], whole: set[int]) -> None:
    """Progress, costs and decisions are those of a look at everything, whatever was settled when."""
    table, of = MemoryTable(), plan(2 * PAGE + 5)
    ledger = job(table)
    looks = Looks(table, of, parallel=1)
    looks.look()
    done: set[int] = set()
    for page in whole:
        numbers = [number for number in range(page * PAGE, min((page + 1) * PAGE, of.maps)) if number not in done]
        looks.began(TaskId(Phase.MAP, number) for number in numbers)
        begin(ledger, numbers, now=NOW - 5)
        finish(ledger, numbers)
        done |= set(numbers)
    begun: set[int] = set(done)
    for step, number in steps:
        if step == "look":
            looks.look()
        elif step == "begin" and number not in begun:
            looks.began([TaskId(Phase.MAP, number)])
            begin(ledger, [number])
            begun.add(number)
        elif step == "finish" and number in begun - done:
            finish(ledger, [number])
            done.add(number)
    seen, everything = looks.look(), ledger.snapshot()
    assert progress(of, seen, NOW, lease=LEASE) == progress(of, everything, NOW, lease=LEASE)
    assert used_by(seen) == used_by(everything)
    capacity = Capacity(10 * PAGE, 0.0, burst=0.0, ramp=2.0)
    assert decide(of, seen, NOW, capacity=capacity) == decide(of, everything, NOW, capacity=capacity)


@given(st.integers(0, 999_999), st.sampled_from(Phase))
def test_a_task_stands_on_its_page_in_its_group(number: int, phase: Phase) -> None:
    task = TaskId(phase, number)
    assert task_rows(task).startswith(page_rows(phase, page_of(task)))
    assert group_of("job", page_of(task)) in set(groups_of("job"))
    assert len(set(groups_of("job"))) == GROUPS


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("job/entry", "entry"),
        ("job/manifest/map", "manifest"),
        ("task/map/000003/attempt/000001", "attempt"),
        ("task/reduce/000003/commit", "commit"),
        ("task/map/000003/leg/000002", "leg"),
        ("strange", ""),
        ("task/map", "map"),
    ],
)
def test_a_key_tells_what_its_row_is(key: str, kind: str) -> None:
    assert kind_of(key) == kind
