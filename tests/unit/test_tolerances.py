"""How much may be left out: what users say, when a job ends for it, and what its proof says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.control.manifests import manifest_of
from smr_notebook.control.proof import check_map, check_reduce, proof_line
from smr_notebook.control.scheduling import End, Stop, decide
from smr_notebook.control.tolerances import too_many_bad
from smr_notebook.errors import ConfigError, ConservationError, TooManyBadError
from smr_notebook.model import (
    Attempt,
    AttemptId,
    AttemptState,
    Commit,
    Environment,
    Format,
    JobState,
    Numbers,
    Part,
    PartFile,
    Phase,
    Plan,
    Policy,
    Receipt,
    TaskId,
)
from smr_notebook.standing import Snapshot
from smr_notebook.values.capacity import Capacity
from smr_notebook.values.spellings import read_tolerance
from smr_notebook.values.tolerance import BadFile, OnError, Tolerance

COLLECT = Tolerance(OnError.COLLECT, share=0.01)


def a_plan(tolerance: Tolerance = COLLECT, *, maps: int = 4, reducers: int = 1, size: int = 4_000, records: int | None = None) -> Plan:
    stamp = Environment("3.11", 5, ())
    return Plan(
        "3f9a",
        "",
        0.0,
        Format.TEXT,
        maps,
        reducers,
        combine=False,
        grouped_order=False,
        input_bytes=size,
        input_records=records,
        budget=1,
        policy=Policy(),
        environment=stamp,
        tolerance=tolerance,
    )


def an_attempt(number: int, numbers: Numbers, *, state: AttemptState = AttemptState.RUNNING, attempt: int = 1) -> Attempt:
    id = AttemptId(TaskId(Phase.MAP, number), attempt)
    return Attempt(id, state, "w", 99.0, 0.0, 0.0, numbers)


def a_commit(number: int, numbers: Numbers, *, told: int | None = None) -> Commit:
    id = AttemptId(TaskId(Phase.MAP, number), 1)
    rows = numbers.records_bad if told is None else told
    bad = (BadFile("bad", rows, 1, 1),) if rows else ()
    return Commit(id, "w", 0.0, 1.0, numbers, (Receipt(id, "run", 1, 1, 1, numbers.pairs_out),), bad=bad)


def a_reduce_commit(numbers: Numbers) -> Commit:
    part = Part(0, (PartFile("key", numbers.pairs_out, 1, 1, 1, ("int", "int")),))
    bad = (BadFile("bad", numbers.records_bad, 1, 1),) if numbers.records_bad else ()
    id = AttemptId(TaskId(Phase.REDUCE, 0), 1)
    return Commit(id, "w", 0.0, 1.0, numbers, part=part, checksum=5, groups=numbers.records_read, bad=bad)


def running(*attempts: Attempt, commits: tuple[Commit, ...] = ()) -> Snapshot:
    of_task: dict[TaskId, tuple[Attempt, ...]] = {}
    for attempt in attempts:
        of_task[attempt.id.task] = (*of_task.get(attempt.id.task, ()), attempt)
    return Snapshot(of_task, {commit.id.task: commit for commit in commits}, {})


# ---------------------------------------------------------------- what users say


@pytest.mark.parametrize(
    ("said", "means"),
    [
        (("fail", None), Tolerance()),
        (("skip", None), Tolerance(OnError.SKIP, 0.01, 10)),
        (("collect", 0.001), Tolerance(OnError.COLLECT, 0.001)),
        (("collect", 1.0), Tolerance(OnError.COLLECT, 1.0)),
        (("skip", 1), Tolerance(OnError.SKIP, 0.0, 1)),
        (("skip", 0), Tolerance(OnError.SKIP)),
        (("skip", "0.5%"), Tolerance(OnError.SKIP, 0.005)),
        (("skip", "1_000"), Tolerance(OnError.SKIP, 0.0, 1_000)),
        (("skip", "0.25"), Tolerance(OnError.SKIP, 0.25)),
    ],
)
def test_words_and_numbers_become_a_tolerance(said: tuple[Any, Any], means: Tolerance) -> None:
    assert read_tolerance(*said) == means


@pytest.mark.parametrize(("said", "plain"), [(np.int64(5), 5), (np.float64(0.5), 0.5)])
def test_a_number_of_numpy_is_a_number_that_a_plan_can_hold(said: object, plain: float) -> None:
    found = read_tolerance("skip", said)
    assert found == read_tolerance("skip", plain)
    assert msgspec.json.encode(found) == msgspec.json.encode(read_tolerance("skip", plain))


@pytest.mark.parametrize("max_bad", [-1, 1.5, float("nan"), True, "many", [], "-3", np.bool_(1), np.ones(2)])
def test_a_number_that_makes_no_sense_is_refused(max_bad: Any) -> None:
    with pytest.raises(ConfigError, match="max_bad must be a share"):
        read_tolerance("skip", max_bad)


@pytest.mark.parametrize(("on_error", "max_bad", "told"), [("ignore", None, "'fail', 'skip', 'collect'"), ("fail", 3, "needs on_error")])
def test_a_word_that_makes_no_sense_is_refused(on_error: str, max_bad: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read_tolerance(on_error, max_bad)


@given(st.integers(0, 10**9), st.integers(0, 100))
def test_a_share_allows_what_it_says(total: int, percent: int) -> None:
    assert Tolerance(OnError.SKIP, share=percent / 100).allowed(total) == total * percent // 100


def test_nothing_is_allowed_unless_it_was_asked_for() -> None:
    assert Tolerance(OnError.FAIL, 0.5, 7).allowed(100) == 0
    assert str(Tolerance(OnError.SKIP, 0.001, 10)) == "0.1% or 10"
    assert str(Tolerance(OnError.SKIP)) == "0"


# ---------------------------------------------------------------- while the job runs


def bad(count: int, read: int, size: int) -> Numbers:
    return Numbers(size, read, read - count, 0, 0, records_bad=count, bad_sample="ValueError: x in map of the record 'y'")


def test_a_job_of_which_half_fails_ends_early_and_stops_what_lives() -> None:
    snapshot = running(an_attempt(0, bad(500, 1_000, 1_000)))
    decision = decide(a_plan(), snapshot, 1.0, capacity=Capacity(4))
    assert decision.actions == (Stop(AttemptId(TaskId(Phase.MAP, 0), 1)),)
    decision = decide(a_plan(), running(commits=(a_commit(0, bad(500, 1_000, 1_000)),)), 1.0, capacity=Capacity(4))
    (end,) = decision.actions
    assert isinstance(end, End)
    assert (end.outcome.state, end.outcome.error) == (JobState.FAILED, "TooManyBadError")
    assert "500 of 1,000 records read so far" in end.outcome.message
    assert "max_bad allows 1%" in end.outcome.message
    assert "ValueError: x in map of the record 'y'" in end.outcome.message


def test_a_job_whose_first_part_is_bad_goes_on_while_the_rest_may_make_up_for_it() -> None:
    """A thousand records in the first quarter of the input: as dense twice over, there may be seven thousand."""
    assert too_many_bad(a_plan(), running(an_attempt(0, bad(70, 1_000, 1_000))), Phase.MAP, now=1.0) is None
    assert too_many_bad(a_plan(), running(an_attempt(0, bad(71, 1_000, 1_000))), Phase.MAP, now=1.0) is not None


def test_a_few_records_are_no_ground_for_an_estimate() -> None:
    """One large object of a thousand small ones, say."""
    assert too_many_bad(a_plan(), running(an_attempt(0, bad(999, 999, 3_000))), Phase.MAP, now=1.0) is None
    assert too_many_bad(a_plan(), running(an_attempt(0, bad(1_000, 1_000, 3_000))), Phase.MAP, now=1.0) is not None


def test_where_the_number_of_records_is_known_nothing_is_estimated() -> None:
    plan = a_plan(records=1_000)
    assert too_many_bad(plan, running(an_attempt(0, bad(10, 10, 10))), Phase.MAP, now=1.0) is None
    assert too_many_bad(plan, running(an_attempt(0, bad(11, 11, 11))), Phase.MAP, now=1.0) is not None


def test_a_number_is_held_at_once_and_a_share_when_something_was_read() -> None:
    nothing_read = running(an_attempt(0, Numbers(records_bad=11)))
    assert too_many_bad(a_plan(Tolerance(OnError.SKIP, count=10)), nothing_read, Phase.MAP, now=1.0) is not None
    assert too_many_bad(a_plan(), nothing_read, Phase.MAP, now=1.0) is None


def test_of_two_attempts_of_a_task_one_counts_and_a_failed_one_does_not() -> None:
    plan = a_plan(Tolerance(OnError.SKIP, count=10))
    failed = an_attempt(0, bad(9, 9, 9), state=AttemptState.FAILED)
    twice = running(failed, an_attempt(0, bad(9, 9, 9), attempt=2), an_attempt(0, bad(8, 8, 8), attempt=3))
    assert too_many_bad(plan, twice, Phase.MAP, now=1.0) is None
    legs = running(an_attempt(0, bad(9, 9, 9), state=AttemptState.PAUSED), an_attempt(0, bad(2, 8, 8), attempt=2))
    assert too_many_bad(plan, legs, Phase.MAP, now=1.0) is not None


def test_groups_are_held_against_what_was_mapped() -> None:
    plan = a_plan(maps=1)
    mapped = a_commit(0, Numbers(4_000, 100, 100, 10_000, 10_000))
    id = AttemptId(TaskId(Phase.REDUCE, 0), 1)
    few, many = (Attempt(id, AttemptState.RUNNING, "w", 9.0, 0.0, 0.0, Numbers(0, 1_000, 1, 2_500, 1, records_bad=n)) for n in (70, 71))
    for attempt, ends in ((few, False), (many, True)):
        snapshot = Snapshot({id.task: (attempt,)}, {mapped.id.task: mapped}, {Phase.MAP: "manifest"})
        assert (too_many_bad(plan, snapshot, Phase.REDUCE, now=1.0) is not None) == ends


@given(st.integers(0, 50), st.integers(1, 100), st.integers(1, 4_000))
def test_a_job_that_may_not_leave_out_anything_is_not_looked_at(count: int, read: int, size: int) -> None:
    assert too_many_bad(a_plan(Tolerance()), running(an_attempt(0, bad(count, read, size))), Phase.MAP, now=1.0) is None


@given(st.integers(0, 1_000), st.integers(0, 1_000), st.floats(0, 1))
def test_what_may_pass_at_the_end_of_a_job_of_even_records_is_never_ended_before(first: int, others: int, share: float) -> None:
    """Of records that are all of a size, a job that ends early would have left out too many in the end."""
    plan = a_plan(Tolerance(OnError.SKIP, share=share), maps=2, size=800)
    early = too_many_bad(plan, running(commits=(a_commit(0, bad(first, 1_000, 400)),)), Phase.MAP, now=1.0)
    if first + others <= plan.tolerance.allowed(2_000):
        assert early is None


# ---------------------------------------------------------------- at the end


def mapped(*bads: int, tolerance: Tolerance = COLLECT, told: int | None = None) -> tuple[Plan, Any]:
    plan = a_plan(tolerance, maps=len(bads), size=100 * len(bads))
    commits = [a_commit(number, Numbers(100, 50, 50 - bad, 7, 7, records_bad=bad), told=told) for number, bad in enumerate(bads)]
    manifest = manifest_of(plan, Phase.MAP, commits)
    return plan, replace(manifest, partition_pairs=(7 * len(bads),), partition_checksums=(5,))


def test_what_was_left_out_counts_as_read_and_is_told_in_the_proof() -> None:
    plan, manifest = mapped(1, 0)
    check_map(plan, manifest)
    reduced = manifest_of(plan, Phase.REDUCE, [a_reduce_commit(Numbers(0, 200, 198, 14, 198, records_bad=2, pairs_bad=3))])
    check_reduce(plan, manifest, reduced)
    line = (
        "2 splits · 100 records read = 99 mapped + 1 left out · 200 groups = 198 reduced + 2 left out · 14 pairs = 11 reduced + 3 left out"
    )
    assert proof_line(plan, manifest, reduced) == line


def test_a_job_that_left_nothing_out_has_the_line_of_any_other() -> None:
    plan, manifest = mapped(0, 0)
    reduced = manifest_of(plan, Phase.REDUCE, [a_reduce_commit(Numbers(0, 3, 3, 14, 3))])
    check_reduce(plan, manifest, reduced)
    assert proof_line(plan, manifest, reduced) == "2 splits · 100 records read = mapped · 3 groups · 14 pairs = reduced"


def test_too_much_that_is_left_out_at_the_end_of_a_phase_is_an_error() -> None:
    plan, manifest = mapped(1, 1)
    with pytest.raises(TooManyBadError, match=r"2 of 100 records read were left out \(2.00%\), and max_bad allows 1%"):
        check_map(plan, manifest)


def test_a_strict_job_that_left_something_out_has_no_result() -> None:
    plan, manifest = mapped(1, 0, tolerance=Tolerance())
    with pytest.raises(ConservationError, match="left out by map task 0: 1"):
        check_map(plan, manifest)


@pytest.mark.parametrize(("told", "on_error", "ends"), [(0, "skip", True), (1, "skip", False), (3, "skip", True), (1, "collect", True)])
def test_what_was_left_out_must_be_told(told: int, on_error: str, ends: bool) -> None:
    plan, manifest = mapped(2, tolerance=Tolerance(OnError(on_error), share=0.5), told=told)
    if ends:
        with pytest.raises(ConservationError, match="left out and told by map task 0"):
            check_map(plan, manifest)
    else:
        check_map(plan, manifest)
