"""A task of the cluster: one call of the handler, in a worker.

Rules of this module:

* What runs somebody's functions runs in a process of theirs, below a host, while the task waits for it in its slot.
* What runs nobody's (a coordinator) runs in the worker itself, in a thread that has left the slots (`secede`): it mostly sleeps, and were
  it to hold a slot, it would wait for tasks that wait for its slot.
* A task never fails: what became of a call is told by the handler itself, called with a notice, once.
* A task that runs again, because the worker that had it left the cluster, also tells that: the call that ran there is dead, as far as
  anybody knows. One that runs somebody's functions tells it when it is through: where the call had not begun, it does what it was
  called for, and where it had, it ends at once. A coordinator's is not run again: the notice calls another one.
"""

from __future__ import annotations

import logging
import secrets
import sys
import time
import traceback
from pkgutil import resolve_name
from typing import Final

import distributed
import msgspec
import psutil
from distributed import Worker

from smr_notebook.backends.dask.bells import bell_of
from smr_notebook.backends.dask.hosts import hosts_of
from smr_notebook.backends.dask.wire import LOST, Call, Fate, name_of, notice_of
from smr_notebook.backends.tenants import Invocation
from smr_notebook.environment import environment
from smr_notebook.ports import Clock, Context

_REASON_CHARACTERS: Final = 2_000
_LOG: Final = logging.getLogger("distributed.worker")
_GONE: Final = Fate("its worker left the cluster")


def run_call(data: bytes) -> None:
    """Run a call in this worker, and see to it that somebody hears if it gives no answer.

    Args:
        data: A `wire.Call` as msgpack.
    """
    call = msgspec.msgpack.decode(data, type=Call)
    worker = distributed.get_worker()
    key = worker.get_current_task()
    name = name_of(key)
    tenant = resolve_name(call.tenant)(call.payload)
    if not tenant:
        distributed.secede()
    lost = bool((worker.state.tasks[key].annotations or {}).get(LOST))
    if lost and not tenant:
        _tell(worker, call, name, _GONE)
        return
    invocation = Invocation(call.location, f"{name}/{secrets.token_hex(4)}", time.time() + call.seconds, memory_of(worker))
    fate = _differs(worker, call) or _run(worker, call, invocation, tenant)
    if fate.reason is not None:
        _tell(worker, call, invocation.name, fate)
    if lost:
        _tell(worker, call, name, _GONE)


def memory_of(worker: Worker) -> int:
    """Return the bytes of memory that one slot of a worker may use."""
    limit = worker.memory_manager.memory_limit or psutil.virtual_memory().total
    return int(limit) // max(worker.state.nthreads, 1)


def _differs(worker: Worker, call: Call) -> Fate | None:
    """Return why this worker must not run a call: it joined the cluster with another environment than those that were asked."""
    if call.environment == environment():
        return None
    return Fate(f"the worker {worker.address} has another Python or other packages than the notebook: {environment()}")


def _run(worker: Worker, call: Call, invocation: Invocation, tenant: str) -> Fate:
    if tenant:
        return hosts_of(worker).run(call, invocation, tenant=tenant)
    try:
        resolve_name(call.handler)(call.payload, _context(invocation, bell_of(call.location)))
    except BaseException as error:  # noqa: BLE001 - SystemExit too: the call of the handler is what ends, not the worker
        sys.stderr.write(f"invocation {invocation.name} failed\n")
        traceback.print_exc()
        return Fate(f"{type(error).__name__}: {error}"[:_REASON_CHARACTERS])
    return Fate()


def _tell(worker: Worker, call: Call, name: str, fate: Fate) -> None:
    """Call the handler with a notice."""
    invocation = Invocation(call.location, f"{name}/notice", time.time() + call.seconds, memory_of(worker))
    try:
        resolve_name(call.handler)(notice_of(call.payload, name, fate), _context(invocation, bell_of(call.location)))
    except BaseException:  # noqa: BLE001 - leases expire
        _LOG.warning("smr_notebook: nobody could be told that %s failed: %s", name, fate.reason, exc_info=True)


def _context(invocation: Invocation, clock: Clock) -> Context:
    return Context(invocation.location, invocation.name, invocation.deadline, invocation.memory_bytes, clock)
