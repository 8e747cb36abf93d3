"""The platforms that jobs can run on: how each is opened, and whether its workers have what a session requires.

A platform's adapters are imported when it is opened: who runs jobs on this machine needs no boto3.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from smr_notebook.config import Settings
from smr_notebook.environment import environment, package_name
from smr_notebook.errors import ConfigError, EnvironmentMismatchError
from smr_notebook.ports import Backend
from smr_notebook.values.identifiers import random_identifier

_ROWS: Final = "smr_notebook.backends.local.table:open_table"
_SEEN: Final = "seen"
"""Key of an object by whose content a worker is known to see the folder of the session, and no other of its name."""


def read_requirements(lines: Sequence[str]) -> dict[str, str]:
    """Return requirements by the one spelling of their package's name.

    Raises:
        ConfigError: A line names no package.
    """
    if not lines:
        return {}
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415 - who requires nothing waits for none of it

    found = {}
    for line in lines:
        try:
            found[package_name(Requirement(line).name)] = line
        except InvalidRequirement as error:
            text = f"requirements: {line!r} names no package: {error}."
            raise ConfigError(f'{text} Write "scikit-learn" or "scikit-learn==1.7.2".') from None
    return found


def check_requirements(backend: Backend, required: Mapping[str, str]) -> None:
    """Refuse a platform whose workers lack a package, or have another version of it than is required or installed here.

    Raises:
        EnvironmentMismatchError: The message says how they get it.
    """
    if not required:
        return
    from packaging.requirements import Requirement  # noqa: PLC0415 - as in `read_requirements`

    limits = backend.functions.limits
    here = environment(tuple(required))
    there = here if limits.environment == environment() else limits.environment
    ours, theirs = dict(here.packages), dict(there.packages)
    lacking = []
    for name, line in required.items():
        version = theirs.get(name, "")
        if not version or not Requirement(line).specifier.contains(version, prereleases=True) or ours.get(name, version) != version:
            lacking.append(f"{line} (they have {version or 'none'}{f', here is {ours[name]}' if name in ours else ''})")
    if lacking:
        options = " ".join(f"--requirement {shlex.quote(line)}" for line in required.values())
        mend = limits.advice.requirements.format(options=options) or f"pip install {shlex.join(required.values())}"
        raise EnvironmentMismatchError(f"The workers lack {', '.join(lacking)}. `{mend}` gives it to them.")


def _open_local(settings: Settings, _: tuple[str, ...]) -> Backend:
    from smr_notebook.backends.local.platform import LocalOptions, open_local  # noqa: PLC0415 - others need none of it

    return open_local(
        LocalOptions(
            str(settings.workspace),
            workers=settings.workers,
            idle_seconds=settings.idle_seconds,
            lease_seconds=settings.lease_seconds,
            retries=settings.retries,
            worker_limit=settings.worker_limit,
        )
    )


def _open_aws(settings: Settings, extras: tuple[str, ...]) -> Backend:
    try:
        from smr_notebook.backends.aws.platform import open_aws  # noqa: PLC0415 - boto3 may be missing, and is slow to import

        return open_aws(settings.stack, region=settings.region, profile=settings.profile, extras=extras)
    except ModuleNotFoundError as error:
        raise ConfigError(f"AWS needs {error.name}, which is not installed: `pip install 'smr_notebook[aws]'` brings it.") from None


def _open_dask(settings: Settings, extras: tuple[str, ...]) -> Backend:
    try:
        from smr_notebook.backends.dask.platform import DaskOptions, open_dask  # noqa: PLC0415 - distributed may be missing, and is slow
    except ModuleNotFoundError as error:
        raise ConfigError(f"Dask needs {error.name}, which is not installed: `pip install 'smr_notebook[dask]'` brings it.") from None
    if settings.stores == "aws":
        lender = _open_aws(settings, ())
        return open_dask(DaskOptions(lender.location), lender, address=settings.address, extras=extras)
    folder = settings.workspace / "dask"
    lender = _open_local(replace(settings, workspace=folder), ())
    options = DaskOptions(lender.location, _ROWS, str(folder / "table.sqlite"))
    lender.objects.put(_SEEN, random_identifier().encode(), if_absent=True)
    seen = (lender.location, _SEEN, lender.objects.get(_SEEN).decode())
    return open_dask(options, lender, address=settings.address, probed=seen, extras=extras)


OPENERS: Final[Mapping[str, Callable[[Settings, tuple[str, ...]], Backend]]] = {"local": _open_local, "aws": _open_aws, "dask": _open_dask}
"""By name; with the settings, and with the names of packages whose versions the workers are asked for."""

OPENED_WITH: Final = frozenset(
    {"idle_seconds", "lease_seconds", "platform", "profile", "region", "retries", "stack", "user", "worker_limit", "workers", "workspace"}
    | {"address", "stores"}
)
"""The settings that a platform is opened with: where one of them changes, it is opened anew."""
