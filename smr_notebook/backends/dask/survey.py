"""What the workers of a cluster are asked before anything runs there: their environment, and whether they see what they must.

A worker that joins later is asked by the first call that it gets (`work`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pkgutil import resolve_name
from typing import Any, Final

from distributed import Client

from smr_notebook.environment import environment
from smr_notebook.errors import ConfigError, EnvironmentMismatchError, ServiceError
from smr_notebook.model import Environment

_NAMED: Final = 3
"""So many workers are named where many are meant."""


def survey(client: Client, probe: str, probed: Sequence[str], extras: Sequence[str]) -> Environment:
    """Return the environment of the workers: one that differs from this process's, if any does; this one where there are no workers.

    Args:
        client: Of the cluster.
        probe: `module:function` that each worker calls with `probed`, and that returns what is wrong there, if anything; empty for none.
        probed: As above.
        extras: Names of packages whose versions are asked for besides.

    Raises:
        EnvironmentMismatchError: A worker lacks this package, or cannot import it.
        ConfigError: The probe found something.
        ServiceError: A worker cannot be asked.
    """
    told = client.run(_look, probe, tuple(probed), tuple(extras), on_error="return")
    failed = {worker: error for worker, error in told.items() if isinstance(error, BaseException)}
    absent = {worker: error for worker, error in failed.items() if isinstance(error, ImportError | AttributeError)}
    if absent:
        worker, missing = next(iter(absent.items()))
        text = f"{_many(absent)} of the Dask cluster cannot import what runs there ({worker}: {missing})."
        raise EnvironmentMismatchError(f"{text} Install this version of smr_notebook on all workers and the scheduler.")
    if failed:
        worker, error = next(iter(failed.items()))
        raise ServiceError(f"{_many(failed)} of the Dask cluster cannot be asked ({worker}: {type(error).__name__}: {error}).")
    wrong = {worker: found[1] for worker, found in told.items() if found[1]}
    if wrong:
        raise ConfigError(f"{_many(wrong)} of the Dask cluster cannot work here: {next(iter(wrong.values()))}")
    stamps = [found[0] for found in told.values()]
    here = environment(tuple(extras))
    return next((stamp for stamp in stamps if stamp != here), here)


def _look(probe: str, probed: tuple[str, ...], extras: tuple[str, ...]) -> tuple[Environment, str]:
    """Be asked, in a worker."""
    return environment(extras), str(resolve_name(probe)(*probed)) if probe else ""


def _many(workers: Mapping[str, Any]) -> str:
    first = ", ".join(sorted(workers)[:_NAMED])
    more = len(workers) - _NAMED
    return f"{'Worker' if len(workers) == 1 else 'Workers'} {first}{f' and {more} more' if more > 0 else ''}"
