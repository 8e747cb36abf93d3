"""smr_notebook, the way its users write it: a record at a time, and frames."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cells import SMALL, Absent, Answer, Setup

import smr_notebook as smr
from smr_notebook.config import Settings


@contextmanager
def opened(setup: Setup) -> Iterator[smr.Session]:
    workspace = Path(setup.scratch).with_name("workspace")
    shutil.rmtree(workspace, ignore_errors=True)
    budget = {"worker_memory": setup.budget} if setup.budget else {}
    session = smr.Session(settings=Settings(workspace=workspace, workers=setup.workers, **budget))
    try:
        yield session
    finally:
        session.close()


def folder(setup: Setup) -> str:
    return str(Path(setup.paths[0]).parent)


def rows(frame: Any) -> Answer:
    return lambda: frame.itertuples(index=False, name=None)


def words(line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


def add(_key: str, values: Iterator[int]) -> int:
    """A function of the user's own: nobody knows that it could be combined."""
    return sum(values)


def amounts(row: dict[str, Any]) -> Iterator[tuple[str, float]]:
    yield row["user"], row["amount"]


def sum_and_count(_user: str, values: Iterator[float]) -> tuple[float, int]:
    amounts = list(values)
    return sum(amounts), len(amounts)


def split_line(line: str) -> Iterator[tuple[str, str]]:
    yield line[:10], line[10:]


def nothing(_: int) -> None:
    return None


def word_count(session: smr.Session, setup: Setup) -> Answer:
    return rows(session.map_reduce(words, sum, folder(setup), wait=True))


def shuffled_count(session: smr.Session, setup: Setup) -> Answer:
    return rows(session.map_reduce(words, add, folder(setup), wait=True))


def user_totals(session: smr.Session, setup: Setup) -> Answer:
    frame = session.map_reduce(amounts, sum_and_count, folder(setup), wait=True)
    return lambda: ((user, round(total, 2), count) for user, (total, count) in frame.itertuples(index=False, name=None))


def total_sort(session: Any, setup: Setup) -> Answer:
    """Sort into parts, in order; nothing is loaded here, as the floor loads nothing."""
    if "sort" not in inspect.signature(session.map_reduce).parameters:
        raise Absent("no sort=")
    job = session.map_reduce(split_line, None, folder(setup), sort="keys").wait()
    return lambda: ((key + value).encode() for frame in job.scan() for key, value in frame.itertuples(index=False, name=None))


def first_result(session: smr.Session, _: Setup) -> Answer:
    return rows(session.map_reduce(words, sum, list(SMALL), wait=True))


def empty_tasks(session: smr.Session, setup: Setup) -> Answer:
    job = session.map_reduce(nothing, None, range(setup.count), split_size=1)
    job.result()
    return lambda: [(job.status().map.done,)]


def sums(frame: Any) -> Any:
    return frame.groupby("user", sort=False)["amount"].agg(["sum", "count"]).reset_index()


def totals(frame: Any) -> Any:
    found = frame.groupby("user", sort=False)[["sum", "count"]].sum().reset_index()
    found["mean"] = found["sum"] / found["count"]
    return found[["user", "sum", "mean", "count"]]


def user_frames(session: Any, setup: Setup) -> Answer:
    if not hasattr(session, "map_frames"):
        raise Absent("no map_frames")
    return rows(
        session.map_frames(sums, totals, folder(setup), by="user", columns=["user", "amount"], wait=True)[["user", "sum", "mean", "count"]]
    )


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
    "W9": shuffled_count,
    "W10": word_count,
    "W10 few": word_count,
}
