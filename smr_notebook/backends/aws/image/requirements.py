"""What is installed in the image: exact versions, read from the environment that asks for it.

Rules of this module:

* A package that this environment has is pinned to its version here, and so is all that it depends on. A package that it does not
  have must be named with an exact version. So the same lines give the same image.
* A line names a package and at most a version: no place (`name @ https://…`, a path) and no option of pip. A place may hold a
  password, and what stands there may change. A package of one's own goes into the folder of wheels.
* Markers are read as on Linux, whatever this machine is.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement

from smr_notebook.environment import installed_version, package_name
from smr_notebook.errors import ConfigError, DeploymentError

WORKER_PACKAGES: Final = (
    "backports.zstd; python_version < '3.14'",
    "boto3",
    "cloudpickle",
    "msgspec",
    "numpy",
    "pandas",
    "psutil",
    "pyarrow",
    "tblib",
)
"""What a worker imports, directly or through pickled values."""

RUNTIME: Final = ("awslambdaric==4.2.2", "simplejson==4.3.0", "snapshot-restore-py==1.0.0")
"""The client of Lambda's Runtime API: no notebook needs it, so its versions stand here."""

_OURS: Final = "smr-notebook"


@dataclass(frozen=True, slots=True)
class Pin:
    """One package in one version; `extras` are those of the package (`pandas[excel]`)."""

    name: str
    version: str
    extras: tuple[str, ...] = ()

    def __str__(self) -> str:
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        return f"{self.name}{extras}=={self.version}"


def pin_extras(lines: Iterable[str], *, machine: str) -> tuple[Pin, ...]:
    """Return the packages that a user wants on the workers besides, each in one version, by name.

    Args:
        lines: Such as `scikit-learn` or `scikit-learn==1.7.0`.
        machine: The workers' machine as Python names it: `x86_64` or `aarch64`.

    Raises:
        ConfigError: A line is not understood, leaves the version open, or contradicts another line or this environment.
    """
    pins: dict[str, Pin] = {}
    for requirement in _that_hold([_parse(line.strip()) for line in lines], _linux(machine)):
        pin = _pin(requirement)
        if pin.name == _OURS:
            continue
        if pins.setdefault(pin.name, pin) != pin:
            raise ConfigError(f"Two requirements name one package: {pins[pin.name]} and {pin}. Leave one of them out.")
    return tuple(pins[name] for name in sorted(pins))


def pin_all(extras: Iterable[Pin], *, machine: str) -> tuple[Pin, ...]:
    """Return all packages of the image, by name: the worker's, the extras, and what they depend on as far as it is installed here.

    Raises:
        DeploymentError: This environment lacks a package that workers need.
    """
    linux = _linux(machine)
    extras = tuple(extras)
    roots = _that_hold([Requirement(line) for line in WORKER_PACKAGES], linux)
    if missing := [root.name for root in roots if not installed_version(root.name)]:
        raise DeploymentError(
            f"The image is made of this environment's packages, and {', '.join(missing)} is not among them. "
            "Run `pip install 'smr_notebook[aws]'`, restart the kernel and try again."
        )
    pins = {pin.name: pin for pin in map(_exact, map(Requirement, RUNTIME))}
    pins |= {name: Pin(name, installed_version(name)) for name in _closure([*roots, *(Requirement(str(pin)) for pin in extras)], linux)}
    pins |= {pin.name: pin for pin in extras}
    return tuple(pins[name] for name in sorted(pins))


def _parse(line: str) -> Requirement:
    if line.startswith("-"):
        option = re.split(r"[\s=]", line, maxsplit=1)[0]
        raise ConfigError(f"{option!r} is an option of pip, not a requirement. Name packages only: scikit-learn==1.7.0, for one.")
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        raise _not_a_name(line) from None
    if requirement.url:
        raise _not_a_name(line)
    return requirement


def _not_a_name(line: str) -> ConfigError:
    """Return the error without what the line says of a place: it may hold a password."""
    told = repr(line) if not set("@/\\") & set(line) else "A requirement that names a place"
    return ConfigError(
        f"{told} is not understood. Name a package and at most its version: scikit-learn==1.7.0, for one. "
        "A package that is on no index goes as a wheel into the folder of wheels."
    )


def _pin(requirement: Requirement) -> Pin:
    """Return the version that a requirement gets: the one here, or the one that it names."""
    here = installed_version(requirement.name)
    if not here:
        return _exact(requirement)
    if not requirement.specifier.contains(here, prereleases=True):
        raise ConfigError(
            f"The workers should get {requirement}, and {here} is installed here: objects of one would not be understood by the other. "
            f"Run `pip install {shlex.quote(str(requirement))}` here and restart the kernel, or leave out the version."
        )
    return Pin(package_name(requirement.name), here, tuple(sorted(requirement.extras)))


def _exact(requirement: Requirement) -> Pin:
    name, specifiers = package_name(requirement.name), list(requirement.specifier)
    if len(specifiers) != 1 or specifiers[0].operator != "==" or specifiers[0].version.endswith("*"):
        raise ConfigError(
            f"{requirement.name} is not installed here, so its version must be said: {name}==VERSION. "
            f"Or run `pip install {name}` here and restart the kernel."
        )
    return Pin(name, specifiers[0].version.partition("+")[0], tuple(sorted(requirement.extras)))


def _linux(machine: str) -> Mapping[str, str]:
    """Return the values of markers on a worker with this Python."""
    here = {name: str(value) for name, value in default_environment().items()}
    return {**here, "os_name": "posix", "sys_platform": "linux", "platform_system": "Linux", "platform_machine": machine}


def _that_hold(requirements: Iterable[Requirement], markers: Mapping[str, str], extra: str = "") -> list[Requirement]:
    environment = {**markers, "extra": extra}
    return [requirement for requirement in requirements if requirement.marker is None or requirement.marker.evaluate(environment)]


def _closure(roots: Iterable[Requirement], markers: Mapping[str, str]) -> set[str]:
    """Return the names of the installed packages that `roots` need, themselves among them."""
    seen: set[tuple[str, str]] = set()
    waiting = [(root.name, extra) for root in roots for extra in ("", *root.extras)]
    while waiting:
        name, extra = waiting.pop()
        name = package_name(name)
        if (name, extra) in seen or not installed_version(name):
            continue
        seen.add((name, extra))
        children = _that_hold(map(Requirement, metadata.requires(name) or ()), markers, extra)
        waiting += [(child.name, extra) for child in children for extra in ("", *child.extras)]
    return {name for name, _ in seen}
