"""Hosts below a worker of a cluster: they go when nobody calls, and a call that meets one that goes is begun elsewhere, once."""

from __future__ import annotations

import json
import pickle
import time
from pathlib import Path

import psutil
import pytest
from distributed import LocalCluster, Security

from smr_notebook.backends.dask.hosts import Host, Hosts
from smr_notebook.backends.dask.wire import Call, Fate, Greeting
from smr_notebook.backends.dask.wire import Order as Sent
from smr_notebook.backends.tenants import Invocation
from smr_notebook.environment import environment
from smr_notebook.testing.handlers import Order
from smr_notebook.testing.waiting import wait_until

HANDLERS = "smr_notebook.testing.handlers"


@pytest.fixture
def greeting(cluster: LocalCluster) -> Greeting:
    """Of hosts that leave at once."""
    return Greeting(f"{HANDLERS}:record", f"{HANDLERS}:somebody", (), cluster.scheduler_address, pickle.dumps(Security()), 0.0)


def sent(folder: Path, name: str) -> Sent:
    return Sent(Invocation(str(folder), f"{name}/1", time.time() + 60, 1 << 30), Order(name).payload())


def test_a_host_leaves_with_its_tenant_when_nobody_calls(greeting: Greeting, tmp_path: Path) -> None:
    host = Host(greeting, "somebody")
    assert host.run(sent(tmp_path, "first")) == Fate()
    [started] = tmp_path.glob("started-first-*")
    wait_until(lambda: not host.lives)
    assert not psutil.pid_exists(json.loads(started.read_text())["pid"])
    host.close()


def test_a_call_that_comes_when_a_host_has_left_was_not_begun(greeting: Greeting, tmp_path: Path) -> None:
    host = Host(greeting, "somebody")
    assert host.run(sent(tmp_path, "first")) == Fate()
    wait_until(lambda: not host.lives)
    assert host.run(sent(tmp_path, "second")) == Fate(left=True)
    assert not list(tmp_path.glob("started-second-*"))
    host.close()


def test_calls_run_once_each_whenever_hosts_leave(tmp_path: Path) -> None:
    """Each call finds the host of the one before about to go, or gone."""
    hosts = Hosts(leaves=0.0)
    with LocalCluster(n_workers=1, processes=False, protocol="tcp://", host="127.0.0.1", dashboard_address=None) as other:
        hosts.setup(other.workers[0])
        for number in range(4):
            order = sent(tmp_path, f"n{number}")
            call = Call(f"{HANDLERS}:record", f"{HANDLERS}:somebody", str(tmp_path), 60.0, environment(), (), order.payload)
            assert hosts.run(call, order.invocation, tenant="somebody") == Fate()
        hosts.teardown(other.workers[0])
    for name in ("started", "ended"):
        assert sorted(file.name.split("-")[1] for file in tmp_path.glob(f"{name}-*")) == ["n0", "n1", "n2", "n3"]
