"""Counters of the user's own: what is counted belongs to one attempt, and to a call that came to its end; names and amounts are bounded."""

from __future__ import annotations

import pickle
import threading
from collections import Counter as Counted
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import smr_notebook as smr
from smr_notebook.control.counters import too_many_counters
from smr_notebook.counting import MOST, MOST_NAMES, NAME_CHARACTERS, Counts, count_up, counter, counting, uncounted
from smr_notebook.errors import CounterError
from smr_notebook.job.counters import counters_of, told_counters
from smr_notebook.model import AttemptId, Commit, JobState, Numbers, Phase, TaskId
from smr_notebook.standing import PhaseProgress, Progress, Settled, Snapshot


def counted_in(action: Callable[[], object], counts: Counts | None = None) -> dict[str, int]:
    found = counts or Counts()
    with counting(found):
        action()
    return dict(found.items())


def in_threads(action: Callable[[], object], threads: int) -> list[BaseException]:
    """Do something in threads of their own, and return what they raised."""
    raised: list[BaseException] = []

    def guarded() -> None:
        try:
            action()
        except CounterError as error:
            raised.append(error)

    started = [threading.Thread(target=guarded) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return raised


def test_what_is_counted_is_added_up_by_name() -> None:
    def work() -> None:
        count_up("b")
        bad = counter("a")
        bad.add()
        bad.add(3)
        count_up("b", by=0)
        two: Any = np.int64(2)
        count_up("c", by=two)
        count_up("c", by=True)

    assert counted_in(work) == {"a": 4, "b": 1, "c": 3}


def test_outside_of_an_attempt_nothing_is_counted_and_names_are_checked() -> None:
    count_up("anything")
    counter("anything").add(5)
    with pytest.raises(CounterError, match="named by some words"):
        count_up("")
    assert counted_in(lambda: None) == {}


@pytest.mark.parametrize("name", ["", "x" * (NAME_CHARACTERS + 1), "two\nlines", " blank", 7, None, ["list"], "\ud800"], ids=ascii)
def test_a_name_that_is_none_is_refused(name: Any) -> None:
    for count in (partial(count_up, name), partial(counter, name), partial(counted_in, partial(count_up, name))):
        with pytest.raises(CounterError, match="A counter is named by some words, at most 64 characters"):
            count()


@pytest.mark.parametrize("by", [-1, 0.5, "1", None, MOST + 1, float("nan")], ids=repr)
def test_an_amount_that_is_none_is_refused(by: Any) -> None:
    for count in (partial(count_up, "a", by), partial(counter("a").add, by), partial(counted_in, partial(count_up, "a", by))):
        with pytest.raises(CounterError, match="The counter 'a' counts whole numbers from 0"):
            count()


def test_one_name_more_than_there_may_be_is_refused() -> None:
    counts = Counts()
    with counting(counts):
        for number in range(MOST_NAMES):
            count_up(f"name {number}")
            counts.keep()
        with pytest.raises(CounterError, match=r"more than 50 counters: 'name 0', .* reduce=sum"):
            count_up("one more")
        count_up("name 7")
        with pytest.raises(CounterError, match="more than 50 counters"):
            raise in_threads(lambda: count_up("one more"), 1)[0]
    assert len(counts.items()) == MOST_NAMES
    assert dict(counts.items())["name 7"] == 2


def test_more_than_a_counter_holds_is_refused_at_the_end() -> None:
    counts = Counts()

    def work() -> None:
        count_up("bytes", MOST)
        count_up("bytes", MOST)

    counted_in(work, counts)
    with pytest.raises(CounterError, match=r"'bytes' has counted more than 1,000,000,000,000"):
        counts.check()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.sampled_from(["", "keep", "drop"])), max_size=30))
def test_only_what_calls_counted_that_came_to_their_end_counts(steps: list[tuple[str, int, str]]) -> None:
    counts, kept, pending = Counts(), Counted[str](), Counted[str]()
    with counting(counts):
        for name, by, then in steps:
            count_up(name, by)
            pending.update({name: by})
            if then == "keep":
                counts.keep()
                kept.update(pending)
            if then == "drop":
                counts.drop()
            if then:
                pending.clear()
    kept.update(pending)
    assert dict(counts.items()) == {name: kept[name] for name in sorted(kept)}


