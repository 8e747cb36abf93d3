"""Clients of AWS's services: made when first needed, once a process, and shared by its threads.

Rules of this module:

* Who we are and where is boto3's own business: its chain of credentials (profiles, SSO, roles), its regions, its endpoints
  (`AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_S3`, …). Nothing of it is stored or sent anywhere.
* boto3 is imported with the first client: a process that makes none does not pay for it.
* After a fork the child makes its own: a connection belongs to the process that opened it.
* Credentials that AWS refuses are forgotten, and looked for anew with the next call: somebody may have signed in meanwhile.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

from smr_notebook.errors import CredentialsError

RETRIES = 5
"""Tries of one call by the SDK, the first one among them, with its own back-off in between."""

CONNECTIONS = 64
"""Connections that a client keeps open: as many calls as may be under way at once."""

_CONNECT_SECONDS = 5.0
_READ_SECONDS = 60.0


class Clients:
    """The clients of one account and region.

    Args:
        region: Where; empty for what the profile or the environment says.
        profile: Whose credentials; empty for boto3's own choice.
        retries: Tries of one call.
    """

    def __init__(self, region: str = "", profile: str = "", *, retries: int = RETRIES) -> None:
        self._region = region
        self._profile = profile
        self._retries = retries
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._session: Any = None
        self._made: dict[str, Any] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return (_made_again, (self._region, self._profile, self._retries))

    @property
    def session(self) -> Any:
        """The `boto3.Session` that the clients come from."""
        import boto3  # noqa: PLC0415 - see the rules above

        with self._lock:
            if self._process != os.getpid():
                self._process, self._session, self._made = os.getpid(), None, {}
            if self._session is None:
                self._session = boto3.Session(region_name=self._region or None, profile_name=self._profile or None)
            return self._session

    @property
    def region(self) -> str:
        """Where the clients work; empty when nothing says so."""
        return str(self.session.region_name or "")

    def __getitem__(self, service: str) -> Any:
        """Return the client of a service, by boto3's name of it (`s3`, `dynamodb`, `lambda`, …).

        Raises:
            botocore.exceptions.BotoCoreError: It cannot be made: there is no region, or no such profile.
        """
        from botocore.config import Config  # noqa: PLC0415 - see the rules above

        session = self.session
        with self._lock:
            if service not in self._made:
                config = Config(
                    retries={"total_max_attempts": self._retries, "mode": "standard"},
                    max_pool_connections=CONNECTIONS,
                    connect_timeout=_CONNECT_SECONDS,
                    read_timeout=_READ_SECONDS,
                )
                self._made[service] = session.client(service, config=config)
                self._made[service].meta.events.register("after-call", lambda parsed, **_: self._forget_if_refused(parsed))
            return self._made[service]

    def _forget_if_refused(self, answer: Mapping[str, Any]) -> None:
        from smr_notebook.backends.aws.faults import MEANINGS  # noqa: PLC0415 - see the rules above

        cause = MEANINGS.get(str(answer.get("Error", {}).get("Code", "")))
        if cause is not None and cause.error is CredentialsError:
            with self._lock:
                self._session, self._made = None, {}


def _made_again(region: str, profile: str, retries: int) -> Clients:
    return Clients(region, profile, retries=retries)
