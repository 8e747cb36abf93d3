"""The keys of a job: below its own folder, apart for each attempt, in the order of their numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.control.layout import Layout, split_page
from smr_notebook.model import AttemptId, Phase, TaskId

LAYOUT = Layout("3f9a")
attempts = st.builds(AttemptId, st.builds(TaskId, st.sampled_from(Phase), st.integers(0, 999_999)), st.integers(1, 999))


def test_keys_are_those_of_the_architecture() -> None:
    reduce = AttemptId(TaskId(Phase.REDUCE, 31), 2)
    assert LAYOUT.plan == "jobs/3f9a/plan"
    assert LAYOUT.code == "jobs/3f9a/code"
    assert LAYOUT.index == "jobs/3f9a/index"
    assert LAYOUT.input == "jobs/3f9a/input/"
    assert split_page(LAYOUT.splits, 300) == "jobs/3f9a/splits/000001"
    assert LAYOUT.attempt(reduce) == "jobs/3f9a/reduce/000031/002"
    assert LAYOUT.manifest(Phase.MAP) == "jobs/3f9a/manifest/map"
    assert LAYOUT.log_piece(reduce, 7) == "jobs/3f9a/logs/reduce-000031-002/000007"
    assert LAYOUT.log_piece(reduce, 7).startswith(LAYOUT.logs_of(Phase.REDUCE))


@given(attempts, attempts)
def test_no_attempt_writes_where_another_does(one: AttemptId, other: AttemptId) -> None:
    assert (LAYOUT.attempt(one) + "/").startswith(LAYOUT.attempt(other) + "/") == (one == other)


@given(attempts, attempts)
def test_keys_sort_as_their_numbers_do(one: AttemptId, other: AttemptId) -> None:
    if one.task.phase is other.task.phase:
        assert (LAYOUT.attempt(one) < LAYOUT.attempt(other)) == (one < other)
