"""Bit rot: whatever happens to the bytes of whichever object of a job, there is the right answer, or an error that names the object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import smr_notebook as smr
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.platform import open_memory
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.config import Settings
from smr_notebook.control.coordinator import looks
from smr_notebook.control.driving import run_driver
from smr_notebook.control.ledger import JOBS, Ledger
from smr_notebook.control.messages import Message, coordinate, decode, drive
from smr_notebook.control.row_keys import groups_of
from smr_notebook.control.worker import run_attempt
from smr_notebook.errors import CorruptObjectError, PlanError, SmrError, TaskError
from smr_notebook.model import Phase, TaskId
from smr_notebook.ports import LASTING, Backend, Context
from smr_notebook.testing.damage import cuts, damages, flips, moves
from smr_notebook.testing.nobody import NoFunctions

ITEMS = [1, 2, 3]
NEVER = 1e12


@dataclass
class Stored:
    """All that a job consists of at some time."""

    objects: MemoryStore
    table: MemoryTable
    job: str

    def copy(self) -> Stored:
        objects, table = MemoryStore(), MemoryTable()
        for info in self.objects.list_prefix(""):
            objects.put(info.key, self.objects.get(info.key))
        for group in (JOBS, LASTING, *groups_of(self.job)):
            for row in self.table.query(group):
                for version in range(row.version):
                    table.put(group, row.key, row.value, expect=version)
        return Stored(objects, table, self.job)

    def keys(self, part: str) -> list[str]:
        return [info.key for info in self.objects.list_prefix(f"jobs/{self.job}/{part}")]


@dataclass
class Calls(NoFunctions):
    """Keeps the calls until somebody runs them."""

    waiting: list[Message] = field(default_factory=list)

    def invoke(self, payload: bytes) -> None:
        """Keep a call."""
        message = decode(payload)
        assert isinstance(message, Message)
        self.waiting.append(message)


def opened(stored: Stored, calls: Calls, *, plans: bool = False) -> Backend:
    backend = open_memory()
    policy = replace(backend.policy, retries=0, heartbeat=NEVER, lease=NEVER)
    return replace(backend, objects=stored.objects, table=stored.table, functions=calls, policy=policy, expires=True, plans=plans)


def nothing(_: Message) -> None:
    """Look away."""


def play(stored: Stored, *, before: Callable[[Message], object] = nothing, after: Callable[[Message], object] = nothing) -> smr.Job:
    """Run a job to its end, one invocation after the other, and tell before each attempt that it begins, and after it that it has ended."""
    calls, names = Calls(), count()
    backend = opened(stored, calls, plans=bool(stored.keys("request")))

    def context() -> Context:
        return Context("memory:", f"invocation-{next(names)}", NEVER, 1 << 30, backend.clock)

    if backend.plans:
        run_driver(backend, drive(stored.job), context())
        calls.waiting.clear()
    for _ in looks(backend, coordinate(stored.job), context()):
        waiting, calls.waiting = calls.waiting, []
        for message in waiting:
            if message.works:
                before(message)
                run_attempt(backend, message, context(), abandon=lambda _: None)
                after(message)
    return session_on(backend).attach(stored.job)


def session_on(backend: Backend, *, merge_above: int = 0) -> smr.Session:
    return smr.Session(settings=Settings(workspace=Path("nowhere"), merge_above=merge_above), backend=backend)


def typed(item: int) -> Iterator[tuple[str, int]]:
    yield "a", item
    yield f"b{item}", item


def typed_row(row: dict[str, int]) -> Iterator[tuple[str, int]]:
    yield from typed(row["item"])


def pickled(item: int) -> Iterator[tuple[Fraction, complex]]:
    yield Fraction(1, 2), complex(item)
    yield Fraction(1, item + 2), complex(item)


def total(_: object, values: Iterable[Any]) -> Any:
    return sum(values)


@dataclass
class Story:
    """A job at several times: submitted, with its runs all written, with them proved, and done; and its answer."""

    submitted: Stored
    written: Stored
    mapped: Stored
    done: Stored
    answer: list[Any]

    @property
    def maps(self) -> int:
        """Number of map tasks."""
        return len(self.written.keys("map/"))


def rows(job: smr.Job) -> list[Any]:
    return sorted(map(repr, job.result().itertuples(index=False, name=None)))


def submit(map: Callable[..., Any], input: object, *, plans: bool = False, reduce: Callable[..., Any] | None = total) -> Stored:
    """Submit a job that nobody runs."""
    empty = Stored(MemoryStore(), MemoryTable(), "")
    job = session_on(opened(empty, Calls(), plans=plans)).map_reduce(map, reduce, input, reducers=1 if reduce else None)
    return replace(empty, job=job.id)


@pytest.fixture(scope="module", params=[typed, pickled], ids=["typed", "pickled"])
def story(request: pytest.FixtureRequest) -> Story:
    submitted = submit(request.param, ITEMS)
    begun: dict[str, Stored] = {}
    ended: dict[str, Stored] = {}
    running = submitted.copy()
    done = play(
        running,
        before=lambda message: begun.setdefault(message.role, running.copy()),
        after=lambda message: ended.update({message.role: running.copy()}),
    )
    return Story(submitted, ended[Phase.MAP], begun[Phase.REDUCE], running, rows(done))


def spoil(stored: Stored, key: str, data: bytes) -> Stored:
    spoiled = stored.copy()
    spoiled.objects.put(key, data)
    return spoiled


def check(key: str, what: str, answer: list[Any], read: Callable[[], list[Any]]) -> bool:
    """See to it that there is the answer, or an error that names the object; return whether there was an error."""
    try:
        assert read() == answer, f"{key}: {what}"
    except CorruptObjectError as error:
        if key in str(error):
            return True
        raise
    except SmrError as error:
        raise AssertionError(f"{key}: {what}: {error!r}") from error
    return False


@pytest.mark.parametrize("part", ["plan", "code", "splits/", "input/"])
def test_what_a_job_is_submitted_with(story: Story, part: str) -> None:
    (key,) = story.submitted.keys(part)
    for what, damaged in damages(story.submitted.objects.get(key)):
        spoiled = spoil(story.submitted, key, damaged)
        noticed = check(key, what, story.answer, lambda: rows(play(spoiled)))  # noqa: B023 - called at once
        assert noticed or " behind it" in what, what  # what is behind its end nobody reads


def test_every_byte_of_a_run(story: Story) -> None:
    """Those of its index and tail when it is proved, the others when it is reduced."""
    (key,) = story.written.keys("map/000001/001/run")
    run = story.written.objects.get(key)
    for what, damaged in (*flips(run), *cuts(run, every=1), *moves(run)):
        spoiled = spoil(story.written, key, damaged)
        noticed = check(key, what, story.answer, lambda: rows(play(spoiled)))  # noqa: B023 - called at once
        assert noticed or " behind it" in what, what


@pytest.mark.parametrize("what", ["items", "rows"])
def test_what_a_driver_plans_from(what: str) -> None:
    """A job that is planned where code runs: its request, and what was stored beside it."""
    input = ITEMS if what == "items" else pd.DataFrame({"item": ITEMS})
    submitted = submit(typed if what == "items" else typed_row, input, plans=True)
    answer = rows(play(submitted.copy()))
    for part in ("request", "input/"):
        (key,) = submitted.keys(part)
        for told, damaged in damages(submitted.objects.get(key), most=300):
            spoiled = spoil(submitted, key, damaged)
            assert check(key, told, answer, lambda: rows(play(spoiled))), told  # noqa: B023 - called at once


@pytest.mark.parametrize("part", ["index", "manifest/map"])
def test_what_is_between_map_and_reduce(story: Story, part: str) -> None:
    (key,) = story.mapped.keys(part)
    found = 0
    for what, damaged in damages(story.mapped.objects.get(key)):
        spoiled = spoil(story.mapped, key, damaged)
        found += check(key, what, story.answer, lambda: rows(play(spoiled)))  # noqa: B023 - called at once
    assert found


@dataclass
class Merged:
    """A job whose runs are merged: when its map phase has ended, and when its merge phase has; and its answer."""

    mapped: Stored
    merged: Stored
    answer: list[Any]


@pytest.fixture(scope="module", params=[typed, pickled], ids=["typed", "pickled"])
def merged(request: pytest.FixtureRequest) -> Merged:
    empty = Stored(MemoryStore(), MemoryTable(), "")
    job = session_on(opened(empty, Calls()), merge_above=1).map_reduce(request.param, total, ITEMS, reducers=2)
    running, begun = replace(empty, job=job.id), dict[str, Stored]()
    done = play(running, before=lambda message: begun.setdefault(message.role, running.copy()))
    return Merged(begun[Phase.MERGE], begun[Phase.REDUCE], rows(done))


@pytest.mark.parametrize(
    ("when", "part"),
    [
        ("mapped", "map/000001/001/run"),
        ("mapped", "index"),
        ("merged", "merge/000000/001/run"),
        ("merged", "merge/index"),
        ("merged", "manifest/merge"),
    ],
)
def test_what_is_between_the_phases_where_runs_are_merged(merged: Merged, when: str, part: str) -> None:
    stored: Stored = getattr(merged, when)
    (key,) = stored.keys(part)
    found = 0
    for what, damaged in damages(stored.objects.get(key), most=40):
        spoiled = spoil(stored, key, damaged)
        found += check(key, what, merged.answer, lambda: rows(play(spoiled)))  # noqa: B023 - called at once
    assert found


@pytest.mark.parametrize("part", ["manifest/reduce", "reduce/000000/001/part-000.parquet"])
def test_what_a_job_leaves(story: Story, part: str) -> None:
    (key,) = story.done.keys(part)
    for what, damaged in damages(story.done.objects.get(key)):
        spoiled = spoil(story.done, key, damaged)
        job = session_on(opened(spoiled, Calls())).attach(spoiled.job)
        assert check(key, what, story.answer, lambda: rows(job)), what  # noqa: B023 - called at once
        check(key, what, story.answer, lambda: sorted(map(repr, job.head(100).itertuples(index=False, name=None))))  # noqa: B023 - as above


# ---------------------------------------------------------------- what a resumed job makes of it


def gone_on(spoiled: Stored, job: smr.Job) -> tuple[smr.Job, list[TaskId]]:
    """Go on from a job that ended, and return the one that did, with the tasks that it tried."""
    again = job.resume()
    play(replace(spoiled, job=again.id))
    return again, sorted(Ledger(spoiled.table, again.id).snapshot().attempts)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def without(stored: Stored, key: str) -> Stored:
    spoiled = stored.copy()
    spoiled.objects.delete_prefix(key)
    return spoiled


SPOIL: dict[str, Callable[[Stored, str], Stored]] = {
    "its first byte changed": lambda stored, key: spoil(stored, key, flipped(stored.objects.get(key), 0)),
    "a byte of a block changed": lambda stored, key: spoil(stored, key, flipped(stored.objects.get(key), 30)),
    "a byte of its index changed": lambda stored, key: spoil(
        stored, key, flipped(stored.objects.get(key), len(stored.objects.get(key)) - 50)
    ),
    "its end missing": lambda stored, key: spoil(stored, key, stored.objects.get(key)[:-1]),
    "it is gone": without,
}


@pytest.mark.parametrize(
    ("when", "how"),
    [*(("written", how) for how in SPOIL), *(("mapped", how) for how in SPOIL if "block" in how or "first" in how or "gone" in how)],
)
def test_a_run_that_rots_costs_its_task_and_nothing_else(story: Story, when: str, how: str) -> None:
    stored: Stored = getattr(story, when)
    key = stored.keys("map/")[-1]
    spoiled = SPOIL[how](stored, key)
    job = play(spoiled)
    with pytest.raises(CorruptObjectError, match=key):
        job.result()
    again, tried = gone_on(spoiled, job)
    assert rows(again) == story.answer
    maps = story.maps
    assert tried == [TaskId(Phase.MAP, maps - 1), TaskId(Phase.REDUCE, 0)]
    assert again.warnings[0] == (
        f"{maps - 1} of {maps} map tasks are taken over from job {job.id}; 1 whose stored output is damaged or gone is done again."
    )


def test_what_rots_beside_it_is_found_at_once(story: Story) -> None:
    """A job that ended because of one object has the others read, too: it does not end once for each of them."""
    one, other, *_ = story.written.keys("map/")
    spoiled = story.mapped
    for key in (one, other):
        spoiled = SPOIL["a byte of a block changed"](spoiled, key)
    job = play(spoiled)
    assert isinstance(job.exception(), CorruptObjectError)
    again, tried = gone_on(spoiled, job)
    assert rows(again) == story.answer
    assert [task.number for task in tried if task.phase is Phase.MAP] == [0, 1]


def test_what_is_wrong_between_the_phases_is_made_anew(story: Story) -> None:
    for part in ("index", "manifest/map"):
        (key,) = story.mapped.keys(part)
        spoiled = SPOIL["its first byte changed"](story.mapped, key)
        job = play(spoiled)
        with pytest.raises(CorruptObjectError, match=key):
            job.result()
        again, tried = gone_on(spoiled, job)
        assert rows(again) == story.answer
        assert tried == [TaskId(Phase.REDUCE, 0)]


@pytest.mark.parametrize("part", ["splits/", "input/"])
def test_what_a_job_was_submitted_with_no_task_makes_again(story: Story, part: str) -> None:
    (key,) = story.submitted.keys(part)
    spoiled = SPOIL["its first byte changed"](story.submitted, key)
    job = play(spoiled)
    assert isinstance(job.exception(), CorruptObjectError)
    with pytest.raises(PlanError, match=rf"ended with \w+: {key}, which it was submitted with, is not what it should be"):
        job.resume()


def test_a_part_that_is_gone_is_made_again_before_anybody_misses_it() -> None:
    """Of a job that ended for another reason, and whose map tasks wrote the parts themselves."""
    submitted = submit(brittle, ITEMS, reduce=None)
    job = play(submitted)
    assert isinstance(job.exception(), TaskError)
    parts = submitted.keys("map/")
    assert parts
    submitted.objects.delete_prefix(parts[0])
    again = job.retry_failed(map=lambda item: [(item, item)])
    play(replace(submitted, job=again.id))
    assert rows(again) == sorted(map(repr, [(item, item) for item in ITEMS]))
    assert "1 whose stored output is damaged or gone is done again" in again.warnings[0]


def brittle(item: int) -> Iterator[tuple[int, int]]:
    yield item, item // (item != ITEMS[-1])
