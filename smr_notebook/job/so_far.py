"""What a job has so far, as a notebook sees it: a DataFrame over the tasks that are done, and how much of the input that is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING

from smr_notebook.control.early_answers import reduce_early
from smr_notebook.control.expiry import is_removed, unless_removed
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.manifests import read_manifest
from smr_notebook.dataflow.result_frames import build_frame
from smr_notebook.dataflow.results import load_frame
from smr_notebook.errors import CorruptObjectError, ObjectNotFoundError
from smr_notebook.model import JobState, Phase, Plan
from smr_notebook.ports import Backend
from smr_notebook.showing.amounts import percent

if TYPE_CHECKING:
    import pandas as pd

_BADGE = "display:inline-block;padding:1px 8px;border-radius:3px;background:rgba(255,152,0,.18);font-weight:600"


@dataclass(frozen=True, slots=True, eq=False)
class SoFar:
    """What the map tasks that are done would give if they were all: no answer, and so no DataFrame, but something that holds one.

    Attributes:
        job: Identifier of the job.
        frame: The rows, as `Job.result` gives them.
        share: Part of the input's bytes that they are of, from 0 to 1.
        tasks: How many map tasks are done.
        of: How many there are; 0 as long as there is no plan.
        left_out: How many records and groups were left out, as `on_error` asked for.
        state: State of the job. Only where it is `done` is this the answer.
        error: Of a job that failed, the class in `smr_notebook.errors` that says why.
        waits: Jobs that this one waits for, because their results are its input.
    """

    job: str
    frame: pd.DataFrame
    share: float
    tasks: int
    of: int
    left_out: int = 0
    state: JobState = JobState.SUBMITTED
    error: str = ""
    waits: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether that is all of the input, which does not make it the answer: see `state`."""
        return 0 < self.of == self.tasks

    def __repr__(self) -> str:
        return f"{self._title()}\n{self.frame!r}"

    def _repr_html_(self) -> str:
        title = f'<div class="smr-so-far"><span style="{_BADGE}">{escape(self._title())}</span></div>'
        return title + str(self.frame._repr_html_())  # type: ignore[operator]

    def _title(self) -> str:
        if not self.of:
            told = f"waits for {', '.join(self.waits)}" if self.waits else "is being planned"
            return f"{self.job} so far: nothing yet, it {told}"
        left_out = f", {self.left_out:,} records or groups left out" if self.left_out else ""
        share = "all of the input" if self.whole else f"{percent(self.share)} of the input"
        return f"{self.job} so far: {self.tasks:,} of {self.of:,} map tasks{left_out}: {share}{self._told_state()}"

    def _told_state(self) -> str:
        if self.state is JobState.DONE:
            return ""
        ended = {JobState.FAILED: f"; the job failed with {self.error or 'an error'}", JobState.CANCELLED: "; the job was cancelled"}
        return f", and not the answer{ended.get(self.state, '')}"


def so_far(backend: Backend, job: str, plan_of: Callable[[], Plan], result_of: Callable[[], pd.DataFrame], *, limit_bytes: int) -> SoFar:
    """Return what a job has so far.

    Args:
        backend: The platform.
        job: Identifier of the job.
        plan_of: Reads its plan, and raises `ObjectNotFoundError` as long as there is none.
        result_of: Loads its result, once it is done.
        limit_bytes: Memory that the rows may take.

    Raises as `control.early_answers.reduce_early` does, and `JobNotFoundError` where the job was removed, or is being removed.
    """
    with unless_removed(backend.objects, backend.table, job):
        return _so_far(backend, job, plan_of, result_of, limit_bytes=limit_bytes)


def _so_far(backend: Backend, job: str, plan_of: Callable[[], Plan], result_of: Callable[[], pd.DataFrame], *, limit_bytes: int) -> SoFar:
    ledger = Ledger(backend.table, job)
    try:
        plan = plan_of()
    except ObjectNotFoundError:
        if is_removed(backend.objects, backend.table, job):
            raise ledger.missing() from None
        if ledger.outcome() is not None:
            result_of()  # which raises why it was never planned
        told = ledger.progress()
        return SoFar(job, build_frame([], None), 0.0, 0, 0, waits=told.waits if told is not None else ())
    if not _is_done(ledger):
        try:
            return _of_commits(backend, plan, ledger, limit_bytes)
        except (CorruptObjectError, ObjectNotFoundError):
            if not _is_done(ledger):  # meanwhile, and then it keeps its result only
                raise
    last = [read_manifest(backend.objects, ledger, phase, job=job).totals.records_bad for phase in plan.phases]
    return SoFar(job, result_of(), 1.0, plan.maps, plan.maps, sum(last), JobState.DONE)


def _is_done(ledger: Ledger) -> bool:
    outcome = ledger.outcome()
    return outcome is not None and outcome.state is JobState.DONE


def _of_commits(backend: Backend, plan: Plan, ledger: Ledger, limit_bytes: int) -> SoFar:
    progress, snapshot = ledger.progress(), ledger.snapshot()
    commits = [commit for task, commit in sorted(snapshot.commits.items()) if task.phase is Phase.MAP]
    early = reduce_early(backend, plan, commits, scratch=Path(gettempdir()), limit_bytes=limit_bytes)
    frame = load_frame(early.objects, early.parts, limit_bytes=limit_bytes)
    if not early.parts:
        frame = frame.reindex(columns=list(early.columns))
    read = sum(commit.numbers.bytes_read for commit in commits)
    share = read / plan.input_bytes if plan.input_bytes else len(commits) / plan.maps
    outcome = snapshot.outcome
    state = outcome.state if outcome else progress.state if progress else JobState.SUBMITTED
    return SoFar(plan.job, frame, share, len(commits), plan.maps, early.left_out, state, outcome.error if outcome else "")
