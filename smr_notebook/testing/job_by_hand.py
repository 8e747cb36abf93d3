"""A submitted job on a memory backend, whose calls are run by hand with the real control and data plane. Needs no test library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from smr_notebook.backends.memory.clock import SimulatedClock
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.platform import open_memory
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.control.attempts import Claim, claim
from smr_notebook.control.coordinator import looks
from smr_notebook.control.keys import keys_of
from smr_notebook.control.layout import Layout
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.messages import Message, coordinate, decode
from smr_notebook.control.plans import write_code, write_plan
from smr_notebook.control.rows import JobEntry
from smr_notebook.control.worker import run_attempt
from smr_notebook.dataflow.code import capture
from smr_notebook.dataflow.formats.stored import store_items
from smr_notebook.dataflow.functions import Functions
from smr_notebook.dataflow.pair_programs import PairProgram
from smr_notebook.environment import environment
from smr_notebook.errors import StoreError
from smr_notebook.model import Attempt, AttemptId, Format, JobState, Plan, Policy, Span, Split, TaskId
from smr_notebook.ports import Buffer, Context, Row, ServiceLimits

POLICY = Policy(heartbeat=0.01)
HOUR = 3_600.0
ITEMS: list[object] = list(range(100))


@dataclass
class Service:
    """Keeps the calls until somebody runs them."""

    limits: ServiceLimits
    calls: list[Message] = field(default_factory=list)
    refuses: Exception | None = None
    refused: int = 0

    def invoke(self, payload: bytes) -> None:
        """See `ports.FunctionService.invoke`."""
        if self.refuses is not None:
            self.refused += 1
            raise self.refuses
        message = decode(payload)
        assert isinstance(message, Message)
        self.calls.append(message)


class Job:
    """A submitted job whose calls are run by hand."""

    def __init__(self, functions: Functions, items: list[object], *, reducers: int = 2, policy: Policy = POLICY) -> None:
        self.service = Service(ServiceLimits(1 << 20, 900.0, 2, 0.0, 1 << 30, environment()))
        self.clock = SimulatedClock(1_000.0)
        own = replace(open_memory(), objects=FullStore(), table=MeddledTable(), functions=self.service, clock=self.clock)
        self.backend = replace(own, policy=policy, poll=(0.1, 1.0))
        self.ledger = Ledger(self.backend.table, "3f9a")
        self._names = iter(range(1_000_000))
        stored, records = store_items(
            items, self.backend.objects, Layout("3f9a").input, keys=keys_of(self.backend.table), split_bytes=1, slots=2
        )
        splits = [Split(n, (Span("job", info.key, 0, info.size, info.size, info.version),)) for n, info in enumerate(stored)]
        self.plan = Plan(
            job="3f9a",
            name="",
            created=1_000.0,
            format=Format.ITEMS,
            maps=len(splits),
            reducers=reducers,
            combine=functions.combine is not None,
            grouped_order=False,
            input_bytes=sum(info.size for info in stored),
            input_records=records,
            budget=1 << 24,
            policy=policy,
            environment=environment(),
        )
        write_code(self.backend.objects, self.plan.job, capture(PairProgram(functions)).data, keys_of(self.backend.table))
        write_plan(self.backend.objects, self.plan, splits, keys_of(self.backend.table))
        self.ledger.create_job(JobEntry("3f9a", "", 1_000.0, Layout("3f9a").plan))

    def context(self, name: str = "", *, seconds: float = HOUR) -> Context:
        """Return the context of an invocation that may run so long."""
        now = self.clock.now()
        return Context("memory:", name or f"invocation-{next(self._names)}", now + seconds, 1 << 30, self.clock)

    def looking(self, name: str = "") -> Iterator[float]:
        """Coordinate, and yield after each look when the next one is wanted at the latest."""
        return looks(self.backend, coordinate("3f9a"), self.context(name))

    def work(self) -> None:
        """Run all worker calls that were made."""
        calls, self.service.calls = self.service.calls, []
        for message in calls:
            run_attempt(self.backend, message, self.context(), abandon=survive)

    def run(self) -> JobState:
        """Coordinate and work in turns until the job has ended."""
        for _ in self.looking():
            self.work()
        outcome = self.ledger.outcome()
        assert outcome is not None
        return outcome.state


def survive(status: int) -> None:
    """Stand for the end of the process, where none should end."""
    raise AssertionError(f"nobody should be abandoned with {status}")


def functions(map: object, *, reduce: bool = True) -> Functions:
    """Return the functions of a job that adds numbers up, or only maps."""

    def total(key: object, values: Iterator[int]) -> int:  # noqa: ARG001 - all keys alike
        return sum(values)

    return Functions(map, False, total if reduce else None, False, None, False)  # type: ignore[arg-type]  # noqa: FBT003 - as stored


def remainders(item: int) -> Iterator[tuple[int, int]]:
    """Map a number."""
    yield item % 3, item


def attempt_of(job: Job, message: Message) -> Attempt:
    """Return how the attempt of a call stands."""
    return Ledger(job.backend.table, "3f9a").snapshot().attempts[message.attempt_id.task][message.attempt - 1]


class MeddledTable(MemoryTable):
    """Once, somebody else writes the progress just before the caller does."""

    meddle = False

    def put(self, group: str, key: str, value: bytes, *, expect: int) -> Row:
        """See `ports.Table.put`."""
        if self.meddle and key == "job/progress":
            self.meddle = False
            standing = self.get(group, key)
            assert standing is not None
            super().put(group, key, standing.value, expect=standing.version)
        return super().put(group, key, value, expect=expect)


class FullStore(MemoryStore):
    """Takes nothing more under the keys that end so, and deletes nothing if told so."""

    full = "nothing"
    keeps = False

    def put(self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False) -> bool:
        """See `ports.ObjectStore.put`."""
        if key.endswith(self.full):
            raise StoreError("no space left on device")
        return super().put(key, data, if_absent=if_absent)

    def delete_prefix(self, prefix: str) -> int:
        """See `ports.ObjectStore.delete_prefix`."""
        if self.keeps:
            raise StoreError("permission denied")
        return super().delete_prefix(prefix)


def claims(job: Job, task: TaskId, count: int) -> Iterator[Claim]:
    """Launch so many attempts of a task, one after the other, and yield the claim of each: `w1` has the first."""
    for number in range(1, count + 1):
        attempt = AttemptId(task, number)
        job.ledger.launch(attempt, now=job.clock.now(), expires=job.clock.now() + 60)
        held = claim(job.ledger, attempt, owner=f"w{number}", clock=job.clock, lease=15)
        assert held is not None
        yield held
