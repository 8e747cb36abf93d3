"""What pairs can travel by besides the object store: how each is opened, in a session and in a worker.

A plan names a carrier and its place. Credentials are in neither: each process has its own, from its environment and settings.

Rules of this module:

* A carrier's client is imported when it is opened: whoever uses objects needs none.
* An opened one is kept by its process, which carries task after task.
* Settings are known by their types alone: a worker's image holds nothing that reads them from files.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Final, cast

from smr_notebook.errors import ConfigError
from smr_notebook.ports import Carrier
from smr_notebook.values.addresses import address_of, plain

if TYPE_CHECKING:
    from smr_notebook.config import Settings

_OPENERS: Final[Mapping[str, tuple[str, str]]] = {
    "redis": ("smr_notebook.backends.redis.carrier:open_redis", "redis"),
    "sqs": ("smr_notebook.backends.aws.queues:open_queues", "aws"),
    "kinesis": ("smr_notebook.backends.aws.streams:open_streams", "aws"),
}
"""What opens each, and the extra of this package that brings what it needs."""


def _redis_place(settings: Settings) -> str:
    if not len(settings.redis_url):
        raise ConfigError(
            "exchange='redis' needs the setting redis_url: set SMR_REDIS_URL=redis://host:6379/0 in the environment, here and where the "
            "workers run, or %config Smr.redis_url, if it has no password."
        )
    return address_of(settings.redis_url)


def _aws_place(settings: Settings) -> str:
    return f"{settings.region}/{settings.stack}"


_PLACES: Final[Mapping[str, Callable[[Settings], str]]] = {"redis": _redis_place, "sqs": _aws_place, "kinesis": _aws_place}


def place_of(exchange: str, settings: Settings) -> str:
    """Return where a carrier is, as a plan names it: without credentials; an empty string for objects.

    Raises:
        ConfigError: The settings do not say.
    """
    return _PLACES[exchange](settings) if exchange in _PLACES else ""


def carriers_of(redis_url: Callable[[], str]) -> dict[str, Callable[[str], Carrier]]:
    """Return what opens each carrier at a place.

    Args:
        redis_url: Gives the setting of this process, with its credentials or empty, when one is opened.
    """

    def opener(name: str) -> Callable[[str], Carrier]:
        return lambda place: _opened(name, place, plain(redis_url()))

    return {name: opener(name) for name in _OPENERS}


@functools.lru_cache(maxsize=4)
def _opened(name: str, place: str, told: str) -> Carrier:
    path, extra = _OPENERS[name]
    try:
        opened = cast("Callable[..., Carrier]", resolve_name(path))
    except ModuleNotFoundError as error:
        text = f"exchange={name!r} needs {error.name}, which is not installed"
        raise ConfigError(f"{text}: `pip install 'smr_notebook[{extra}]'` brings it, here and where the workers run.") from None
    return opened(place, told=told)
