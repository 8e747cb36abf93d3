"""What one service takes of the machine while it runs a thousand small jobs, one after the other: nothing may grow but what jobs store.

    python benchmarks/leaks.py [jobs]

Prints one line after a warm-up and one after each tenth of the jobs.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import smr_notebook as smr
from smr_notebook.backends.local.client import LocalFunctions
from smr_notebook.config import Settings
from smr_notebook.testing.footprint import footprint

WARM_UP = 20


def words(line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


def run(session: smr.Session, jobs: int) -> float:
    """Run small jobs, and return the seconds that one took."""
    start = time.perf_counter()
    for _ in range(jobs):
        frame = session.map_reduce(words, sum, ["the quick brown fox", "the end"], wait=True)
        if len(frame) != 5:
            raise SystemExit("a wrong answer")
    return (time.perf_counter() - start) / jobs


def stored(folder: Path) -> tuple[int, int]:
    """Return the files and folders below one, and the bytes of its files."""
    files = size = 0
    for path, folders, names in os.walk(folder):
        files += len(folders) + len(names)
        size += sum(Path(path, name).stat().st_size for name in names)
    return files, size


def main(jobs: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "workspace"
        session = smr.Session(settings=Settings(workspace=folder))
        functions = session.backend.functions
        if not isinstance(functions, LocalFunctions):
            raise SystemExit("this measures the local service")
        done = 0
        for more in (WARM_UP, *[jobs // 10] * 10):
            seconds = run(session, more)
            done += more
            files, size = stored(folder)
            print(
                f"{done:6,} jobs, {1e3 * seconds:.0f} ms each: {footprint(functions)}; stored {files:,} files, {size:,} bytes", flush=True
            )
        session.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)
