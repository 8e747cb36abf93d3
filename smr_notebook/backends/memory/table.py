"""The table as a dict: the reference for what the port means."""

from __future__ import annotations

import threading

from smr_notebook.ports import Row


class MemoryTable:
    """A `Table` for the threads of one process."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Row] = {}
        self._lock = threading.Lock()

    def get(self, group: str, key: str) -> Row | None:
        """See `ports.Table.get`."""
        return self._rows.get((group, key))

    def put(self, group: str, key: str, value: bytes, *, expect: int) -> Row:
        """See `ports.Table.put`."""
        with self._lock:
            standing = self._rows.get((group, key), Row(key, 0, b""))
            if standing.version == expect:
                standing = self._rows[group, key] = Row(key, expect + 1, value)
            return standing

    def query(self, group: str, prefix: str = "") -> list[Row]:
        """See `ports.Table.query`."""
        with self._lock:
            found = [row for (owner, key), row in self._rows.items() if owner == group and key.startswith(prefix)]
        # Code points sort as their UTF-8 bytes do.
        return sorted(found, key=lambda row: row.key)

    def delete_group(self, group: str) -> None:
        """See `ports.Table.delete_group`."""
        with self._lock:
            self._rows = {(owner, key): row for (owner, key), row in self._rows.items() if owner != group}
