"""joblib: a parallel loop over the files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from by_hand import CELLS, Map
from cells import Setup
from joblib import Parallel, delayed

__all__ = ["CELLS", "opened"]


@contextmanager
def opened(setup: Setup) -> Iterator[Map]:
    with Parallel(n_jobs=setup.workers) as parallel:

        def run(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
            found: Iterable[Any] = parallel(delayed(function)(item) for item in items)
            return found

        yield run
