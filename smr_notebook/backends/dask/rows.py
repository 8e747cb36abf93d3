"""Rows that the scheduler of a cluster keeps: a table for many machines that needs no service besides.

Theory. All notebooks and workers of a cluster reach one process, its scheduler. The table of the embedded default, a file that only
processes of one machine may share, is opened by that process alone, which reads and writes it for all others, one call after the other.
So a compare-and-set is one, from wherever it is asked for; and the rows are in a file, and outlive the scheduler.

Rules of this module:

* `Keeper` runs in the scheduler. It never holds up its loop: a thread of its own uses the table.
* A call is sent once. One whose reply is lost may have been carried out: that is an error here, as the port has it.
* The keeper also marks tasks whose worker left the cluster, so that whoever runs them next can tell (`work`): as the scheduler starts a
  task anew by itself, nobody else sees that.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from distributed import Client, Scheduler, SchedulerPlugin

from smr_notebook.backends.dask.wire import GROUPS, LOST, named
from smr_notebook.errors import SmrError, StoreError
from smr_notebook.ports import Row, Table

KEEPER: Final = "smr-notebook-keeper-1"
"""The name of the plugin; its number changes with what it can be asked."""

_ROWS: Final = "smr_notebook_rows"
"""What is asked for, and where the answer has them."""

_VERBS: Final = frozenset(("get", "put", "query", "delete_group"))


class Keeper(SchedulerPlugin):
    """What runs in the scheduler."""

    idempotent = True

    def __init__(self) -> None:
        self._tables: dict[tuple[str, str], Table] = {}

    async def start(self, scheduler: Scheduler) -> None:
        """Begin to take calls. Called by the scheduler."""
        self._scheduler = scheduler
        self._thread = ThreadPoolExecutor(1, "smr-notebook-rows")
        scheduler.handlers[_ROWS] = self.answer

    async def close(self) -> None:
        """Let go of the tables. Called by the scheduler."""
        self._thread.shutdown()
        for table in self._tables.values():
            with contextlib.suppress(AttributeError):
                table.close()  # type: ignore[attr-defined]  # where there is something to let go of

    async def answer(self, verb: str, opener: str, place: str, arguments: dict[str, Any]) -> Any:
        """Do what somebody asks of a table.

        Args:
            verb: One of those of `ports.Table`.
            opener: `module:function` that opens it.
            place: What that is called with.
            arguments: Of the verb.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._ask, verb, opener, place, arguments)

    def _ask(self, verb: str, opener: str, place: str, arguments: dict[str, Any]) -> Any:
        if verb not in _VERBS:
            raise StoreError(f"The scheduler was asked to {verb!r} rows, and knows only: {', '.join(sorted(_VERBS))}.")
        table = self._tables.get((opener, place))
        if table is None:
            table = self._tables[opener, place] = named(opener)(place)
        found = getattr(table, verb)(**arguments)
        rows = found if isinstance(found, list) else [] if found is None else [found]
        return {_ROWS: [(row.key, row.version, row.value) for row in rows]}

    def transition(self, key: Any, start: str, finish: str, *_: Any, stimulus_id: str, **__: Any) -> None:  # noqa: ARG002
        """Mark a task of ours whose worker left: only then is one that a worker has taken from it again. Called by the scheduler."""
        if start == "processing" and finish == "released" and isinstance(key, tuple) and key[0] in GROUPS:
            task = self._scheduler.tasks[key]
            if task.suspicious:
                task.annotations = {**(task.annotations or {}), LOST: task.suspicious}


class ClusterTable:
    """Rows that a keeper reads and writes; implements `ports.Table`.

    Args:
        connect: Gives a client of the cluster.
        opener: `module:function` by which the scheduler opens the table.
        place: What that is called with.
    """

    def __init__(self, connect: Callable[[], Client], opener: str, place: str) -> None:
        self._connect = connect
        self._opener = opener
        self._place = place

    def get(self, group: str, key: str) -> Row | None:
        """See `ports.Table.get`."""
        return next(iter(self._ask("get", group=group, key=key)), None)

    def put(self, group: str, key: str, value: bytes, *, expect: int) -> Row:
        """See `ports.Table.put`."""
        [standing] = self._ask("put", group=group, key=key, value=bytes(value), expect=expect)
        return standing

    def query(self, group: str, prefix: str = "") -> list[Row]:
        """See `ports.Table.query`."""
        return self._ask("query", group=group, prefix=prefix)

    def delete_group(self, group: str) -> None:
        """See `ports.Table.delete_group`."""
        self._ask("delete_group", group=group)

    def _ask(self, verb: str, **arguments: Any) -> list[Row]:
        try:
            client = self._connect()
            rows = getattr(client.scheduler, _ROWS)
            answer = client.sync(rows, verb=verb, opener=self._opener, place=self._place, arguments=arguments)
        except SmrError:
            raise  # the table's own
        except (OSError, TimeoutError, RuntimeError) as error:
            text = f"The rows that the scheduler of the Dask cluster keeps cannot be reached: {error}."
            raise StoreError(f"{text} Check that the cluster runs.") from error
        if not isinstance(answer, dict) or _ROWS not in answer:  # a scheduler answers also what it does not know
            text = "The scheduler of the Dask cluster keeps no rows: it was started anew."
            raise StoreError(f"{text} Open a Session on it, which tells it to keep them; those of before are in their file.")
        return [Row(*found) for found in answer[_ROWS]]
