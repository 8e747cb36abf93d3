"""The line of a process that is none of the cluster's to it: a client, and another one when that has given up.

A client of `distributed` looks for a scheduler that has gone for half a minute, and is closed for good then. A notebook stays for days, and
a scheduler that comes back at its address is found by it again.

Rules of this module:

* A client that was there already is somebody's own: it is used as it is, never closed, and nothing takes its place.
* The keeper is brought along: a scheduler that was started anew has none.
* Who asks on a closed line hears so as a `ConnectionError`, like all else that may pass.
"""

from __future__ import annotations

import threading
from typing import Any, Final

from distributed import Client, default_client

from smr_notebook.backends.dask.keeper import KEEPER, Keeper
from smr_notebook.errors import ConfigError, EnvironmentMismatchError, ServiceError

_NAME: Final = "smr-notebook"


class Line:
    """Gives a client of a cluster whose scheduler has a keeper.

    Args:
        address: Of the scheduler; empty for the one of the client that this process has already.

    Raises:
        ConfigError: The address is none.
        EnvironmentMismatchError: The scheduler lacks this package.
        ServiceError: The cluster cannot be reached.
    """

    def __init__(self, address: str) -> None:
        self._lock = threading.Lock()
        self._address = address
        there = _there(address)
        self._own = there is None
        self._left = False
        self._client = there or _first_client(address)
        try:
            self.keep()
        except EnvironmentMismatchError:
            self.leave()
            raise

    def __call__(self) -> Client:
        """Return the client: another one, if the one before was closed because nobody answered it.

        Raises:
            OSError: There is still nobody who answers.
        """
        with self._lock:
            if self._own and not self._left and self._client.status == "closed":
                self._client = Client(self._address, set_as_default=False, name=_NAME)
            return self._client

    def keep(self) -> None:
        """See to it that the scheduler has a keeper.

        Raises:
            EnvironmentMismatchError: It cannot import this package.
            OSError, RuntimeError: It cannot be asked.
        """
        try:
            self().register_plugin(Keeper(), name=KEEPER)
        except (ImportError, AttributeError) as error:
            text = f"The scheduler of the Dask cluster at {self._address} cannot import smr_notebook ({error})."
            raise EnvironmentMismatchError(f"{text} Install this version of it on the scheduler and all workers.") from error

    def leave(self) -> None:
        """Close the client, unless it is somebody's own."""
        with self._lock:
            self._left = True
            if self._own:
                self._client.close()


def ask(client: Client, what: str, arguments: dict[str, Any]) -> object:
    """Return what the scheduler answers to one of a keeper's calls.

    Args:
        client: Of the cluster.
        what: Name of the call.
        arguments: Of the call.

    Raises:
        OSError: The client is closed, or the scheduler does not answer.
        SmrError: The call's own.
    """
    scheduler = client.scheduler
    if scheduler is None:
        raise ConnectionError("its client was closed, because the scheduler had gone")
    answer: object = client.sync(getattr(scheduler, what), **arguments)
    return answer


def _there(address: str) -> Client | None:
    """Return the client that this process has already, if it is one of the cluster that is meant."""
    try:
        there = default_client()
    except ValueError:
        return None
    usable = not there.asynchronous and there.scheduler is not None and address in {there.scheduler.address, ""}
    return there if usable else None


def _first_client(address: str) -> Client:
    if not address:
        text = 'Session("dask") needs the address of the scheduler of a Dask cluster'
        raise ConfigError(f'{text}: address="tcp://host:8786", SMR_ADDRESS in the environment, or %config Smr.address.')
    try:
        return Client(address, set_as_default=False, name=_NAME)
    except (OSError, TimeoutError) as error:
        text = f"There is no Dask scheduler at {address} that answers ({error})."
        raise ServiceError(f"{text} Check the address, and that `dask scheduler` runs there.") from None
    except ValueError as error:
        raise ConfigError(f"{address!r} is no address of a Dask scheduler ({error}): write tcp://host:8786 or tls://host:8786.") from None
