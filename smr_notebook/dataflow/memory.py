"""How much memory the data of an attempt may take, by its own count and by the system's.

A task knows what its columns take, not what the allocators below them and the user's own objects take. So it counts what it holds
against a budget, and asks besides, whenever it has grouped another batch, how large its process has become: near the limit it
spills what it holds, however little that is by its own count.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

import pyarrow as pa

_SHARE: Final = 0.7
"""Part of the room for data that is given away: merging takes about as much as `mapping` and `reducing` say, allocators keep some back."""

_NEAR: Final = 0.85
_LEAST: Final = 0.25

_TRIM_THRESHOLD: Final = -1  # as in <malloc.h>
_MMAP_THRESHOLD: Final = -3
_KEPT_BLOCK: Final = 32 << 20
_KEPT: Final = 128 << 20


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Room:
    """The memory of one attempt.

    Attributes:
        budget: Bytes that its pairs may take, as it counts them.
        tight: Whether the process has come near to all that it may take.
    """

    budget: int
    tight: Callable[[], bool] = _never


def room_of(limit: int, *, bare: int, resident: Callable[[], int]) -> Room:
    """Return the memory of an attempt.

    Args:
        limit: Resident bytes that the process may take.
        bare: Resident bytes of the process before it had any data.
        resident: Returns its resident bytes.
    """
    return Room(int(max(limit - bare, _LEAST * limit) * _SHARE), lambda: resident() > _NEAR * limit)


@cache
def keep_freed() -> None:
    """Let this process keep what it frees for what it allocates next, where its allocator can be told to.

    By itself glibc gives large blocks back to the system as soon as they are freed, and gets them again page by page: a fifth of the time
    of a task that sorts. Arrow, NumPy and Python share the one allocator then, and what one of them frees another one gets.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None and mallopt(_MMAP_THRESHOLD, _KEPT_BLOCK) and mallopt(_TRIM_THRESHOLD, _KEPT):
        pa.set_memory_pool(pa.system_memory_pool())


def release() -> None:
    """Give back to the system what was freed, as far as Arrow can."""
    pa.default_memory_pool().release_unused()
