"""A map function that ends its own process, or raises, at some records: at each of them once, as a mark in a folder remembers."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

_EVERY: Final = 31
"""Each so many-th record is one at which something happens."""


def sabotaged(marks: str, record: int) -> Iterator[tuple[int, int]]:
    """Map a record to its rest, if all goes well.

    Args:
        marks: Folder of what happened already.
        record: A number.
    """
    name, blow = _BLOWS[record // _EVERY % len(_BLOWS)]
    if record % _EVERY == 0 and _first(Path(marks) / f"{record} {name}"):
        blow()
    yield record % 5, record


def _first(mark: Path) -> bool:
    try:
        mark.open("x").close()
    except FileExistsError:
        return False
    return True


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _exhaust() -> None:
    raise MemoryError("the simulated end of all memory")


def _fail() -> None:
    raise ConnectionError("a service that is not there at the moment")


_BLOWS: Final[tuple[tuple[str, Callable[[], object]], ...]] = (
    ("killed by os._exit", lambda: os._exit(3)),
    ("killed by a segmentation fault", lambda: ctypes.string_at(0)),
    ("killed by itself", _kill),
    ("raised MemoryError", _exhaust),
    ("raised ConnectionError", _fail),
)
