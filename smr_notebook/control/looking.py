"""A coordinator's looks at the table: all that stands at first, and then only what may have changed.

Theory. A row of a job with a hundred thousand tasks is one of a quarter of a million, and a look that reads them all takes longer than
the tasks do. But most rows can change no more: a page whose tasks are settled is never read again, and of a page on which nothing was
launched there is nothing to read. What is left is as large as what is at work.

What is kept here are hints: whoever coordinates next reads all of it once. A launch by a coordinator that was deposed meanwhile may
stand on a page that was not looked at; it is met when that page begins, as what stands.
"""

from __future__ import annotations

from collections.abc import Iterable

from smr_notebook.control.launching import side_by_side
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.row_keys import GROUPS, JOB, TASK, group_of, page_of, page_rows, pages_of, tasks_on
from smr_notebook.control.rows import RowReader
from smr_notebook.control.snapshots import is_settled, settle, snapshot_of
from smr_notebook.model import Commit, Phase, Plan, TaskId
from smr_notebook.ports import Row, Table
from smr_notebook.standing import Settled, Snapshot

_Page = tuple[Phase, int]
_Query = tuple[str, str]


class Looks:
    """Looks at the rows of one job. Used by one thread.

    Args:
        table: Where they stand.
        plan: The plan of the job.
        parallel: How many reads may be under way at once.
    """

    def __init__(self, table: Table, plan: Plan, *, parallel: int) -> None:
        self._table = table
        self._plan = plan
        self._parallel = parallel
        self._reader = RowReader()
        self._begun: set[_Page] | None = None
        self._settled: dict[Phase, Settled] = {}
        self._commits: dict[TaskId, Commit] = {}

    def look(self) -> Snapshot:
        """Return what stands.

        Raises:
            JobNotFoundError: The job was never submitted, or has been deleted.
            StoreError: The table cannot be reached; look again.
        """
        rows = self._read(self._queries())
        found = snapshot_of([(row.key, self._reader.read(row)) for row in rows])
        if found is None:
            raise Ledger(self._table, self._plan.job).missing()
        if self._begun is None:
            self._begun = {(task.phase, page_of(task)) for task in (*found.attempts, *found.commits)}
        for page in sorted(self._begun):
            if is_settled(self._plan, found, *page):
                self._settle(page, found)
        return Snapshot(found.attempts, found.commits, found.manifests, found.cancel, found.outcome, found.lease, dict(self._settled))

    def began(self, tasks: Iterable[TaskId]) -> None:
        """Note that tasks were launched: their pages are looked at from now on."""
        if self._begun is not None:
            self._begun |= {(task.phase, page_of(task)) for task in tasks}

    def commits(self, snapshot: Snapshot, phase: Phase) -> list[Commit]:
        """Return the commits of a phase in task order, the settled ones too; `snapshot` is the last look's."""
        found = (self._commits | snapshot.commits).items()
        return [commit for task, commit in sorted(found) if task.phase is phase]

    def _queries(self) -> list[_Query]:
        job = self._plan.job
        if self._begun is None:
            pages = max(len(pages_of(self._plan, phase)) for phase in self._plan.phases)
            return [(job, JOB), *((group_of(job, page), TASK) for page in range(min(pages, GROUPS)))]
        return [(job, JOB), *((group_of(job, page), page_rows(phase, page)) for phase, page in sorted(self._begun))]

    def _read(self, queries: list[_Query]) -> list[Row]:
        found = side_by_side(lambda query: self._table.query(*query), queries, threads=self._parallel)
        return [row for rows in found for row in rows]

    def _settle(self, page: _Page, found: Snapshot) -> None:
        phase, number = page
        tasks = [TaskId(phase, task) for task in tasks_on(self._plan, phase, number)]
        commits = {task: found.commits.pop(task) for task in tasks}
        attempts = [found.attempts.pop(task, ()) for task in tasks]
        self._settled[phase] = settle(self._settled.get(phase, Settled()), number, commits, attempts, sizes=self._plan.memory_sizes)
        self._commits |= commits
        self._reader.forget(page_rows(phase, number))
        assert self._begun is not None  # noqa: S101 - a page settles after it was read
        self._begun.discard(page)
