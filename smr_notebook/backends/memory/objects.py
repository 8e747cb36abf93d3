"""The object store as a dict: the reference for what the port means."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator

from smr_notebook.errors import ObjectNotFoundError, StoreError
from smr_notebook.model import ObjectInfo
from smr_notebook.ports import Buffer


class MemoryStore:
    """An `ObjectStore` for the threads of one process."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, str]] = {}
        self._writes = itertools.count(1)
        self._lock = threading.Lock()

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """See `ports.ObjectStore.get`."""
        try:
            data, _ = self._objects[key]
        except KeyError:
            raise ObjectNotFoundError(f"There is no object {key!r} in memory: it was never written, or has been deleted since.") from None
        return data[start:stop]

    def put(self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False) -> bool:
        """See `ports.ObjectStore.put`."""
        body = bytes(data) if isinstance(data, Buffer) else b"".join(data)
        with self._lock:
            if if_absent and key in self._objects:
                return False
            self._objects[key] = (body, str(next(self._writes)))
            return True

    def list_prefix(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `ports.ObjectStore.list_prefix`."""
        with self._lock:
            found = [ObjectInfo(key, len(data), version) for key, (data, version) in self._objects.items() if key.startswith(prefix)]
        # Code points sort as their UTF-8 bytes do.
        return iter(sorted(found, key=lambda info: info.key))

    def delete_prefix(self, prefix: str) -> int:
        """See `ports.ObjectStore.delete_prefix`."""
        if not prefix:
            raise StoreError("The empty prefix stands for every object in memory. Drop the store if that is what you want.")
        with self._lock:
            doomed = [key for key in self._objects if key.startswith(prefix)]
            for key in doomed:
                del self._objects[key]
        return len(doomed)
