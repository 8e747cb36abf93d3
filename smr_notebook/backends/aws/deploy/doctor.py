"""What stands between somebody and their first job on AWS, found in the order in which it would stand in the way.

Each finding is given as soon as it is known. What all the rest depends on comes first, and ends the list when it is wrong.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.deploy.account import asking, find_caller
from smr_notebook.backends.aws.deploy.check import examine
from smr_notebook.backends.aws.deploy.findings import Finding, fine, look, unseen, wrong
from smr_notebook.backends.aws.deploy.options import DeployOptions
from smr_notebook.backends.aws.deploy.permissions import simulate_roles, try_user
from smr_notebook.backends.aws.deploy.stack import read_options, read_status
from smr_notebook.backends.aws.deploy.template import dead_letters
from smr_notebook.backends.aws.faults import BOTO_ERRORS, code_of, told
from smr_notebook.backends.aws.functions import QUOTA_REQUEST
from smr_notebook.backends.aws.names import TABLES, Names
from smr_notebook.errors import AccessDeniedError, CredentialsError, ServiceError, SmrError

_FEW: Final = 100
"""Invocations at once below which a quota is not worth a job on AWS. AWS gives 1,000, and new accounts 10."""

_STANDING: Final = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"}

_MISSING: Final = {"404", "NoSuchBucket", "ResourceNotFoundException"}
"""What the services say of a bucket or a table that is not there."""


def diagnose(clients: Clients, stack: str, further: Mapping[str, Callable[[Names], str]]) -> Iterator[Finding]:
    """Yield what there is to know about a deployment, and what is wrong with it.

    Args:
        clients: Whoever asks, and where.
        stack: Name of the stack.
        further: Looks that need more than AWS, by name: each says what it found, or raises an `SmrError`.
    """
    try:
        caller = find_caller(clients, stack)
    except CredentialsError as error:
        yield wrong("credentials", str(error))
        return
    except SmrError as error:
        yield wrong("settings", str(error))
        return
    names = caller.names
    yield fine("credentials", f"you are {caller.arn}.")
    yield fine("region", f"{names.region}.")
    standing, options = _stack(clients, names)
    yield standing
    if standing.ok is False:
        return
    if options is not None:
        yield from examine(clients, options)
        yield from _image(clients, options)
        if options.image:
            yield look("failures", functools.partial(_failures, clients, names))
        if options.inputs or options.outputs:
            yield look("buckets", functools.partial(_named, clients, options))
        yield look("roles", functools.partial(simulate_roles, clients, options))
    yield look("concurrency", functools.partial(_concurrency, clients, names))
    yield try_user(clients, names, caller.arn)
    for name, seen in further.items():
        yield look(name, functools.partial(_further, name, seen, names))


def concurrency_finding(limit: int, free: int, region: str) -> Finding:
    """Return whether an account may run enough at once.

    Args:
        limit: Invocations that the account may run at once.
        free: Those that no function has reserved.
        region: Where.
    """
    what = f"{limit:,} invocations at once in {region}, {free:,} of them not reserved."
    if limit >= _FEW:
        return fine("concurrency", what)
    return wrong("concurrency", f"Only {what} A job runs no more tasks than that.", f"`{QUOTA_REQUEST} --region {region}`")


def _stack(clients: Clients, names: Names) -> tuple[Finding, DeployOptions | None]:
    where, deploy = f"{names.stack} in {names.region}", f"`smr deploy --stack {names.stack} --region {names.region}`"
    try:
        status, options = read_status(clients, names.stack), read_options(clients, names)
    except AccessDeniedError as error:
        return unseen("stack", f"could not be looked at. {error}"), None
    except SmrError as error:
        return wrong("stack", str(error), deploy), None
    if not status:
        return wrong("stack", f"there is no stack {where}.", deploy), None
    if options is None:
        return wrong("stack", f"the stack {where} is not one of this package.", "name another one with --stack"), None
    if status not in _STANDING:
        return wrong("stack", f"{where} is {status}.", deploy), None
    return fine("stack", f"{where} is {status}."), options


def _image(clients: Clients, options: DeployOptions) -> Iterator[Finding]:
    names = options.names
    if not options.image:
        mend = f"`smr deploy --stack {names.stack} --region {names.region}` where docker, podman or buildah works"
        yield wrong("image", "there are no functions yet, because no image was deployed.", mend)
    elif f"/{names.repository}@" in options.image:
        yield look("image", functools.partial(_pushed, clients, options))


def _pushed(clients: Clients, options: DeployOptions) -> Finding:
    repository, _, digest = options.image.rpartition("/")[2].partition("@")
    with asking(f"looking for {options.image}"):
        found = clients["ecr"].batch_get_image(repositoryName=repository, imageIds=[{"imageDigest": digest}])["images"]
    if not found:
        mend = f"`smr deploy --stack {options.names.stack} --region {options.names.region}` makes and pushes another one"
        return wrong("image", f"{options.image} is not in its repository any more.", mend)
    return fine("image", f"{options.image}.")


def _failures(clients: Clients, names: Names) -> Finding:
    queue = dead_letters(names)
    with asking(f"reading the queue {queue}"):
        url = clients["sqs"].get_queue_url(QueueName=queue)["QueueUrl"]
        attribute = "ApproximateNumberOfMessages"
        waiting = int(clients["sqs"].get_queue_attributes(QueueUrl=url, AttributeNames=[attribute])["Attributes"][attribute])
    if not waiting:
        return fine("failures", "no failed call was left without an answer.")
    log = f"aws logs tail /aws/lambda/{names.function('coordinator')} --since 1h --region {names.region}"
    empty = f"aws sqs purge-queue --queue-url {url} --region {names.region}"
    what = f"{waiting} failed calls could not be written down by {names.function('coordinator')}: it fails itself."
    return wrong("failures", what, f"`{log}` says why; `{empty}` when that is mended")


def _named(clients: Clients, options: DeployOptions) -> Finding:
    """Return whether the buckets and tables that jobs may use are there. Where we may not look, the workers may: nothing is said of it."""
    named = dict.fromkeys((*options.inputs, *options.outputs))
    missing = [name for name in named if not _exists(clients, name)]
    if not missing:
        return fine("buckets", f"none is missing of {', '.join(named)}.")
    mend = f"make it, or `smr deploy --stack {options.names.stack} --region {options.names.region} --without {' '.join(missing)}`"
    return wrong("buckets", f"jobs may use {', '.join(missing)}, which is not there.", mend)


def _exists(clients: Clients, name: str) -> bool:
    table = name.removeprefix(TABLES)
    try:
        if table != name:
            clients["dynamodb"].describe_table(TableName=table)
        else:
            clients["s3"].head_bucket(Bucket=name)
    except BOTO_ERRORS as error:
        if code_of(error) in _MISSING:
            return False
        failed = told(error, f"looking for {name}", unreachable=ServiceError)
        if not isinstance(failed, AccessDeniedError):
            raise failed from error
    return True


def _concurrency(clients: Clients, names: Names) -> Finding:
    with asking("reading how much the account may run at once"):
        limits = clients["lambda"].get_account_settings()["AccountLimit"]
    return concurrency_finding(limits["ConcurrentExecutions"], limits["UnreservedConcurrentExecutions"], names.region)


def _further(name: str, seen: Callable[[Names], str], names: Names) -> Finding:
    return fine(name, seen(names))
