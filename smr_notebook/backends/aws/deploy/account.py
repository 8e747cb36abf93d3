"""Whose account and which region a deployment is in, and what its calls raise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.faults import BOTO_ERRORS, Mends, told
from smr_notebook.backends.aws.names import Names, check_stack_name
from smr_notebook.backends.aws.regions import check_region, unknown_region
from smr_notebook.errors import AccessDeniedError, ServiceError, SmrError

_MENDS: Final[Mends] = {
    AccessDeniedError: "Deploying and taking down need the rights of an administrator (AWS_PROFILE or --profile says as whom); "
    "what jobs need, `smr doctor` tells.",
}


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
        raise deploying_told(error, doing) from error


def deploying_told(error: Exception, doing: str) -> SmrError:
    """Return the error that says what an error of botocore means to who deploys, or looks at a deployment.

    Args:
        error: One of `BOTO_ERRORS`.
        doing: What was tried, as it follows "while".
    """
    return told(error, doing, unreachable=ServiceError, mends=_MENDS)
