"""Rows that the scheduler of a cluster keeps: a table for many machines that needs no service besides.

A call is sent once. One whose reply is lost may have been carried out: that is an error, as the port has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard

from distributed import Client

from smr_notebook.backends.dask.keeper import ROWS
from smr_notebook.backends.dask.lines import ask
from smr_notebook.errors import SmrError, StoreError
from smr_notebook.ports import Row


class ClusterTable:
    """Rows that a keeper reads and writes; implements `ports.Table`.

    Args:
        connect: Gives a client of the cluster.
        opener: `module:function` by which the scheduler opens the table.
        place: What that is called with.
        keep: Brings the scheduler a keeper, where it turns out to have none; `None` where whoever opens a session does it.
    """

    def __init__(self, connect: Callable[[], Client], opener: str, place: str, *, keep: Callable[[], None] | None = None) -> None:
        self._connect = connect
        self._opener = opener
        self._place = place
        self._keep = keep

    def get(self, group: str, key: str) -> Row | None:
        """See `ports.Table.get`."""
        return next(iter(self._ask("get", {"group": group, "key": key})), None)

    def put(self, group: str, key: str, value: bytes, *, expect: int) -> Row:
        """See `ports.Table.put`."""
        [standing] = self._ask("put", {"group": group, "key": key, "value": bytes(value), "expect": expect})
        return standing

    def query(self, group: str, prefix: str = "") -> list[Row]:
        """See `ports.Table.query`."""
        return self._ask("query", {"group": group, "prefix": prefix})

    def delete_group(self, group: str) -> None:
        """See `ports.Table.delete_group`."""
        self._ask("delete_group", {"group": group})

    def _ask(self, verb: str, arguments: dict[str, Any]) -> list[Row]:
        told = {"verb": verb, "opener": self._opener, "place": self._place, "arguments": arguments}
        try:
            answer = ask(self._connect(), ROWS, told)
            if self._keep is not None and not _is_answer(answer):  # nothing was done: it did not know what was asked
                self._keep()
                answer = ask(self._connect(), ROWS, told)
        except SmrError:
            raise  # the table's own
        except (OSError, TimeoutError, RuntimeError) as error:
            text = f"The rows that the scheduler of the Dask cluster keeps cannot be reached: {error}."
            raise StoreError(f"{text} Check that the cluster runs.") from error
        if not _is_answer(answer):
            text = "The scheduler of the Dask cluster keeps no rows: it was started anew."
            raise StoreError(f"{text} Open a Session on it, which tells it to keep them; those of before are in their file.")
        return [Row(*found) for found in answer[ROWS]]


def _is_answer(answer: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(answer, dict) and ROWS in answer
