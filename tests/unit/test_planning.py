"""A plan is refused where it must be, and says what it will do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.backends.memory.functions import MemoryFunctions
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.control.naming import classify
from smr_notebook.control.planned import PlannedJob
from smr_notebook.control.planning import Request, check_environment, plan_job
from smr_notebook.control.row_keys import MOST_TASKS
from smr_notebook.control.trying import take_sample
from smr_notebook.dataflow.functions import Functions
from smr_notebook.dataflow.inputs import SplitInput
from smr_notebook.dataflow.keys import encode_key
from smr_notebook.dataflow.pair_programs import PairProgram
from smr_notebook.environment import environment
from smr_notebook.errors import EnvironmentMismatchError, InputEmptyError, PlanError
from smr_notebook.model import Format, Policy, Reading, Sorting
from smr_notebook.ports import Backend, Context


def nobody(payload: bytes, context: Context) -> bytes:
    raise AssertionError("planning invokes nothing")


@pytest.fixture
def backend() -> Iterator[Backend]:
    functions = MemoryFunctions(nobody, workers=2)
    source = MemorySource({"/logs/a": b"x\n" * 3_000_000, "/logs/b": b"y\n", "/logs/empty": b"", "/large": b"z\n" * (10 << 20)})
    yield Backend(
        name="memory",
        location="memory:",
        objects=MemoryStore(),
        table=MemoryTable(),
        functions=functions,
        clock=SimulatedClock(),
        sources={"file": source},
        policy=Policy(),
        poll=(0.01, 0.1),
    )
    functions.close()


def planned(backend: Backend, input: object, *, reduce: Callable[..., Any] | None = None, reducers: int = 0) -> PlannedJob:
    functions = Functions(lambda _: None, map_takes_source=False, reduce=reduce, reduce_yields=False, combine=None, combine_yields=False)
    request = Request(PairProgram(functions), classify(input), "auto", reducers, 0, "", 1 << 20, Policy())
    return plan_job(request, backend, job="job", here=environment(), store=backend.objects, label_of=str)


def test_a_whole_object_that_no_worker_has_room_for_is_refused_with_what_to_do(backend: Backend) -> None:
    functions = Functions(lambda _: None, map_takes_source=False, reduce=None, reduce_yields=False, combine=None, combine_yields=False)

    def plan(budget: int) -> PlannedJob:
        request = Request(PairProgram(functions), classify("/large"), "binary", 0, 0, "", budget, Policy())
        return plan_job(request, backend, job="job", here=environment(), store=backend.objects, label_of=str)

    with pytest.raises(
        PlanError, match=r"/large has 20,971,520 bytes, more than the 20,971,519 bytes .*smr\.formats\.parse.*worker_memory"
    ):
        plan((20 << 20) - 1)
    assert plan(20 << 20).plan.maps == 1


def test_what_is_said_of_the_format_is_in_the_plan(backend: Backend) -> None:
    functions = Functions(lambda _: None, map_takes_source=False, reduce=None, reduce_yields=False, combine=None, combine_yields=False)
    told = Reading(tolerant=True, encoding="utf-16", errors="replace")
    request = Request(PairProgram(functions), classify("/logs"), "text", 0, 0, "", 1 << 20, Policy(), reading=told)

    planned = plan_job(request, backend, job="job", here=environment(), store=backend.objects, label_of=str)

    assert (planned.plan.format, planned.plan.reading) == (Format.TEXT, told)
    assert "bytes of text (in utf-16, errors: replace) in 3 objects\n" in planned.describe()


def test_large_objects_are_cut_and_small_ones_share_a_task(backend: Backend) -> None:
    plan = planned(backend, "/logs", reduce=lambda _, values: sum(values))
    assert (plan.plan.format, plan.plan.input_bytes, plan.plan.reducers) == (Format.TEXT, 6_000_002, 1)
    assert len(plan.splits) == plan.plan.maps > 2
    assert sum(split.bytes for split in plan.splits) == plan.plan.input_bytes
    assert plan.plan.warnings == ("Empty objects give no records: 1 of 3, /logs/empty first.",)


def test_items_are_stored_beside_the_job_and_counted(backend: Backend) -> None:
    plan = planned(backend, range(100))
    assert (plan.plan.format, plan.plan.input_records, plan.plan.reducers) == (Format.ITEMS, 100, 0)
    assert all(info.key.startswith("jobs/job/input/") for info in backend.objects.list_prefix("jobs/"))
    with pytest.raises(InputEmptyError, match="nothing to map over"):
        planned(backend, [])


def test_the_number_of_reducers_is_obeyed_or_follows_the_input(backend: Backend) -> None:
    assert planned(backend, "/logs/b", reduce=lambda _, values: None, reducers=7).plan.reducers == 7
    assert planned(backend, "/logs/b", reduce=lambda _, values: None).plan.reducers == 1
    assert planned(backend, "/large", reduce=lambda _, values: None).plan.reducers == 2, "one for each worker"


def test_a_phase_has_no_more_tasks_than_their_keys_can_tell(backend: Backend) -> None:
    assert planned(backend, [1], reduce=sum, reducers=MOST_TASKS).plan.reducers == MOST_TASKS
    with pytest.raises(PlanError, match="1,000,001 tasks"):
        planned(backend, [1], reduce=sum, reducers=MOST_TASKS + 1)


def test_a_plan_tells_what_it_will_do(backend: Backend) -> None:
    table = "x" * 100
    functions = Functions(
        lambda _: [(table, 1)], map_takes_source=False, reduce=None, reduce_yields=False, combine=None, combine_yields=False
    )
    request = Request(PairProgram(functions), classify([1, 2]), "auto", 0, 0, "", 1 << 20, Policy())
    told = plan_job(request, backend, job="job", here=environment(), store=backend.objects, label_of=str).describe()
    assert "2 map" in told
    assert "no reduce" in told
    assert "table (" in told


def test_keys_to_be_sorted_are_sampled_for_ranges(backend: Backend) -> None:
    def planned_for(map: Callable[..., Any], reducers: int) -> PlannedJob:
        functions = Functions(map, map_takes_source=False, reduce=None, reduce_yields=False, combine=None, combine_yields=False)
        request = Request(PairProgram(functions, Sorting(keys=True)), classify(range(1_000)), "auto", reducers, 0, "", 1 << 20, Policy())
        return plan_job(request, backend, job="job", here=environment(), store=backend.objects, label_of=str)

    plan = planned_for(lambda number: [(number, number)], 4).plan
    assert plan.reducers == len(plan.bounds) + 1 == 4
    assert encode_key(100) < plan.bounds[0] < encode_key(400) < plan.bounds[1] < encode_key(600) < plan.bounds[2] < encode_key(900)
    assert "4 reduce by ranges of keys" in planned_for(lambda number: [(number, number)], 4).describe()
    assert planned_for(lambda number: [(number % 2, number)], 4).plan.reducers == 2, "two keys are two ranges"
    assert planned_for(lambda number: [(number, number)], 0).plan.reducers == 1


def test_environments_that_differ_are_refused_by_name(tmp_path: Path) -> None:
    here = environment()
    check_environment(here, here)
    there = replace(here, python="3.99", packages=(*here.packages[1:], ("extra", "1")))
    with pytest.raises(EnvironmentMismatchError) as caught:
        check_environment(here, there)
    for part in (f"Python {here.python} here, 3.99 on the workers", "cloudpickle", "missing on the workers"):
        assert part in str(caught.value)


def test_a_sample_of_a_slow_map_is_small(backend: Backend) -> None:
    def slow(line: str) -> Iterator[tuple[str, int]]:
        backend.clock.sleep(1.5)
        yield line, 1

    functions = Functions(slow, map_takes_source=False, reduce=None, reduce_yields=False, combine=None, combine_yields=False)
    inputs = [SplitInput(split, Format.TEXT, backend.sources) for split in planned(backend, "/logs").splits]
    sample, pairs = take_sample(PairProgram(functions), inputs, clock=backend.clock)
    assert pairs == [("x", 1), ("x", 1)]
    assert (sample.records, sample.pairs, sample.seconds) == (2, 2, 3.0)
