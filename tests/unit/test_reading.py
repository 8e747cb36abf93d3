"""Items and rows on their way to the store: all of them arrive, or it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pytest

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.control.layout import Layout
from smr_notebook.control.naming import Files, Items
from smr_notebook.control.reading import StoredInput, plan_input, store_input
from smr_notebook.errors import InputEmptyError, StoreError
from smr_notebook.model import Format
from smr_notebook.ports import Buffer


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


def stored(store: MemoryStore, items: list[int], *, parallel: int) -> StoredInput:
    found = store_input(Items(items), store, job="job", split_size=0, slots=1000, parallel=parallel)
    assert isinstance(found, StoredInput)
    return found


@pytest.mark.parametrize("parallel", [1, 7])
def test_items_arrive_whole_and_in_order(parallel: int) -> None:
    near, far = MemoryStore(), FarStore()
    assert stored(near, list(range(5000)), parallel=1) == stored(far, list(range(5000)), parallel=parallel)
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
        stored(FarStore(refuses="000011"), list(range(100)), parallel=4)


def test_whatever_ends_the_making_ends_the_sending() -> None:
    store = FarStore()

    def broken() -> Iterator[int]:
        yield from range(5)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store_input(Items(broken()), store, job="job", split_size=1, slots=2, parallel=3)
    assert store.under_way == 0


def test_what_was_stored_is_planned_from_what_is_there() -> None:
    store = MemoryStore()
    named = stored(store, [1, 2, 3], parallel=1)
    planned = plan_input(named, {}, store=store, job="job", format="auto", split_size=0, slots=4)
    assert (planned.format, planned.records) == (Format.ITEMS, 3)
    assert [one.info.key for one in planned.objects] == [info.key for info in store.list_prefix(Layout("job").input)]


def test_nothing_is_no_input_and_a_location_is_left_alone() -> None:
    with pytest.raises(InputEmptyError, match="no items"):
        stored(MemoryStore(), [], parallel=1)
    assert store_input(Files(("x",)), MemoryStore(), job="job", split_size=0, slots=1, parallel=1) == Files(("x",))
