"""Ray: a task for each file; what is shuffled stays in its object store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import by_hand
import ray
from by_hand import Map
from cells import Answer, Setup


@contextmanager
def opened(setup: Setup) -> Iterator[Map]:
    ray.init(num_cpus=setup.workers, include_dashboard=False, log_to_driver=False)

    def run(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        task = ray.remote(function)
        found: Iterable[Any] = ray.get([task.remote(item) for item in items])
        return found

    yield run
    ray.shutdown()


def gather(*parts: Any) -> dict[str, int]:
    return by_hand.gather_words(parts)


def shuffled_count(_: Map, setup: Setup) -> Answer:
    workers = setup.workers
    scatter, gather_words = ray.remote(by_hand.scatter_words).options(num_returns=workers), ray.remote(gather)
    scattered = [scatter.remote((path, workers)) for path in setup.paths]
    total: dict[str, int] = {}
    for part in ray.get([gather_words.remote(*(parts[number] for parts in scattered)) for number in range(workers)]):
        total.update(part)
    return total.items


CELLS = {**by_hand.CELLS, "W2": shuffled_count}
