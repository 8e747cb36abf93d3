"""The host: a process below a worker of the cluster, which has imported everything, and forks those that run somebody's functions.

Theory. A worker of Dask has many threads, runs other people's tasks too, and stays for weeks: neither can it be forked, nor should what a
job's functions do to their process stay in it. So each of its slots has a host with one thread (`backends.tenants`): a process for each
job, forked in milliseconds, whose crash is a word and not the end of the worker.

Rules of this module:

* A host ends with the worker's end of its socket, whatever it does: the kernel closes that when the worker ends.
* What has nothing to do for a minute keeps no process, and so no memory, of a job; and after some minutes more the host leaves, too: the
  cluster is other people's as well. Its word of that lies in the socket before it goes. So whoever sends an order just then reads that it
  was not begun, and never takes it for one that ended.
* A forked process is a client of the cluster of its own; the host is none.

Started as `python -m smr_notebook.backends.dask.host DESCRIPTOR` by `hosts`.
"""

from __future__ import annotations

import gc
import importlib
import pickle
import select
import socket
import sys
import time
from pkgutil import resolve_name
from typing import Final

import distributed
import msgspec

from smr_notebook.backends.dask.wire import Fate, Greeting, Order
from smr_notebook.backends.tenants import InvocationFailedError, ProcessEndedError, Tenants, UnwantedError, receive_frame, send_frame

_IDLE_SECONDS: Final = 60.0


class _Host:
    """Serves one worker's orders, one after the other.

    Args:
        connection: The socket to the worker.
        greeting: What it said first.
    """

    def __init__(self, connection: socket.socket, greeting: Greeting) -> None:
        self._connection = connection
        self._greeting = greeting
        self._deadline = 0.0
        handler, tenant = resolve_name(greeting.handler), resolve_name(greeting.tenant)
        self._tenants = Tenants(handler, tenant, begin=self._begin, wanted=self._wanted, crowded=False)

    def serve(self) -> None:
        """Run what the worker sends until it closes the connection."""
        try:
            while self._has_an_order():
                order = msgspec.msgpack.decode(receive_frame(self._connection), type=Order)
                send_frame(self._connection, msgspec.msgpack.encode(self._run(order)))
        except (EOFError, ConnectionError):
            pass
        finally:
            self._tenants.close()

    def _has_an_order(self) -> bool:
        """Wait for one; leave, when none has come for long."""
        leaves = self._greeting.leaves
        for seconds in (min(_IDLE_SECONDS, leaves), max(leaves - _IDLE_SECONDS, 0.0)):
            if select.select([self._connection], [], [], seconds)[0]:
                return True
            self._tenants.close()
        send_frame(self._connection, msgspec.msgpack.encode(Fate(left=True)))
        return False

    def _run(self, order: Order) -> Fate:
        self._deadline = order.invocation.deadline
        try:
            self._tenants.run(order.payload, order.invocation)
        except UnwantedError:
            return Fate("its time was up", late=True)
        except ProcessEndedError as error:
            reason, _, stack = str(error).partition("\n")
            return Fate(reason, stack)
        except InvocationFailedError as error:
            return Fate(str(error))
        return Fate()

    def _begin(self) -> None:
        """Make a forked process a client of the cluster: whoever asks `distributed` for one there gets this one."""
        security = pickle.loads(self._greeting.security)
        distributed.Client(self._greeting.scheduler, security=security, set_as_default=True, name="smr-notebook-attempt")

    def _wanted(self) -> bool:
        if time.time() >= self._deadline:
            return False
        ready, _, _ = select.select([self._connection], [], [], 0)
        try:
            return not ready or bool(self._connection.recv(1, socket.MSG_PEEK))
        except ConnectionError:
            return False


def main(descriptor: int) -> None:
    """Be a host.

    Args:
        descriptor: Of the socket to the worker.
    """
    connection = socket.socket(fileno=descriptor)
    greeting = msgspec.msgpack.decode(receive_frame(connection), type=Greeting)
    for name in greeting.preload:
        importlib.import_module(name)
    host = _Host(connection, greeting)
    gc.collect()
    gc.freeze()
    host.serve()


if __name__ == "__main__":
    main(int(sys.argv[1]))
