"""One planned object as a binary file: what it is stored as, or what that decompresses to.

Rules:

* Whoever reads the file may catch what goes wrong in it: so the file remembers its `failure`, and its owner raises that in the end.
* A decompressed file goes forward only, and memory is bounded whatever the ratio.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import chain
from typing import Any

from smr_notebook.dataflow.formats import compression
from smr_notebook.dataflow.records import SpanBytes
from smr_notebook.errors import InputError
from smr_notebook.model import Span

FETCH_BYTES = 4 << 20
"""What is fetched at a time, and kept."""


class ObjectStream(io.RawIOBase):
    """The face that both kinds of files have.

    Attributes:
        failure: Why reading failed; `None` if it did not.
        reached: Stored bytes, counted from the first, behind which nothing was read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failure: InputError | None = None
        self.reached = 0

    def readable(self) -> bool:
        """Return `True`."""
        return True

    def _guarded(self, read: Callable[[], bytes]) -> bytes:
        try:
            return read()
        except InputError as error:
            self.failure = error
            raise


class StoredStream(ObjectStream):
    """The bytes of an object as they are stored; it can be sought."""

    def __init__(self, span: Span, planned: SpanBytes) -> None:
        super().__init__()
        self._planned = planned
        self._size = span.size
        self._position = 0

    def seekable(self) -> bool:
        """Return `True`."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move, and return the position. Raises `ValueError` in front of the first byte."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            raise ValueError(f"negative seek position {origin + offset}")
        self._position = origin + offset
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer as far as there are bytes, and return how many there were. Raises as `SpanBytes.read` does."""
        start = min(self._position, self._size)
        stop = min(start + len(buffer), self._size)
        if start < stop:
            buffer[: stop - start] = self._guarded(lambda: self._planned.read(start, stop))
            self._position = stop
            self.reached = max(self.reached, stop)
        return stop - start


class ContentStream(ObjectStream):
    """What a compressed object holds."""

    def __init__(self, span: Span, planned: SpanBytes, codec: compression.Codec, head: bytes) -> None:
        super().__init__()
        self._planned = planned
        stored = chain([head], planned.chunks(len(head), span.size, FETCH_BYTES))
        self._contents = compression.decompress(codec, stored, name=span.key, block_bytes=FETCH_BYTES)
        self._rest = memoryview(b"")

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer with some bytes, and return how many; 0 at the end. Raises as `compression.decompress` does."""
        if not self._rest:
            self._rest = memoryview(self._guarded(lambda: next(self._contents, b"")))
            self.reached = self._planned.fetched
        taken = min(len(buffer), len(self._rest))
        buffer[:taken] = self._rest[:taken]
        self._rest = self._rest[taken:]
        return taken


def open_stream(span: Span, planned: SpanBytes, *, decompress: bool) -> ObjectStream:
    """Open a whole object that has bytes.

    Args:
        span: The object.
        planned: Reads it.
        decompress: Whether it is decompressed, if it looks compressed.

    Raises:
        InputError: It is gone, has changed, or cannot be read.
    """
    head = planned.read(0, min(span.size, compression.HEAD_BYTES)) if decompress else b""
    codec = compression.sniff(head)
    return StoredStream(span, planned) if codec is None else ContentStream(span, planned, codec, head)
