"""What a contestant is told, and what it answers: shared by all contestants, so nothing but the standard library.

A contestant is a module with `opened(setup)`, a context manager that brings its executor up and yields it, and `CELLS`: for each
workload that it takes part in, a function of the executor and the setup that does the work and returns an `Answer`. What an answer
does when it is called is not timed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Answer = Callable[[], Iterable[Any]]
"""Yields the rows of the answer: tuples, in any order, or the lines of a file in theirs."""

NO_CELL = "takes no part"
"""Why a cell is absent when the contestant has none of the workload's name."""

SMALL = ("the quick brown fox", "the end")
"""The input of the first result in W5."""


@dataclass(frozen=True)
class Setup:
    """What a contestant works on.

    Attributes:
        paths: The input files, sorted.
        count: Number of tasks, in W5.
        scratch: An empty folder for each run, for what is written.
        workers: Processes that may work at once.
        budget: Bytes of data that each of them may hold, in W9; 0 for whatever it takes by itself.
    """

    paths: list[str]
    count: int
    scratch: str
    workers: int
    budget: int = 0


class Absent(Exception):  # noqa: N818 - no error: a cell that cannot be filled in, and why
    """The contestant cannot do this workload here."""


def digest(rows: Iterable[Any], *, ordered: bool) -> str:
    """Return a hash of an answer; of its rows in their order, or of the set of them.

    Numbers are what they are worth: 3, 3.0 and NumPy's are the same; fractions count to 9 digits (W3's cents, W7's means).
    """
    lines = (row if isinstance(row, bytes) else "\t".join(map(_plain, row)).encode() for row in rows)
    whole = hashlib.sha256()
    for line in lines if ordered else sorted(lines):
        whole.update(line + b"\n")
    return whole.hexdigest()[:16]


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    number = round(float(value), 9)
    return repr(number + 0.0)