def test_threads_that_a_function_starts_count_for_its_attempt() -> None:
    counts = Counts()

    def many() -> None:
        for _ in range(1_000):
            count_up("there")

    with counting(counts):
        for _ in range(3):
            assert not in_threads(many, 4)
            count_up("here")
            counts.keep()
        in_threads(lambda: count_up("there"), 1)
        counts.drop()
        with uncounted():
            in_threads(lambda: count_up("there"), 1)
            count_up("here")
    in_threads(lambda: count_up("there"), 1)
    assert dict(counts.items()) == {"here": 3, "there": 12_000}


def test_a_thread_that_may_mean_either_of_two_attempts_is_refused() -> None:
    first, second = Counts(), Counts()
    with counting(first), counting(second):
        count_up("mine")
        refused = in_threads(lambda: count_up("whose"), 1)
    assert "makes 2 attempts at once" in str(refused[0])
    assert (first.items(), second.items()) == ((), (("mine", 1),))


def test_attempts_within_one_another_each_count_their_own() -> None:
    outer, inner = Counts(), Counts()
    with counting(outer):
        count_up("a")
        assert counted_in(lambda: count_up("a", 10), inner) == {"a": 10}
        count_up("a")
    assert outer.items() == (("a", 2),)


def test_counters_travel_by_name() -> None:
    bad = smr.counter("bad dates")

    def map(record: str) -> Iterator[tuple[str, int]]:
        bad.add()
        smr.count_up("records")
        yield record, 1

    there = pickle.loads(cloudpickle.dumps(map))
    assert counted_in(lambda: list(there("a"))) == {"bad dates": 1, "records": 1}
    error = CounterError("told", job="3f9a")
    assert (str(pickle.loads(pickle.dumps(error))), pickle.loads(pickle.dumps(error)).job) == ("told", "3f9a")


def test_numbers_add_up_with_their_counters() -> None:
    some, others = Numbers(records_read=1, counters=(("a", 1), ("c", 2))), Numbers(records_read=2, counters=(("b", 5), ("c", 1)))
    assert (some + others) == Numbers(records_read=3, counters=(("a", 1), ("b", 5), ("c", 3)))
    assert (some + Numbers()).counters == (Numbers() + some).counters == some.counters


# ---------------------------------------------------------------- of a whole job


def progress(state: JobState, map: Numbers, reduce: Numbers) -> Progress:
    return Progress(state, PhaseProgress(1, numbers=map), PhaseProgress(1, numbers=reduce), 0.0, 1.0, epoch=1, lease_expires=2.0)


def test_counters_of_a_job_are_those_of_both_phases_and_final_when_it_is_done() -> None:
    told = progress(JobState.DONE, Numbers(counters=(("a", 1), ("b", 2))), Numbers(counters=(("b", 1_000),)))
    found = counters_of(told)
    assert (dict(found), found.final, found["b"], len(found)) == ({"a": 1, "b": 1_002}, True, 1_002, 2)
    assert pd.Series(found).to_dict() == {"a": 1, "b": 1_002}
    assert repr(found) == "a  1\nb  1,002"
    assert "so far" in repr(counters_of(replace(told, state=JobState.REDUCING)))
    assert "<td" in found._repr_html_()
    assert told_counters(told) == "counted: a 1 · b 1,002"
    assert told_counters(replace(told, state=JobState.FAILED)) == "counted: a 1 · b 1,002 (so far)"


@pytest.mark.parametrize(("state", "told"), [(JobState.DONE, "nothing was counted"), (JobState.MAPPING, "nothing is counted so far")])
def test_a_job_that_counts_nothing_says_so(state: JobState, told: str) -> None:
    found = counters_of(progress(state, Numbers(), Numbers()))
    assert (repr(found), found._repr_html_(), told_counters(progress(state, Numbers(), Numbers()))) == (told, told, "")


def test_tasks_that_count_under_too_many_names_together_end_the_job() -> None:
    def commit(number: int) -> Commit:
        names = tuple((f"task {number}, {name:02}", 1) for name in range(20))
        return Commit(AttemptId(TaskId(Phase.MAP, number), 1), "w", 0.0, 1.0, Numbers(counters=names))

    commits = {found.id.task: found for found in map(commit, range(2))}
    assert too_many_counters(Snapshot({}, commits, {}), Phase.MAP, now=5.0) is None
    settled = {Phase.MAP: Settled(progress=PhaseProgress(numbers=commit(2).numbers))}
    outcome = too_many_counters(Snapshot({}, commits, {}, settled=settled), Phase.MAP, now=5.0)
    assert outcome is not None
    assert (outcome.state, outcome.error, outcome.at) == (JobState.FAILED, "CounterError", 5.0)
    assert too_many_counters(Snapshot({}, commits, {}, settled=settled), Phase.REDUCE, now=5.0) is None
