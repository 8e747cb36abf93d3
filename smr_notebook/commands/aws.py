"""`smr deploy`, `smr doctor`, `smr down`, `smr image`: their words. What they do stands in `deploy` and `image`.

Those two need boto3, and are loaded when one of the commands runs: the other commands do without.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from smr_notebook.commands.console import Command, Console, add_place
from smr_notebook.errors import ConfigError


def add_commands(commands: Any) -> None:
    """Add the commands to the subparsers of a parser."""
    deploy = commands.add_parser("deploy", help="make or change a deployment on AWS, and check it")
    doctor = commands.add_parser("doctor", help="find what stands between you and a job on AWS")
    down = commands.add_parser("down", help="remove a deployment with all that it holds")
    down.add_argument("--yes", action="store_true", help="do not ask")
    actions = commands.add_parser("image", help="build or push the image of the workers").add_subparsers(required=True, metavar="ACTION")
    build = actions.add_parser("build", help="build it on this machine")
    push = actions.add_parser("push", help="build it, unless it is in the repository of the stack already, and push it there")
    context = actions.add_parser("context", help="write what a build needs into a folder, for another machine")
    context.add_argument("folder", type=Path, metavar="FOLDER")
    for command in (deploy, doctor, down, push, context):
        add_place(command)
    _add_choices(deploy)
    for command in (deploy, build, push, context):
        _add_content(command)
    for command in (build, push, context):
        command.add_argument("--base", default="", metavar="IMAGE", help="another base image")
        command.add_argument("--wheels", type=Path, metavar="FOLDER", help="install the wheels of this folder, and fetch nothing")
    for command in (build, push):
        command.add_argument("--builder", default="", metavar="NAME", help="docker, podman or buildah (default: the first that works)")
    for name, command in {"deploy": deploy, "doctor": doctor, "down": down, "build": build, "push": push, "context": context}.items():
        command.set_defaults(run=_loaded(name))


def _add_content(command: ArgumentParser) -> None:
    command.add_argument(
        "--requirement", dest="requirements", nargs="*", action="extend", metavar="R", help="further packages for the workers"
    )
    command.add_argument("--architecture", choices=["x86_64", "arm64"], help="the workers' machine (default: like this one)")


def _add_choices(deploy: ArgumentParser) -> None:
    deploy.add_argument(
        "--input",
        dest="inputs",
        nargs="+",
        action="extend",
        metavar="BUCKET",
        help="further buckets, or dynamodb://table, that jobs may read",
    )
    deploy.add_argument("--output", dest="outputs", nargs="+", action="extend", metavar="BUCKET", help="further buckets to write to")
    deploy.add_argument("--without", nargs="+", action="extend", default=[], metavar="BUCKET", help="buckets that jobs may use no more")
    deploy.add_argument("--memory", type=int, metavar="MB", help="of each function; 1,769 MB come with one core (default: 1769)")
    deploy.add_argument("--timeout", type=int, metavar="S", help="longest time of one invocation (default: 900)")
    deploy.add_argument("--keep-days", type=int, metavar="D", help="days after which a job's data expire (default: 7)")
    deploy.add_argument("--log-days", type=int, metavar="D", help="days after which logs expire (default: 14)")
    deploy.add_argument("--reserved", type=int, metavar="N", help="mappers, and reducers, at once at most; 0 for no limit (default: 0)")
    deploy.add_argument("--image", metavar="URI", help="image of the functions (default: one like this environment)")
    deploy.add_argument("--print-template", action="store_true", help="print the CloudFormation template, and do nothing")
    deploy.add_argument(
        "--print-user-policy", action="store_true", help="print the policy that users of the deployment need, and do nothing"
    )
    deploy.add_argument(
        "--print-trigger-policy", action="store_true", help="print the policy that who makes triggers needs besides, and do nothing"
    )


def _loaded(name: str) -> Command:
    """Return a command that is loaded when it runs."""

    def run(options: Namespace, console: Console) -> int:
        try:
            from smr_notebook.commands import deploy, image  # noqa: PLC0415 - see above
        except ModuleNotFoundError as error:
            raise ConfigError(f"`smr {name}` needs {error.name}: `pip install 'smr_notebook[aws]'` brings it.") from error
        deploying = {"deploy": deploy.deploy, "doctor": deploy.doctor, "down": deploy.down}
        commands = {**deploying, "build": image.build, "push": image.push, "context": image.context}
        return commands[name](options, console)

    return run
