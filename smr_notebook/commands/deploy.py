"""What `smr deploy`, `smr doctor` and `smr down` do: a deployment on AWS, from nothing to nothing.

`smr deploy` may be said again and again: what it is told changes, what it is not told stays, and what somebody changed by hand is put
right. Without `--image` it makes the image that agrees with this environment, unless the functions run one from elsewhere.
"""

from __future__ import annotations

import json
import platform
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.deploy.check import put_right
from smr_notebook.backends.aws.deploy.doctor import diagnose
from smr_notebook.backends.aws.deploy.down import take_down
from smr_notebook.backends.aws.deploy.options import DeployOptions, checked
from smr_notebook.backends.aws.deploy.patience import Patience
from smr_notebook.backends.aws.deploy.policies import trigger_policy, user_policy
from smr_notebook.backends.aws.deploy.stack import Stack, read_options, read_status
from smr_notebook.backends.aws.deploy.template import template
from smr_notebook.backends.aws.functions import LambdaFunctions
from smr_notebook.backends.aws.image.builders import build_image, find_builder
from smr_notebook.backends.aws.image.content import plan_image
from smr_notebook.backends.aws.image.registry import push_image, repository_address
from smr_notebook.backends.aws.names import Names, notification_id
from smr_notebook.backends.aws.platform import AwsOptions
from smr_notebook.backends.aws.table import DynamoTable
from smr_notebook.backends.aws.triggers import AwsTriggers
from smr_notebook.backends.system_clock import SystemClock
from smr_notebook.commands.console import Console
from smr_notebook.commands.image import find_place, pushed_uri, read_place
from smr_notebook.control.ledger import Ledger, list_jobs
from smr_notebook.control.planning import check_environment
from smr_notebook.control.triggers import Trigger, list_triggers
from smr_notebook.environment import environment
from smr_notebook.errors import ConfigError, DeploymentError, PlatformError


def deploy(options: Namespace, console: Console) -> int:
    """Make or change a deployment, and check it."""
    clients, names = find_place(options)
    for wanted, policy in ((options.print_user_policy, user_policy), (options.print_trigger_policy, trigger_policy)):
        if wanted:
            console.tell(json.dumps(policy(names), indent=2))
            return 0
    standing = read_options(clients, names)
    wanted = _wanted(options, names, standing)
    if options.print_template:
        console.tell(json.dumps(template(wanted), indent=2))
        return 0
    stack = Stack(clients, names, Patience(SystemClock()), console.tell)
    if options.image is None:
        stack.set_up(wanted)  # the repository must be there before the image
        wanted = replace(wanted, image=_image(clients, wanted, console))
    stack.set_up(wanted)
    put_right(clients, wanted, stack.patience)
    if wanted.image:
        console.tell(f'{names.stack} in {names.region} is ready: smr.Session("aws", stack="{names.stack}", region="{names.region}")')
    else:
        console.tell(f"{names.stack} in {names.region} has no functions yet: `smr deploy --stack {names.stack} --image URI` makes them.")
    return 0


def doctor(options: Namespace, console: Console) -> int:
    """Tell what stands between somebody and a job on AWS; the exit code is 1 when something does."""
    clients, stack = read_place(options)

    def compare(names: Names) -> str:
        return _compare_environments(clients, names)

    wrong = 0
    for finding in diagnose(clients, stack, {"environment": compare}):
        console.tell(str(finding))
        wrong += finding.ok is False
    return 1 if wrong else 0


def down(options: Namespace, console: Console) -> int:
    """Remove a deployment; the exit code is 1 when something is left."""
    clients, names = find_place(options)
    triggers = _triggers_of_buckets(clients, names)
    if read_status(clients, names.stack):
        if at_work := _at_work(clients, names):
            console.tell(f"not ended yet, and deleted with the rest: {', '.join(at_work)}")
        _make_sure(options, names, console, what=f"deletes the stack {names.stack} in {names.region} with all jobs and results")
    else:
        console.tell(f"there is no stack {names.stack} in {names.region}: looking for what may be left of one")
        if triggers:
            buckets = ", ".join(dict.fromkeys(trigger.location.partition("/")[0] for trigger in triggers))
            _make_sure(options, names, console, what=f"takes the triggers of {names.stack} out of {buckets}")
    left = _remove_triggers(clients, names, triggers, console)
    left += take_down(Stack(clients, names, Patience(SystemClock()), console.tell), console.tell)
    for line in left or [f"nothing is left of {names.stack} in {names.region}"]:
        console.tell(line)
    return 1 if left else 0


