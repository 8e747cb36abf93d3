"""Items and rows on their way to the store: all of them arrive, or it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.control.layout import Layout
from smr_notebook.control.naming import Files, Items
from smr_notebook.control.reading import PlannedInput, StoredInput, plan_input, store_input
from smr_notebook.dataflow.formats.stored import read_items, store_items
from smr_notebook.dataflow.inputs import JobInput, open_blocks
from smr_notebook.dataflow.splits import plan_splits
from smr_notebook.errors import CorruptObjectError, InputEmptyError, StoreError
from smr_notebook.model import Format, Reading, Span
from smr_notebook.ports import Buffer
from smr_notebook.testing.keys import KEYS


@dataclass
class FarStore(MemoryStore):
    """Counts how many puts are under way at once; some it refuses."""

    refuses: str = "none"
    under_way: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        super().__init__()
        self.pause = threading.Event()

    def put(self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False) -> bool:
        with self.lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        self.pause.wait(0.005)
        with self.lock:
            self.under_way -= 1
        if key.endswith(self.refuses):
            raise StoreError(f"{key} cannot be written.")
        return super().put(key, data, if_absent=if_absent)


LONG = "x" * 70_000
"""An item that shares no object with others."""


def stored(store: MemoryStore, items: list[Any], *, parallel: int) -> StoredInput:
    found = store_input(Items(items), store, keys=KEYS, job="job", split_size=0, slots=1000, parallel=parallel)
    assert isinstance(found, StoredInput)
    return found


@pytest.mark.parametrize("parallel", [1, 7])
def test_items_arrive_whole_and_in_order(parallel: int) -> None:
    near, far = MemoryStore(), FarStore()
    items = [(number, LONG) for number in range(50)]
    assert stored(near, items, parallel=1) == stored(far, items, parallel=parallel)
    keys = [info.key for info in near.list_prefix("")]
    assert {key: far.get(key) for key in keys} == {key: near.get(key) for key in keys}
    assert far.most <= parallel
    assert parallel == 1 or far.most > 1


def test_thousands_of_workers_are_no_reason_for_thousands_of_tiny_objects() -> None:
    store = MemoryStore()
    stored(store, list(range(100_000)), parallel=1)
    assert len(list(store.list_prefix(""))) <= 512


def test_one_that_cannot_be_written_is_told() -> None:
    with pytest.raises(StoreError, match="000011 cannot be written"):
        stored(FarStore(refuses="000011"), [LONG] * 100, parallel=4)


def test_whatever_ends_the_making_ends_the_sending() -> None:
    store = FarStore()

    def broken() -> Iterator[int]:
        yield from range(5)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store_input(Items(broken()), store, keys=KEYS, job="job", split_size=1, slots=2, parallel=3)
    assert store.under_way == 0


def test_what_was_stored_is_planned_from_what_is_there() -> None:
    store = MemoryStore()
    named = stored(store, [1, 2, 3], parallel=1)
    planned = plan_input(named, {}, store=store, job="job", format="auto", split_size=0, slots=4)
    assert (planned.format, planned.records) == (Format.ITEMS, 3)
    assert [one.info.key for one in planned.objects] == [info.key for info in store.list_prefix(Layout("job").input)]


@settings(max_examples=min(60, settings().max_examples))
@given(
    items=st.lists(
        st.one_of(st.integers(), st.binary(max_size=100), st.sampled_from([1, 3_000, 70_000]).map(bytes)), min_size=1, max_size=60
    ),
    split_bytes=st.sampled_from([1, 100, 5_000, 1 << 20]),
    slots=st.integers(1, 8),
    as_iterator=st.booleans(),
)
def test_what_shares_an_object_is_planned_and_read_as_if_it_did_not(
    items: list[Any], split_bytes: int, slots: int, as_iterator: bool
) -> None:
    store, apart = MemoryStore(), MemoryStore()
    values = iter(items) if as_iterator else items
    store_input(Items(values), store, keys=KEYS, job="job", split_size=split_bytes, slots=slots, parallel=1)
    infos, _ = store_items(iter(items) if as_iterator else items, apart, "p", keys=KEYS, split_bytes=split_bytes, slots=slots)
    planned = plan_input(
        StoredInput(Format.ITEMS, len(items), split_bytes), {}, store=store, job="job", format="auto", split_size=split_bytes, slots=slots
    )
    splits = plan_splits(planned.objects, split_bytes=split_bytes)
    assert [split.bytes for split in splits] == [info.size for info in infos]
    blocks = [list(open_blocks(split, Format.ITEMS, {"job": JobInput(store, KEYS)})) for split in splits]
    alone = [list(read_items(Span("job", info.key, 0, info.size, info.size, ""), JobInput(apart, KEYS))) for info in infos]
    assert [[block.records for block in of_split] for of_split in blocks] == [[block.records for block in one] for one in alone]
    assert sum(block.size for of_split in blocks for block in of_split) == sum(split.bytes for split in splits)


def test_a_thousand_short_items_of_a_task_each_are_few_objects_and_a_thousand_splits() -> None:
    store = MemoryStore()
    named = store_input(Items(range(1000)), store, keys=KEYS, job="job", split_size=1, slots=2, parallel=1)
    assert isinstance(named, StoredInput)
    planned = plan_input(named, {}, store=store, job="job", format="auto", split_size=1, slots=2)
    assert len(planned.objects) == 1
    assert len(plan_splits(planned.objects, split_bytes=planned.split_bytes)) == 1000


@pytest.mark.parametrize("kept", [-1, 5])
def test_a_pack_that_is_cut_is_told(kept: int) -> None:
    store = MemoryStore()
    named = stored(store, [1, 2, 3], parallel=1)
    (pack,) = store.list_prefix("")
    store.put(pack.key, store.get(pack.key)[:kept])
    with pytest.raises(CorruptObjectError, match="not what was stored"):
        plan_input(named, {}, store=store, job="job", format="auto", split_size=0, slots=4)


def test_nothing_is_no_input_and_a_location_is_left_alone() -> None:
    with pytest.raises(InputEmptyError, match="no items"):
        stored(MemoryStore(), [], parallel=1)
    assert store_input(Files(("x",)), MemoryStore(), keys=KEYS, job="job", split_size=0, slots=1, parallel=1) == Files(("x",))


def test_text_whose_encoding_has_a_state_is_not_cut_and_the_plan_says_so() -> None:
    source = MemorySource({"a": "漢字\n".encode("iso2022_jp") * 1000, "b": b"short\n"})

    def plan(encoding: str) -> PlannedInput:
        told = Reading(encoding=encoding)
        return plan_input(
            Files(("m://a", "m://b")), {"m": source}, store=MemoryStore(), job="j", format="text", split_size=1000, slots=1, reading=told
        )

    assert plan("iso2022_jp").warnings == ("Text in iso2022_jp is read from its first byte on: 1 large objects are not cut, a first.",)
    assert [planned.cuttable for planned in plan("iso2022_jp").objects] == [False, False]
    assert plan("euc_jp").warnings == ()
    assert [planned.cuttable for planned in plan("euc_jp").objects] == [True, False]
