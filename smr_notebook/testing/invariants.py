"""The laws of the table: what must hold after each event of a job's life, whatever happens."""

from __future__ import annotations

import math
from itertools import pairwise

from smr_notebook.control.ledger import Ledger
from smr_notebook.control.row_keys import GROUPS, JOB, TASK, group_of, kind_of, pages_of
from smr_notebook.control.rows import RowReader
from smr_notebook.control.snapshots import snapshot_of, with_done
from smr_notebook.control.speculation import MOST_ALIVE
from smr_notebook.model import Attempt, AttemptState, Plan, TaskId
from smr_notebook.ports import Table
from smr_notebook.standing import Lease, Snapshot


class Laws:
    """Checks the rows of one job against those that stood before.

    Args:
        table: The table itself, without faults.
        plan: The plan of the job.

    Attributes:
        told: Whether the end of the job is told.
        ended_at: When its outcome stood for the first time.
    """

    def __init__(self, table: Table, plan: Plan) -> None:
        self._ledger = Ledger(table, plan.job)
        self._table = table
        self._reader = RowReader()
        self._plan = plan
        self._legs: dict[str, bytes] = {}
        self._before = Snapshot({}, {}, {})
        self._lease: Lease | None = None
        self.told = False
        self.ended_at = math.inf

    def check(self, now: float) -> None:
        """Compare what stands with what stood.

        Raises:
            AssertionError: A law is broken.
        """
        snapshot, before = self._look(), self._before
        for task, commit in before.commits.items():
            assert snapshot.commits.get(task) == commit, f"the commit of {task} changed"
        for phase, manifest in before.manifests.items():
            assert snapshot.manifests.get(phase) == manifest, f"the manifest of {phase} changed"
        for phase in snapshot.manifests:
            assert len([task for task in snapshot.commits if task.phase is phase]) == self._plan.tasks(phase), f"{phase} was not complete"
        for task, attempts in snapshot.attempts.items():
            self._check_task(task, attempts, before.attempts.get(task, ()))
        for task, attempts in with_done(snapshot).attempts.items():
            chosen = snapshot.commits.get(task)
            done = [attempt.id for attempt in attempts if attempt.state is AttemptState.DONE]
            assert done == ([chosen.id] if chosen and attempts else []), f"not the committed attempt of {task} is done"
        for phase, following in pairwise(self._plan.phases):
            if phase not in snapshot.manifests:
                begun = [task for task in snapshot.attempts if task.phase is following]
                assert not begun, f"{begun[:1]} began before the {phase} phase ended"
        if before.outcome is not None:
            assert snapshot.outcome == before.outcome, "the outcome changed"
        elif snapshot.outcome is not None:
            self.ended_at = now
        self._check_lease()
        self._before = snapshot
        progress = self._ledger.progress()
        told = progress is not None and progress.state.ended
        assert told or not self.told, "an end that was told was taken back"
        self.told = told
        assert not self.told or snapshot.outcome is not None, f"an end was told before it stood, at {now}"

    def _look(self) -> Snapshot:
        pages = max(len(pages_of(self._plan, phase)) for phase in self._plan.phases)
        rows = [*self._table.query(self._plan.job, JOB)]
        rows += [row for page in range(min(pages, GROUPS)) for row in self._table.query(group_of(self._plan.job, page), TASK)]
        for row in rows:
            if kind_of(row.key) == "leg":
                assert self._legs.setdefault(row.key, row.value) == row.value, f"{row.key} changed"
        found = snapshot_of([(row.key, self._reader.read(row)) for row in rows])
        assert found is not None
        return found

    def _check_task(self, task: TaskId, attempts: tuple[Attempt, ...], before: tuple[Attempt, ...]) -> None:
        assert [attempt.id.number for attempt in attempts] == list(range(1, len(attempts) + 1)), f"the attempts of {task} have gaps"
        for old, new in zip(before, attempts, strict=False):
            assert old.live or old == new, f"attempt {old.id} left a final state"
            assert not old.owner or old.owner == new.owner, f"attempt {old.id} changed hands"
        backups = sum(attempt.speculative for attempt in attempts)
        most = MOST_ALIVE if backups else 1
        assert sum(attempt.live for attempt in attempts) <= most, f"{task} has more than {most} live attempts"
        assert 2 * backups <= len(attempts), f"an attempt of {task} had several backups"

    def _check_lease(self) -> None:
        lease, before = self._ledger.lease(), self._lease
        if before is not None and lease is not None:
            grown = lease.epoch - before.epoch
            assert grown >= 0, "an epoch went back"
            assert (grown > 0) == (lease.owner != before.owner), "an epoch must grow with the owner"
        self._lease = lease
