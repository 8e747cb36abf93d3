"""What the users of a library that has nothing but a parallel map write around it: a function for a file, one for a partition.

They combine in each file, by hand. A module that gives such a map as its executor (`Map`) takes `CELLS` from here. Keys are
partitioned by CRC-32, because `hash` differs from process to process.
"""

from __future__ import annotations

import json
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

from cells import SMALL, Answer, Setup

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
RECORD = 100
SAMPLES = 100
MOST_TASKS = 64


def count_words(paths: list[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for path in paths:
        counts.update(Path(path).read_text().split())
    return counts


def chunks(setup: Setup) -> list[list[str]]:
    """Return the files one by one, unless they are too many for a task each."""
    size = chunk(setup)
    return [setup.paths[start : start + size] for start in range(0, len(setup.paths), size)]


def chunk(setup: Setup) -> int:
    return -(-len(setup.paths) // MOST_TASKS)


def word_count(run: Map, setup: Setup) -> Answer:
    total: Counter[str] = Counter()
    for part in run(count_words, chunks(setup)):
        total.update(part)
    return total.items


def scatter_words(task: tuple[str, int]) -> list[dict[str, list[int]]]:
    path, partitions = task
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for word in Path(path).read_text().split():
        groups[word].append(1)
    parts: list[dict[str, list[int]]] = [{} for _ in range(partitions)]
    for word, ones in groups.items():
        parts[crc32(word.encode()) % partitions][word] = ones
    return parts


def gather_words(parts: Iterable[dict[str, list[int]]]) -> dict[str, int]:
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for part in parts:
        for word, ones in part.items():
            groups[word] += ones
    return {word: sum(ones) for word, ones in groups.items()}


def shuffled_count(run: Map, setup: Setup) -> Answer:
    scattered = list(run(scatter_words, [(path, setup.workers) for path in setup.paths]))
    total: dict[str, int] = {}
    for part in run(gather_words, [list(parts) for parts in zip(*scattered, strict=True)]):
        total.update(part)
    return total.items


def sum_rows(path: str) -> dict[str, tuple[float, int]]:
    users: dict[str, tuple[float, int]] = {}
    with Path(path).open() as file:
        for line in file:
            row = json.loads(line)
            amount, count = users.get(row["user"], (0.0, 0))
            users[row["user"]] = amount + row["amount"], count + 1
    return users


def user_totals(run: Map, setup: Setup) -> Answer:
    users: dict[str, tuple[float, int]] = {}
    for part in run(sum_rows, setup.paths):
        for user, (more, times) in part.items():
            amount, count = users.get(user, (0.0, 0))
            users[user] = amount + more, count + times
    return totals(users.items())


def totals(users: Iterable[tuple[str, tuple[float, int]]]) -> Answer:
    return lambda: ((user, round(amount, 2), count) for user, (amount, count) in users)


def sample_bounds(setup: Setup, partitions: int) -> list[bytes]:
    chance, keys = Random(0), []
    for path in setup.paths:
        records = Path(path).stat().st_size // RECORD
        with Path(path).open("rb") as file:
            for _ in range(SAMPLES):
                file.seek(chance.randrange(records) * RECORD)
                keys.append(file.read(RECORD))
    keys.sort()
    return [keys[len(keys) * number // partitions] for number in range(1, partitions)]


def scatter_records(task: tuple[int, str, list[bytes], str]) -> None:
    number, path, bounds, folder = task
    parts: list[list[bytes]] = [[] for _ in range(len(bounds) + 1)]
    for line in Path(path).read_bytes().splitlines(keepends=True):
        parts[bisect(bounds, line)].append(line)
    for partition, part in enumerate(parts):
        Path(folder, f"{partition}-{number}").write_bytes(b"".join(part))


def sort_range(task: tuple[int, int, str]) -> None:
    partition, numbers, folder = task
    lines: list[bytes] = []
    for number in range(numbers):
        lines += Path(folder, f"{partition}-{number}").read_bytes().splitlines(keepends=True)
    Path(folder, f"part-{partition:05d}").write_bytes(b"".join(sorted(lines)))


def total_sort(run: Map, setup: Setup) -> Answer:
    bounds = sample_bounds(setup, setup.workers)
    list(run(scatter_records, [(number, path, bounds, setup.scratch) for number, path in enumerate(setup.paths)]))
    list(run(sort_range, [(partition, len(setup.paths), setup.scratch) for partition in range(setup.workers)]))
    return lambda: part_lines(setup.scratch)


def part_lines(folder: str) -> Iterator[bytes]:
    """Yield the lines of all files `part-…` of a folder, in the order of their names."""
    for path in sorted(Path(folder).glob("part-*")):
        with path.open("rb") as file:
            for line in file:
                yield line.rstrip(b"\r\n")


def count_small(lines: tuple[str, ...]) -> Counter[str]:
    return Counter(word for line in lines for word in line.split())


def first_result(run: Map, _: Setup) -> Answer:
    (counts,) = run(count_small, [SMALL])
    return lambda: list(counts.items())


def nothing(number: int) -> int:
    return number  # some libraries leave out what is `None`


def empty_tasks(run: Map, setup: Setup) -> Answer:
    done = len(list(run(nothing, range(setup.count))))
    return lambda: [(done,)]


def group_file(path: str) -> Any:
    import pandas as pd  # noqa: PLC0415 - the other workloads need none

    return pd.read_parquet(path, columns=["user", "amount"]).groupby("user", sort=False)["amount"].agg(["sum", "count"])


def user_frames(run: Map, setup: Setup) -> Answer:
    import pandas as pd  # noqa: PLC0415 - as above

    frame = pd.concat(list(run(group_file, setup.paths))).groupby(level=0).sum()
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
    "W10": word_count,
    "W10 few": word_count,
}
