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
from typing import TypeVar

import pandas as pd

import smr_notebook as smr
from smr_notebook.config import Settings

T = TypeVar("T")

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


def timed(call: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    answer = call()
    return time.perf_counter() - start, answer


def open_session(folder: Path) -> smr.Session:
    return smr.Session(settings=Settings(workspace=folder, workers=WORKERS))


def small_job(session: smr.Session) -> pd.DataFrame:
    return session.map_reduce(words, sum, ["the quick brown fox", "the end"], wait=True)


def thousand_tasks(session: smr.Session) -> pd.DataFrame:
    return session.map_reduce(nothing, None, range(1_000), split_size=1, wait=True)


def cold_start(folder: Path) -> float:
    session = open_session(folder)
    spent, _ = timed(lambda: small_job(session))
    session.close()
    return spent


def word_count(session: smr.Session, folder: Path) -> tuple[float, float]:
    """Return the seconds of a job and of the floor over the same files, once their answers are the same."""
    paths = zipfian_files(folder)
    bare, expected = timed(lambda: floor(paths))
    spent, frame = timed(lambda: session.map_reduce(words, sum, str(folder / "*.txt"), wait=True))
    if dict(frame.itertuples(index=False, name=None)) != expected:
        raise SystemExit("the answers differ")
    return spent, bare


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cold = [cold_start(folder / f"cold-{number}") for number in range(5)]
        print(f"small job, call to DataFrame, cold: {statistics.median(cold):.3f} s")
        session = open_session(folder / "warm")
        small_job(session)
        warm = [timed(lambda: small_job(session))[0] for _ in range(20)]
        print(f"small job, call to DataFrame, warm: {statistics.median(warm):.3f} s")
        many = [timed(lambda: thousand_tasks(session))[0] for _ in range(5)]
        tasks = session.attach().status().map.tasks
        print(f"{tasks:,} tasks that do nothing, warm:  {statistics.median(many):.3f} s")
        pairs = [word_count(session, folder) for _ in range(5)]
        ratios = sorted(spent / bare for spent, bare in pairs)
        ours, floors = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"word count, {FILES * WORDS_A_FILE:,} words: {ours:.2f} s, floor {floors:.2f} s")
        print(f"ratio of them, pair by pair: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
        session.close()


if __name__ == "__main__":
    main()
