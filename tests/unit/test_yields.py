"""What the bytecode of a generator function proves, and that nothing changes by it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.dataflow.columns import decode_values
from smr_notebook.dataflow.emitting import PairEmitter
from smr_notebook.dataflow.functions import Functions, UserCodeError
from smr_notebook.dataflow.keys import decode_keys
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.records import RecordBlock
from smr_notebook.dataflow.yields import Yields, gives_nothing, proved_of
from smr_notebook.model import Position


def ones(record: Any) -> Iterator[Any]:
    for part in record:
        yield part, 1


def pairs(record: Any) -> Iterator[Any]:
    for number, part in enumerate(record):
        yield part, number


def twice_one(record: Any) -> Iterator[Any]:
    if record:
        yield record[0], 1
    for part in record[1:]:
        yield part, 1


def one_and_true(record: Any) -> Iterator[Any]:
    yield record, 1
    yield record, True


def chosen_key(record: Any) -> Iterator[Any]:
    yield record or "none", 1


def chosen_pair(record: Any) -> Iterator[Any]:
    yield (record, 1) if record else "ab"


def delegated(record: Any) -> Iterator[Any]:
    yield record, 1
    yield from record


def triple(record: Any) -> Iterator[Any]:
    yield record, 1, 2


def whole(record: Any) -> Iterator[Any]:
    yield record


def returned(record: Any) -> Any:
    return [(record, 1)]


def tuple_value(record: Any) -> Iterator[Any]:
    yield record, (1, 2)


def perhaps(record: Any) -> Iterator[Any]:
    if len(record) % 3:
        yield record[0], record


def as_often_as_said(record: Any) -> Iterator[Any]:
    while record:
        yield record[0], record
        record = record[1:]


class Bound:
    def twice_one(self, record: Any) -> Iterator[Any]:
        yield record, 1
        yield record[0], 1


@functools.wraps(ones)
def wrapped(record: Any) -> Any:
    return "ab"


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (ones, Yields(pairs=True, value=(1,))),
        (twice_one, Yields(pairs=True, value=(1,))),
        (chosen_key, Yields(pairs=True, value=(1,), once=True)),
        (perhaps, Yields(pairs=True, once=True)),
        (as_often_as_said, Yields(pairs=True)),
        (pairs, Yields(pairs=True)),
        (one_and_true, Yields(pairs=True)),
        (tuple_value, Yields(pairs=True, once=True)),
        (chosen_pair, Yields()),
        (delegated, Yields()),
        (triple, Yields()),
        (whole, Yields()),
        (returned, Yields()),
        (wrapped, Yields()),
        (len, Yields()),
        (functools.partial(ones), Yields(pairs=True, value=(1,))),
        (functools.partial(returned), Yields()),
        (Bound().twice_one, Yields(pairs=True, value=(1,))),
    ],
)
def test_only_what_holds_for_every_yield_is_proved(function: Callable[..., Any], expected: Yields) -> None:
    assert proved_of(function) == expected


def emitted(map: Callable[..., Any], records: list[Any]) -> list[tuple[Any, Any]]:
    functions = Functions(map, False, None, False, None, False)  # noqa: FBT003 - as stored
    blocks = [RecordBlock("input", records, 10, lambda index: index, begin=None, at=Position(0))]
    batches = PairEmitter(functions, blocks, meter=Meter(), batch_bytes=200).batches()
    return [pair for batch in batches for keys, values in batch for pair in zip(decode_keys(keys), decode_values(values), strict=True)]


@given(
    st.lists(st.lists(st.text("abc", max_size=2), max_size=30), max_size=60),
    st.sampled_from([ones, pairs, twice_one, perhaps, as_often_as_said]),
)
def test_a_proved_function_emits_what_it_does_without_the_proof(records: list[list[str]], map: Callable[..., Any]) -> None:
    unproved: Callable[..., Any] = lambda record: map(record)  # noqa: E731, PLW0108 - of which nobody knows what it returns
    assert emitted(map, records) == emitted(unproved, records)


def test_a_record_that_fails_in_a_proved_function_is_named() -> None:
    with pytest.raises(UserCodeError) as caught:
        emitted(ones, [["a"], ["b"], 3])
    assert (caught.value.record, caught.value.record_number) == ("3", 3)
    assert isinstance(caught.value.__cause__, TypeError)


def test_a_record_that_fails_where_each_gives_one_pair_is_named() -> None:
    records: list[Any] = [["a"] * (1 + number % 3) for number in range(100)]
    records[71] = 3
    with pytest.raises(UserCodeError) as caught:
        emitted(perhaps, records)
    assert (caught.value.record, caught.value.record_number) == ("3", 72)


def test_a_pair_that_is_no_pair_is_found_where_nothing_is_proved() -> None:
    with pytest.raises(UserCodeError) as caught:
        emitted(chosen_pair, ["x", ""])
    assert caught.value.record == "''"
    assert caught.value.place is not None
    assert caught.value.place.function == "chosen_pair"


def forgotten(record: Any) -> None:
    record.split()[0], 1


def printed(record: Any) -> Any:
    if not record:
        return
    for part in record:
        print(part)  # noqa: T201 - as people write it
    return None


def chosen_none(record: Any) -> Any:
    return [(record, 1)] if record else None


def found_or_nothing(record: Any) -> Any:
    for part in record:
        if part:
            return [(part, 1)]
    return None


def raised(record: Any) -> Any:
    raise ValueError(record)


async def awaited(record: Any) -> None:
    record.clear()


@pytest.mark.parametrize(
    "function",
    [forgotten, printed, functools.partial(printed), lambda key, values: None],
    ids=["forgotten", "printed", "partial", "lambda"],
)
def test_a_function_that_can_give_nothing_is_known(function: Callable[..., Any]) -> None:
    assert gives_nothing(function)


@pytest.mark.parametrize(
    "function",
    [ones, delegated, chosen_none, found_or_nothing, raised, awaited, lambda record: [record], len, None, "text"],
    ids=lambda function: getattr(function, "__name__", str(function)),
)
def test_a_function_that_may_give_something_is_not_doubted(function: object) -> None:
    assert not gives_nothing(function)
