"""What this machine gives a process: cores and memory, as the operating system and its control groups state them."""

from __future__ import annotations

import ctypes
import functools
import getpass
import os
import resource
import sys
from pathlib import Path

import psutil

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


def resident_bytes_of(process: int) -> int:
    """Return the resident memory of a process; 0 when it has ended, or cannot be looked at."""
    try:
        return int(Path(f"/proc/{process}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return _resident_by_psutil(process) if sys.platform != "linux" else 0


def available_bytes() -> int:
    """Return the memory that can still be had, in the machine and in the control groups of this process, without anybody losing some."""
    found = [_available_in(group) for group in _groups()]
    machine = _field(Path("/proc/meminfo"), "MemAvailable:")
    found.append(machine * 1024 if machine is not None else psutil.virtual_memory().available)
    return max(min(bytes_left for bytes_left in found if bytes_left is not None), 0)


def out_of_memory_kills() -> int:
    """Return how many processes the system has killed for want of memory, as far as it tells."""
    counts = [_field(Path("/proc/vmstat"), "oom_kill"), *(_field(group / "memory.events", "oom_kill") for group, _ in _groups())]
    return sum(count for count in counts if count is not None)


def give_back() -> None:
    """Give memory that this process has freed back to the system, where its allocator can be told to."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _resident_by_psutil(process: int) -> int:
    try:
        return int(psutil.Process(process).memory_info().rss)
    except psutil.Error:
        return 0


def _group_limits() -> list[int]:
    """Return the memory limits of this process' control group and the groups above it (version 2, and version 1)."""
    limits = [_limit(group / ("memory.max" if new else "memory.limit_in_bytes")) for group, new in _groups()]
    return [limit for limit in limits if limit is not None]


@functools.lru_cache(maxsize=1)
def _groups() -> tuple[tuple[Path, bool], ...]:
    """Return the control groups that this process is in, and whether each is of version 2."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return ()
    found: list[tuple[Path, bool]] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in {"", "memory"}:
            root = _GROUPS / "memory" if controllers else _GROUPS
            group = root / path.lstrip("/")
            found += [(folder, not controllers) for folder in (group, *group.parents) if folder.is_relative_to(root)]
    return tuple(found)


def _available_in(group: tuple[Path, bool]) -> int | None:
    """Return the bytes that a control group has left, what it keeps of files aside; `None` where nothing limits it."""
    folder, new = group
    limit = _limit(folder / ("memory.max" if new else "memory.limit_in_bytes"))
    used = _limit(folder / ("memory.current" if new else "memory.usage_in_bytes")) if limit is not None else None
    if limit is None or used is None:
        return None
    cached = [_field(folder / "memory.stat", f"{name}_file") or 0 for name in ("active", "inactive")]
    return limit - used + sum(cached)


def _field(path: Path, name: str) -> int | None:
    """Return the number behind a name, in a file with a name and a number on each line."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return None
    wanted = name.encode()
    return next((int(words[1]) for words in map(bytes.split, lines) if len(words) > 1 and words[0] == wanted), None)


def _limit(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
