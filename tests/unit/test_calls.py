"""Calls as records: what becomes of each, and what may never fail a task."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.calling.items import Zipped
from smr_notebook.dataflow.calls import TOGETHER, Raised, Returned, pack_arguments, program_of_calls
from smr_notebook.dataflow.meter import AttemptStopped


def outcome(function: Callable[..., Any], *args: Any) -> Any:
    program = program_of_calls([function])
    ((number, found),) = list(program.functions.map((7, 0, pack_arguments(args, {}))) or ())
    assert number == 7
    return found


def reduced(reduce: Callable[..., Any], outcomes: Iterator[object]) -> Any:
    reducer = program_of_calls([str], reduce).functions.reduce
    assert reducer is not None
    return reducer(TOGETHER, outcomes)


@given(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary())
def test_a_plain_value_is_its_own_outcome(value: object) -> None:
    assert outcome(lambda given: given, value) == value


@given(st.lists(st.integers()) | st.tuples(st.text()) | st.dictionaries(st.text(), st.integers()) | st.complex_numbers(allow_nan=False))
def test_any_other_value_travels_pickled(value: object) -> None:
    found = outcome(lambda given: given, value)
    assert isinstance(found, Returned)
    assert pickle.loads(found.pickled) == value


def test_what_a_call_returns_or_raises_is_never_taken_for_an_outcome_of_ours() -> None:
    for mine in (Returned(b"mine"), Raised(name="mine")):
        found = outcome(lambda given: given, mine)
        assert isinstance(found, Returned)
        assert pickle.loads(found.pickled) == mine


def test_a_value_that_cannot_be_pickled_says_why() -> None:
    found = outcome(lambda: (number for number in range(3)))
    assert isinstance(found, Raised)
    assert "generator cannot be pickled" in found.unsent


def test_arguments_that_cannot_be_loaded_are_the_error_of_the_call() -> None:
    program = program_of_calls([str])
    ((_, found),) = list(program.functions.map((0, 0, b"no pickle")) or ())
    assert isinstance(found, Raised)
    assert found.name == "UnpicklingError"


class Mute(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise ValueError("no text")


def test_an_exception_without_a_text_is_still_told() -> None:
    def raises() -> None:
        raise Mute

    found = outcome(raises)
    assert (found.name, found.message) == ("Mute", "<its text cannot be shown: __str__ raised ValueError>")


def test_a_circle_of_causes_ends() -> None:
    def raises() -> None:
        one, two = ValueError("one"), KeyError("two")
        one.__cause__, two.__cause__ = two, one
        raise one

    assert [link.text for link in outcome(raises).links] == ["KeyError: 'two'", "ValueError: one"]


def test_a_runaway_recursion_is_told_by_its_innermost_frames() -> None:
    def deeper(number: int) -> int:
        return deeper(number + 1)

    found = outcome(deeper, 0)
    assert found.name == "RecursionError"
    assert 0 < len(found.links[-1].steps) <= 20


def test_a_reduce_is_given_values_and_need_not_take_all() -> None:
    values = [1, "a", Returned(pickle.dumps([2]))]
    found = reduced(list, iter(values))
    assert isinstance(found, Returned)
    assert pickle.loads(found.pickled) == [1, "a", [2]]
    assert reduced(next, iter(values)) == 1


def test_the_first_call_that_raised_stands_for_what_is_reduced() -> None:
    raised = Raised(name="LookupError", message="not 3")

    def forgives(values: Iterator[Any]) -> int:
        try:
            return sum(values)
        except Exception:  # noqa: BLE001 - what the test is about
            return -1

    for reduce in (sum, forgives):
        assert reduced(reduce, iter([1, raised, Raised(name="later")])) is raised


def test_an_end_of_the_attempt_is_no_outcome() -> None:
    def stopped() -> Iterator[int]:
        yield 1
        raise AttemptStopped("somebody asked for it")

    with pytest.raises(AttemptStopped):
        reduced(sum, stopped())


def test_nothing_is_tried_before_it_is_meant() -> None:
    program = program_of_calls([str.upper, str.lower], sum)
    assert list(program.try_out(None)) == []  # type: ignore[arg-type]
    assert [name for name, _ in program.named()] == ["call 0: str.upper", "call 1: str.lower", "reduce"]


def test_rows_of_items_are_numbered_as_they_are_sent() -> None:
    calls = Zipped(str, ([1, threading.Lock(), 3], "abcd"))
    assert not calls.is_empty()
    assert [(number, pickle.loads(arguments)) for number, _, arguments in calls.items()] == [(0, ((1, "a"), {})), (1, ((3, "c"), {}))]
    assert (calls.total, calls.sent, list(calls.refused)) == (3, 2, [1])
    assert "arguments of call 1 of str cannot travel" in str(calls.refused[1])


@pytest.mark.parametrize("iterables", [(), ([],), ([1], ())])
def test_nothing_to_call_for_is_known_beforehand(iterables: tuple[Any, ...]) -> None:
    assert Zipped(str, iterables).is_empty()
