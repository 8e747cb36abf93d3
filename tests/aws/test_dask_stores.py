"""A Dask cluster whose jobs store what they have in a deployment's bucket and table: no folder is shared, and no function called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from distributed import LocalCluster

import smr_notebook as smr
from smr_notebook.testing.lambdas.service import Service

Deploy = Callable[..., AbstractContextManager[tuple[smr.Session, Service]]]


def by_parity(item: int) -> Iterator[tuple[int, int]]:
    yield item % 2, item


def test_a_job_on_a_cluster_stores_in_a_deployment(deploy: Deploy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMR_WORKSPACE")  # a process of Python's own that this begins outlives the test, and is no worker
    with (
        deploy() as (deployed, _),
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", host="127.0.0.1") as cluster,
    ):
        settings = {"stores": "aws", "workspace": tmp_path / "not here"}
        session = smr.Session("dask", stack=deployed.settings.stack, address=cluster.scheduler_address, settings=settings)
        job = session.map_reduce(by_parity, sum, range(20), reducers=2, name="both")
        assert dict(job.result().itertuples(index=False, name=None)) == {0: 90, 1: 100}
        assert [info.name for info in deployed.jobs()] == ["both"], "in the deployment's table"
        assert list(deployed.backend.objects.list_prefix(f"jobs/{job.id}/"))
        assert not (tmp_path / "not here").exists()
        session.close()
