"""The face of this package without any engine: the user's map for each record, a combiner of two values, plain dicts and processes."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

from by_hand import totals
from cells import Answer, Setup

Pair = tuple[str, Any]


@contextmanager
def opened(setup: Setup) -> Iterator[Pool]:
    with multiprocessing.get_context("fork").Pool(setup.workers) as pool:
        yield pool


def words(line: str) -> Iterator[Pair]:
    for word in line.split():
        yield word, 1


def amounts(line: str) -> Iterator[Pair]:
    row = json.loads(line)
    yield row["user"], (row["amount"], 1)


def add(one: int, other: int) -> int:
    return one + other


def add_both(one: tuple[float, int], other: tuple[float, int]) -> tuple[float, int]:
    return one[0] + other[0], one[1] + other[1]


def fold(pairs: Iterable[Pair], combine: Callable[[Any, Any], Any], into: dict[str, Any]) -> dict[str, Any]:
    for key, value in pairs:
        into[key] = combine(into[key], value) if key in into else value
    return into


def fold_files(paths: list[str], map: Callable[[str], Iterator[Pair]], combine: Callable[[Any, Any], Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in paths:
        with Path(path).open() as file:
            for line in file:
                fold(map(line), combine, found)
    return found


def run(pool: Pool, setup: Setup, map: Callable[[str], Iterator[Pair]], combine: Callable[[Any, Any], Any]) -> dict[str, Any]:
    shares = [setup.paths[start :: setup.workers] for start in range(setup.workers)]
    first, *rest = pool.imap_unordered(partial(fold_files, map=map, combine=combine), shares)
    for part in rest:
        fold(part.items(), combine, first)
    return first


def word_count(pool: Pool, setup: Setup) -> Answer:
    return run(pool, setup, words, add).items


def user_totals(pool: Pool, setup: Setup) -> Answer:
    return totals(run(pool, setup, amounts, add_both).items())


CELLS = {"W1": word_count, "W3": user_totals, "W10": word_count, "W10 few": word_count}
