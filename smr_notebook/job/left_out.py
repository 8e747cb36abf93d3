"""What a job left out, as a notebook sees it: a DataFrame of records and groups, and a warning that goes with the result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from smr_notebook.control.ledger import Ledger
from smr_notebook.control.manifests import read_manifest
from smr_notebook.dataflow.bad_records import BadRecord, read_bad
from smr_notebook.model import Commit, Phase, Plan, TaskId
from smr_notebook.ports import ObjectStore
from smr_notebook.values.tolerance import OnError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS: Final = ("object", "offset", "record", "error", "number", "function", "task", "line")
"""Of `Job.bad`."""


class LeftOutWarning(UserWarning):
    """The result lacks records that could not be read or mapped, or groups that could not be reduced, as `on_error` asks for."""


def commits_of(plan: Plan, objects: ObjectStore, ledger: Ledger) -> Iterator[Commit]:
    """Yield the commits of a job that has ended, phase by phase: all of them, or those that there are where it failed.

    Raises:
        CorruptObjectError: A manifest is not what was proved.
        StoreError: The store or the table cannot be reached.
    """
    standing: dict[TaskId, Commit] | None = None
    for phase in plan.phases:
        if ledger.manifest(phase) is not None:
            yield from read_manifest(objects, ledger, phase, job=plan.job).commits
            continue
        standing = ledger.snapshot().commits if standing is None else standing
        yield from (commit for task, commit in sorted(standing.items()) if task.phase is phase)


def bad_records(commits: Iterable[Commit], objects: ObjectStore) -> Iterator[tuple[TaskId, BadRecord]]:
    """Yield what the tasks left out and told, each with its task, in the order of the input and then of the partitions.

    Raises:
        CorruptObjectError: What was told is not what was written.
        StoreError: The store cannot be read.
    """
    for commit in commits:
        for file in commit.bad:
            for bad in sorted(read_bad(objects, file), key=lambda bad: bad.number):  # what cannot be stored is noticed late
                yield commit.id.task, bad


def frame_of(bad: Iterable[tuple[TaskId, BadRecord]]) -> pd.DataFrame:
    """Return a row for each record or group, with the columns `COLUMNS`."""
    import pandas as pd  # noqa: PLC0415 - the job imports this module, and must not import pandas

    rows = [
        (one.source, one.offset if one.offset >= 0 else None, one.record, one.error, one.number, one.function, str(task), one.place)
        for task, one in bad
    ]
    frame = pd.DataFrame(rows, columns=list(COLUMNS), dtype=object)
    return frame.astype({"offset": "Int64", "number": "int64"})


def sentence(plan: Plan, commits: Iterable[Commit]) -> str:
    """Return what to say of a job that left something out; an empty text if it did not."""
    counts = dict.fromkeys(Phase, 0)
    met = dict.fromkeys(Phase, 0)
    sample = ""
    for commit in commits:
        counts[commit.id.task.phase] += commit.numbers.records_bad
        met[commit.id.task.phase] += commit.numbers.records_read
        sample = sample or commit.numbers.bad_sample
    nouns = {Phase.MAP: "records", Phase.REDUCE: "groups"}
    told = [f"{counts[phase]:,} of {met[phase]:,} {nouns[phase]}" for phase in Phase if counts[phase]]
    if not told:
        return ""
    shown = "shows them" if plan.tolerance.on_error is OnError.COLLECT else "shows some of them"
    return f"The result leaves out {' and '.join(told)}; job.bad {shown}. The first: {sample}"
