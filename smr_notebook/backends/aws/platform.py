"""AWS as a whole: a deployment's bucket, table and functions, opened on either side.

A worker opens a deployment from its location, which the deployment gave to its function. The notebook knows the name of the stack alone,
and asks a function for its location: so both sides go by what was deployed. Who asks, and where, is boto3's own business.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pkgutil import resolve_name
from typing import Final, cast

import msgspec

from smr_notebook.backends.aws.alarms import SchedulerAlarms
from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.faults import BOTO_ERRORS, code_of, told
from smr_notebook.backends.aws.functions import LambdaFunctions
from smr_notebook.backends.aws.item_sink import DynamoSink
from smr_notebook.backends.aws.names import Names, check_stack_name
from smr_notebook.backends.aws.objects import S3Store
from smr_notebook.backends.aws.regions import check_region, unknown_region
from smr_notebook.backends.aws.scans import DynamoSource
from smr_notebook.backends.aws.source import S3Source
from smr_notebook.backends.aws.table import DynamoTable
from smr_notebook.backends.aws.triggers import AwsTriggers
from smr_notebook.backends.system_clock import SystemClock
from smr_notebook.errors import DeploymentError, ServiceError
from smr_notebook.model import Policy
from smr_notebook.ports import Backend

ROUTE: Final = "smr_notebook.control.messages:route"
_POLL: Final = (0.2, 3.0)
_PARALLEL: Final = 32
_BRANCHING: Final = 32
_MADE_UP: Final = re.compile(r"(botocore|aws|boto)[-\w]*\d{8,}$")
"""Names that SDKs give to sessions of roles by themselves."""

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
        launch=min(75.0, 2.5 * lease),  # longer than Lambda keeps an event that it cannot run
        coordinator_lease=min(20.0, lease),
        watchdog=min(300.0, 10 * lease),
        longest=options.keep_days * 43_200.0,  # so that nothing of a job expires while it runs
        margin=60.0,
    )


def open_aws(stack: str, *, region: str, profile: str, extras: tuple[str, ...]) -> Backend:
    """Return a deployment as a notebook sees it.

    Args:
        stack: Its name.
        region: Where it is; empty for what the profile or the environment says.
        profile: Whose credentials; empty for boto3's own choice.
        extras: Names of packages whose versions the workers are asked for besides.

    Raises:
        ConfigError: The stack has no such name, or no region is said.
        CredentialsError: Nobody knows who we are.
        DeploymentError: There is no such deployment, or one of another version.
        PlatformError: AWS cannot be asked.
    """
    clients = Clients(region, profile)
    arn = find_caller(clients, stack)
    names = names_of(arn, clients, stack)
    try:
        deployed = clients["lambda"].get_function_configuration(FunctionName=names.function("driver"))
    except BOTO_ERRORS as error:
        if code_of(error) == "ResourceNotFoundException":
            text = f"There is no deployment {stack!r} in {names.region} of account {names.account}."
            raise DeploymentError(
                f"{text} Make it with `{_deploy(names)}`, or name another one: by --stack, --region and --profile in a shell, "
                "by Session(stack=…, region=…, profile=…) in Python."
            ) from None
        raise told(error, f"looking for the deployment {stack!r}", unreachable=ServiceError) from None
    variables = deployed.get("Environment", {}).get("Variables", {})
    architecture = next(iter(deployed.get("Architectures", ())), "x86_64")
    options = _read(variables.get("SMR_LOCATION", "").removeprefix("aws:"), names)
    tables = DynamoSource(clients, clock=SystemClock())
    opened = _open(clients, options, architecture, source=S3Source(clients), tables=tables, extras=extras)
    return replace(opened, user=user_of(arn))


def reopen_aws(place: str) -> Backend:
    """Return a deployment as a worker sees it, from the part of its location behind `aws:`."""
    options = msgspec.json.decode(place, type=AwsOptions)
    clients = Clients(options.names.region)
    allow = "Check the bucket's name, or let the workers read it:"
    source = S3Source(clients, mend=f"{allow} `{_deploy(options.names)} --input {{bucket}}`.")
    allow = "Check the table's name, or let the workers read it:"
    tables = DynamoSource(clients, clock=SystemClock(), mend=f"{allow} `{_deploy(options.names)} --input dynamodb://{{table}}`.")
    return _open(clients, options, _ARCHITECTURES.get(platform.machine(), "x86_64"), source=source, tables=tables)


def _deploy(names: Names, verb: str = "deploy") -> str:
    return f"smr {verb} --stack {names.stack} --region {names.region}"


def _read(place: str, names: Names) -> AwsOptions:
    try:
        return msgspec.json.decode(place, type=AwsOptions)
    except msgspec.MsgspecError as error:
        text = f"The functions of the deployment {names.stack!r} were made by another version: their SMR_LOCATION cannot be read ({error})."
        raise DeploymentError(f"{text} Deploy again: `{_deploy(names)}`.") from None


def names_of(arn: str, clients: Clients, stack: str) -> Names:
    """Return what the parts of a deployment are called, by who asks."""
    _, partition, _, _, account, *_ = arn.split(":")
    return Names(stack, account, clients.region, partition)


def user_of(arn: str) -> str:
    """Return what a person calls the one that an ARN names: `alice`, `Analysts/alice@example.com`, `root`.

    Of a role's session that has no name of its own, the role alone: boto3 makes up another one each time.
    """
    kind, _, name = arn.split(":", 5)[5].partition("/")
    role, _, session = name.rpartition("/")
    if kind == "assumed-role" and _MADE_UP.match(session):
        return role
    return name if kind == "assumed-role" else name.rpartition("/")[2] or kind


def find_caller(clients: Clients, stack: str) -> str:
    """Return the ARN of who asks for a deployment. Raises as `open_aws` does."""
    check_stack_name(stack)
    try:
        check_region(clients)
        return str(clients["sts"].get_caller_identity()["Arn"])
    except BOTO_ERRORS as error:
        failed = told(error, "asking who we are", unreachable=ServiceError)
        raise (unknown_region(clients) or failed if isinstance(failed, ServiceError) else failed) from None


def _open(
    clients: Clients, options: AwsOptions, architecture: str, *, source: S3Source, tables: DynamoSource, extras: tuple[str, ...] = ()
) -> Backend:
    names, clock = options.names, SystemClock()
    anew = f"It has been deleted: `{_deploy(names, 'down')}` and then `{_deploy(names)}` make everything anew."
    route = cast("Callable[[bytes], str]", resolve_name(ROUTE))
    return Backend(
        name="aws",
        location=options.location,
        objects=S3Store(clients, names.bucket, mend=anew),
        table=DynamoTable(clients, names.table, clock=clock, keep_seconds=options.keep_days * 86_400.0, mend=anew),
        functions=LambdaFunctions(clients, names, route=route, clock=clock, extras=extras),
        clock=clock,
        sources={"s3": source, "dynamodb": tables},
        policy=policy_of(options),
        poll=_POLL,
        alarms=SchedulerAlarms(clients, names, clock=clock),
        triggers=AwsTriggers(clients, names),
        codec="zstd",
        parallel=_PARALLEL,
        branching=_BRANCHING,
        plans=True,
        expires=True,
        tariff=f"aws/{names.region}/{architecture}",
        targets={"s3": lambda bucket: S3Store(clients, bucket)},
        item_sinks={"dynamodb": lambda table: DynamoSink(clients, table, clock=clock)},
    )
