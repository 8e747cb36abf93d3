"""What this machine gives a process: cores and memory, as the operating system and its control groups state them."""

from __future__ import annotations

import ctypes
import getpass
import os
import resource
import sys
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_STATM = Path("/proc/self/statm")


def cores() -> int:
    """Return how many processors this process may run on."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def user_name() -> str:
    """Return who runs this process: a name, or a number where the system knows none.

    The machine is no part of it: a workspace outlives the name of the container in which it is opened.
    """
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())


def memory_bytes() -> int:
    """Return the memory that all processes of this control group may use together: the machine's, or less."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_group_limits()])


def resident_bytes() -> int:
    """Return the resident memory of this process (its peak, where the present value is not to be had)."""
    try:
        return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def give_back() -> None:
    """Give memory that this process has freed back to the system, where its allocator can be told to."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _group_limits() -> list[int]:
    """Return the memory limits of this process' control group and the groups above it (version 2, and version 1)."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in {"", "memory"}:
            continue
        root, name = (_GROUPS / "memory", "memory.limit_in_bytes") if controllers else (_GROUPS, "memory.max")
        group = root / path.lstrip("/")
        limits += [_limit(folder / name) for folder in (group, *group.parents) if folder.is_relative_to(root)]
    return [limit for limit in limits if limit is not None]


def _limit(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
