"""The inputs, made once by generators with seeds: the same bytes on every machine and every run.

* `text`: words by Zipf's law (the word of rank r with weight 1/r) out of 200,000, ten a line, 8 bytes a word with its space.
* `rows`: JSON lines of a log, about 115 bytes each: time, user, method, path, status, and amount, a number of cents up to 500.00.
  Users are drawn evenly.
* `records`: lines of 99 printable characters, the first 10 of which are the key.
* `tables`: Parquet with the columns time, user, item, amount, region; five row groups a file. Users are strings, drawn evenly;
  amounts are multiples of 0.25, so that sums are exact in any order.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FILES = 16
WORDS = 200_000
WORD_BYTES = 8
LETTERS = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", dtype=np.uint8)
PRINTABLE = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", dtype=np.uint8)


@dataclass(frozen=True)
class Dataset:
    """One input: `make` writes a file of `size` (bytes of text, or rows) with a seed; `files` of them make up the input."""

    name: str
    make: Callable[[Path, int, int], None]
    size: int
    suffix: str
    files: int = FILES
    many: bool = False
    """What a scale divides is the number of files, not their size."""

    def at(self, scale: float) -> tuple[int, int]:
        """Return the number of files and the size of each."""
        if self.many:
            return max(1, round(self.files * scale)), self.size // self.files
        return self.files, max(1, round(self.size * scale / self.files))


def make_text(path: Path, size: int, seed: int) -> None:
    words, weights = vocabulary()
    drawn = np.searchsorted(weights, np.random.default_rng(seed).random(max(1, size // WORD_BYTES)), side="right")
    text = [words[rank] for rank in drawn.tolist()]
    with path.open("w") as file:
        file.writelines(" ".join(text[start : start + 10]) + "\n" for start in range(0, len(text), 10))


@cache
def vocabulary() -> tuple[list[str], np.ndarray]:
    """Return the words by rank, and the sums of their weights up to each rank."""
    chance = np.random.default_rng(1)
    words: dict[str, None] = {}
    while len(words) < WORDS:
        lengths = chance.integers(4, 11, 4_096)
        words.update((LETTERS[chance.integers(0, 26, length)].tobytes().decode(), None) for length in lengths)
    sums = np.cumsum(1 / np.arange(1, WORDS + 1))
    return list(words)[:WORDS], sums / sums[-1]


def make_rows(path: Path, size: int, seed: int, users: int = 500_000) -> None:
    chance = np.random.default_rng(seed)
    who, cents = chance.integers(0, users, size).tolist(), chance.integers(1, 50_001, size).tolist()
    items, seconds = chance.integers(0, 10_000, size).tolist(), np.sort(chance.integers(0, 86_400, size)).tolist()
    day = f"2026-03-{seed % 28 + 1:02d}"
    with path.open("w") as file:
        file.writelines(
            f'{{"time": "{day}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}Z", "user": "u{user:06d}", '
            f'"method": "GET", "path": "/items/{item}", "status": 200, "amount": {cent / 100}}}\n'
            for second, user, item, cent in zip(seconds, who, items, cents, strict=True)
        )


def make_records(path: Path, size: int, seed: int) -> None:
    lines = PRINTABLE[np.random.default_rng(seed).integers(0, len(PRINTABLE), (size, 100), dtype=np.uint8)]
    lines[:, 99] = ord("\n")
    path.write_bytes(lines.tobytes())


def make_table(path: Path, size: int, seed: int, users: int = 100_000) -> None:
    chance = np.random.default_rng(seed)
    names = pa.array([f"u{number:05d}" for number in range(users)])
    regions = pa.array(["north", "east", "south", "west"])
    table = pa.table(
        {
            "time": pa.array(np.sort(chance.integers(0, 86_400_000, size)), pa.timestamp("ms")),
            "user": names.take(pa.array(chance.integers(0, users, size))),
            "item": pa.array(chance.integers(0, 10_000, size)),
            "amount": pa.array(chance.integers(1, 2_001, size) / 4),
            "region": regions.take(pa.array(chance.integers(0, 4, size))),
        }
    )
    pq.write_table(table, path, row_group_size=max(1, -(-size // 5)))


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset("text", make_text, 245_000_000, ".txt"),
        Dataset("text-quarter", make_text, 61_000_000, ".txt"),
        Dataset("text-large", make_text, 4_000_000_000, ".txt", files=64),
        Dataset("text-many", make_text, 20_000 * 4_096, ".txt", files=20_000, many=True),
        Dataset("text-few", make_text, 20_000 * 4_096, ".txt"),
        Dataset("rows", make_rows, 3_000_000, ".jsonl"),
        Dataset("records", make_records, 2_000_000, ".txt"),
        Dataset("tables", make_table, 10_000_000, ".parquet"),
    )
}


def prepare(name: str, *, scale: float, folder: Path) -> list[str]:
    """Return the paths of an input, sorted; it is made if it is not there."""
    dataset = DATASETS[name]
    files, size = dataset.at(scale)
    target = folder / f"{name}-{files}x{size}"
    if not target.exists():
        making = target.with_name(f"{target.name}.{os.getpid()}")
        making.mkdir(parents=True)
        tasks = [(making / f"{number:05d}{dataset.suffix}", size, 1_000 + number) for number in range(files)]
        if dataset.many:
            _split_one(dataset, making, files=files, size=size)
        else:
            vocabulary()  # once, before the processes are forked
            with multiprocessing.get_context("fork").Pool() as pool:
                pool.starmap(dataset.make, tasks, chunksize=1)
        try:
            making.rename(target)
        except OSError:  # somebody else was as fast
            shutil.rmtree(making)
    return sorted(str(path) for path in target.iterdir())


def _split_one(dataset: Dataset, folder: Path, *, files: int, size: int) -> None:
    """Write many small files at the line ends of one large one: the vocabulary takes longer than a file."""
    whole = folder / "whole"
    dataset.make(whole, files * size, 1_000)
    lines = whole.read_text().splitlines(keepends=True)
    whole.unlink()
    bounds = [len(lines) * number // files for number in range(files + 1)]
    for number, (start, stop) in enumerate(pairwise(bounds)):
        (folder / f"{number:05d}{dataset.suffix}").write_text("".join(lines[start:stop]))
