"""Errors as they are looked at: as text, as HTML without styles or scripts, as a table."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pytest

from smr_notebook.job.errors import JobErrors
from smr_notebook.model import AttemptId, Failure, FailureKind, Frame, Phase, TaskId
from smr_notebook.standing import FailedAttempt

FRAME = Frame("/no/such/cell.py", "Cell In[2]", 3, "map", "a < b", ("def map(line):", "    a = 1", "    a < b", "    yield a"), 1)
MAPPED = FailedAttempt(
    AttemptId(TaskId(Phase.MAP, 17), 3),
    Failure(
        FailureKind.USER,
        "NameError",
        "b is <unknown>",
        frames=(FRAME,),
        function="map",
        record="'<b>'",
        source="/data/a",
        offset=1_000,
        record_number=20,
    ),
    tasks=1_234,
)
REDUCED = FailedAttempt(
    AttemptId(TaskId(Phase.REDUCE, 2), 1),
    Failure(FailureKind.USER, "ValueError", "no", function="reduce", record="'k'", record_number=4, value_count=1),
)
DIED = FailedAttempt(AttemptId(TaskId(Phase.MAP, 1), 1), Failure(FailureKind.CRASH, "WorkerDied", "exited with code 3"))


def test_groups_are_numbered_and_told_with_lines_record_and_place() -> None:
    assert repr(JobErrors("3f9a", (MAPPED, REDUCED))).splitlines() == [
        "error 0: 1,234 tasks",
        "NameError in map task 17 (3 attempts): b is <unknown>",
        "Cell In[2], line 3, in map",
        "        1 def map(line):",
        "        2     a = 1",
        "---->   3     a < b",
        "        4     yield a",
        "record: '<b>'   (/data/a, byte 1,000, record 20 of split 17)",
        "",
        "error 1: 1 task",
        "ValueError in reduce task 2 (1 attempt): no",
        "key: 'k'   (group 4 of partition 2, 1 value)",
        "",
        "2 kinds of error in 1,235 tasks · debug in a notebook: %smr debug 3f9a, or job.debug(0)",
    ]


def test_html_says_the_same_and_runs_nothing() -> None:
    html = JobErrors("3f9a", (MAPPED, REDUCED))._repr_html_()
    assert "<script" not in html
    assert "class=" not in html.replace('class="smr-errors"', "").replace('class="smr-v"', "")
    for text in ("b is <unknown>", "---->   3     a < b", "record: '<b>'", "key: 'k'"):
        assert text in unescape(html)
        assert text not in html or "<" not in text, "escaped"


def test_what_no_function_raised_is_not_for_debugging() -> None:
    assert "job.debug" not in repr(JobErrors("3f9a", (DIED,)))
    assert repr(JobErrors("3f9a", ())) == "3f9a: no task has failed"
    assert "no task has failed" in JobErrors("3f9a", ())._repr_html_()


def test_a_notebook_saves_identifiers_as_what_varies() -> None:
    for errors in (JobErrors("3F9a", (MAPPED,)), JobErrors("3F9a", (), why="TooManyBadError: Job 3F9a\nleft out too much")):
        saved = errors._repr_mimebundle_()
        assert "3F9a" not in re.sub(r'<span class="smr-v">[^<]*</span>', "", saved["text/html"])
        assert "3f9a" not in re.sub(r"\[smr-3f9a\](\n ! .*)*", "", saved["text/plain"]).lower()
    assert saved["text/plain"].splitlines() == ["no task has failed [smr-3f9a]", " ! TooManyBadError: Job 3F9a", " ! left out too much"]


def test_the_first_failure_that_a_function_raised_is_the_one_to_debug() -> None:
    assert repr(JobErrors("3f9a", (DIED, MAPPED))).endswith("%smr debug 3f9a --error 1, or job.debug(1)")


def test_what_to_do_about_a_failure_that_nobody_raised_stands_beside_it() -> None:
    assert "Try the function on this task's records in the notebook." in repr(JobErrors("3f9a", (DIED,)))
    assert "Try the function" in JobErrors("3f9a", (DIED,))._repr_html_()


def test_a_place_without_a_record_is_told() -> None:
    parsed = replace(MAPPED, failure=replace(MAPPED.failure, record=""))
    assert "input: /data/a, byte 1,000, record 20 of split 17" in repr(JobErrors("3f9a", (parsed,))).splitlines()


def test_what_was_left_out_is_told_where_no_task_has_failed() -> None:
    told = repr(JobErrors("3f9a", (), left_out=3))
    assert told == "3f9a: no task has failed; 3 left out: job.bad shows them, job.debug(bad=0) runs the first"


def test_errors_are_a_sequence_and_a_table() -> None:
    errors = JobErrors("3f9a", (MAPPED, DIED))
    assert (len(errors), errors[1], list(errors[:1]), errors == JobErrors("x", (MAPPED, DIED))) == (2, DIED, [MAPPED], True)
    assert not JobErrors("3f9a", ())
    frame = errors.to_frame()
    assert frame["line"].tolist() == [3, 0]
    assert frame["tasks"].tolist() == [1_234, 1]
    assert frame["code"].tolist() == ["a < b", ""]


@pytest.mark.parametrize("count", [0, 1, 2_000])
def test_how_many_values_a_group_had_is_told_if_it_is_known(count: int) -> None:
    failed = replace(REDUCED, failure=replace(REDUCED.failure, value_count=count))
    assert f"{count:,} value{'s' * (count != 1)})" in repr(JobErrors("3f9a", (failed,)))
