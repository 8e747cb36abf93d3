"""AWS as a whole: a deployment's bucket, table and functions, opened on either side.

The notebook finds a deployment by the name of its stack, and needs nothing else: who asks, and where, is boto3's own business. A worker
opens it from its location, which the deployment gave to its function. Both get the same objects and rows.
"""

from __future__ import annotations

import importlib
import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

import msgspec

from smr_notebook.backends.aws.alarms import SchedulerAlarms
from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.faults import BOTO_ERRORS, told
from smr_notebook.backends.aws.functions import LambdaFunctions
from smr_notebook.backends.aws.names import Names, check_stack_name
from smr_notebook.backends.aws.objects import S3Store
from smr_notebook.backends.aws.source import S3Source
from smr_notebook.backends.aws.table import DynamoTable
from smr_notebook.backends.system_clock import SystemClock
from smr_notebook.errors import ConfigError
from smr_notebook.model import Policy
from smr_notebook.ports import Backend

ROUTE: Final = "smr_notebook.control.messages:route"
_POLL: Final = (0.2, 3.0)
_PARALLEL: Final = 32
_BRANCHING: Final = 32
_ARCHITECTURES: Final = {"aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True)
class AwsOptions:
    """What a deployment's functions are told of it.

    Attributes:
        names: What its parts are called.
        keep_days: Days after which what jobs stored expires.
        lease_seconds: Silence after which an attempt counts as lost.
    """

    names: Names
    keep_days: float = 7.0
    lease_seconds: float = 30.0

    @property
    def location(self) -> str:
        """What a worker opens."""
        return f"aws:{msgspec.json.encode(self).decode()}"


def policy_of(options: AwsOptions) -> Policy:
    """Return leases and retries that fit functions which start in a second or two, and whose calls cost."""
    lease = options.lease_seconds
    return Policy(
        lost_launches=20,
        heartbeat=min(5.0, lease / 6),
        lease=lease,
        launch=min(60.0, 2 * lease),
        coordinator_lease=min(20.0, lease),
        watchdog=min(300.0, 10 * lease),
        longest=options.keep_days * 43_200.0,  # so that nothing of a job expires while it runs
        margin=60.0,
    )


def open_aws(
    stack: str,
    *,
    region: str = "",
    profile: str = "",
    keep_days: float = 7.0,
    lease_seconds: float = 30.0,
    extras: tuple[str, ...] = (),
) -> Backend:
    """Return a deployment as a notebook sees it. It is not asked whether it is there before the first use.

    Args:
        stack: Its name.
        region: Where it is; empty for what the profile or the environment says.
        profile: Whose credentials; empty for boto3's own choice.
        keep_days: As deployed.
        lease_seconds: As deployed.
        extras: Names of packages whose versions the workers are asked for besides.

    Raises:
        ConfigError: The stack has no such name, or no region is said.
        CredentialsError: Nobody knows who we are.
        PlatformError: AWS cannot be asked.
    """
    clients = Clients(region, profile)
    return _open(clients, AwsOptions(find_names(clients, stack), keep_days, lease_seconds), extras)


def reopen_aws(place: str) -> Backend:
    """Return a deployment as a worker sees it, from the part of its location behind `aws:`."""
    options = msgspec.json.decode(place, type=AwsOptions)
    return _open(Clients(options.names.region), options)


def find_names(clients: Clients, stack: str) -> Names:
    """Return what the parts of a deployment are called. Raises as `open_aws` does."""
    check_stack_name(stack)
    try:
        if not clients.region:
            raise ConfigError('No region is set: pass region="eu-west-1", or set AWS_REGION, or give the profile one (`aws configure`).')
        arn = str(clients["sts"].get_caller_identity()["Arn"])
    except BOTO_ERRORS as error:
        raise told(error, "asking who we are") from error
    _, partition, _, _, account, *_ = arn.split(":")
    return Names(stack, account, clients.region, partition)


def _open(clients: Clients, options: AwsOptions, extras: tuple[str, ...] = ()) -> Backend:
    names, clock = options.names, SystemClock()
    module, _, function = ROUTE.partition(":")
    route = cast("Callable[[bytes], str]", getattr(importlib.import_module(module), function))
    architecture = _ARCHITECTURES.get(platform.machine(), "x86_64")
    return Backend(
        name="aws",
        location=options.location,
        objects=S3Store(clients, names.bucket),
        table=DynamoTable(clients, names.table, clock=clock, keep_seconds=options.keep_days * 86_400.0),
        functions=LambdaFunctions(clients, names, route=route, clock=clock, extras=extras),
        clock=clock,
        sources={"s3": S3Source(clients)},
        policy=policy_of(options),
        poll=_POLL,
        alarms=SchedulerAlarms(clients, names, clock=clock),
        parallel=_PARALLEL,
        branching=_BRANCHING,
        plans=True,
        expires=True,
        tariff=f"aws/{names.region}/{architecture}",
    )
