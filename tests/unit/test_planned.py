"""A plan as an object to be looked at."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.backends.memory.functions import MemoryFunctions
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.config import Settings
from smr_notebook.control.planned import PlannedJob
from smr_notebook.errors import BudgetExceededError
from smr_notebook.model import Policy
from smr_notebook.ports import Backend, Context
from smr_notebook.sessions.session import Session

SPAN: Final = re.compile(r'<span class="smr-v">[^<]*</span>')
STAMP: Final = re.compile(r"\[smr-[0-9a-z-]+, [0-9.]+ s\](\n ! .*)*")
TARIFF = "aws/us-east-1/x86_64"
Plans = Callable[..., PlannedJob]


def nobody(payload: bytes, context: Context) -> bytes:
    raise AssertionError("planning invokes nothing")


@pytest.fixture
def backend() -> Iterator[Backend]:
    functions = MemoryFunctions(nobody, workers=2)
    source = MemorySource({"/logs/a": b"x\n" * 3_000_000, "/logs/b": b"y\n" * 400_000, "/t.csv": b"a,b\n1,2\n"})
    yield Backend("memory", "memory:", MemoryStore(), MemoryTable(), functions, SimulatedClock(), {"file": source}, Policy(), (0.01, 0.1))
    functions.close()


@pytest.fixture
def plan(backend: Backend, tmp_path: Path) -> Plans:
    def planned(input: object, *, tariff: str = "", map: Any = len, reduce: Any = None, **options: Any) -> PlannedJob:
        return Session(settings=Settings(workspace=tmp_path), backend=replace(backend, tariff=tariff)).plan(map, reduce, input, **options)

    return planned


def total(_: object, values: Iterator[int]) -> int:
    return sum(values)


def one(line: object) -> list[tuple[object, int]]:
    return [(line, 1)]


def test_a_plan_says_in_one_line_what_it_is(plan: Plans) -> None:
    assert repr(plan("/logs", reduce=sum)) == "<PlannedJob 7 map, 1 reduce, 6.8 MB of text>"
    assert re.fullmatch(r"<PlannedJob 2 map, \d+ B of items>", repr(plan([1, 2])))


def test_a_plan_tells_its_splits_and_what_was_checked(plan: Plans) -> None:
    told = plan("/logs", reduce=sum, name="logs").describe()
    assert told.startswith("Plan 'logs' [smr-plan, 0.0 s]\n ! Tasks   7 map × ")
    assert "bytes at most · 1 reduce\n ! Splits  smallest 800 KB · median 1.0 MB · largest 1.0 MB · ▂········█\n" in told
    assert "\n Input   6,800,000 bytes of text in 2 objects\n" in told
    for check in ("Python 3.", "input found and listed", "functions travel"):
        assert f"\n Check   ✓ {check}" in told
    assert "Cost" not in told, "nothing costs here"
    assert "tried" not in told, "nothing was"


def test_splits_of_one_size_need_no_bars(plan: Plans) -> None:
    assert "▁" not in plan("/logs/a").describe()
    assert "\n ! Splits  one of 8 B\n" in plan("/t.csv").describe()


def test_items_are_told_by_their_number(plan: Plans) -> None:
    told = plan(range(1_000)).describe()
    assert "\n Input   1,000 items\n" in told
    assert "✓ items travel" in told


def test_what_travels_is_told_with_its_size(plan: Plans) -> None:
    table = "x" * 5_000
    told = plan([1], map=lambda _: [(table, 1)]).describe()
    assert re.search(r"\n ! Code    [\d,]+ bytes · captured: table \(5,0\d\d bytes\)\n", told)


def test_the_options_that_change_the_answer_are_told(plan: Plans) -> None:
    told = plan("/t.csv", map=one, reduce=total, sort="keys,values", on_error="skip", max_bad=0.001).describe()
    assert "\n Read    delimiter ','" in told
    assert "1 reduce by ranges of keys\n" in told
    assert "\n Sort    the parts are in the order of the keys; reduce gets the values of a group in order\n" in told
    assert "\n Errors  what fails is left out and told (skip); more than 0.1% ends the job\n" in told


def test_runs_are_merged_where_reading_them_would_cost_more_and_the_plan_says_so(plan: Plans) -> None:
    many = plan("/logs", tariff=TARIFF, map=one, reduce=sum, split_size=10_000, reducers=500)
    assert many.plan.merging is not None
    reads = many.plan.maps * 500
    assert reads > 300_000
    told = rf"tasks? in between, \d+ groups? of map tasks × \d+ of partitions: {reads:,} reads become [\d,]+, \$[\d.]+ become \$[\d.]+"
    for shown in (many.describe(), re.sub(r"<[^>]+>", "", many._repr_mimebundle_()["text/html"])):
        assert "Merge" in shown
        assert re.search(told, shown)
    assert re.search(r", merge \d+, reduce 500 × ", many.describe())
    fewer = plan("/logs", tariff=TARIFF, map=one, reduce=sum, split_size=10_000, reducers=400)
    assert fewer.plan.merging is None
    assert "Merge" not in fewer.describe()
    assert plan("/logs", map=one, reduce=sum, split_size=10_000, reducers=500).plan.merging is None, "where reads cost nothing"


def test_a_cost_is_told_with_its_range_and_its_limit(plan: Plans) -> None:
    told = plan("/logs", tariff=TARIFF, map=one, reduce=sum, max_cost=2.5)
    thought = told.plan.estimate
    assert thought is not None
    assert 0 < thought.low < thought.high
    assert re.search(
        r"\n ! Cost    \$[\d.e-]+ to \$[\d.e-]+ \(map 7 × [\d.]+ s, reduce 1 × [\d.]+ s; prices of us-east-1, ", told.describe()
    )
    assert "\n Limit   $2.50 (max_cost)\n" in told.describe()
    assert (told.tried, told.lawful) == (thought.sampled, False)
    assert f"\n ! Check   ✓ map tried on {told.tried} records\n" in told.describe()
    assert "\n Limit   none: max_cost sets one\n" in plan("/logs", tariff=TARIFF, map=one).describe()


def test_a_job_that_is_thought_to_cost_more_than_it_may_is_refused_and_one_below_it_is_not(plan: Plans) -> None:
    likely = plan("/logs", tariff=TARIFF, map=one).plan.estimate.likely  # type: ignore[union-attr]
    with pytest.raises(
        BudgetExceededError, match=r"thought to cost \$.* to \$.*, and max_cost is \$.*Raise max_cost, or name less input: 7 map"
    ):
        plan("/logs", tariff=TARIFF, map=one, max_cost=likely / 2)
    assert plan("/logs", tariff=TARIFF, map=one, max_cost=likely * 2).plan.max_cost == likely * 2
    assert plan("/logs", map=one, max_cost=1e-12).plan.estimate is None, "where nothing costs, nothing is too much"


def test_a_combiner_that_was_tried_is_told(plan: Plans) -> None:
    told = plan("/logs", map=one, reduce=total, combine=True)
    assert (told.tried, told.lawful) == (200, True)
    assert "✓ map tried on 200 records, and combine keeps its law on what it gave" in told.describe()


def test_a_map_that_failed_when_it_was_tried_is_no_error_of_the_plan_and_is_told(plan: Plans) -> None:
    told = plan([1, 0], map=lambda number: [(1 // number, 1)], reduce=total, combine=True)
    assert (told.tried, told.lawful, told.failed) == (1, True, "ZeroDivisionError")
    assert "✗ map was tried, and ZeroDivisionError was raised after 1 record: a preview tells where" in told.describe()
    assert "✓ map tried" not in told.describe()


def test_a_frame_has_a_row_for_each_piece_of_an_object(plan: Plans) -> None:
    told = plan("/logs")
    frame = told.to_frame()
    assert list(frame.columns) == ["split", "object", "offset", "bytes"]
    assert frame["bytes"].sum() == told.plan.input_bytes
    assert frame.groupby("object")["bytes"].sum().to_dict() == {"/logs/a": 6_000_000, "/logs/b": 800_000}
    assert sum(one.count for one in told.split_sizes().bins) == told.plan.maps


def test_a_plan_is_shown_as_text_and_as_html(plan: Plans) -> None:
    told = plan("/logs", name="a<b")
    shown = told._repr_mimebundle_()
    assert shown["text/plain"] == told.describe()
    assert shown["text/html"].startswith('<div class="smr-plan"')
    assert "a&lt;b" in shown["text/html"]


def test_two_plans_of_one_job_differ_in_what_is_told_to_vary_only(plan: Plans) -> None:
    few, many = (
        plan("/logs", reducers=1, split_size=10**9, reduce=sum)._repr_mimebundle_(),
        plan("/logs", reducers=9, split_size=500_000, reduce=sum)._repr_mimebundle_(),
    )
    assert few != many
    assert SPAN.sub("V", few["text/html"]) == SPAN.sub("V", many["text/html"])
    assert STAMP.sub("V", few["text/plain"]) == STAMP.sub("V", many["text/plain"])
