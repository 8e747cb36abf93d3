"""mrjob on this machine, for orientation: jobs as `mrjob_jobs.py` has them, with its local runner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from by_hand import totals
from cells import Answer, Setup
from mrjob_jobs import Job


@contextmanager
def opened(_: Setup) -> Iterator[None]:
    yield


def run(what: str, setup: Setup) -> list[Any]:
    job = Job(["--what", what, "-r", "local", "--num-cores", str(setup.workers), "--no-read-logs", "--quiet", *setup.paths])
    with job.make_runner() as runner:
        runner.run()
        return list(job.parse_output(runner.cat_output()))


def word_count(_: None, setup: Setup) -> Answer:
    found = run("W1", setup)
    return lambda: found


def shuffled_count(_: None, setup: Setup) -> Answer:
    found = run("W2", setup)
    return lambda: found


def user_totals(_: None, setup: Setup) -> Answer:
    return totals(run("W3", setup))


CELLS = {"W1": word_count, "W2": shuffled_count, "W3": user_totals}
