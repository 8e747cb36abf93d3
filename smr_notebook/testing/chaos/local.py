"""The embedded default under torment: its service, its workers, its table and its disk."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Final

from smr_notebook.backends.local.client import LocalFunctions
from smr_notebook.backends.local.wire import Status
from smr_notebook.config import Settings
from smr_notebook.errors import SmrError
from smr_notebook.sessions.session import Session
from smr_notebook.testing.chaos.arena import Arena
from smr_notebook.testing.chaos.torments import freeze_one, kill_one

LEASE: Final = 1.5
_DISK: Final = "12m"
_LOCKED_SECONDS: Final = 1.5


@contextmanager
def local_arena(folder: Path, *, small_disk: bool) -> Iterator[Arena]:
    """Open a workspace of two workers that hold little, and end its service afterwards.

    Args:
        folder: Where it lies.
        small_disk: Whether temporary files lie on a disk of their own that fills up: a few megabytes, where this process may mount one.
    """
    with _temporary_files(folder / "disk", small=small_disk) as disk:
        settings = Settings(workspace=folder / "workspace", workers=2, lease_seconds=LEASE, worker_memory=1 << 20)
        session = Session(settings=settings)
        thaws: list[threading.Timer] = []
        torments = [
            (kill_one(lambda: _workers(session), "a worker"), 6),
            (freeze_one(lambda: _workers(session), "a worker", lease=LEASE, thaws=thaws), 3),
            (kill_one(lambda: _service(session), "the service"), 1),
            (lambda random: _lock(folder / "workspace" / "table.sqlite", random), 2),
        ]
        if disk is not None:
            torments.append((lambda random: _fill(disk, random), 3))
        try:
            yield Arena(session, torments, thaws)
        finally:
            for timer in thaws:
                timer.join()
            session.close()


def _status(session: Session) -> Status | None:
    functions = session.backend.functions
    with suppress(SmrError, OSError):
        return functions.status() if isinstance(functions, LocalFunctions) else None
    return None


def _workers(session: Session) -> Sequence[int]:
    status = _status(session)
    return list(status.workers) if status else ()


def _service(session: Session) -> Sequence[int]:
    status = _status(session)
    return (status.pid,) if status else ()


def _lock(table: Path, random: Random) -> str | None:
    """Hold the table's write lock for a while, as a backup or a slow disk does."""
    if not table.exists():
        return None
    with suppress(sqlite3.Error), closing(sqlite3.connect(table, timeout=0.2, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        threading.Event().wait(random.uniform(0.05, _LOCKED_SECONDS))
        connection.execute("ROLLBACK")
        return "locked table"
    return None


def _fill(disk: Path, random: Random) -> str | None:
    """Take all that is left of the disk for a while."""
    hog = disk / "hog"
    with suppress(OSError):
        try:
            with hog.open("wb", buffering=0) as file, suppress(OSError):
                while file.write(b"\0" * 65_536) == 65_536:
                    pass
            threading.Event().wait(random.uniform(0.05, 0.6))
        finally:
            hog.unlink(missing_ok=True)
        return "full disk"
    return None


@contextmanager
def _temporary_files(folder: Path, *, small: bool) -> Iterator[Path | None]:
    """Let the service that starts within the block put its temporary files into a folder: on a small disk if one can be had."""
    folder.mkdir(parents=True)
    mounted = small and _mount(folder)
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(folder)
    try:
        yield folder if mounted else None
    finally:
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607 - wherever it is


def _mount(folder: Path) -> bool:
    if shutil.which("mount") is None:
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
