"""The environment stamp: what must agree between the notebook and the workers.

Code and values are pickled on one side and unpickled on the other, so Python's minor version, the pickle protocol and the
packages that write one side's bytes and read the other's must be the same. The stamp is read from installed metadata alone:
nothing is imported for it.

Further packages are in a stamp when they are asked for by name: those that a session's `requirements` name. One that is not
installed is not in the stamp, and so differs from one that is.
"""

from __future__ import annotations

import functools
import pickle
import re
import sys
from importlib import metadata

from smr_notebook._version import __version__
from smr_notebook.model import Environment

PACKAGES = ("cloudpickle", "msgspec", "numpy", "pandas", "pyarrow")
"""Packages whose objects or formats cross between notebook and workers."""


@functools.cache
def environment(extras: tuple[str, ...] = ()) -> Environment:
    """Return the stamp of this process's environment, as it was when first asked for.

    Args:
        extras: Names of further packages to put into it, as far as they are installed.
    """
    versions = {name: metadata.version(name) for name in PACKAGES} | {"smr_notebook": __version__}
    known = set(map(package_name, versions))
    versions |= {name: version for name in map(package_name, extras) if name not in known and (version := installed_version(name))}
    return Environment(
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        pickle_protocol=pickle.HIGHEST_PROTOCOL,
        packages=tuple(sorted(versions.items())),
    )


def package_name(name: str) -> str:
    """Return the one spelling of a package's name: `Scikit_Learn` is `scikit-learn`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_version(name: str) -> str:
    """Return the version of an installed package, or an empty text. A build of it (`+cpu`) is the same version."""
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return ""
