"""A Dask cluster as a whole: its workers run code, and what is stored is another platform's, with rows that the scheduler keeps if need be.

A cluster has no store of its own that outlives it. So a backend of this kind is put on top of another one, the *lender*, which is opened
on either side by its own location: whoever composes platforms gives it (`smr_notebook.sessions.platforms`, `smr_notebook.handler`).

Rules of this module:

* The address of the scheduler is no part of a location: a worker knows its own, and a notebook may reach it by another way.
* Credentials are neither: `distributed` has them from its own configuration, and a worker's processes have the worker's.
* Nothing calls later, or again and again: `alarms` and `triggers` are `None`. The scheduler starts a task anew whose worker left, also one
  that coordinates; when the scheduler itself is gone, whoever attaches to a job calls its coordinator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import msgspec
from distributed import Client, get_client

from smr_notebook.backends.dask.bells import bell_of
from smr_notebook.backends.dask.functions import DaskFunctions
from smr_notebook.backends.dask.lines import Line
from smr_notebook.backends.dask.rows import ClusterTable
from smr_notebook.ports import Backend

HANDLER: Final = "smr_notebook.handler:handle"
TENANT: Final = "smr_notebook.control.messages:tenant"
PROBE: Final = "smr_notebook.handler:unseen"
_POLL: Final = (0.02, 0.5)
_PARALLEL: Final = 8
PRELOAD: Final = (
    "pandas",
    "pyarrow.pandas_compat",
    "pyarrow.parquet",
    "smr_notebook.handler",
    "smr_notebook.backends.dask.platform",
    "smr_notebook.dataflow.mapping",
    "smr_notebook.dataflow.reducing",
)


@dataclass(frozen=True, slots=True)
class DaskOptions:
    """What the workers of a cluster are told of it.

    Attributes:
        lender: Location of the platform whose objects, and whose rows, are used.
        rows: `module:function` by which the scheduler opens the rows that it keeps; empty where the lender's are used.
        place: What that is called with.
    """

    lender: str
    rows: str = ""
    place: str = ""

    @property
    def location(self) -> str:
        """What a worker opens."""
        return f"dask:{msgspec.json.encode(self).decode()}"


def open_dask(options: DaskOptions, lender: Backend, *, address: str, probed: tuple[str, ...] = (), extras: tuple[str, ...]) -> Backend:
    """Return a cluster as a notebook sees it.

    Args:
        options: What its workers are told.
        lender: The platform that `options.lender` names.
        address: Of its scheduler: `tcp://host:8786`.
        probed: What each worker is asked by `PROBE` before anything runs there; empty where there is no doubt.
        extras: Names of packages whose versions the workers are asked for besides.

    Raises:
        ConfigError: The address is none.
        EnvironmentMismatchError: The scheduler lacks this package.
        ServiceError: The cluster cannot be reached.
    """
    line = Line(address)
    backend = _open(options, lender, line, probed=probed, extras=extras, keep=line.keep)

    def close() -> None:
        line.leave()
        lender.close()

    return replace(backend, close=close, user=lender.user)


def reopen_dask(place: str, reopen: Callable[[str], Backend]) -> Backend:
    """Return a cluster as a process of it sees it: a worker, or one that a worker's host forked.

    Args:
        place: The part of its location behind `dask:`.
        reopen: Opens the lender by its location.
    """
    options = msgspec.json.decode(place, type=DaskOptions)
    return _open(options, reopen(options.lender), _Inside())


class _Inside:
    """Gives the client of the process that asks, looked for once: a look is told to the scheduler each time."""

    def __init__(self) -> None:
        self._client: Client | None = None

    def __call__(self) -> Client:
        if self._client is None or self._client.status != "running":
            self._client = get_client()
        return self._client


def _open(
    options: DaskOptions,
    lender: Backend,
    connect: Callable[[], Client],
    *,
    probed: tuple[str, ...] = (),
    extras: tuple[str, ...] = (),
    keep: Callable[[], None] | None = None,
) -> Backend:
    functions = DaskFunctions(
        connect,
        handler=HANDLER,
        tenant=TENANT,
        location=options.location,
        preload=PRELOAD,
        probe=PROBE if probed else "",
        probed=probed,
        extras=extras,
        inside=keep is None,
        keep=keep,
    )
    kept = bool(options.rows)
    return replace(
        lender,
        name="dask",
        location=options.location,
        table=ClusterTable(connect, options.rows, options.place, keep=keep) if kept else lender.table,
        functions=functions,
        clock=bell_of(options.location),
        poll=_POLL if kept else lender.poll,
        parallel=_PARALLEL if kept else lender.parallel,
        alarms=None,
        triggers=None,
        branching=0,
        plans=False,
        tariff="",
        tally=None,
        evict=None,
    )
