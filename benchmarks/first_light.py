"""What a job costs besides the user's own code, on this machine: medians, and ratios to plain Python in the same run.

    python benchmarks/first_light.py

Prints one line for each measure. The floor of the word count is one `Counter.update(text.split())` per process over the same files,
in as many processes as the session has workers; answers are compared before a time counts.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import smr_notebook as smr
from smr_notebook.config import Settings

WORKERS = len(os.sched_getaffinity(0))
FILES = 8
WORDS_A_FILE = 1_000_000


def words(line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


def nothing(_: int) -> None:
    return None


def zipfian_files(folder: Path) -> list[Path]:
    """Write text whose words follow Zipf's law; the same on every run."""
    chance = random.Random(7)
    vocabulary = [f"w{number:x}" for number in range(100_000)]
    weights = [1 / rank for rank in range(1, len(vocabulary) + 1)]
    paths = []
    for number in range(FILES):
        drawn = chance.choices(vocabulary, weights, k=WORDS_A_FILE)
        path = folder / f"{number}.txt"
        path.write_text("".join(" ".join(drawn[start : start + 10]) + "\n" for start in range(0, WORDS_A_FILE, 10)))
        paths.append(path)
    return paths


def count_file(path: Path) -> Counter[str]:
    return Counter(path.read_text().split())


def floor(paths: list[Path]) -> Counter[str]:
    with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
        total: Counter[str] = Counter()
        for part in pool.imap_unordered(count_file, paths):
            total.update(part)
        return total


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def open_session(folder: Path) -> smr.Session:
    return smr.Session(settings=Settings(workspace=folder, workers=WORKERS))


def small_job(session: smr.Session) -> None:
    session.map_reduce(words, sum, ["the quick brown fox", "the end"], wait=True)


def thousand_tasks(session: smr.Session) -> None:
    job = session.map_reduce(nothing, None, range(1_000), split_size=1)
    job.result()
    assert job.status().map.tasks == 1_000, job.status()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        cold = []
        for number in range(5):
            session = open_session(Path(folder) / f"cold-{number}")
            cold.append(seconds(lambda: small_job(session)))
            session.close()
        print(f"small job, cell to DataFrame, cold: {statistics.median(cold):.3f} s")
        session = open_session(Path(folder) / "warm")
        small_job(session)
        warm = [seconds(lambda: small_job(session)) for _ in range(20)]
        print(f"small job, cell to DataFrame, warm: {statistics.median(warm):.3f} s")
        many = [seconds(lambda: thousand_tasks(session)) for _ in range(5)]
        print(f"1,000 tasks that do nothing, warm:  {statistics.median(many):.3f} s")
        paths = zipfian_files(Path(folder))
        pattern = str(Path(folder) / "*.txt")
        pairs: list[tuple[float, float]] = []
        for _ in range(5):
            expected: list[Counter[str]] = []
            ours: list[Any] = []
            bare = seconds(lambda: expected.append(floor(paths)))
            spent = seconds(lambda: ours.append(session.map_reduce(words, sum, pattern, wait=True)))
            assert dict(ours[0].itertuples(index=False, name=None)) == expected[0]
            pairs.append((spent, bare))
        ratios = sorted(spent / bare for spent, bare in pairs)
        print(f"word count, {FILES * WORDS_A_FILE:,} words: {statistics.median(s for s, _ in pairs):.2f} s, floor", end=" ")
        print(f"{statistics.median(b for _, b in pairs):.2f} s, ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
        session.close()


if __name__ == "__main__":
    main()
