"""The end of a phase: a manifest of sums that agree, or an error and none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.manifests import gather, read_manifest
from smr_notebook.control.rows import JobEntry
from smr_notebook.environment import environment
from smr_notebook.errors import ConservationError, CorruptObjectError
from smr_notebook.model import AttemptId, Commit, Format, Phase, Plan, Policy, TaskId
from smr_notebook.testing.fleet_work import RECORD_BYTES, SameRuns, work_of
from smr_notebook.values.shuffles import Merging
from smr_notebook.values.usage import Cost

MAPS = 5


class Phases:
    """A job whose tasks are committed as soon as somebody looks."""

    def __init__(self, reducers: int, merging: Merging | None = None) -> None:
        self.plan = Plan(
            job="job",
            name="",
            created=0.0,
            format=Format.TEXT,
            maps=MAPS,
            reducers=reducers,
            combine=False,
            grouped_order=False,
            input_bytes=MAPS * RECORD_BYTES,
            input_records=MAPS,
            budget=1 << 20,
            policy=Policy(),
            environment=environment(),
            merging=merging,
        )
        self.objects = SameRuns(self.plan)
        self.ledger = Ledger(MemoryTable(), "job")
        self.ledger.create_job(JobEntry("job", "", 0.0, "plan"))

    def commits(self, phase: Phase) -> list[Commit]:
        return [self.commit(AttemptId(TaskId(phase, number), 1)) for number in range(self.plan.tasks(phase))]

    def commit(self, attempt: AttemptId) -> Commit:
        output, numbers = work_of(self.plan, attempt)
        receipts = (output.receipt,) if output.receipt else ()
        return Commit(attempt, "w", 1.0, 1.0, numbers, receipts, output.part, output.checksum, output.groups)

    def gather(self, phase: Phase, commits: list[Commit], cost: Cost | None = None) -> None:
        gather(self.plan, phase, commits, cost=cost, objects=self.objects, ledger=self.ledger)


MERGED = Merging(2, 2)


@pytest.mark.parametrize("merging", [None, MERGED], ids=["direct", "merged"])
def test_sums_that_agree_become_a_manifest(merging: Merging | None) -> None:
    job = Phases(reducers=3, merging=merging)
    for phase in job.plan.phases:
        job.gather(phase, job.commits(phase), Cost(1.0))
        manifest = read_manifest(job.objects, job.ledger, phase, job="job")
        assert (manifest.commits, manifest.cost) == (tuple(job.commits(phase)), Cost(1.0))
    assert read_manifest(job.objects, job.ledger, Phase.MAP, job="job").partition_pairs == (MAPS, MAPS, MAPS)


def counted(**more: int) -> Callable[[Commit], Commit]:
    """Return what makes a commit say that it counted more."""
    return lambda commit: replace(
        commit, numbers=replace(commit.numbers, **{name: getattr(commit.numbers, name) + number for name, number in more.items()})
    )


def other_run(commit: Commit) -> Commit:
    """Return a commit that says that its task did the work of the one before, which has the same partitions of other map tasks."""
    before = AttemptId(TaskId(Phase.MERGE, commit.id.task.number - 1), 1)
    output, numbers = work_of(Phases(3, MERGED).plan, before)
    assert output.receipt is not None
    return replace(commit, receipts=(output.receipt,), numbers=numbers)


WRONG: dict[str, tuple[int, Phase, Callable[[Commit], Commit]]] = {
    "bytes of a map task": (3, Phase.MAP, counted(bytes_read=1)),
    "records of a map task": (3, Phase.MAP, counted(records_read=1, records_mapped=1)),
    "a record that was not mapped": (3, Phase.MAP, counted(records_mapped=-1)),
    "pairs of a run": (3, Phase.MAP, counted(pairs_in=1, pairs_out=1)),
    "a run too many": (3, Phase.MAP, lambda commit: replace(commit, receipts=commit.receipts * 2)),
    "no run": (3, Phase.MAP, lambda commit: replace(commit, receipts=())),
    "bytes of a task without reduce": (0, Phase.MAP, counted(bytes_read=1)),
    "rows of a task without reduce": (0, Phase.MAP, counted(pairs_in=1, pairs_out=1)),
    "no part": (0, Phase.MAP, lambda commit: replace(commit, part=None)),
    "a pair that was not merged": (3, Phase.MERGE, counted(pairs_in=1)),
    "pairs of a merged run": (3, Phase.MERGE, counted(pairs_in=1, pairs_out=1)),
    "a run that was not merged": (3, Phase.MERGE, counted(records_mapped=-1)),
    "no merged run": (3, Phase.MERGE, lambda commit: replace(commit, receipts=())),
    "the merged run of another group of tasks": (3, Phase.MERGE, other_run),
    "pairs of a partition": (3, Phase.REDUCE, counted(pairs_in=1)),
    "checksum of a partition": (3, Phase.REDUCE, lambda commit: replace(commit, checksum=commit.checksum + 1)),
    "a group that was not reduced": (3, Phase.REDUCE, counted(records_mapped=-1)),
    "groups of a partition": (3, Phase.REDUCE, lambda commit: replace(commit, groups=commit.groups + 1)),
    "rows of a part": (3, Phase.REDUCE, counted(pairs_out=1)),
    "the part of another partition": (3, Phase.REDUCE, lambda commit: replace(commit, part=commit.part and replace(commit.part, number=2))),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_sum_that_differs_is_an_error_and_no_manifest(wrong: str) -> None:
    reducers, phase, change = WRONG[wrong]
    job = Phases(reducers, MERGED if phase is Phase.MERGE else None)
    if phase is not Phase.MAP:
        job.gather(Phase.MAP, job.commits(Phase.MAP))
    commits = job.commits(phase)
    with pytest.raises(ConservationError):
        job.gather(phase, [commits[0], change(commits[1]), *commits[2:]])
    assert job.ledger.manifest(phase) is None
    with pytest.raises(CorruptObjectError):
        read_manifest(job.objects, job.ledger, phase, job="job")


@pytest.mark.parametrize("phase", Phase)
def test_a_task_that_is_missing_or_counted_twice_is_an_error(phase: Phase) -> None:
    job = Phases(reducers=3, merging=MERGED)
    for before in job.plan.phases[: job.plan.phases.index(phase)]:
        job.gather(before, job.commits(before))
    commits = job.commits(phase)
    for some in (commits[:-1], [*commits, commits[0]], commits[::-1]):
        with pytest.raises(ConservationError):
            job.gather(phase, some)


def test_whoever_gathers_again_finds_what_stands_though_it_cost_more_by_now() -> None:
    job = Phases(reducers=3)
    job.gather(Phase.MAP, job.commits(Phase.MAP), Cost(1.0))
    first = job.ledger.manifest(Phase.MAP)
    job.gather(Phase.MAP, job.commits(Phase.MAP), Cost(2.0))
    assert job.ledger.manifest(Phase.MAP) == first
    assert read_manifest(job.objects, job.ledger, Phase.MAP, job="job").cost == Cost(1.0)
    others = [replace(commit, owner="another") for commit in job.commits(Phase.MAP)]
    with pytest.raises(CorruptObjectError, match="stands already"):
        job.gather(Phase.MAP, others, Cost(1.0))
