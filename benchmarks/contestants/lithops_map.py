"""Lithops on this machine: `FunctionExecutor.map` over the files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from by_hand import CELLS, Map
from cells import Setup
from lithops import FunctionExecutor

__all__ = ["CELLS", "opened"]


@contextmanager
def opened(setup: Setup) -> Iterator[Map]:
    config = {
        "lithops": {"backend": "localhost", "storage": "localhost", "log_level": "ERROR", "data_limit": False, "telemetry": False},
        "localhost": {"worker_processes": setup.workers},
    }
    with FunctionExecutor(config=config) as executor:

        def run(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
            futures = executor.map(function, [(item,) for item in items])
            found: Iterable[Any] = executor.get_result(futures, show_progressbar=False)
            executor.clean(fs=futures, clean_fn=False)
            return found

        yield run
