"""Jobs of three kinds over two small files, for tests that compare platforms and exchanges. Needs no test library."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

import smr_notebook as smr

LINES: Final = tuple(f"{number % 97} {number * 7919 % 1009} w{number % 13}" for number in range(6_000))


def write_input(folder: Path) -> None:
    """Write what the jobs read: text, and Parquet in row groups of a thousand."""
    (folder / "lines.txt").write_text("\n".join(LINES))
    frame = pd.DataFrame(
        {"user": [f"u{number % 211}" for number in range(9_000)], "amount": [number * 37 % 1_000 / 8 for number in range(9_000)]}
    )
    frame.to_parquet(folder / "sales.parquet", row_group_size=1_000)


def words(line: str) -> Iterator[tuple[str, int]]:
    """Map a line to its words."""
    for word in line.split():
        yield word, 1


def by_first(line: str) -> Iterator[tuple[int, tuple[int, str]]]:
    """Map a line to its first number, and what is behind it."""
    first, second, word = line.split()
    yield int(first), (int(second), word)


def collected(_: Any, values: Iterator[Any]) -> list[Any]:
    """Reduce to all values, in their order."""
    return list(values)


def doubled(frame: pd.DataFrame) -> pd.DataFrame:
    """Map a frame to one with totals."""
    return frame.assign(total=frame["amount"] * 2)


def added(frame: pd.DataFrame) -> pd.DataFrame:
    """Reduce groups to their sums."""
    return frame.groupby("user").agg(total=("total", "sum"))


Submit = Callable[[smr.Session, Path, str], smr.Job]
"""Submits a job: to a session, over the input in a folder, by an exchange."""

JOBS: Final[Mapping[str, Submit]] = {
    "combined": lambda session, folder, exchange: session.map_reduce(
        words, sum, folder / "lines.txt", combine=True, reducers=3, split_size="20kB", exchange=exchange
    ),
    "values in order": lambda session, folder, exchange: session.map_reduce(
        by_first, collected, folder / "lines.txt", reducers=4, split_size="20kB", sort="keys,values", exchange=exchange
    ),
    "frames": lambda session, folder, exchange: session.map_frames(
        doubled, added, folder / "sales.parquet", by="user", reducers=2, split_size="10kB", exchange=exchange
    ),
}
