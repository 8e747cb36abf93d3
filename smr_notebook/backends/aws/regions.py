"""Which region is meant, and what is said where there is none, or none of that name."""

from __future__ import annotations

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.errors import ConfigError
from smr_notebook.values.suggestions import near

_SAY = 'Say --region eu-west-1 in a shell, region="eu-west-1" in Python, for one; or set AWS_REGION'


def check_region(clients: Clients) -> None:
    """Refuse clients that are nowhere.

    Raises:
        ConfigError: No region is set, or there is no such profile.
    """
    if not clients.region:
        raise ConfigError(f"No region is set. {_SAY}, or give the profile one (`aws configure`).")


def unknown_region(clients: Clients) -> ConfigError | None:
    """Return what is wrong with the region, if it is none that boto3 knows: a mistyped one has no address that could be reached."""
    session, region = clients.session, clients.region
    known = {name for partition in session.get_available_partitions() for name in session.get_available_regions("lambda", partition)}
    if region in known:
        return None
    hint = near(region, sorted(known)) or f" {_SAY}."
    return ConfigError(f"AWS cannot be reached in {region!r}, which is no region that boto3 knows.{hint}")
