"""What can be chosen about a deployment. Pure.

The stack itself remembers what was chosen (in the metadata of its template), so that `smr deploy --memory 3008` changes the memory and
nothing else, from whichever machine it is said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from smr_notebook.backends.aws.names import LARGE, TABLES, Names, check_stack_name
from smr_notebook.errors import ConfigError

ARCHITECTURES: Final = ("x86_64", "arm64")

_TABLE: Final = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_RANGES: Final[Mapping[str, tuple[int, int, str]]] = {
    "memory": (256, 10_240, "MB"),
    "timeout": (60, 900, "seconds"),
    "keep_days": (1, 3_650, "days"),
    "reserved": (0, 100_000, "invocations"),
}
LARGER: Final = 2
"""How many times the memory of a worker one has that takes over a task which ran out of it."""

_LOG_DAYS: Final = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365)


@dataclass(frozen=True, slots=True)
class DeployOptions:
    """A deployment.

    Attributes:
        names: What everything is called.
        location: What a function opens, in its variable SMR_LOCATION.
        image: URI of the image; empty as long as there is none, and then no functions are made.
        requirements: Further packages in an image that `smr deploy` makes; what an image holds that was made elsewhere, it says itself.
        architecture: Machine that the image is for: `x86_64` or `arm64`.
        memory: Of each function, in MB; workers that take over what ran out of memory have more. One core comes with each 1,769 MB.
        timeout: Longest time of one invocation, in seconds.
        keep_days: Days after which the objects of a job expire.
        log_days: Days after which the functions' logs expire.
        inputs: Buckets that jobs may read, and tables, as `dynamodb://table`.
        outputs: Buckets that jobs may write to.
        reserved: How many mappers, and how many reducers, run at most at once, taken from the account's quota; 0 for as many as it has.
    """

    names: Names
    location: str
    image: str = ""
    requirements: tuple[str, ...] = ()
    architecture: str = "x86_64"
    memory: int = 1769
    timeout: int = 900
    keep_days: int = 7
    log_days: int = 14
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    reserved: int = 0


def memory_of(options: DeployOptions, route: str) -> int:
    """Return the memory of a function, in MB; that of the larger workers is as large as Lambda gives at most."""
    most = _RANGES["memory"][1]
    return min(options.memory * LARGER, most) if route in LARGE else options.memory


def checked(options: DeployOptions) -> DeployOptions:
    """Return the options with each bucket once and in order, so that the same choice makes the same template.

    Raises:
        ConfigError: One of them is not what AWS takes.
    """
    check_stack_name(options.names.stack)
    for name, (least, most, unit) in _RANGES.items():
        value = getattr(options, name)
        if not least <= value <= most:
            raise ConfigError(f"{name.replace('_', '-')} must be {least} to {most} {unit}; got {value}.")
    if options.architecture not in ARCHITECTURES:
        raise ConfigError(f"architecture must be one of {', '.join(ARCHITECTURES)}; got {options.architecture!r}.")
    if options.log_days not in _LOG_DAYS:
        raise ConfigError(f"log-days must be one of {', '.join(map(str, _LOG_DAYS))}; got {options.log_days}.")
    for table in (name.removeprefix(TABLES) for name in options.inputs if name.startswith(TABLES)):
        if not _TABLE.fullmatch(table):
            raise ConfigError(f"{table!r} is not the name of a table of DynamoDB. Write --input dynamodb://table, without options.")
        if table == options.names.table:
            raise ConfigError(f"{table!r} is the stack's own table, which no job reads. Name one of yours.")
    for bucket in (*(name for name in options.inputs if not name.startswith(TABLES)), *options.outputs):
        if not _BUCKET.fullmatch(bucket):
            raise ConfigError(f"{bucket!r} is not the name of a bucket. Say the name alone, without s3:// and without a folder.")
    return replace(options, inputs=tuple(sorted(set(options.inputs))), outputs=tuple(sorted(set(options.outputs))))


def as_metadata(options: DeployOptions) -> dict[str, Any]:
    """Return the options as a template carries them."""
    plain: dict[str, Any] = msgspec.to_builtins(options)
    return plain


def from_metadata(metadata: Mapping[str, Any]) -> DeployOptions:
    """Return the options that a template carries.

    Raises:
        ConfigError: They were written by another version of this package.
    """
    try:
        return msgspec.convert(dict(metadata), DeployOptions)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"The stack was deployed by another version of smr_notebook ({error}). Say all options of `smr deploy` again."
        ) from error
