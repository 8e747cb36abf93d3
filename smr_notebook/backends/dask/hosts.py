"""The hosts of one worker, as its threads use them: taken for a call, and given back.

A worker has as many as calls ran in it at once, until they leave for want of calls. They are a plugin of the worker, so that they end when
it closes; they end as well when it is killed, because they notice. A host that ended between two calls is replaced; in a call, what it ran
has died with it.
"""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import threading
from typing import Final

import msgspec
from distributed import Worker, WorkerPlugin
from distributed.utils import sync

from smr_notebook.backends.child_environment import SINGLE_THREADED, THREADS, import_paths
from smr_notebook.backends.dask.wire import Call, Fate, Greeting, Order
from smr_notebook.backends.tenants import Invocation, receive_frame, send_frame

_NAME: Final = "smr-notebook-hosts"
_END_SECONDS: Final = 10.0
_ADDING: Final = threading.Lock()

LEAVES: Final = 300.0
"""Seconds without a call after which a host leaves: it holds some hundred megabytes, and another one starts in a second or two."""


class Hosts(WorkerPlugin):
    """All hosts of one worker.

    Args:
        leaves: Seconds without a call after which a host leaves.
    """

    def __init__(self, leaves: float = LEAVES) -> None:
        self._leaves = leaves
        self._lock = threading.Lock()
        self._idle: list[Host] = []
        self._closed = False

    def setup(self, worker: Worker) -> None:
        """Learn how to reach the scheduler. Called by the worker."""
        self._scheduler = worker.scheduler.address
        self._security = pickle.dumps(worker.security)

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002 - as the worker calls it
        """End the hosts that have nothing to do; the others end with their call. Called by the worker."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for host in idle:
            host.close()

    def run(self, call: Call, invocation: Invocation, *, tenant: str) -> Fate:
        """Have a process of a tenant call the handler, and wait until it has."""
        host = self._take(call, tenant)
        while (fate := host.run(Order(invocation, call.payload))).left:
            host.close()
            host = self._take(call, tenant)
        with self._lock:
            kept = host.well and not self._closed
            if kept:
                self._idle.append(host)
        if not kept:
            host.close()
        return fate

    def _take(self, call: Call, tenant: str) -> Host:
        greeting = Greeting(call.handler, call.tenant, call.preload, self._scheduler, self._security, self._leaves)
        with self._lock:
            fitting = [host for host in self._idle if host.greeting == greeting]
            for host in sorted(fitting, key=lambda host: host.tenant != tenant):
                self._idle.remove(host)
                if host.lives:
                    host.tenant = tenant
                    return host
                host.close()
        return Host(greeting, tenant)


class Host:
    """One host, as the worker sees it.

    Args:
        greeting: What it is told first.
        tenant: Whose call it runs first.
    """

    def __init__(self, greeting: Greeting, tenant: str) -> None:
        self.greeting = greeting
        self.tenant = tenant
        self.well = True
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "smr_notebook.backends.dask.host", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                cwd="/",
                env=_environment(),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._connection = ours
        self._send(msgspec.msgpack.encode(greeting))

    @property
    def lives(self) -> bool:
        """Whether it still takes calls."""
        return self.well and self._process.poll() is None

    def run(self, order: Order) -> Fate:
        """Have it run one call, and return what became of that."""
        try:
            self._send(msgspec.msgpack.encode(order))
            return msgspec.msgpack.decode(receive_frame(self._connection), type=Fate)
        except (EOFError, OSError):
            self.well = False
            return Fate("its host, the process that it was forked from, has ended: the worker's log may say why")

    def close(self) -> None:
        """End it, with what it runs."""
        self._connection.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, data: bytes) -> None:
        try:
            send_frame(self._connection, data)
        except OSError:  # it ended: whoever waits for an answer notices
            self.well = False


def hosts_of(worker: Worker) -> Hosts:
    """Return the hosts of a worker. Called by a thread of it that runs a task."""
    with _ADDING:
        if _NAME not in worker.plugins:
            sync(worker.loop, worker.plugin_add, plugin=Hosts(), name=_NAME)
    hosts = worker.plugins[_NAME]
    assert isinstance(hosts, Hosts)  # noqa: S101 - the name is ours
    return hosts


def _environment() -> dict[str, str]:
    """Return the variables of this process, for one that forks: a worker's threads are its slots anyway."""
    return {**SINGLE_THREADED, **dict.fromkeys(THREADS, "1"), **os.environ, **import_paths()}
