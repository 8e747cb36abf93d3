"""The keeper: what runs in the scheduler of a cluster. It keeps rows, and knows what nobody else can of tasks.

Theory. All notebooks and workers of a cluster reach one process, its scheduler. The table of the embedded default, a file that only
processes of one machine may share, is opened by that process alone, which reads and writes it for all others, one call after the other.
So a compare-and-set is one, from wherever it is asked for; and the rows are in a file, and outlive the scheduler.

Rules of this module:

* The loop of the scheduler never waits: a thread of the keeper's own uses the table.
* It tells when a task has arrived: a client sends it off without an answer, and may end just then.
* It wants each task itself that arrived, for nobody (`fire_and_forget`, from inside): were whoever called to want that by a message of
  his own, as clients do, a task that ended before it came would stay in the cluster, and run once more when its worker leaves.
* It marks tasks whose worker left the cluster, so that whoever runs them next can tell (`work`): as the scheduler starts a task anew by
  itself, nobody else sees that.
* An answer carries the name of what was asked for: a scheduler also answers what it does not know.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict, deque
from concurrent.futures import ThreadPoolExecutor
from pkgutil import resolve_name
from typing import Any, Final

from distributed import Scheduler, SchedulerPlugin

from smr_notebook.backends.dask.wire import GROUPS, LOST
from smr_notebook.errors import StoreError
from smr_notebook.ports import Table

KEEPER: Final = "smr-notebook-keeper-1"
"""The name of the plugin; its number changes with what it can be asked."""

ROWS: Final = "smr_notebook_rows"
TAKEN: Final = "smr_notebook_taken"
"""What it can be asked."""

_VERBS: Final = frozenset(("get", "put", "query", "delete_group"))
_NOBODY: Final = "fire-and-forget"
"""Whom the scheduler knows by this name wants a task until it has ended, and not its result."""

_MOST_TAKEN: Final = 4096
_TAKEN_SECONDS: Final = 20.0

Key = tuple[str, str]
Unread = object
"""What the scheduler says besides to whoever overrides a method of its plugins."""


class Keeper(SchedulerPlugin):
    """A plugin of the scheduler. A second one of its name changes nothing."""

    idempotent = True

    def __init__(self) -> None:
        self._tables: dict[tuple[str, str], Table] = {}
        self._taken: deque[Key] = deque(maxlen=_MOST_TAKEN)

    async def start(self, scheduler: Scheduler) -> None:
        """Begin to take calls. Called by the scheduler."""
        self._scheduler = scheduler
        self._thread = ThreadPoolExecutor(1, "smr-notebook-rows")
        self._awaited: defaultdict[Key, asyncio.Event] = defaultdict(asyncio.Event)
        scheduler.handlers[ROWS] = self.rows
        scheduler.handlers[TAKEN] = self.taken

    async def close(self) -> None:
        """Let go of the tables. Called by the scheduler."""
        self._thread.shutdown()
        for table in self._tables.values():
            with contextlib.suppress(AttributeError):
                table.close()  # type: ignore[attr-defined]  # where there is something to let go of

    async def rows(self, verb: str, opener: str, place: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Do what somebody asks of a table, and answer with its rows.

        Args:
            verb: One of those of `ports.Table`.
            opener: `module:function` that opens it.
            place: What that is called with.
            arguments: Of the verb.
        """
        found = await asyncio.get_running_loop().run_in_executor(self._thread, self._use, verb, opener, place, arguments)
        return {ROWS: found}

    async def taken(self, key: Key) -> dict[str, bool]:
        """Wait until the scheduler has a task, and answer whether it came.

        Args:
            key: Of the task.
        """
        key = (key[0], key[1])  # it travels as a list
        came = key in self._scheduler.tasks or key in self._taken
        if key in self._scheduler.tasks and key not in self._taken:  # it came before this keeper
            self._want(key)
        if not came:
            with contextlib.suppress(TimeoutError):
                came = await asyncio.wait_for(self._awaited[key].wait(), _TAKEN_SECONDS)
            self._awaited.pop(key, None)
        return {TAKEN: came}

    def transition(self, key: Any, start: str, finish: str, *_: Any, stimulus_id: str, **__: Unread) -> None:  # noqa: ARG002
        """Note that a task of ours came, want it, and mark it when it is taken from a worker that left. Called by the scheduler."""
        if not isinstance(key, tuple) or key[0] not in GROUPS:
            return
        if start == "released" and finish == "waiting":
            self._want(key)
        if start == "released":
            self._taken.append(key)
            if key in self._awaited:
                self._awaited[key].set()
        elif start == "processing" and finish == "released":
            task = self._scheduler.tasks[key]
            task.annotations = {**(task.annotations or {}), LOST: True}

    def _want(self, key: Key) -> None:
        """Have a task run to its end, whoever goes before; of one that has ended, nothing is kept."""
        if self._scheduler.tasks[key].state not in {"memory", "erred"}:
            self._scheduler.client_desires_keys(keys=[key], client=_NOBODY)

    def _use(self, verb: str, opener: str, place: str, arguments: dict[str, Any]) -> list[tuple[str, int, bytes]]:
        if verb not in _VERBS:
            raise StoreError(f"The scheduler was asked to {verb!r} rows, and knows only: {', '.join(sorted(_VERBS))}.")
        table = self._tables.get((opener, place))
        if table is None:
            table = self._tables[opener, place] = resolve_name(opener)(place)
        found = getattr(table, verb)(**arguments)
        rows = found if isinstance(found, list) else [] if found is None else [found]
        return [(row.key, row.version, row.value) for row in rows]
