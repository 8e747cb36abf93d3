"""Where a service is: an address, which plans may hold and messages may show, and the URL with credentials, which they may not."""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, urlsplit

from smr_notebook.errors import ConfigError

_SCHEMES: Final = ("redis", "rediss", "unix")
_TEXT: Final = 'the URL of a Redis: "redis://host:6379/0", "rediss://user:password@host:6379/0" with TLS, or "unix:///path"'


class Secret(str):
    """A URL that shows its address alone, wherever it is shown."""

    __slots__ = ()

    def __str__(self) -> str:
        return address_of(str.__str__(self)) if len(self) else ""

    def __repr__(self) -> str:
        return repr(str(self))


NO_URL: Final = Secret()


def read_secret(value: object) -> Secret:
    """Return the URL of a Redis, or nothing for an empty text. Raises `ConfigError`."""
    if not isinstance(value, str):
        raise ConfigError(f"redis_url must be {_TEXT}.")
    if len(value):
        address_of(plain(value))
    return Secret(plain(value))


def plain(url: str) -> str:
    """Return a URL with its credentials."""
    return str.__str__(url)


def address_of(url: str) -> str:
    """Return a URL of a Redis without user, password and options.

    Raises:
        ConfigError: It is no such URL. The message does not repeat it: it may hold a password.
    """
    try:
        parts = urlsplit(plain(url))
        port, host = parts.port, parts.hostname
    except ValueError:
        parts, port, host = SplitResult("", "", "", "", ""), None, None
    if parts.scheme not in _SCHEMES or not (parts.path.strip("/") if parts.scheme == "unix" else host):
        raise ConfigError(f"redis_url must be {_TEXT}.")
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    named = f"[{host}]" if ":" in str(host) else host
    return f"{parts.scheme}://{named}:{port or 6379}/{parts.path.strip('/') or 0}"


def url_for(address: str, told: str) -> str:
    """Return the URL that a process opens for the address of a plan: what it was told itself, if that means the same Redis.

    Args:
        address: As of `address_of`.
        told: The URL of the process's own settings, or an empty string.
    """
    url = plain(told)
    return url if url and address_of(url) == address else address
