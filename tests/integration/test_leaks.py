"""What a service takes does not grow with the jobs that it ran."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from smr_notebook import Session
from smr_notebook.backends.local.client import LocalFunctions
from smr_notebook.testing.footprint import Footprint, footprint

JOBS = 100
MIB = 1 << 20


def words(line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


def run(session: Session, jobs: int) -> Footprint:
    for _ in range(jobs):
        frame = session.map_reduce(words, sum, ["the quick brown fox", "the end"], wait=True)
        assert frame.value.sum() == 6
    assert isinstance(session.backend.functions, LocalFunctions)
    return footprint(session.backend.functions)


def entries(folder: Path) -> int:
    return sum(1 for _ in folder.rglob("*"))


def test_two_hundred_jobs_take_no_more_of_the_machine_than_a_hundred_did(own_session: Callable[..., Session], tmp_path: Path) -> None:
    """After a warm-up: processes, descriptors and threads stay, memory stays but for what allocators keep, and each job stores as much."""
    session = own_session()
    run(session, 10)
    files = [entries(tmp_path / "ws")]
    first = run(session, JOBS)
    files.append(entries(tmp_path / "ws"))
    second = run(session, JOBS)
    files.append(entries(tmp_path / "ws"))
    assert second.processes <= first.processes + 1, "one worker may just have been let go"
    assert second.descriptors <= first.descriptors + 16
    assert second.threads <= first.threads + 4
    assert second.lasting_bytes < first.lasting_bytes + 16 * MIB
    assert second.largest_bytes < first.largest_bytes + 64 * MIB
    before, middle, after = files
    assert after - middle <= middle - before + 10
