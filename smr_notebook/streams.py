"""What a process writes to its standard output and error, kept in files while it works for somebody.

The descriptors 1 and 2 lead into two files from `begin` to `end`. So whatever writes there is caught: `print`, `warnings`, `logging`, code
in C, processes that were started. The files outlive the process: who looks after a dead one finds its last words in them, and in a third
file a *note* that says whose they are.

Rules of this module:

* One `Streams` a process, because descriptors belong to the process: nothing is caught for several at once. What is written between `end`
  and `begin` goes where it went before.
* Nobody waits and nothing grows: the files are read from time to time, and cut when they are long and nobody wants more of them.
* A lock on the note tells that the process lives, whatever its number; the folder of a dead one without a note is removed by the next.
* The folder is the user's alone (0700): what is in it may be secret.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import fcntl
import functools
import io
import os
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from tempfile import gettempdir
from typing import Final, TextIO

STREAMS: Final[Mapping[str, int]] = {"stdout": 1, "stderr": 2}
"""Names and descriptors."""

MOST_FILE_BYTES: Final = 8 << 20
"""A file that is longer and has been read is emptied."""

_LONGEST_LINE: Final = 64 << 10
"""Bytes without a line end that are given out all the same."""

_FORGOTTEN_SECONDS: Final = 3600.0
"""Age at which last words that nobody has asked for are removed."""

_YOUNG_SECONDS: Final = 10.0
"""Age below which a folder may be one that is just being made."""

_NOTE: Final = "note"
_LAST_BYTES: Final = 64 << 10
_WORDS: Final = 1_000
_CRASH: Final = "Fatal Python error: "
_PACKAGE: Final = str(Path(__file__).parent)
_LINE_BUFFERED: Final = 1  # _IOLBF of <stdio.h>


@dataclass(frozen=True, slots=True)
class Taken:
    """What was written to one stream since the last look.

    Attributes:
        stream: Its name.
        text: What was kept of it.
        kept: Bytes of that.
        dropped: Bytes that were not kept.
    """

    stream: str
    text: str
    kept: int
    dropped: int


class Streams:
    """The standard streams of this process.

    Args:
        folder: Where the files are made; it exists.

    Raises:
        OSError: They cannot be.
    """

    def __init__(self, folder: Path) -> None:
        new = folder / f"{_NOTE}.new"
        self._note = os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._note, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new.rename(folder / _NOTE)  # locked before others find it, who lock it to learn that we live
        self._files = [_File(stream, number, folder / stream) for stream, number in STREAMS.items()]
        _buffer_by_lines()
        if not faulthandler.is_enabled():
            faulthandler.enable(2)

    def begin(self, note: bytes) -> None:
        """Catch what is written from now on.

        Args:
            note: Says whose it is, to whoever finds the files.
        """
        self.write_note(note)
        _flush((sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__))
        for file in self._files:
            file.open()

    def write_note(self, note: bytes) -> None:
        """Say it anew."""
        os.pwrite(self._note, len(note).to_bytes(4, "little") + note, 0)

    def end(self) -> None:
        """Catch nothing any more, and tell nobody that there is something to be found. What was caught is still to be taken."""
        _flush((sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__))
        for file in self._files:
            file.close()
        self.write_note(b"")

    def take(self, room: int, *, final: bool) -> list[Taken]:
        """Return what was written since the last look, the streams with news only.

        Args:
            room: Bytes that are kept of it at most.
            final: Whether nothing follows; else an unfinished line waits for its end.
        """
        if not final:
            _flush((sys.__stdout__, sys.__stderr__))  # what the user put in their place may keep a heartbeat waiting
        found = []
        for file in self._files:
            taken = file.take(room, final=final)
            if taken is not None:
                found.append(taken)
                room -= taken.kept
        return found

    @property
    def read(self) -> dict[str, int]:
        """How many bytes of each file have been taken."""
        return {file.stream: file.read for file in self._files}


class _File:
    """The file of one stream."""

    def __init__(self, stream: str, number: int, path: Path) -> None:
        self.stream = stream
        self.read = 0
        self._number = number
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._before = os.dup(number)

    def open(self) -> None:
        os.dup2(self._file, self._number)

    def close(self) -> None:
        os.dup2(self._before, self._number)

    def take(self, room: int, *, final: bool) -> Taken | None:
        size = os.fstat(self._file).st_size
        taken = self._news(size, room, final=final) if size > self.read else None
        if (final and size) or (taken is not None and taken.dropped and size > MOST_FILE_BYTES):
            os.ftruncate(self._file, 0)
            self.read = 0
        return taken

    def _news(self, size: int, room: int, *, final: bool) -> Taken | None:
        new = size - self.read
        data = os.pread(self._file, min(new, max(room, 0)), self.read)
        dropped = new - len(data)
        if not (final or dropped):
            whole = data.rfind(b"\n") + 1
            data = data if not whole and len(data) >= _LONGEST_LINE else data[:whole]
            if not data:
                return None
        self.read += len(data) + dropped
        return Taken(self.stream, _text(data), len(data), dropped)


def streams_of(process: int) -> Streams | None:
    """Return the streams of this process, which `process` is the number of; `None` where no files can be made for them."""
    return _opened(process)


def forget_streams(process: int) -> None:
    """Remove the files of this process, which `process` is the number of and which is about to end."""
    with contextlib.suppress(OSError):
        shelf = _shelf(gettempdir())
        if shelf is not None:
            shutil.rmtree(shelf / str(process), ignore_errors=True)


@functools.lru_cache(maxsize=1)
def _opened(process: int) -> Streams | None:
    try:
        shelf = _shelf(gettempdir())
        if shelf is None:
            return None
        folder = shelf / str(process)
        shutil.rmtree(folder, ignore_errors=True)  # of a process that had this number before
        folder.mkdir(mode=0o700)
        streams = Streams(folder)
        _sweep(shelf, folder)
    except OSError:
        return None
    return streams


# ---------------------------------------------------------------- last words


@dataclass(frozen=True, slots=True)
class Left:
    """What a process left that ended while it caught something.

    Attributes:
        note: Whose it is.
        folder: Where the files are.
    """

    note: bytes
    folder: Path

    def text(self, stream: str, start: int = 0, *, most: int) -> tuple[str, int]:
        """Return what was written to a stream behind its first `start` bytes, the last `most` bytes of it, and how many were left out."""
        return _tail(self.folder / stream, start, most)

    def forget(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.folder, ignore_errors=True)


def left_behind(temporary: str) -> Iterator[Left]:
    """Yield what dead processes of this user left that had this folder for temporary files, and that nobody has forgotten yet."""
    shelf = _shelf(temporary)
    if shelf is not None:
        for folder in shelf.iterdir():
            note = _note_of_dead(folder)
            if note:
                yield Left(note, folder)


def last_words(temporary: str) -> str:
    """Return what dead processes with this folder for temporary files wrote to standard error at last, as far as it is worth telling."""
    with contextlib.suppress(OSError):
        return "\n".join(worth_telling(left.text("stderr", most=_LAST_BYTES)[0]) for left in left_behind(temporary))
    return ""


def worth_telling(text: str) -> str:
    """Return what is worth telling of the end of a process's standard error, at most a thousand characters.

    Of the stacks of a crash in compiled code that is what happened, and the way down to the user's own line.
    """
    _, crash, stacks = text.rpartition(_CRASH)
    if not crash:
        return text.strip()[-_WORDS:]
    happened, _, stack = stacks.partition("\n")
    thread = stack.rpartition("Current thread")[2].splitlines()[1:]
    own = list(takewhile(lambda line: line.startswith("  File") and _PACKAGE not in line, thread))
    return "\n".join([crash + happened, *own])[:_WORDS]


def _tail(file: Path, start: int, most: int) -> tuple[str, int]:
    try:
        with file.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            begin = max(start if start <= size else 0, size - most)
            opened.seek(begin)
            return _text(opened.read()), begin - min(start, begin)
    except OSError:
        return "", 0


def _note_of_dead(folder: Path) -> bytes | None:
    """Return the note of a process, empty if it left none; `None` when it lives."""
    try:
        file = os.open(folder / _NOTE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: others who ask at the same time must not seem to be the owner
        return os.pread(file, int.from_bytes(os.pread(file, 4, 0), "little"), 4)
    except OSError:
        return None
    finally:
        os.close(file)


def _shelf(temporary: str) -> Path | None:
    """Return the folder of all processes of this user, made if need be; `None` when it is somebody else's."""
    shelf = Path(temporary) / f"smr-output-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        shelf.mkdir(mode=0o700)
    found = shelf.lstat()
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o077
    return shelf if own else None


def _sweep(shelf: Path, own: Path) -> None:
    """Remove what dead processes left that said nothing, or long ago."""
    now = own.stat().st_mtime
    for folder in shelf.iterdir():
        with contextlib.suppress(OSError):
            note = None if folder == own else _note_of_dead(folder)
            age = now - max(file.stat().st_mtime for file in (folder, *folder.iterdir()))
            if note is not None and age > (_FORGOTTEN_SECONDS if note else _YOUNG_SECONDS):
                shutil.rmtree(folder, ignore_errors=True)


# ---------------------------------------------------------------- buffers


def _buffer_by_lines() -> None:
    """Have each line written when it ends, so that a process that dies has written it."""
    for file in (sys.__stdout__, sys.__stderr__):
        if isinstance(file, io.TextIOWrapper):
            file.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, ValueError):
            library = ctypes.CDLL(None)
            library.setvbuf(ctypes.c_void_p.in_dll(library, "stdout"), None, _LINE_BUFFERED, ctypes.c_size_t(0))


def _flush(files: Iterable[TextIO | None]) -> None:
    for file in files:
        with contextlib.suppress(Exception):  # the user may have put anything in their place
            if file is not None:
                file.flush()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
