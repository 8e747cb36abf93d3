"""One cluster for the tests of a module: two workers with a thread each, processes of their own on the loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from distributed import LocalCluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("SMR_")]:
            patch.delenv(name)
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1") as cluster:
            yield cluster
