"""The table as sorted lists: the reference for what the port means."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort

from smr_notebook.ports import Row


class MemoryTable:
    """A `Table` for the threads of one process."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, Row]] = {}
        self._keys: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    def get(self, group: str, key: str) -> Row | None:
        """See `ports.Table.get`."""
        return self._rows.get(group, {}).get(key)

    def put(self, group: str, key: str, value: bytes, *, expect: int) -> Row:
        """See `ports.Table.put`."""
        with self._lock:
            rows = self._rows.setdefault(group, {})
            standing = rows.get(key, Row(key, 0, b""))
            if standing.version == expect:
                if not expect:
                    insort(self._keys.setdefault(group, []), key)
                standing = rows[key] = Row(key, expect + 1, value)
            return standing

    def query(self, group: str, prefix: str = "") -> list[Row]:
        """See `ports.Table.query`."""
        with self._lock:
            rows, keys = self._rows.get(group, {}), self._keys.get(group, [])
            found = []
            for place in range(bisect_left(keys, prefix), len(keys)):  # code points sort as their UTF-8 bytes do
                if not keys[place].startswith(prefix):
                    break
                found.append(rows[keys[place]])
        return found

    def delete_group(self, group: str) -> None:
        """See `ports.Table.delete_group`."""
        with self._lock:
            self._rows.pop(group, None)
            self._keys.pop(group, None)
