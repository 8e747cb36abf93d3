"""What the local adapters share: ranged reads, the version of a file, and folders that are one user's own."""

from __future__ import annotations

import os
from contextlib import suppress


def read_range(path: str | bytes, start: int, stop: int | None) -> bytes:
    """Return bytes `[start, stop)` of a file, both ends clamped to its size.

    Raises:
        OSError: The file cannot be opened or read.
    """
    # Opening a pipe would wait for its writer; for a regular file the flag means nothing.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        size = os.fstat(file).st_size
        stop = size if stop is None else min(stop, size)
        start = max(start, 0)
        chunks: list[bytes] = []
        # One call returns at most about 2 GiB.
        while start < stop and (chunk := os.pread(file, stop - start, start)):
            chunks.append(chunk)
            start += len(chunk)
        if not chunks:
            os.pread(file, 0, 0)  # even nothing is only read from what can be read: a folder fails here
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)
    finally:
        os.close(file)


def file_version(status: os.stat_result) -> str:
    """Return what changes whenever the content of a file does: its inode, size, and the times of its last write and of its last change.

    The first of these times can be set back, by tools that keep it when they copy; the second cannot.
    """
    return f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}-{status.st_ctime_ns:x}"


def make_private(folder: str | os.PathLike[str]) -> None:
    """Make a folder, and those above it that are missing, so that nobody but this user may enter them. What is there stays as it is.

    Raises:
        OSError: It cannot be made.
    """
    path, missing = os.fspath(folder), []
    while not os.path.isdir(path):  # noqa: PTH112 - pathlib costs more than the system call
        missing.append(path)
        path = os.path.dirname(path)  # noqa: PTH120 - as above
    for path in reversed(missing):
        with suppress(FileExistsError):  # somebody else was faster
            os.mkdir(path, 0o700)  # noqa: PTH102 - as above
