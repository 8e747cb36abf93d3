"""Dask with a cluster on this machine: the same bags and DataFrames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dask
from cells import Setup
from dask_bag import CELLS
from distributed import Client, LocalCluster

__all__ = ["CELLS", "opened"]


@contextmanager
def opened(setup: Setup) -> Iterator[None]:
    place = Path(setup.scratch).with_name("dask")
    with (
        dask.config.set({"distributed.worker.memory.terminate": False}),
        LocalCluster(n_workers=setup.workers, threads_per_worker=1, dashboard_address=None, local_directory=str(place)) as cluster,
        Client(cluster),
    ):
        yield
