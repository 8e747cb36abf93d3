"""The trials: jobs of every kind, small enough for a second or two, whose answers are known by plainer means.

Functions are those of a module that every worker has. Each takes a moment for a record, so that there is time for something to happen.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any, Final

import smr_notebook
from smr_notebook.job.handle import Job
from smr_notebook.sessions.session import Session
from smr_notebook.testing.chaos.sabotage import sabotaged

Rows = list[tuple[Any, ...]]

_RECORDS: Final = 240
_MOMENT: Final = 0.004
_RETRIES: Final = 8


@dataclass(frozen=True, slots=True)
class Trial:
    """A job and its answer.

    Attributes:
        name: What kind it is.
        submit: Submits it.
        answer: The rows of its result, in order.
        befell: Returns the faults that its own functions made; asked once, in the end.
    """

    name: str
    submit: Callable[[Session], Job]
    answer: Rows
    befell: Callable[[], Counter[str]] = Counter


def _pause() -> None:
    threading.Event().wait(_MOMENT)


def _words(record: str) -> Iterator[tuple[str, int]]:
    _pause()
    for word in record.split():
        yield word, len(record)


def _sum(_: object, values: Iterator[int]) -> int:
    return sum(values)


def _in_order(_: object, values: Iterator[Any]) -> str:
    """Not just a sum: a value that is lost, doubled or out of its place shows."""
    return "-".join(map(repr, values))


def _odd_values(record: int) -> Iterator[tuple[tuple[str, int], Decimal | list[int]]]:
    _pause()
    yield from _odd_pairs(record)


def _kept(record: int) -> Iterator[tuple[int, str]]:
    _pause()
    if record % 3:
        yield record, f"kept {record}"


def _large(record: int) -> Iterator[tuple[int, str]]:
    """Forty kilobytes a record: more than a worker of little memory holds."""
    for number in range(40):
        yield number % 11, f"{record:04d}{number:03d}" + "x" * 1000


def _length(_: object, values: Iterator[str]) -> tuple[int, str]:
    size, last = 0, ""
    for value in values:
        size, last = size + len(value), value[:7]
    return size, last


def _grouped(pairs: Iterator[tuple[Any, Any]]) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return {key: groups[key] for key in sorted(groups)}


def _pairs(records: list[Any], map: Callable[[Any], Iterator[tuple[Any, Any]]]) -> Iterator[tuple[Any, Any]]:
    for record in records:
        yield from map(record)


def _sabotaged(random: Random) -> Trial:
    records = random.sample(range(10_000), _RECORDS)
    groups = _grouped((record % 5, record) for record in records)
    marks = tempfile.mkdtemp(prefix="smr-sabotage-")

    def submit(session: Session) -> Job:
        map = partial(sabotaged, marks)
        return session.map_reduce(map, _in_order, records, reducers=2, split_size=60, retries=_RETRIES)

    def befell() -> Counter[str]:
        found = Counter(path.name.partition(" ")[2] for path in Path(marks).iterdir())
        shutil.rmtree(marks, ignore_errors=True)
        return found

    return Trial("sabotaged from within", submit, [(key, _in_order(key, iter(values))) for key, values in groups.items()], befell)


def _count_words(random: Random) -> Trial:
    lines = [" ".join(random.choices("abcdefghijk", k=9)) for _ in range(_RECORDS)]
    groups = _grouped(_pairs(lines, lambda line: ((word, len(line)) for word in line.split())))

    def submit(session: Session) -> Job:
        return session.map_reduce(_words, _sum, lines, combine=True, reducers=3, split_size=200, retries=_RETRIES)

    return Trial("combined sums of words", submit, [(key, sum(values)) for key, values in groups.items()])


def _lists_in_order(random: Random) -> Trial:
    records = [random.randrange(1000) for _ in range(_RECORDS)]
    groups = _grouped(_pairs(records, _odd_pairs))

    def submit(session: Session) -> Job:
        return session.map_reduce(_odd_values, _in_order, records, reducers=4, split_size=60, retries=_RETRIES)

    return Trial("odd values in input order", submit, [(key, _in_order(key, iter(values))) for key, values in groups.items()])


def _odd_pairs(record: int) -> Iterator[tuple[Any, Any]]:
    yield ("t", record % 7), Decimal(record) / 8
    yield ("u", record % 3), [record, -record]


def _only_mapped(random: Random) -> Trial:
    records = random.sample(range(1000), _RECORDS)
    rows = sorted((record, f"kept {record}") for record in records if record % 3)

    def submit(session: Session) -> Job:
        return session.map_reduce(_kept, None, records, split_size=60, retries=_RETRIES)

    return Trial("pairs without reduce", submit, rows)


def _sorted_pairs(random: Random) -> Trial:
    records = random.sample(range(10_000), _RECORDS)
    rows = sorted((record, f"kept {record}") for record in records if record % 3)

    def submit(session: Session) -> Job:
        return session.map_reduce(_kept, None, records, sort="keys", reducers=3, split_size=60, retries=_RETRIES)

    return Trial("pairs in total order", submit, rows)


def _spilling(random: Random) -> Trial:
    records = random.sample(range(10_000), _RECORDS // 2)
    groups = _grouped(_pairs(records, _large))

    def submit(session: Session) -> Job:
        return session.map_reduce(_large, _length, records, reducers=2, split_size=100, retries=_RETRIES)

    return Trial("more than memory holds", submit, [(key, _length(key, iter(values))) for key, values in groups.items()])


def _aggregated(random: Random) -> Trial:
    records = [{"user": f"u{random.randrange(9)}", "amount": random.randrange(1000)} for _ in range(_RECORDS * 20)]
    groups = _grouped((record["user"], record["amount"]) for record in records)

    def submit(session: Session) -> Job:
        return session.aggregate(
            records,
            by="user",
            total=smr_notebook.sum("amount"),
            n=smr_notebook.count(),
            split_size=1500,
            reducers=2,
            retries=_RETRIES,
        )

    return Trial("columns aggregated", submit, [(user, sum(amounts), len(amounts)) for user, amounts in groups.items()])


_KINDS: Final[Mapping[str, Callable[[Random], Trial]]] = MappingProxyType(
    {
        "words": _count_words,
        "odd": _lists_in_order,
        "kept": _only_mapped,
        "sorted": _sorted_pairs,
        "large": _spilling,
        "aggregated": _aggregated,
        "sabotaged": _sabotaged,
    }
)


def draw(random: Random) -> Trial:
    """Return one of the trials, its data drawn as well."""
    return _KINDS[random.choice(list(_KINDS))](random)


def shown(rows: Rows) -> str:
    """Return the first rows as text, for whoever reads what went wrong."""
    return json.dumps(rows[:5], default=repr)[:400]
