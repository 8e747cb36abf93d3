"""A Dask cluster as a function service: each call is a task that nobody waits for.

Rules of this module:

* A task belongs to the scheduler, whose keeper sees to that: it runs whether or not whoever called still lives. It has a name of its own,
  is not tried again when it fails, and leaves nothing in the cluster's memory.
* Calls that run nobody's functions come first: whole jobs wait for them.
* Whoever calls from outside waits until the scheduler has the task: it may end a moment later. A process of the cluster does not; should it
  end, whoever coordinates next makes the calls again.
* A task that fails never ran its call, or its workers ended time after time: whoever called tells that, once, if it still lives.
* What the cluster can take is asked for now and then, because clusters grow and shrink; its environment once, where somebody asks from
  outside.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pkgutil import resolve_name
from typing import Any, Final

import msgspec
import psutil
from distributed import Client, Future

from smr_notebook.backends.dask.bells import bell_of
from smr_notebook.backends.dask.keeper import TAKEN
from smr_notebook.backends.dask.lines import ask
from smr_notebook.backends.dask.survey import survey
from smr_notebook.backends.dask.wire import GROUPS, Call, Fate, name_of, notice_of
from smr_notebook.backends.dask.work import run_call
from smr_notebook.environment import environment
from smr_notebook.errors import PayloadTooLargeError, ServiceError
from smr_notebook.ports import Advice, ServiceLimits

_PAYLOAD_BYTES: Final = 1 << 20
_DAY: Final = 86_400.0
_FRESH_SECONDS: Final = 5.0
_FIRST: Final = 10
_ALL: Final = -1
"""Some versions of `distributed` tell of five workers where nobody asks for all."""

_ADVICE: Final = Advice(
    environment="Install the same Python and packages on the workers of the cluster, and start them again.",
    requirements="pip install {options}",
)


class DaskFunctions:
    """Runs a handler on the workers of a cluster; implements `ports.FunctionService`.

    Args:
        connect: Gives a client of the cluster.
        handler: `module:function` that calls go to.
        tenant: `module:function` that tells whose functions a payload runs: no process runs those of two.
        location: What the handler is told in its context.
        preload: Modules that the handler needs.
        probe: `module:function` that a worker is asked with `probed` before anything runs there, and answers with what is wrong with it.
        probed: As above.
        extras: Names of packages whose versions the workers are asked for besides.
        inside: Whether this process is one of the cluster's: its own environment is then the workers', and nothing waits for a keeper.
        keep: Brings the scheduler a keeper, where it turns out to have none; `None` where whoever opens a session does it.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        *,
        handler: str,
        tenant: str,
        location: str,
        preload: tuple[str, ...] = (),
        probe: str = "",
        probed: tuple[str, ...] = (),
        extras: tuple[str, ...] = (),
        inside: bool = False,
        keep: Callable[[], None] | None = None,
    ) -> None:
        self._connect = connect
        self._call = Call(handler, tenant, location, _DAY, environment(), preload, b"")
        self._probe = probe
        self._probed = probed
        self._extras = extras
        self._stamp = environment() if inside else None
        self._inside = inside
        self._keep = keep
        self._lock = threading.Lock()
        self._limits: tuple[float, ServiceLimits] | None = None
        self._pending: set[Future[None]] = set()

    @property
    def limits(self) -> ServiceLimits:
        """What the cluster takes, as it was a few seconds ago.

        Raises:
            EnvironmentMismatchError: A worker lacks this package.
            ConfigError: A worker does not see the folder of the objects.
            ServiceError: The cluster cannot be asked.
        """
        with self._lock:
            now = time.monotonic()
            if self._limits is None or now >= self._limits[0] + _FRESH_SECONDS:
                self._limits = now, self._look()
            return self._limits[1]

    def _look(self) -> ServiceLimits:
        try:
            client = self._connect()
            workers: Mapping[str, Any] = client.scheduler_info(n_workers=_ALL)["workers"]
            stamp = self._stamp or survey(client, self._probe, self._probed, self._extras)
        except (OSError, TimeoutError, RuntimeError) as error:
            raise ServiceError(f"The Dask cluster cannot be asked for its workers: {error}.") from error
        if workers:
            self._stamp = stamp
        return ServiceLimits(
            payload_bytes=_PAYLOAD_BYTES,
            seconds=self._call.seconds,
            concurrency=max(sum(worker["nthreads"] for worker in workers.values()), 1),
            queue_seconds=_DAY,  # tasks wait in the scheduler for as long as it lives
            memory_bytes=min((_memory(worker) for worker in workers.values()), default=psutil.virtual_memory().total),
            environment=stamp,
            advice=_ADVICE,
        )

    def invoke(self, payload: bytes) -> None:
        """Have the cluster run the handler once. See `ports.FunctionService.invoke`."""
        if len(payload) > _PAYLOAD_BYTES:
            raise PayloadTooLargeError(
                f"A payload of {len(payload):,} bytes exceeds the {_PAYLOAD_BYTES:,} that a task of the Dask cluster takes. "
                "Store it, and send its key."
            )
        self._send(payload, self._ended)

    def _send(self, payload: bytes, ended: Callable[[bytes, Future[None]], None]) -> None:
        nobodys = not resolve_name(self._call.tenant)(payload)
        data = msgspec.msgpack.encode(msgspec.structs.replace(self._call, payload=payload))
        try:
            client = self._connect()
            key = (GROUPS[nobodys], secrets.token_hex(8))
            future = client.submit(run_call, data, key=key, pure=False, retries=0, priority=_FIRST if nobodys else 0)
            arrived = self._inside or self._taken(client, key)
        except (OSError, TimeoutError, RuntimeError) as error:
            raise ServiceError(f"The Dask cluster took no call: {error}.") from error
        if not arrived:
            raise ServiceError(f"The Dask cluster{_at(client)} took no call: its scheduler does not answer for a task that was sent to it.")
        self._pending.add(future)
        future.add_done_callback(lambda future: ended(payload, future))

    def _taken(self, client: Client, key: tuple[str, str]) -> bool:
        """Wait until the scheduler has a task that this client sent, and return whether it came within a while."""
        answer = ask(client, TAKEN, {"key": key})
        if self._keep is not None and not (isinstance(answer, dict) and TAKEN in answer):  # it was started anew
            self._keep()
            answer = ask(client, TAKEN, {"key": key})
        return isinstance(answer, dict) and answer.get(TAKEN) is True

    def _ended(self, payload: bytes, future: Future[None]) -> None:
        if future.status == "error":
            error = future.exception()
            fate = Fate(f"the Dask cluster could not run it: {type(error).__name__}: {error}")
            never = isinstance(error, ImportError | AttributeError)
            with suppress(ServiceError):  # leases expire
                self._send(notice_of(payload, "" if never else name_of(future.key), fate), self._let_go)
        self._let_go(payload, future)

    def _let_go(self, _: bytes, future: Future[None]) -> None:
        self._pending.discard(future)
        future.release()  # or the scheduler would run the task again whose worker leaves afterwards
        bell_of(self._call.location).ring()


def _at(client: Client) -> str:
    return f" at {client.scheduler.address}" if client.scheduler is not None else ""


def _memory(worker: Mapping[str, Any]) -> int:
    limit: int = worker["memory_limit"] or psutil.virtual_memory().total
    return int(limit / max(worker["nthreads"], 1))
