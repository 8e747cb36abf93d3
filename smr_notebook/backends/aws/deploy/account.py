"""Whose account and which region a deployment is in, and what its calls raise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.faults import BOTO_ERRORS, told
from smr_notebook.backends.aws.names import Names, check_stack_name
from smr_notebook.backends.aws.regions import check_region, unknown_region
from smr_notebook.errors import ServiceError


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever asks, and what a deployment is called in their account and region."""

    arn: str
    names: Names


def find_caller(clients: Clients, stack: str) -> Caller:
    """Return who asks, and the names of a deployment in the account and region of the clients.

    Raises:
        ConfigError: The stack's name is none, there is no such profile or region, or no region is set.
        CredentialsError: AWS does not know who asks.
        ServiceError: AWS cannot be asked.
    """
    check_stack_name(stack)
    with asking("asking AWS who you are"):
        check_region(clients)
    try:
        with asking("asking AWS who you are"):
            caller = clients["sts"].get_caller_identity()
    except ServiceError as error:
        raise unknown_region(clients) or error from None
    return Caller(caller["Arn"], Names(stack, caller["Account"], clients.region, caller["Arn"].split(":")[1]))


@contextmanager
def asking(doing: str) -> Iterator[None]:
    """Translate what the calls inside the block raise.

    Args:
        doing: What they try, as it follows "while": `reading the stack smr`.
    """
    try:
        yield
    except BOTO_ERRORS as error:
        raise told(error, doing, unreachable=ServiceError) from error
