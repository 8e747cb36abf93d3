"""The floor: what somebody writes by hand for this one machine and this one workload, with no promise besides the answer.

Plain `multiprocessing`, the files shared out among the processes in advance, the fastest plain Python that was found.
"""

from __future__ import annotations

import json
import marshal
import multiprocessing
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

from by_hand import count_small, count_words, nothing, part_lines, sample_bounds, sort_range
from cells import SMALL, Answer, Setup


@contextmanager
def opened(setup: Setup) -> Iterator[Pool]:
    with multiprocessing.get_context("fork").Pool(setup.workers) as pool:
        yield pool


def shares(setup: Setup) -> list[list[str]]:
    return [setup.paths[start :: setup.workers] for start in range(setup.workers)]


# ---------------------------------------------------------------- W1, W10: word count


def word_count(pool: Pool, setup: Setup) -> Answer:
    total: Counter[str] = Counter()
    for part in pool.imap_unordered(count_words, shares(setup)):
        total.update(part)
    return total.items


# ---------------------------------------------------------------- W2: every pair is shuffled


def scatter_words(task: tuple[int, list[str], int, str]) -> None:
    number, paths, partitions, folder = task
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for path in paths:
        for word in Path(path).read_text().split():
            groups[word].append(1)
    parts: list[dict[str, list[int]]] = [{} for _ in range(partitions)]
    for word, ones in groups.items():
        parts[hash(word) % partitions][word] = ones  # the same in all processes, which are forks of one
    for partition, part in enumerate(parts):
        Path(folder, f"{partition}-{number}").write_bytes(marshal.dumps(part))


def gather_words(task: tuple[int, int, str]) -> dict[str, int]:
    partition, numbers, folder = task
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for number in range(numbers):
        for word, ones in marshal.loads(Path(folder, f"{partition}-{number}").read_bytes()).items():  # noqa: S302 - our own
            groups[word] += ones
    return {word: sum(ones) for word, ones in groups.items()}


def shuffled_count(pool: Pool, setup: Setup) -> Answer:
    workers = setup.workers
    pool.map(scatter_words, [(number, share, workers, setup.scratch) for number, share in enumerate(shares(setup))], chunksize=1)
    total: dict[str, int] = {}
    for part in pool.imap_unordered(gather_words, [(partition, workers, setup.scratch) for partition in range(workers)]):
        total.update(part)
    return total.items


# ---------------------------------------------------------------- W3: sum and count by user of JSON lines


def sum_rows(paths: list[str]) -> dict[str, list[Any]]:
    users: dict[str, list[Any]] = {}
    for path in paths:
        for row in json.loads("[" + ",".join(Path(path).read_text().splitlines()) + "]"):
            found = users.get(row["user"])
            if found is None:
                users[row["user"]] = [row["amount"], 1]
            else:
                found[0] += row["amount"]
                found[1] += 1
    return users


def user_totals(pool: Pool, setup: Setup) -> Answer:
    first, *rest = pool.imap_unordered(sum_rows, shares(setup))
    for part in rest:
        for user, (amount, count) in part.items():
            found = first.get(user)
            if found is None:
                first[user] = [amount, count]
            else:
                found[0] += amount
                found[1] += count
    return lambda: ((user, round(amount, 2), count) for user, (amount, count) in first.items())


# ---------------------------------------------------------------- W4: total sort, to files


def scatter_records(task: tuple[int, list[str], list[bytes], str]) -> None:
    number, paths, bounds, folder = task
    parts: list[list[bytes]] = [[] for _ in range(len(bounds) + 1)]
    for path in paths:
        for line in Path(path).read_bytes().splitlines(keepends=True):
            parts[bisect(bounds, line)].append(line)
    for partition, part in enumerate(parts):
        Path(folder, f"{partition}-{number}").write_bytes(b"".join(part))


def total_sort(pool: Pool, setup: Setup) -> Answer:
    workers = setup.workers
    bounds = sample_bounds(setup, workers)
    pool.map(scatter_records, [(number, share, bounds, setup.scratch) for number, share in enumerate(shares(setup))], chunksize=1)
    pool.map(sort_range, [(partition, workers, setup.scratch) for partition in range(workers)], chunksize=1)
    return lambda: part_lines(setup.scratch)


# ---------------------------------------------------------------- W5: launch


def first_result(pool: Pool, _: Setup) -> Answer:
    return pool.apply(count_small, (SMALL,)).items


def empty_tasks(pool: Pool, setup: Setup) -> Answer:
    done = pool.map(nothing, range(setup.count), chunksize=1)
    return lambda: [(len(done),)]


# ---------------------------------------------------------------- W7: frames


def group_files(paths: list[str]) -> Any:
    import pandas as pd  # noqa: PLC0415 - the other workloads need none

    parts = []
    for path in paths:
        frame = pd.read_parquet(path, columns=["user", "amount"])
        parts.append(frame.groupby("user", sort=False)["amount"].agg(["sum", "count"]))
    return pd.concat(parts).groupby(level=0, sort=False).sum()


def user_frames(pool: Pool, setup: Setup) -> Answer:
    import pandas as pd  # noqa: PLC0415 - as above

    frame = pd.concat(pool.map(group_files, shares(setup), chunksize=1)).groupby(level=0).sum()
    frame["mean"] = frame["sum"] / frame["count"]
    return lambda: frame[["sum", "mean", "count"]].itertuples(name=None)


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
    "W9": word_count,
    "W10": word_count,
    "W10 few": word_count,
}