def _make_sure(options: Namespace, names: Names, console: Console, *, what: str) -> None:
    if not options.yes and console.ask(f"This {what}. Type {names.stack} to go on: ").strip() != names.stack:
        raise ConfigError(f"Nothing was deleted. Type {names.stack} when asked, or say --yes.")


def _at_work(clients: Clients, names: Names) -> list[str]:
    """Return the jobs that have not ended, oldest first; none where that cannot be read."""
    table = DynamoTable(clients, names.table, clock=SystemClock())
    try:
        return [entry.job for entry in list_jobs(table) if Ledger(table, entry.job).outcome() is None]
    except PlatformError:
        return []


def _triggers_of_buckets(clients: Clients, names: Names) -> list[Trigger]:
    """Return the triggers that watch buckets, which belong to others and stay; schedules go with their group."""
    try:
        return [trigger for trigger in list_triggers(DynamoTable(clients, names.table, clock=SystemClock())) if trigger.location]
    except DeploymentError:  # there is no table
        return []


def _remove_triggers(clients: Clients, names: Names, triggers: Sequence[Trigger], console: Console) -> list[str]:
    """Take the stack's notifications out of the buckets that triggers watch. Return what is left."""
    left = []
    for trigger in triggers:
        console.tell(f"removing the trigger {trigger.name} from {trigger.what}")
        try:
            AwsTriggers(clients, names).remove(trigger.id, trigger.location)
        except PlatformError as error:
            bucket = trigger.location.partition("/")[0]
            left.append(f"The notification {notification_id(names.stack, trigger.id)} of the bucket {bucket} is left. {error}")
    return left


def _wanted(options: Namespace, names: Names, standing: DeployOptions | None) -> DeployOptions:
    """Return what the deployment should be: what stands, and what was said. Buckets add up, but for those that jobs may use no more."""
    before = standing or DeployOptions(names, "", architecture=_architecture())
    said = {field.name: getattr(options, field.name, None) for field in fields(DeployOptions)}
    given: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    for kind, buckets in (("inputs", before.inputs), ("outputs", before.outputs)):
        named = dict.fromkeys((*buckets, *given.get(kind, ())))
        given[kind] = tuple(bucket for bucket in named if bucket not in options.without)
    wanted = replace(before, **given)
    return checked(replace(wanted, location=AwsOptions(names, keep_days=float(wanted.keep_days)).location))


def _architecture() -> str:
    return "arm64" if platform.machine().lower() in {"arm64", "aarch64"} else "x86_64"


def _image(clients: Clients, wanted: DeployOptions, console: Console) -> str:
    """Return the URI of an image that agrees with this environment, made if need be; what stands where that cannot be."""
    names = wanted.names
    ours = repository_address(clients, names.repository)
    if wanted.image and wanted.image.partition("@")[0].partition(":")[0] != ours:
        return wanted.image
    image = plan_image(wanted.requirements, architecture=wanted.architecture)
    if uri := pushed_uri(clients, names, image):
        return uri
    try:
        builder = find_builder()
    except DeploymentError as error:
        console.tell(str(error))
        return wanted.image
    try:
        built = build_image(image, builder=builder, tell=console.tell)
    except DeploymentError as error:
        place = f"--stack {names.stack} --region {names.region}"
        raise DeploymentError(
            f"{error}\nThe stack {names.stack} stands, and `smr deploy {place}` goes on from there. Where this machine cannot build, "
            f"`smr image context FOLDER {place}` says how another one does."
        ) from error
    return push_image(built, clients=clients, repository=names.repository, tell=console.tell).uri


def _compare_environments(clients: Clients, names: Names) -> str:
    """Return that the workers agree with this environment.

    Raises:
        EnvironmentMismatchError: They do not.
        PlatformError: They cannot be asked.
    """
    there = LambdaFunctions(clients, names, route=lambda _: "driver", clock=SystemClock()).limits.environment
    check_environment(
        environment(), there, mend=f"`smr deploy --stack {names.stack} --region {names.region}` gives the workers these packages."
    )
    return f"the workers have this environment's Python {there.python} and packages."
