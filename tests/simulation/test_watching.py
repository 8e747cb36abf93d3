"""What watching a job costs, and how often it paints: in simulated time, with a table that counts what it is asked."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.config import Settings
from smr_notebook.control.ledger import Ledger
from smr_notebook.environment import environment
from smr_notebook.model import JobState, Policy
from smr_notebook.ports import Backend, Row, ServiceLimits
from smr_notebook.sessions.session import Session
from smr_notebook.standing import PhaseProgress, Progress
from smr_notebook.values.pacing import LONG, LONGEST_PAUSE, TICK

AWS_POLL = (0.2, 3.0)


class Nobody:
    """Takes calls and answers none."""

    limits = ServiceLimits(1 << 20, 900.0, 2, 0.0, 1 << 30, environment())

    def invoke(self, payload: bytes) -> None:
        pass


class CountingTable(MemoryTable):
    """Counts what it is asked, and by which verb."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def get(self, group: str, key: str) -> Row | None:
        self.asked["get"] += 1
        return super().get(group, key)

    def put(self, group: str, key: str, value: bytes, *, expect: int) -> Row:
        self.asked["put"] += 1
        return super().put(group, key, value, expect=expect)

    def query(self, group: str, prefix: str = "") -> list[Row]:
        self.asked["query"] += 1
        return super().query(group, prefix)


class Unasked:
    """The same rows, where what is asked does not count: the coordinator's side."""

    def __init__(self, table: CountingTable) -> None:
        self._table = table

    def get(self, group: str, key: str) -> Row | None:
        return MemoryTable.get(self._table, group, key)

    def put(self, group: str, key: str, value: bytes, *, expect: int) -> Row:
        return MemoryTable.put(self._table, group, key, value, expect=expect)

    def query(self, group: str, prefix: str = "") -> list[Row]:
        return MemoryTable.query(self._table, group, prefix)

    def delete_group(self, group: str) -> None:
        self._table.delete_group(group)


class Busy(SimulatedClock):
    """A clock whose time brings the progress of a job along; it writes down how long somebody slept each time."""

    def __init__(self) -> None:
        super().__init__(1_000.0)
        self.pauses: list[float] = []
        self.ledger: Ledger | None = None
        self.seconds = 0.0
        self.every = 0.0

    def sleep(self, seconds: float, *, least: float = 0.0) -> None:
        super().sleep(seconds, least=least)
        self.pauses.append(seconds)
        if self.ledger is not None:
            self.ledger.put_progress(self._progress(self.now() - 1_000.0))

    def _progress(self, passed: float) -> Progress:
        """Return how far a job of `seconds` is, whose coordinator looks each `every` seconds."""
        looked = passed - passed % self.every if passed < self.seconds else self.seconds
        state = JobState.DONE if passed >= self.seconds else JobState.MAPPING
        phase = PhaseProgress(tasks=10_000, done=int(10_000 * looked / self.seconds))
        return Progress(state, phase, PhaseProgress(), 1_000.0, 1_000.0 + looked, 1, lease_expires=1_000.0 + passed + 30.0)


def pairs(item: int) -> Iterator[tuple[int, int]]:
    yield item % 2, item


class Watched:
    """A job of so many seconds whose coordinator looks so often; who watches it looks as `poll` says."""

    def __init__(self, folder: Path, *, seconds: float, every: float, poll: tuple[float, float]) -> None:
        self.clock, self.table = Busy(), CountingTable()
        backend = Backend(
            name="memory",
            location="memory:",
            objects=MemoryStore(),
            table=self.table,
            functions=Nobody(),
            clock=self.clock,
            sources={},
            policy=Policy(),
            poll=poll,
        )
        self.job = Session(settings=Settings(workspace=folder), backend=backend).map_reduce(pairs, sum, [1, 2, 3])
        self.clock.ledger, self.clock.seconds, self.clock.every = Ledger(Unasked(self.table), self.job.id), seconds, every
        self.table.asked.clear()
        self.painted: list[float] = []

    def watch(self) -> Progress:
        return self.job.watch(lambda _: self.painted.append(self.clock.now() - 1_000.0))

    @property
    def gaps(self) -> list[float]:
        return [later - earlier for earlier, later in itertools.pairwise(self.painted)]


def test_watching_costs_one_row_read_a_look(tmp_path: Path) -> None:
    watched = Watched(tmp_path, seconds=600.0, every=1.0, poll=AWS_POLL)
    assert watched.watch().state is JobState.DONE
    assert watched.table.asked == {"get": len(watched.clock.pauses) + 1}


def test_looks_become_rarer_until_two_seconds(tmp_path: Path) -> None:
    watched = Watched(tmp_path, seconds=600.0, every=1.0, poll=AWS_POLL)
    watched.watch()
    pauses = watched.clock.pauses
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.2, LONGEST_PAUSE)
    assert len(pauses) < 600 / LONGEST_PAUSE + 10


def test_a_job_is_painted_five_times_a_second_at_most_and_after_a_minute_once(tmp_path: Path) -> None:
    watched = Watched(tmp_path, seconds=120.0, every=0.01, poll=(0.001, 0.05))
    watched.watch()
    gaps = list(zip(watched.painted, watched.gaps, strict=False))
    assert min(gap for at, gap in gaps if at < LONG - 1) >= 0.2 - 1e-6
    assert min(gap for at, gap in gaps[:-1] if at > LONG) >= TICK - 1e-6


def test_the_clock_of_a_job_that_does_not_move_goes_on(tmp_path: Path) -> None:
    watched = Watched(tmp_path, seconds=50.0, every=50.0, poll=(0.001, 0.25))
    watched.watch()
    assert len(watched.painted) >= 40
    assert max(watched.gaps) <= TICK + 0.25 + 1e-6
