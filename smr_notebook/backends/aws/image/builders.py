"""Building and pushing with what this machine has: docker, podman or buildah.

Rules of this module:

* A builder is a row of a table. One that is installed and does not work (a docker without its daemon) is passed over.
* A password goes in by standard input, and into a file that is deleted before the call returns; it is in no argument and no message.
* What is built has one architecture and no attestations: Lambda takes no image index.
* What a tool says line by line goes to the caller, who decides what to show; the end of it stands in the error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from smr_notebook.backends.aws.image.content import Image, write_context
from smr_notebook.errors import ConfigError, DeploymentError

REPOSITORY: Final = "smr-worker"
"""Name of the image on this machine, before the colon and its tag."""

_PROBE_SECONDS: Final = 30.0
_LAST_LINES: Final = 20


@dataclass(frozen=True, slots=True)
class Builder:
    """A tool that builds and pushes images.

    Attributes:
        name: The command.
        build: Its words for "build", and what makes it build what Lambda takes.
        variables: What it should find in its environment.
    """

    name: str
    build: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)


BUILDERS: Final = (
    # Docker's credential helper for ECR refuses to store a password, and needs none stored.
    Builder("docker", ("build",), {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1", "AWS_ECR_IGNORE_CREDS_STORAGE": "true"}),
    Builder("podman", ("build", "--format", "docker")),
    Builder("buildah", ("bud", "--format", "docker")),
)


@dataclass(frozen=True, slots=True)
class Login:
    """Who may push to a registry."""

    registry: str
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image on this machine: what it is called here, and by which tool."""

    name: str
    tag: str
    builder: Builder


Tell = Callable[[str], None]
"""Takes one line about what is going on."""


def silent(line: str) -> None:
    """Drop a line."""


def find_builder(name: str = "") -> Builder:
    """Return the first builder of the table that works here, or the one of this name.

    Raises:
        ConfigError: No builder has this name.
        DeploymentError: None works here.
    """
    wanted = [builder for builder in BUILDERS if name in {"", builder.name}]
    if not wanted:
        raise ConfigError(f"{name!r} is no builder: say {', '.join(builder.name for builder in BUILDERS)}, or nothing.")
    problems = {}
    for builder in wanted:
        problems[builder.name] = _problem(builder)
        if not problems[builder.name]:
            return builder
    told = "; ".join(f"{name} {problem}" for name, problem in problems.items())
    raise DeploymentError(
        f"Nothing on this machine builds container images: {told}. Install or start one of them. Or build elsewhere (CI, AWS CloudShell): "
        "`smr image context FOLDER` writes all that a build needs into a folder, and says which commands to run there."
    )


def build_image(image: Image, *, builder: Builder, wheels: Path | None = None, tell: Tell = silent) -> BuiltImage:
    """Build an image, and return what it is called on this machine.

    Args:
        wheels: Folder of wheels to install, so that the build fetches nothing.
        tell: Is given each line that the builder says.

    Raises:
        DeploymentError: The build failed.
    """
    name = f"{REPOSITORY}:{image.tag}"
    with tempfile.TemporaryDirectory() as folder:
        write_context(image, Path(folder), wheels=wheels)
        _run(builder, [*builder.build, "--platform", image.architecture.platform, "--tag", name, folder], doing="The build", tell=tell)
    return BuiltImage(name, image.tag, builder)


def upload(built: BuiltImage, target: str, *, login: Login, tell: Tell = silent) -> None:
    """Push an image.

    Args:
        target: Registry, repository and tag.
        login: Who may push there.
        tell: Is given each line that the tool says.

    Raises:
        DeploymentError: The registry does not take it.
    """
    with _logged_in(built.builder, login) as variables:
        _run(built.builder, ["tag", built.name, target], doing="Naming the image", tell=tell)
        _run(built.builder, ["push", target], doing=f"The push to {login.registry}", tell=tell, variables=variables)


def commands_elsewhere(image: Image, folder: str, *, repository: str) -> tuple[str, ...]:
    """Return the commands that build and push what `write_context` wrote, on a machine with docker and the AWS CLI.

    Args:
        folder: Where it was written.
        repository: Address of the repository: `123456789012.dkr.ecr.eu-west-1.amazonaws.com/smr`.
    """
    target = f"{repository}:{image.tag}"
    registry, region = repository.partition("/")[0], repository.split(".")[3]
    return (
        f"docker build --provenance=false --platform {image.architecture.platform} --tag {target} {folder}",
        f"aws ecr get-login-password --region {region} | docker login --username AWS --password-stdin {registry}",
        f"docker push {target}",
    )


@contextmanager
def _logged_in(builder: Builder, login: Login) -> Iterator[Mapping[str, str]]:
    """Log in, give the variables with which the tool knows it, and forget all of it."""
    with tempfile.TemporaryDirectory() as folder:
        variables = {"REGISTRY_AUTH_FILE": str(Path(folder) / "auth.json")}
        words = ["login", "--username", login.user, "--password-stdin", login.registry]
        _run(builder, words, doing=f"The login to {login.registry}", tell=silent, variables=variables, given=login.password)
        try:
            yield variables
        finally:
            _run(builder, ["logout", login.registry], doing="The logout", tell=silent, variables=variables)


def _problem(builder: Builder) -> str:
    """Return why a builder does not work here, or an empty text."""
    if not shutil.which(builder.name):
        return "is not installed"
    try:
        done = subprocess.run(
            [builder.name, "info"], check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PROBE_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not answer ({error})"
    lines = (done.stderr or done.stdout).strip().splitlines()
    return f"does not work ({lines[-1] if lines else 'it says nothing'})" if done.returncode else ""


def _run(
    builder: Builder, words: list[str], *, doing: str, tell: Tell, variables: Mapping[str, str] | None = None, given: str = ""
) -> None:
    """Run a tool to its end.

    Args:
        words: The arguments.
        doing: What this is, for people.
        variables: Besides those of the process and of the builder.
        given: Its standard input.
    """
    last: deque[str] = deque(maxlen=_LAST_LINES)
    environment = {**os.environ, **builder.variables, **(variables or {})}
    with subprocess.Popen(
        [builder.name, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
        errors="replace",
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise AssertionError("both are pipes")
        process.stdin.write(given)
        process.stdin.close()
        for line in process.stdout:
            last.append(line.rstrip())
            tell(line.rstrip())
    if process.returncode:
        raise DeploymentError(f"{doing} failed: `{builder.name} {words[0]}` ended with {process.returncode}. It said:\n" + "\n".join(last))
