"""smr_notebook whose calls are tasks of a Dask cluster on this machine, in place of its own local service: the same functions."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from cells import Absent, Setup
from contestants.product import empty_tasks, first_result, shuffled_count, word_count

import smr_notebook as smr


@contextmanager
def opened(setup: Setup) -> Iterator[smr.Session]:
    if find_spec("distributed") is None:
        raise Absent("no extra dask")
    import dask  # noqa: PLC0415 - an extra
    from distributed import LocalCluster  # noqa: PLC0415 - an extra

    workspace, place = (Path(setup.scratch).with_name(name) for name in ("workspace-dask", "dask-ours"))
    shutil.rmtree(workspace, ignore_errors=True)
    settings = {"distributed.worker.memory.terminate": False}  # as of the peer
    with (
        dask.config.set(settings),
        LocalCluster(n_workers=setup.workers, threads_per_worker=1, dashboard_address=None, local_directory=str(place)) as cluster,
    ):
        session = smr.Session("dask", address=cluster.scheduler_address, settings={"workspace": workspace})
        try:
            yield session
        finally:
            session.close()


CELLS = {
    "W1": word_count,
    "W2": shuffled_count,
    "W5 first": first_result,
    "W5 1": empty_tasks,
    "W5 100": empty_tasks,
}
