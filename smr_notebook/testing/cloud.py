"""A whole deployment on this machine: jobs run as on AWS, with real processes, over real HTTP, and without an account.

Theory. Bucket and table are those of an emulator; functions are run by AWS's runtime client in the service of `testing.lambdas`. Whatever
is ours - the adapters, the entry of the image, the control plane - is the same code that runs on AWS, and finds its services by boto3's
own variables. The deployment is made by hand here, in a moment; that the template makes the same is another test's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.image.content import kernel_folder
from smr_notebook.backends.aws.names import LARGE, ROUTES, Names
from smr_notebook.backends.aws.platform import AwsOptions
from smr_notebook.backends.aws.table import TABLE_SCHEMA
from smr_notebook.testing.emulators import aws_environment
from smr_notebook.testing.lambdas.service import Service, lambda_service
from smr_notebook.testing.lambdas.settings import ACCOUNT, REGION, Faults, Function

FORKABLE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""What the image sets, so that a process has no threads when it forks."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a deployment is made.

    Attributes:
        stack: Its name.
        account_limit: Invocations that the account runs at once.
        time_scale: What AWS's own waits are multiplied by: back-off, retries, schedules.
        faults: The troubles of its functions.
        seconds: Longest time of an invocation.
        memory_mb: Memory of an invocation; the larger workers have twice as much.
        lease_seconds: Silence after which an attempt counts as lost.
        freezes: Whether a sandbox that waits is frozen.
        kills_hogs: Whether a process that takes more than its memory is killed.
    """

    stack: str = "smr"
    account_limit: int = 8
    time_scale: float = 0.01
    faults: Faults = field(default_factory=Faults)
    seconds: float = 900.0
    memory_mb: int = 1769
    lease_seconds: float = 30.0
    freezes: bool = True
    kills_hogs: bool = False


def options_of(shape: Shape) -> AwsOptions:
    """Return what the functions of a deployment are told of it."""
    return AwsOptions(Names(shape.stack, ACCOUNT, REGION), lease_seconds=shape.lease_seconds)


def functions_of(shape: Shape, endpoint: str) -> tuple[Function, ...]:
    """Return the functions of a deployment whose bucket and table are at an endpoint."""
    options = options_of(shape)
    found = {name: value for name, value in aws_environment(endpoint).items() if value is not None}
    variables = {**found, **FORKABLE, "SMR_LOCATION": options.location}
    return tuple(
        Function(
            options.names.function(route),
            "entry.handler",
            str(kernel_folder()),
            variables,
            seconds=shape.seconds,
            memory_mb=shape.memory_mb * (2 if route in LARGE else 1),
            retries=0,
            event_age=60.0,
            on_failure=options.names.function("coordinator"),
            recursive=True,
        )
        for route in ROUTES
    )


def make_resources(clients: Clients, names: Names) -> None:
    """Make the bucket and the table of a deployment."""
    clients["s3"].create_bucket(Bucket=names.bucket)
    clients["dynamodb"].create_table(TableName=names.table, **TABLE_SCHEMA)


@contextmanager
def deployed(endpoint: str, clients: Clients, shape: Shape | None = None) -> Iterator[Service]:
    """Deploy, and give the service that runs the functions until the block ends.

    Args:
        endpoint: Of the emulator.
        clients: Lead to it.
        shape: How it is made.
    """
    shape = shape or Shape()
    make_resources(clients, options_of(shape).names)
    with lambda_service(
        functions_of(shape, endpoint),
        account_limit=shape.account_limit,
        time_scale=shape.time_scale,
        faults=shape.faults,
        freezes=shape.freezes,
        kills_hogs=shape.kills_hogs,
    ) as service:
        yield service
