"""Stages on real processes: the notebook is gone before the second one begins, and the answer is there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import smr_notebook as smr
from smr_notebook.errors import CombinerLawError, ConfigError, PlanError, PriorJobError, TaskError
from smr_notebook.testing.waiting import wait_until

NOTEBOOK = """
    import pathlib, sys
    import smr_notebook as smr
    from smr_notebook.config import Settings
    from smr_notebook.testing.waiting import wait_until

    folder = pathlib.Path(sys.argv[1])

    def wait_for_go(word):
        wait_until(lambda: (folder / "go").exists(), 120.0)
        yield word, 1

    session = smr.Session(settings=Settings(workspace=folder / "ws", workers=2, lease_seconds=2.0))
    counts = session.map_reduce(wait_for_go, sum, ["b", "a", "b"], name="counts")
    by_count = session.map_reduce(lambda row: [(row[1], row[0])], smr.collect, counts, name="by count")
    print(counts.id, by_count.id, by_count.status().waits == (counts.id,))
"""


def test_the_notebook_is_gone_before_the_second_stage_begins(own_session: Callable[..., smr.Session], tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", dedent(NOTEBOOK), str(tmp_path)], check=True, capture_output=True, text=True, env=dict(os.environ)
    )
    first, second, waited = ran.stdout.split()
    assert waited == "True"
    session = own_session()
    (tmp_path / "go").touch()
    job = session.attach(second)
    wait_until(lambda: job.status().state.ended, seconds=120)  # one row read: nobody keeps the jobs alive
    assert job.result().to_dict("list") == {"key": [1, 2], "value": [["a"], ["b"]]}
    assert session.attach(first).status().state == "done"


def words(line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


def test_a_pipeline_over_a_book(session: smr.Session, war_and_peace: Path) -> None:
    """Count words, then how many words there are of each length, then the lengths of most words."""
    counts = session.map_reduce(words, sum, war_and_peace, reducers=3)
    lengths = session.map_reduce(lambda row: [(len(row[0]), row[1])], sum, counts)
    most = session.aggregate(lengths, by={"all": smr.col("key") == smr.col("key")}, best=smr.max("value"))
    found = most.result()
    text = war_and_peace.read_text(encoding="utf-8-sig").split()
    assert found["best"].tolist() == [max(sum(len(word) == length for word in text) for length in range(1, 12))]


def test_an_error_is_that_of_the_stage_before_and_names_it(session: smr.Session) -> None:
    def fails(item: int) -> list[tuple[int, float]]:
        return [(item, 1 / (item - 3))]

    first = session.map_reduce(fails, None, range(5))
    second = session.map_reduce(lambda row: [row], sum, first)
    with pytest.raises(PriorJobError, match=f"Job {first.id}, whose result is the input, failed: ZeroDivisionError"):
        second.result()
    with pytest.raises(TaskError):
        first.result()


def test_one_output_is_what_many_are(session: smr.Session, war_and_peace: Path) -> None:
    """The cascade: one part, of a built-in aggregation and of a function that is its own combiner."""
    many = session.map_reduce(words, sum, war_and_peace, reducers=5).result()
    plain = session.map_reduce(words, lambda key, values: sum(values), war_and_peace, reducers="tree", split_size="256kB")
    built = session.map_reduce(words, smr.sum, war_and_peace, reducers="tree")
    assert len(plain.parts()) == len(built.parts()) == 1
    assert plain.result().equals(many)
    assert built.result().equals(many)
    assert "combined" in plain.proof


def rows(key: str, values: Iterator[int]) -> Iterator[tuple[str, int]]:
    yield key, sum(values)


@pytest.mark.parametrize(
    ("reduce", "reducers", "error", "said"),
    [
        (lambda key, values: len(list(values)), "tree", CombinerLawError, "combine"),
        (rows, "tree", PlanError, "a reduce that yields rows"),
        (None, "tree", PlanError, "there is no reduce that may be run on parts"),
        (sum, "trees", ConfigError, "Did you mean 'tree'"),
        (sum, "3", ConfigError, "a whole number, 1 or more, or 'tree'"),
    ],
    ids=["breaks-the-law", "generator", "none", "mistyped", "number"],
)
def test_one_output_is_refused_where_rounds_would_change_it(
    session: smr.Session, reduce: Any, reducers: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        session.map_reduce(words, reduce, smr.items(["a b a", "a b"] * 20), reducers=reducers)
