"""Tables read in legs, while they change: each item that stays is given once, whatever else comes and goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.control.metering import MeteredItemSource, MeteredSource
from smr_notebook.control.naming import Files, classify, find
from smr_notebook.control.reading import plan_input
from smr_notebook.dataflow.formats.scanned import read_scanned
from smr_notebook.dataflow.functions import Functions
from smr_notebook.dataflow.inputs import open_blocks
from smr_notebook.dataflow.meter import Meter
from smr_notebook.dataflow.splits import plan_splits
from smr_notebook.dataflow.tables import open_tables
from smr_notebook.errors import ConfigError, InputMixedError, InputReadError, PlanError
from smr_notebook.model import Format, ObjectInfo, Part, Position, Span, Split
from smr_notebook.ports import InputSource, ItemSource, ScannedPage
from smr_notebook.testing.pair_tasks import run_map_to_part
from smr_notebook.values.usage import Tally


@dataclass
class Shelf:
    """A table in memory, which tests change while it is read: numbers, in two segments by what is left over when they are halved.

    A scan goes on behind a number also where that is gone, as DynamoDB does.
    """

    numbers: set[int]
    page: int
    size: int = 100
    after: str = ""

    def find(self, pattern: str) -> Iterator[ObjectInfo]:
        yield from (ObjectInfo(f"{pattern}/{segment}", self.size, "") for segment in (0, 1))

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        raise InputReadError("no bytes")

    def stat(self, key: str) -> ObjectInfo:
        return ObjectInfo(key, 0, "")

    def behind(self, token: str) -> InputSource:
        return Shelf(self.numbers, self.page, self.size, token)

    def scan(self, key: str) -> Iterator[ScannedPage]:
        segment, after = int(key[-1]), self.after
        while True:
            last = json.loads(after) if after else -1
            there = sorted(number for number in self.numbers if number % 2 == segment and number > last)
            some = there[: self.page]
            yield ScannedPage([{"n": number} for number in some], 7 * len(some), 0.6, partial(self._behind, after, some))
            if len(there) <= self.page:
                return
            after = json.dumps(some[-1])

    @staticmethod
    def _behind(after: str, some: list[int], count: int) -> str:
        return json.dumps(some[count - 1]) if count else after


SPLIT = Split(0, tuple(Span("dynamodb", f"t/{segment}", 0, 100, 100, "") for segment in (0, 1)))
numbers = st.sets(st.integers(0, 30), max_size=20)


class Rows:
    """Keeps keys, as a map attempt without `reduce` gives them."""

    def __init__(self) -> None:
        self.keys: list[int] = []

    def add(self, keys: list[Any], values: list[Any], groups: list[Any] | None = None) -> None:
        assert len(values) == len(keys)
        assert groups is None
        self.keys += keys

    def close(self) -> Part:
        return Part(0, ())

    def abort(self) -> None:
        raise AssertionError


def leg(shelf: Shelf, after: Position | None, most: int) -> tuple[Position | None, list[int], int]:
    """Map items as an attempt does that is due after so many, and one at least; return the position, the items and the bytes that count."""
    meter, seen, rows = Meter(), [0], Rows()

    def map(item: dict[str, int]) -> list[tuple[int, int]]:
        seen[0] += 1
        if seen[0] == most:
            meter.wind_up()
        return [(item["n"], 1)]

    if not most:
        meter.wind_up()
    functions = Functions(map, map_takes_source=False, reduce=None, reduce_yields=False, combine=None, combine_yields=False)
    blocks = open_blocks(SPLIT, Format.TABLE, {"dynamodb": shelf}, after=after)
    position = run_map_to_part(functions, blocks, rows, meter=meter).position
    assert len(rows.keys) == meter.records_mapped == seen[0]
    return position, rows.keys, meter.bytes_read


@settings(max_examples=3 * settings().max_examples // 2)
@given(numbers, st.integers(1, 6), st.lists(st.tuples(st.integers(0, 6), numbers, numbers), max_size=5))
def test_an_item_that_stays_is_given_once_whatever_comes_and_goes(
    first: set[int], page: int, legs: list[tuple[int, set[int], set[int]]]
) -> None:
    shelf, at, found, counted = Shelf(set(first), page), None, list[int](), 0
    stays, was = set(first), set(first)
    for most, gone, come in [*legs, (1 << 30, set(), set())]:
        position, items, size = leg(shelf, at, most)
        found += items
        counted += size
        if position is None:
            break
        assert position.done == len(found)
        at = position
        shelf.numbers = (shelf.numbers - gone) | come  # also the very item that the leg ended behind
        stays -= gone
        was |= come
    assert len(set(found)) == len(found)
    assert stays <= set(found) <= was
    assert counted == 200  # as planned, however many items there were


@settings(max_examples=min(60, settings().max_examples))
@given(numbers, st.integers(1, 6), st.lists(st.integers(0, 3), max_size=5))
def test_columns_go_on_behind_a_leg_as_records_do(first: set[int], page: int, legs: list[int]) -> None:
    shelf, found, counted = Shelf(first, page), list[Any](), 0
    at: Position | None = None
    for most in [*legs, 1 << 30]:
        ended = False
        for number, block in enumerate(open_tables(SPLIT, Format.TABLE, {"dynamodb": shelf}, columns=("n",), after=at)):
            if number == most:
                at, ended = block.at, True
                break
            assert block.source == "t"
            found += list(block.columns["n"])
            counted += block.size
        if not ended:
            break
    assert found == sorted(first, key=lambda number: (number % 2, number))
    assert counted == 200


def test_a_table_is_planned_by_its_segments_and_has_no_format() -> None:
    shelf = Shelf({1, 2, 3}, 2, size=2 << 20)
    sources: dict[str, InputSource] = {"dynamodb": shelf, "m": MemorySource({"a.csv": b"a\n"})}
    plan = partial(plan_input, sources=sources, store=MemoryStore(), job="j", split_size=0, slots=1)
    planned = plan(Files(("dynamodb://t",)), format="auto")
    assert (planned.format, [one.info.key for one in planned.objects]) == (Format.TABLE, ["t/0", "t/1"])
    assert [len(split.spans) for split in plan_splits(planned.objects, split_bytes=1 << 20)] == [1, 1]  # one for each, and never cut
    with pytest.raises(ConfigError, match="whose items have no format"):
        plan(Files(("dynamodb://t",)), format="csv")
    with pytest.raises(InputMixedError, match="Name them in two jobs"):
        plan(Files(("dynamodb://t", "m://a.csv")), format="auto")
    with pytest.raises(InputMixedError, match="named twice"):
        find(Files(("dynamodb://t", "dynamodb://t")), sources)
    with pytest.raises(PlanError, match="names a file or a URL"):
        classify(["dynamodb://orders"])


def test_what_scans_cost_is_counted_also_behind_a_leg() -> None:
    tally = Tally()
    shelf = Shelf({0, 2, 4}, 2)
    metered = MeteredItemSource(shelf, shelf, tally)
    assert isinstance(metered, ItemSource)
    assert sum(len(page.items) for page in metered.scan("t/0")) == 3
    resumed = metered.behind("0")
    assert isinstance(resumed, MeteredItemSource)
    assert sum(len(page.items) for page in resumed.scan("t/0")) == 2
    assert tally.usage.row_reads == 3


def test_a_worker_that_cannot_scan_says_so() -> None:
    source = MeteredSource(MemorySource({}), Tally())
    with pytest.raises(InputReadError, match="cannot scan"):
        list(read_scanned(SPLIT.spans[0], source))
