"""Whether a deployment is what it must be: its settings, the state of its table and of its functions."""

from __future__ import annotations

import functools
from typing import Any, Final

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.deploy.account import asking
from smr_notebook.backends.aws.deploy.findings import Finding, fine, look, wrong
from smr_notebook.backends.aws.deploy.options import DeployOptions, memory_of
from smr_notebook.backends.aws.deploy.patience import Patience
from smr_notebook.backends.aws.deploy.settings import settings
from smr_notebook.backends.aws.names import LARGE, ROUTES
from smr_notebook.backends.aws.table import TABLE_SCHEMA
from smr_notebook.errors import DeploymentError

_WORKING: Final = {"Active", "Inactive", "Successful"}
"""States of a function that can be called; an inactive one wakes up with the next call."""

_SOON: Final = {"Pending", "InProgress"}


def put_right(clients: Clients, options: DeployOptions, patience: Patience) -> None:
    """Set what the stack did not, and read everything back, once the functions are ready.

    Raises:
        DeploymentError: Something is still not as it should be; the message says what mends it.
    """
    for setting in settings(clients, options):
        setting.put_right()
    if options.image:
        patience.until(lambda: not any(_state(clients, options.names.function(route))[0] in _SOON for route in ROUTES))
    found = [finding for finding in examine(clients, options) if finding.ok is False]
    if found:
        more = f" `smr doctor --stack {options.names.stack}` names {len(found) - 1} more." if found[1:] else ""
        raise DeploymentError(f"The stack stands, but {found[0].name}: {found[0].what} To mend it: {found[0].mend}.{more}")


def examine(clients: Clients, options: DeployOptions) -> list[Finding]:
    """Return what a deployment is, one finding for each thing that matters."""
    mend = f"`smr deploy --stack {options.names.stack} --region {options.names.region}`"
    found = [look("table", functools.partial(_table, clients, options), mend=mend)]
    if options.image:
        found.append(look("functions", functools.partial(_functions, clients, options), mend=mend))
    return found + [look(each.name, functools.partial(each.finding, mend), mend=mend) for each in settings(clients, options)]


def _table(clients: Clients, options: DeployOptions) -> Finding:
    table = options.names.table
    with asking(f"reading what the table {table} is"):
        found = clients["dynamodb"].describe_table(TableName=table)["Table"]
    if found["TableStatus"] not in {"ACTIVE", "UPDATING"}:
        return wrong("table", f"{table} is {found['TableStatus']}.", "wait until it is ACTIVE")
    if found["KeySchema"] != TABLE_SCHEMA["KeySchema"]:
        remove = f"`smr down --stack {options.names.stack}`"
        return wrong("table", f"{table} has other keys than this package writes.", f"{remove}, then deploy again")
    return fine("table", f"{table} is {found['TableStatus']}.")


def _functions(clients: Clients, options: DeployOptions) -> Finding:
    wanted = {
        "Timeout": options.timeout,
        "Architectures": [options.architecture],
        "SMR_LOCATION": options.location,
    }
    mend = f"`smr deploy --stack {options.names.stack} --region {options.names.region} --image URI`, with an image that works"
    for route in ROUTES:
        function = options.names.function(route)
        state, found = _state(clients, function)
        if state in _SOON:
            return wrong("functions", f"{function} is {state}.", "a minute of patience")
        if state not in _WORKING:
            return wrong("functions", f"{function} is {state}: {found['reason'].rstrip('. ')}.", mend)
        here = {"MemorySize": memory_of(options, route), **wanted}
        other = [f"{name} is {found.get(name)} instead of {value}" for name, value in here.items() if found.get(name) != value]
        if other:
            return wrong("functions", f"{function}: {'; '.join(other)}.", mend)
    sizes = f"{options.memory} MB, the larger workers with {memory_of(options, LARGE[0])} MB"
    return fine("functions", f"All {len(ROUTES)} can be called, with {sizes}, {options.timeout} s, on {options.architecture}.")


def _state(clients: Clients, function: str) -> tuple[str, dict[str, Any]]:
    """Return the state of a function or, if that is good, of its last change; and its settings and variables in one, with the `reason`."""
    with asking(f"reading what {function} is"):
        found = clients["lambda"].get_function_configuration(FunctionName=function)
    field = "State" if found["State"] not in _WORKING else "LastUpdateStatus"
    variables = found.get("Environment", {}).get("Variables", {})
    return found[field], {**found, **variables, "reason": found.get(f"{field}Reason") or "Lambda says no reason"}
