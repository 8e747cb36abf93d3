"""Dask in processes of its own: bags for records, its DataFrame for what is sorted and for frames."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import dask.bag as db
import dask.dataframe as dd
from by_hand import chunk, count_small, nothing, part_lines, totals
from cells import SMALL, Answer, Setup


@contextmanager
def opened(setup: Setup) -> Iterator[None]:
    with (
        ProcessPoolExecutor(setup.workers, mp_context=dask.multiprocessing.get_context()) as pool,  # stays up between its computations
        dask.config.set(scheduler="processes", pool=pool, num_workers=setup.workers),
    ):
        yield


def words(setup: Setup) -> Any:
    return db.read_text(setup.paths, files_per_partition=chunk(setup)).map(str.split).flatten()


def word_count(_: None, setup: Setup) -> Answer:
    found = words(setup).frequencies().compute()
    return lambda: found


def add(pair: tuple[str, list[tuple[str, int]]]) -> tuple[str, int]:
    return pair[0], sum(value for _, value in pair[1])


def with_one(word: str) -> tuple[str, int]:
    return word, 1


def first(pair: tuple[str, int]) -> str:
    return pair[0]


def shuffled_count(_: None, setup: Setup) -> Answer:
    found = words(setup).map(with_one).groupby(first).map(add).compute()
    return lambda: found


def user(row: dict[str, Any]) -> str:
    return str(row["user"])


def add_row(total: tuple[float, int], row: dict[str, Any]) -> tuple[float, int]:
    return total[0] + row["amount"], total[1] + 1


def add_both(one: tuple[float, int], other: tuple[float, int]) -> tuple[float, int]:
    return one[0] + other[0], one[1] + other[1]


def user_totals(_: None, setup: Setup) -> Answer:
    found = db.read_text(setup.paths).map(json.loads).foldby(user, add_row, (0.0, 0), add_both, (0.0, 0)).compute()
    return totals(found)


def total_sort(_: None, setup: Setup) -> Answer:
    frame = dd.read_csv(setup.paths, header=None, names=["line"], dtype={"line": str}, blocksize=None)
    frame.sort_values("line").to_csv(str(Path(setup.scratch) / "part-*"), index=False, header=False, name_function="{:05d}".format)
    return lambda: part_lines(setup.scratch)


def first_result(_: None, __: Setup) -> Answer:
    return dask.delayed(count_small)(SMALL).compute().items


def empty_tasks(_: None, setup: Setup) -> Answer:
    done = dask.compute(*[dask.delayed(nothing)(number) for number in range(setup.count)])
    return lambda: [(len(done),)]


def user_frames(_: None, setup: Setup) -> Answer:
    frame = dd.read_parquet(setup.paths, columns=["user", "amount"]).groupby("user")["amount"].agg(["sum", "mean", "count"]).compute()
    return lambda: frame.itertuples(name=None)


CELLS = {
    "W1": word_count,
    "W2": shuffled_count,
    "W3": user_totals,
    "W4": total_sort,
    "W5 cold": first_result,
    "W5 first": first_result,
    "W5 1": empty_tasks,
    "W5 100": empty_tasks,
    "W5 1000": empty_tasks,
    "W7": user_frames,
    "W10": word_count,
    "W10 few": word_count,
}
