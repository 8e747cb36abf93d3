"""The last words of a process: Python's stack when it crashed, kept where its end cannot reach it.

Theory. A process that dies by a signal tells nobody where it was. CPython's `faulthandler` writes the stack below Python, in the handler of
the signal. It writes to a file without a name that the parent made before it forked, so that the parent reads it when the child is gone,
and nobody else's words are in it.

Rules of this module:

* One of these belongs to one child, for its whole life: only its end is told.
* A process that is about to be killed can be asked for its words by a signal; what it answers, it writes while it works on.
* What does not exist on a system (files in memory, signals in real time) is done without: then there are fewer words.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

MOST: Final = 1_500
"""Bytes of a stack that are told: the innermost frames, which stand first."""

_ASKS: Final = signal.SIGRTMAX - 3 if hasattr(signal, "SIGRTMAX") else 0
"""The signal that asks for the words; none of those that a user's code is likely to use."""


class CrashStack:
    """A place for the last words of one process, made by its parent."""

    def __init__(self) -> None:
        self._file = _file_in_memory() if hasattr(os, "memfd_create") else _unnamed_file()

    def take(self) -> None:
        """Have this process, the child, leave its words here."""
        faulthandler.enable(file=self._file, all_threads=False)
        if _ASKS:
            faulthandler.register(_ASKS, file=self._file, all_threads=False)

    def read(self) -> str:
        """Return what was left here, the beginning of it."""
        with suppress(OSError):
            return os.pread(self._file, MOST, 0).decode("utf-8", "replace")
        return ""

    def close(self) -> None:
        """Let go of the place."""
        with suppress(OSError):
            os.close(self._file)


def ask(process: int) -> None:
    """Ask a process that took its place for its words, before it is killed. Harmless when it has ended."""
    if _ASKS:
        with suppress(OSError):
            os.kill(process, _ASKS)


def answers(process: int) -> bool:
    """Whether a process that was asked has begun to answer, which takes less than a millisecond; also where that cannot be seen."""
    try:
        lines = Path(f"/proc/{process}/status").read_bytes().splitlines()
    except OSError:
        return True
    told = dict(line.split(b":", 1) for line in lines if line.startswith((b"State:", b"ShdPnd:")))
    waiting = int(told.get(b"ShdPnd", b"0"), 16)
    return told.get(b"State", b"").lstrip().startswith((b"Z", b"X")) or not (_ASKS and waiting >> (_ASKS - 1) & 1)


def _file_in_memory() -> int:
    try:
        return os.memfd_create("last-words")
    except OSError:  # it is forbidden here
        return _unnamed_file()


def _unnamed_file() -> int:
    file, name = tempfile.mkstemp()
    Path(name).unlink()
    return file
