"""Items and frames: stored once in order, read back as they were."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import smr_notebook
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.dataflow.formats.stored import read_frame, read_items, store_frame, store_items
from smr_notebook.dataflow.inputs import JobInput
from smr_notebook.dataflow.records import RecordBlock
from smr_notebook.errors import CorruptObjectError, InputMissingError, InputReadError, PlanError, UnpicklableError
from smr_notebook.model import ObjectInfo, Span
from smr_notebook.testing.keys import KEYS

MIB = 1 << 20


def blocks_of(objects: MemoryStore, infos: list[ObjectInfo], *, rows: bool = False) -> list[RecordBlock]:
    source = JobInput(objects, KEYS)
    read = read_frame if rows else read_items
    return [block for info in infos for block in read(Span("job", info.key, 0, info.size, info.size, info.version), source)]


def records(blocks: list[RecordBlock]) -> list[Any]:
    return [record for block in blocks for record in block.records]


def counts(objects: MemoryStore, infos: list[ObjectInfo]) -> list[int]:
    return [len(records(blocks_of(objects, [info]))) for info in infos]


@settings(max_examples=3 * settings().max_examples // 2)
@given(
    items=st.lists(
        st.one_of(st.integers(), st.text(max_size=30), st.dictionaries(st.text(max_size=3), st.binary(max_size=50))), max_size=80
    ),
    split_bytes=st.integers(1, 2000),
    slots=st.integers(1, 4),
    as_iterator=st.booleans(),
)
def test_every_item_is_stored_once_and_in_order(items: list[Any], split_bytes: int, slots: int, as_iterator: bool) -> None:
    objects = MemoryStore()

    infos, count = store_items(
        iter(items) if as_iterator else items, objects, "jobs/j/input/", keys=KEYS, split_bytes=split_bytes, slots=slots
    )

    blocks = blocks_of(objects, infos)
    assert records(blocks) == items
    assert count == len(items)
    assert sum(block.size for block in blocks) == sum(info.size for info in infos)
    assert [(info.key, info.size) for info in infos] == [(info.key, info.size) for info in objects.list_prefix("jobs/j/input/")]
    assert all(JobInput(objects, KEYS).stat(info.key) == info for info in infos)


@pytest.mark.parametrize(
    ("items", "slots", "expected"), [(16, 2, [1] * 16), (5, 2, [1] * 5), (17, 2, [1] * 15 + [2]), (1000, 1, [125] * 8)]
)
def test_a_small_list_is_shared_out_evenly(items: int, slots: int, expected: list[int]) -> None:
    for given_items in (list(range(items)), range(items), dict.fromkeys(range(items))):
        objects = MemoryStore()
        infos, _ = store_items(given_items, objects, "p", keys=KEYS, split_bytes=MIB, slots=slots)
        assert sorted(counts(objects, infos)) == expected


def test_the_first_items_of_an_iterator_have_a_task_each_and_no_task_has_many_more_than_its_share() -> None:
    objects = MemoryStore()

    infos, count = store_items((number for number in range(10_000)), objects, "p", keys=KEYS, split_bytes=MIB, slots=2)

    shares = counts(objects, infos)
    assert shares[:16] == [1] * 16
    assert max(shares) <= count // 16
    assert len(shares) < 200


def test_large_items_are_cut_at_about_split_bytes() -> None:
    objects = MemoryStore()

    infos, _ = store_items(
        [bytes(10_000)] * 3 + [bytes([n]) * 10_000 for n in range(97)], objects, "p", keys=KEYS, split_bytes=50_000, slots=1
    )

    assert all(info.size < 70_000 for info in infos)


def test_an_iterator_is_taken_in_small_portions() -> None:
    """No more than about a chunk of items is alive at any time."""
    objects = MemoryStore()
    alive: list[int] = []

    def items() -> Iterator[bytes]:
        for number in range(200):
            alive.append(sum(1 for _ in objects.list_prefix("p")))
            yield bytes([number]) * 10_000

    store_items(items(), objects, "p", keys=KEYS, split_bytes=20_000, slots=1)

    assert alive[-1] > 60


def test_an_object_that_an_iterator_gives_again_is_stored_as_it_is_each_time() -> None:
    def items() -> Iterator[list[int]]:
        row = [0]
        for number in range(1000):
            row[0] = number
            yield row

    objects = MemoryStore()
    infos, _ = store_items(items(), objects, "p", keys=KEYS, split_bytes=MIB, slots=1)

    assert records(blocks_of(objects, infos)) == [[number] for number in range(1000)]


def test_a_class_of_the_notebook_is_stored_once_for_many_instances_of_a_list() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("class Point:\n    def __init__(self, x): self.x = x\n    def f(self): return 'a long docstring' * 3", namespace)  # noqa: S102 - a cell
    objects = MemoryStore()

    infos, _ = store_items([namespace["Point"](n) for n in range(4000)], objects, "p", keys=KEYS, split_bytes=MIB, slots=1)

    assert [point.x for point in records(blocks_of(objects, infos))] == list(range(4000))
    assert sum(info.size for info in infos) < 4000 * 50


def test_no_items_make_no_objects() -> None:
    assert store_items([], MemoryStore(), "p", keys=KEYS, split_bytes=MIB, slots=1) == ([], 0)
    assert store_items(iter(()), MemoryStore(), "p", keys=KEYS, split_bytes=MIB, slots=1) == ([], 0)


@pytest.mark.parametrize("as_iterator", [False, True])
def test_an_item_that_does_not_pickle_is_named(as_iterator: bool) -> None:
    items: list[Any] = [*range(20), {"lock": threading.Lock()}, 5]

    with pytest.raises(
        UnpicklableError, match=r"Item 20 \(counted from 0\), a 'dict', cannot travel to a worker: .*_thread.lock.*Give plain values"
    ):
        store_items(iter(items) if as_iterator else items, MemoryStore(), "p", keys=KEYS, split_bytes=MIB, slots=1)


def test_what_the_iterator_raises_is_not_hidden() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise FileNotFoundError("mine")

    with pytest.raises(FileNotFoundError, match=r"^mine$"):
        store_items(items(), MemoryStore(), "p", keys=KEYS, split_bytes=MIB, slots=1)


class Refusing:
    def __reduce__(self) -> tuple[Any, ...]:
        return (int, ("not a number",))


def test_an_item_that_does_not_unpickle_is_named_on_the_worker() -> None:
    objects = MemoryStore()
    infos, _ = store_items([Refusing()], objects, "p", keys=KEYS, split_bytes=MIB, slots=1)

    with pytest.raises(InputReadError, match=r"p/000000000000 cannot be unpickled on the worker: ValueError"):
        blocks_of(objects, infos)


def test_every_changed_byte_and_every_cut_of_a_stored_object_is_found() -> None:
    objects = MemoryStore()
    (info,), _ = store_items(iter(["one item"]), objects, "p", keys=KEYS, split_bytes=1, slots=1)
    stored = objects.get(info.key)
    wrong = [stored[:length] for length in range(len(stored))]
    wrong += [stored[:place] + bytes([stored[place] ^ 0xFF]) + stored[place + 1 :] for place in range(len(stored))]

    for data in wrong:
        objects.put(info.key, data)
        with pytest.raises(CorruptObjectError, match="p/000000"):
            blocks_of(objects, [info])


def test_a_stored_object_that_is_gone_is_missing() -> None:
    with pytest.raises(InputMissingError, match="p/000000, which the session stored"):
        blocks_of(MemoryStore(), [ObjectInfo("p/000000", 10, "")])


def sample_frame(rows: int) -> pd.DataFrame:
    numbers = np.arange(rows)
    return pd.DataFrame(
        {
            "int": numbers,
            "small": numbers.astype("int8"),
            "float": np.where(numbers % 3, numbers / 7, np.nan),
            "text": [f"é{number}" for number in numbers],
            "kind": pd.Categorical(["a" if number % 2 else "b" for number in numbers]),
            "time": pd.Timestamp("2026-01-01") + pd.to_timedelta(numbers, "h"),
            "day": [dt.date(2026, 1, 1 + number % 28) for number in numbers.tolist()],
            "nullable": pd.array([None if number % 5 == 0 else number for number in numbers.tolist()], dtype="Int64"),
            "object": [{"n": number} for number in numbers.tolist()],
        },
        index=numbers + 100,
    )


@pytest.mark.parametrize("rows", [0, 1, 15, 16, 17, 500])
@pytest.mark.parametrize("split_bytes", [1, 5000, MIB])
def test_the_rows_of_a_frame_are_read_as_pandas_gives_them(rows: int, split_bytes: int) -> None:
    frame = sample_frame(rows)
    objects = MemoryStore()

    infos, count = store_frame(frame, objects, "jobs/j/input", keys=KEYS, split_bytes=split_bytes, slots=2)

    blocks = blocks_of(objects, infos, rows=True)
    assert count == rows
    assert repr(records(blocks)) == repr(frame.to_dict("records"))
    assert sum(block.size for block in blocks) == sum(info.size for info in infos)
    assert len(infos) >= min(rows, 16)
    assert all(block.source == "frame" and block.locate(0) == -1 for block in blocks)


def test_a_large_frame_is_read_in_small_blocks() -> None:
    objects = MemoryStore()
    infos, _ = store_frame(pd.DataFrame({"a": np.arange(300_000)}), objects, "p", keys=KEYS, split_bytes=8 * MIB, slots=1)

    assert len(infos) == 8
    assert max(len(block.records) for block in blocks_of(objects, infos, rows=True)) <= 10_000


@pytest.mark.parametrize(
    ("columns", "message"),
    [(["a", "a"], "has columns named 'a', but"), ([0, "a"], "has columns named 0, but"), ([("a", "b"), ("a", "c")], "named")],
)
def test_column_names_that_make_no_dict_are_refused(columns: list[Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        store_frame(pd.DataFrame([[1, 2]], columns=columns), MemoryStore(), "p", keys=KEYS, split_bytes=MIB, slots=1)


def test_a_frame_without_columns_is_refused() -> None:
    with pytest.raises(PlanError, match="has no columns"):
        store_frame(pd.DataFrame(index=[1, 2]), MemoryStore(), "p", keys=KEYS, split_bytes=MIB, slots=1)


def test_a_frame_with_a_value_that_does_not_pickle_is_refused() -> None:
    with pytest.raises(UnpicklableError, match=r"Rows 0 to 0 of the DataFrame cannot travel to a worker: .*_thread.lock"):
        store_frame(pd.DataFrame({"a": [threading.Lock(), 1]}), MemoryStore(), "p", keys=KEYS, split_bytes=MIB, slots=1)


READERS_ALONE = """
import sys, types
face = types.ModuleType("smr_notebook")  # without the public face, which makes DataFrames
face.__path__ = sys.argv[1:]
sys.modules["smr_notebook"] = face
import smr_notebook.dataflow.inputs
sys.exit("pandas" in sys.modules)
"""


def test_the_readers_do_not_import_pandas() -> None:
    command = [sys.executable, "-c", READERS_ALONE, *smr_notebook.__path__]

    assert subprocess.run(command, check=False).returncode == 0


@pytest.mark.parametrize("as_iterator", [True, False])
def test_an_object_holds_no_more_items_than_it_may(as_iterator: bool) -> None:
    items = list(range(10))
    given_items = iter(items) if as_iterator else items
    infos, count = store_items(given_items, MemoryStore(), "p", keys=KEYS, split_bytes=MIB, slots=1, each=4)
    assert ([info.key for info in infos], count) == (["p/000000000000", "p/000000000004", "p/000000000008"], 10)
