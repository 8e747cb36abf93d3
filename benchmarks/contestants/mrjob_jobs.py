"""The jobs of `mrjob_local.py`: mrjob runs this file for each task."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from mrjob.job import MRJob
from mrjob.step import MRStep


class Job(MRJob):  # type: ignore[misc]
    """One step, as `--what` says."""

    def configure_args(self) -> None:
        """Add the option that says which job it is."""
        super().configure_args()
        self.add_passthru_arg("--what")

    def steps(self) -> list[MRStep]:
        """Return the one step."""
        kinds = {
            "W1": {"mapper": self.words, "combiner": self.add, "reducer": self.add},
            "W2": {"mapper": self.words, "reducer": self.add},
            "W3": {"mapper": self.amounts, "combiner": self.add_both, "reducer": self.add_both},
        }
        return [MRStep(**kinds[self.options.what])]

    def words(self, _: None, line: str) -> Iterator[tuple[str, int]]:
        """Map a line to its words."""
        for word in line.split():
            yield word, 1

    def add(self, key: str, values: Iterable[int]) -> Iterator[tuple[str, int]]:
        """Add the numbers of a word."""
        yield key, sum(values)

    def amounts(self, _: None, line: str) -> Iterator[tuple[str, tuple[float, int]]]:
        """Map a row to its user and amount."""
        row: dict[str, Any] = json.loads(line)
        yield row["user"], (row["amount"], 1)

    def add_both(self, key: str, values: Iterable[tuple[float, int]]) -> Iterator[tuple[str, tuple[float, int]]]:
        """Add the amounts and numbers of a user."""
        amounts, counts = zip(*values, strict=True)
        yield key, (sum(amounts), sum(counts))


if __name__ == "__main__":
    Job.run()
