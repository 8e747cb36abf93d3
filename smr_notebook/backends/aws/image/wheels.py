"""Wheels for an image, fetched here: with this machine's pip, its index, its proxy and its certificates.

A build has none of these. Where packages come from a private index or through a proxy, they are fetched first and installed from a folder.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from smr_notebook.backends.aws.image.content import Image
from smr_notebook.errors import DeploymentError

_GLIBC: Final = range(34, 4, -1)
"""Minor versions of glibc 2 that a wheel may be made for: up to the one of Amazon Linux 2023."""

_OLD_NAMES: Final = ("manylinux2014", "manylinux2010", "manylinux1", "linux")


def fetch_wheels(image: Image, folder: Path) -> None:
    """Put a wheel for each package of an image into a folder; those that lie there already are not fetched again.

    Raises:
        DeploymentError: There is no pip here, or no wheel of a package for the workers' Python and machine.
    """
    if importlib.util.find_spec("pip") is None:
        raise DeploymentError("Wheels are fetched with pip, which this environment lacks. Run `python -m ensurepip` and try again.")
    machine = image.architecture.machine
    platforms = [*(f"manylinux_2_{minor}_{machine}" for minor in _GLIBC), *(f"{name}_{machine}" for name in _OLD_NAMES)]
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet", "--only-binary=:all:"]
    command += ["--implementation", "cp", "--python-version", image.environment.python]
    command += [f"--platform={platform}" for platform in platforms]
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as requirements:
        requirements.write("".join(f"{line}\n" for line in image.requirements))
        requirements.flush()
        command += ["--find-links", str(folder), "--dest", str(folder), "--requirement", requirements.name]
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode:
        reasons = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[-5:]
        raise DeploymentError("pip cannot fetch the wheels of the image. It said:\n" + "\n".join(reasons))
