"""What is being written to one object: its beginning is kept in memory, what is too much for that goes to local disk.

Bytes in memory are handed on as the very pieces that were written, so that nothing but the store copies them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast

from smr_notebook.ports import Buffer

IN_MEMORY: Final = 4 << 20
"""Bytes of one object that may stay in memory, if nobody says how many."""

_STEP: Final = 4 << 20
_SMALL: Final = 64 << 10


class Spool:
    """A file that is written from its start to its end, and then read once. It has what writers of binary files ask for.

    Args:
        scratch: Folder for what outgrows memory.
        in_memory: Bytes that may stay in memory.
    """

    def __init__(self, scratch: Path, *, in_memory: int = IN_MEMORY) -> None:
        self._scratch = scratch
        self._in_memory = in_memory
        self._pieces: list[bytes] = []
        self._size = 0
        self._file: BinaryIO | None = None
        self.closed = False

    def write(self, data: Buffer) -> int:
        """Append bytes."""
        piece = data if type(data) is bytes else bytes(data)  # whose buffer it is may use it again
        size = len(piece)
        self._size += size
        if self._size <= self._in_memory:
            self._pieces.append(piece)
            return size
        if self._file is None:
            # closed by `close`
            self._file = cast("BinaryIO", tempfile.TemporaryFile(dir=str(self._scratch)))  # noqa: SIM115 - as said above
        return self._file.write(piece)

    def writable(self) -> bool:
        """Whether it can be written."""
        return True

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._size

    def flush(self) -> None:
        """Do nothing: nobody reads before the end."""

    def pieces(self) -> Iterator[bytes]:
        """Yield all that was written, the small pieces joined, and let go of it."""
        few: list[bytes] = []
        size = 0
        self._pieces.reverse()
        while self._pieces:
            piece = self._pieces.pop()
            few.append(piece)
            size += len(piece)
            if size >= _SMALL:
                yield from few if len(few) < 3 else [b"".join(few)]
                few, size = [], 0
        if few:
            yield b"".join(few)
        if self._file is not None:
            self._file.seek(0)
            while data := self._file.read(_STEP):
                yield data

    def close(self) -> None:
        """Let go of everything."""
        self.closed = True
        self._pieces.clear()
        if self._file is not None:
            self._file.close()
