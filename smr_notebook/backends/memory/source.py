"""Input objects in a dict, found by the rules that hold for every source."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping

from smr_notebook.errors import InputMissingError
from smr_notebook.model import ObjectInfo
from smr_notebook.values.globs import matches


class MemorySource:
    """An `InputSource` over a mapping, which the caller may go on changing.

    Args:
        objects: Content of each object by key.
    """

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self._objects = objects

    def find(self, pattern: str) -> Iterator[ObjectInfo]:
        """See `ports.InputSource.find`."""
        if pattern in self._objects:
            yield self.stat(pattern)
            return
        folder = pattern.rstrip("/") + "/"
        below = [key for key in self._objects if pattern and key.startswith(folder)]
        parts = pattern.split("/")
        for key in sorted(below or [key for key in self._objects if matches(key.split("/"), parts)]):
            yield self.stat(key)

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """See `ports.InputSource.get`."""
        return self._found(key)[start:stop]

    def stat(self, key: str) -> ObjectInfo:
        """See `ports.InputSource.stat`."""
        data = self._found(key)
        return ObjectInfo(key, len(data), f"{zlib.crc32(data):08x}")

    def _found(self, key: str) -> bytes:
        try:
            return self._objects[key]
        except KeyError:
            raise InputMissingError(f"There is no input object {key!r} in memory. Put it into the mapping.") from None
