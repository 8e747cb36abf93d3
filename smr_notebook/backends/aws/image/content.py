"""What is in the image: the files that a build needs, as plain values, and the tag that follows from them.

Rules of this module:

* The tag is a hash of everything that decides what the image is: the Dockerfile with its base, the architecture, the exact packages,
  our own code. The same content has the same tag, and other content another one, so a tag is never pushed twice.
* What workers do not run is left out, and does not change the tag: the notebook's side, the tests' side, the commands.
* Files are readable by everybody, whatever this machine's umask: Lambda's user is unknown.
* Nothing of this machine gets in, but names and versions of packages: no path, no index, no credentials.
"""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec

from smr_notebook._version import __version__
from smr_notebook.backends.aws.image.requirements import pin_all, pin_extras
from smr_notebook.environment import environment
from smr_notebook.errors import ConfigError, DeploymentError
from smr_notebook.model import Environment

BASE: Final = "public.ecr.aws/docker/library/python:{python}-slim-bookworm"
"""The base image for each Python. AWS's own one for 3.11 has a glibc for which numpy and pyarrow have no wheels."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A processor: as Lambda, as container registries and as Python name it."""

    name: str
    platform: str
    machine: str


ARCHITECTURES: Final = (Architecture("x86_64", "linux/amd64", "x86_64"), Architecture("arm64", "linux/arm64", "aarch64"))

_NOT_FOR_WORKERS: Final = (
    "__main__.py",
    "autoload.py",
    "backends/aws/deploy/",
    "backends/aws/image/",
    "cli.py",
    "commands/",
    "job_files/",
    "notebook/",
    "testing/",
    "views/",
)
_DATA: Final = "share/smr_notebook/lambda"
"""Where a wheel puts the Dockerfile and the entry, below the folder of data files."""

_WHEELS_NOTE: Final = b"Wheels that are put here are installed, and then the build fetches nothing.\n"


@dataclass(frozen=True, slots=True)
class Image:
    """An image as it should be, before anything is built.

    Attributes:
        tag: Says what is in it: version, Python, architecture, hash of the content.
        architecture: The processor that it is for.
        requirements: What is installed in it, each in one version.
        extras: Names of the packages that the user wanted besides.
        environment: The stamp that its workers will have, with the extras.
        files: What a build needs, by path in its folder.
    """

    tag: str
    architecture: Architecture
    requirements: tuple[str, ...]
    extras: tuple[str, ...]
    environment: Environment
    files: Mapping[str, bytes] = field(repr=False)


def plan_image(requirements: Iterable[str] = (), *, architecture: str = "", base: str = "") -> Image:
    """Return the image that agrees with this environment.

    Args:
        requirements: Further packages for the workers: `scikit-learn`, `scikit-learn==1.7.0`.
        architecture: `x86_64` or `arm64`; empty for this machine's.
        base: Name of another base image; the Dockerfile says what it must have.

    Raises:
        ConfigError: A requirement or the architecture is wrong.
        DeploymentError: This environment lacks a package that workers need.
    """
    processor = _find_architecture(architecture or platform.machine())
    extras = pin_extras(requirements, machine=processor.machine)
    pins = tuple(map(str, pin_all(extras, machine=processor.machine)))
    here = environment()
    versions = {pin.name: pin.version for pin in extras} | dict(here.packages)
    stamp = replace(here, packages=tuple(sorted(versions.items())))
    files = {
        "Dockerfile": _dockerfile(base or BASE.format(python=here.python)),
        "requirements.txt": "".join(f"{pin}\n" for pin in pins).encode(),
        "wheels/README": _WHEELS_NOTE,
        "task/stamp.json": msgspec.json.format(msgspec.json.encode(stamp)) + b"\n",
        **_task_files(),
    }
    tag = f"{re.sub(r'[^0-9A-Za-z.]', '-', __version__)}-py{here.python.replace('.', '')}-{processor.name}-{_digest(files)}"
    return Image(tag, processor, pins, tuple(pin.name for pin in extras), stamp, files)


def write_context(image: Image, folder: Path, *, wheels: Path | None = None) -> None:
    """Write all that a build needs into a folder, which is made where there is none.

    Args:
        wheels: Folder of wheels to install, so that the build fetches nothing.

    Raises:
        ConfigError: The folder holds something already, or no wheels where they should be.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty. Name a folder that is, or that does not exist yet.")
    for name, data in image.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    if wheels is not None:
        found = sorted(wheels.glob("*.whl"))
        if not found:
            raise ConfigError(f"There are no wheels in {wheels}.")
        for wheel in found:
            shutil.copyfile(wheel, folder / "wheels" / wheel.name)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _find_architecture(name: str) -> Architecture:
    for architecture in ARCHITECTURES:
        if name.lower() in {architecture.name, architecture.machine, architecture.platform.removeprefix("linux/")}:
            return architecture
    raise ConfigError(f"Lambda has no machines of architecture {name!r}: say {' or '.join(known.name for known in ARCHITECTURES)}.")


def _dockerfile(base: str) -> bytes:
    text = (kernel_folder() / "Dockerfile").read_text(encoding="utf-8")
    return re.sub(r"^ARG BASE=.*$", lambda _: f"ARG BASE={base}", text, count=1, flags=re.MULTILINE).encode()


def _task_files() -> dict[str, bytes]:
    """Return what stands beside the installed packages: the entry, our own package and what names its version."""
    package = Path(__file__).parents[3]
    modules = {path.relative_to(package).as_posix(): path for path in package.rglob("*.py")}
    named = f"Metadata-Version: 2.1\nName: {package.name}\nVersion: {__version__}\n"
    return {
        **{f"task/{name}": (kernel_folder() / name).read_bytes() for name in ("check.py", "entry.py")},
        **{f"task/{package.name}/{name}": path.read_bytes() for name, path in modules.items() if not name.startswith(_NOT_FOR_WORKERS)},
        f"task/{package.name}-{__version__}.dist-info/METADATA": named.encode(),
    }


def kernel_folder() -> Path:
    """Return the folder of the Dockerfile and the entry: beside the package in a checkout, among the data files of a wheel.

    Raises:
        DeploymentError: The installation lacks it.
    """
    found = next((folder for folder in _kernel_folders(Path(__file__).parents[3]) if (folder / "Dockerfile").is_file()), None)
    if found is None:
        raise DeploymentError(f"This installation lacks {_DATA}: install smr_notebook from its wheel, or run it from a checkout.")
    return found.resolve()


def _kernel_folders(package: Path) -> Iterator[Path]:
    yield package.parent / "kernels" / "lambda"
    yield package.parent / _DATA
    for installed in metadata.distributions(name=package.name):
        yield from (Path(str(file.locate())).parent for file in installed.files or () if file.match(f"{_DATA}/Dockerfile"))


def _digest(files: Mapping[str, bytes]) -> str:
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(f"{name}\0{len(files[name])}\0".encode())
        whole.update(files[name])
    return whole.hexdigest()[:12]
