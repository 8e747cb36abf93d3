"""Jobs whose runs are merged between map and reduce, on the local backend: the same bytes, whoever is killed, and nothing left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import smr_notebook as smr
from smr_notebook.backends.local.client import LocalFunctions
from smr_notebook.control.layout import Layout
from smr_notebook.errors import CorruptObjectError, JobError
from smr_notebook.model import Phase
from smr_notebook.testing.waiting import wait_until

OpenSession = Callable[..., smr.Session]


@pytest.fixture
def own_session(own_session: OpenSession) -> OpenSession:
    """Open sessions that merge whatever can be merged."""
    return partial(own_session, merge_above=1)


def fives(item: int) -> Iterator[tuple[int, frozenset[int]]]:
    """Values that travel as pickles, so that each block is signed."""
    yield item % 5, frozenset([item])


def in_order(key: int, values: Iterator[frozenset[int]]) -> list[int]:
    return [item for value in values for item in value]


def mark(path: Path) -> None:
    """Make a file, whole at once."""
    path.with_suffix(".new").touch()
    path.with_suffix(".new").replace(path)


ITEMS = list(range(60))
EXPECTED = [(key, [item for item in ITEMS if item % 5 == key]) for key in range(5)]


def rows(job: smr.Job) -> list[tuple[Any, ...]]:
    return list(job.result().itertuples(index=False, name=None))


def test_a_merged_job_is_told_and_leaves_nothing(own_session: OpenSession) -> None:
    merged, plain = own_session(), own_session(merge_above=0)
    assert "Merge  " in str(merged.plan(fives, in_order, ITEMS, reducers=3, split_size=5))
    assert "Merge  " not in str(plain.plan(fives, in_order, ITEMS, reducers=3, split_size=5))
    job, other = (session.map_reduce(fives, in_order, ITEMS, reducers=3, split_size=5) for session in (merged, plain))
    assert rows(job) == rows(other) == EXPECTED
    assert job.proof == other.proof
    status = job.status()
    assert status.merge.done == status.merge.tasks >= 1
    assert other.status().merge.tasks == 0
    assert "merge" in repr(job)
    assert {attempt.phase for attempt in job.timeline().attempts} == {"map", "merge", "reduce"}
    objects, layout = merged.backend.objects, Layout(job.id)
    wait_until(lambda: not [info for phase in (Phase.MAP, Phase.MERGE) for info in objects.list_prefix(layout.phase(phase))])


def _waits(folder: Path) -> Callable[..., Any]:
    def reduce(key: int, values: Iterator[frozenset[int]]) -> list[int]:
        mark(folder / "reducing")
        wait_until((folder / "go_on").exists, seconds=120)
        return [item for value in values for item in value]

    return reduce


def workers(session: smr.Session) -> tuple[int, ...]:
    functions = session.backend.functions
    assert isinstance(functions, LocalFunctions)
    status = functions.status()
    return tuple(status.workers) if status else ()


def _maps(folder: Path, moment: str) -> Callable[..., Any]:
    def map(item: int) -> Iterator[tuple[int, frozenset[int]]]:
        if moment == "written" and item == 30:
            mark(folder / "mapping")
            wait_until((folder / "go_on").exists, seconds=120)
        yield from fives(item)

    return map


MOMENTS: dict[str, Callable[[Path, smr.Job], bool]] = {
    "written": lambda folder, _: (folder / "mapping").exists(),
    "merged": lambda _, job: 0 < job.status().map.tasks == job.status().map.done,
    "read": lambda folder, _: (folder / "reducing").exists(),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_worker_is_killed_while_runs_are_written_merged_or_read(own_session: OpenSession, tmp_path: Path, moment: str) -> None:
    """No job ends before: whoever reduces waits for us."""
    session = own_session()
    job = session.map_reduce(_maps(tmp_path, moment), _waits(tmp_path), ITEMS, reducers=3, split_size=5)
    wait_until(lambda: MOMENTS[moment](tmp_path, job) and workers(session))
    worker, *_ = workers(session)
    os.kill(worker, signal.SIGKILL)
    mark(tmp_path / "go_on")
    assert rows(job) == EXPECTED
    assert job.status().merge.done == job.status().merge.tasks >= 1


def test_what_is_asked_while_merged_runs_are_reduced_is_answered(own_session: OpenSession, tmp_path: Path) -> None:
    session = own_session()
    job = session.map_reduce(fives, _waits(tmp_path), ITEMS, reducers=3, split_size=5)
    wait_until((tmp_path / "reducing").exists)
    skew = job.skew()
    mark(tmp_path / "go_on")
    assert sum(share.pairs for share in skew.shares) == len(ITEMS)
    assert sum(key.pairs for key in skew.keys) == skew.keys_pairs == max(share.pairs for share in skew.shares)
    assert rows(job) == EXPECTED


def test_a_merged_job_is_resumed_and_debugged(own_session: OpenSession, tmp_path: Path) -> None:
    session = own_session(retries=0)

    def reduce(key: int, values: Iterator[frozenset[int]]) -> list[int]:
        if key == 3 and not (tmp_path / "mended").exists():
            raise ValueError("not yet")
        return [item for value in values for item in value]

    job = session.map_reduce(fives, reduce, ITEMS, reducers=3, split_size=5)
    with pytest.raises(JobError, match="not yet"):
        job.result()
    key, values = job.failing_record()
    assert (key, [item for value in values for item in value]) == EXPECTED[3]
    mark(tmp_path / "mended")
    again = job.resume()
    assert rows(again) == EXPECTED
    assert again.status().merge.done >= 1, "what was merged is merged again, from runs that stand"
    assert "map tasks" in again.warnings[0]


def test_a_damaged_merged_run_ends_the_job_under_its_name(own_session: OpenSession, tmp_path: Path) -> None:
    session = own_session(retries=0, workers=1)
    job = session.map_reduce(fives, _waits(tmp_path), ITEMS, reducers=3, split_size=5)
    wait_until((tmp_path / "reducing").exists)
    objects = session.backend.objects
    for info in list(objects.list_prefix(Layout(job.id).phase(Phase.MERGE))):
        if info.key.endswith("/run"):
            data = bytearray(objects.get(info.key))
            data[: len(data) // 2] = bytes(len(data) // 2)
            objects.put(info.key, bytes(data))
    mark(tmp_path / "go_on")
    with pytest.raises(CorruptObjectError, match=r"merge/00000\d/001/run is not what was written"):
        job.result()
    assert rows(job.resume()) == EXPECTED


def test_several_inputs_with_hooks_and_counters_are_merged_fail_and_go_on(own_session: OpenSession) -> None:
    """Each map attempt sets up its own input alone; what was merged is merged again, and what was counted counts once."""

    def hooked(name: str) -> Callable[..., Any]:
        def map(state: str, item: int) -> Iterator[tuple[int, tuple[str, int]]]:
            smr.count_up(f"items of {state}")
            yield item % 3, (state, item)

        def setup() -> str:
            smr.count_up(f"setups of {name}")
            return name

        return smr.hooked(map, setup=setup, teardown=lambda state: smr.count_up(f"teardowns of {state}"))

    def reduce(key: int, values: Iterator[tuple[str, int]]) -> list[tuple[str, int]]:
        found = list(values)
        smr.count_up("groups")
        if key == 1:
            raise KeyError(key)
        return found

    session = own_session()
    inputs = [smr.mapped(hooked("some"), range(10)), smr.mapped(hooked("others"), range(20))]
    job = session.map_reduce(None, reduce, inputs, split_size=20, reducers=3, retries=0)
    with pytest.raises(JobError, match="KeyError in reduce: 1"):
        job.result()
    expected = {key: [(name, item) for name, most in (("some", 10), ("others", 20)) for item in range(key, most, 3)] for key in range(3)}
    with pytest.raises(KeyError):
        job.debug()
    key, values = job.failing_record()
    assert (key, list(values)) == (1, expected[1])
    again = job.retry_failed(reduce=smr.hooked(lambda key, values: list(values), setup=lambda: smr.count_up("reducers")))
    assert dict(rows(again)) == expected
    status, starts = again.status(), [inlet.first for inlet in again._plan().reading.inlets]
    assert status.merge.tasks == status.merge.done >= 1
    tasks = {"some": starts[1], "others": status.map.tasks - starts[1]}
    counted = {f"{what} of {name}": number for name, number in tasks.items() for what in ("setups", "teardowns")}
    found = dict(again.counters)
    assert {name: number for name, number in found.items() if name not in {"groups", "reducers"}} == {
        **counted,
        "items of some": 10,
        "items of others": 20,
    }
    assert found["reducers"] == 3 - (again.timeline().taken_over - status.map.tasks)
