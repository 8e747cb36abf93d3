"""The environment stamp: what must agree between the notebook and the workers.

Code and values are pickled on one side and unpickled on the other, so Python's minor version, the pickle protocol and the
packages that write one side's bytes and read the other's must be the same. The stamp is read from installed metadata alone:
nothing is imported for it.
"""

from __future__ import annotations

import functools
import pickle
import sys
from importlib import metadata

from smr_notebook._version import __version__
from smr_notebook.model import Environment

PACKAGES = ("cloudpickle", "msgspec", "numpy", "pandas", "pyarrow")
"""Packages whose objects or formats cross between notebook and workers."""


@functools.cache
def environment() -> Environment:
    """Return the stamp of this process's environment, as it was when first asked for."""
    versions = [(name, metadata.version(name)) for name in PACKAGES]
    return Environment(
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        pickle_protocol=pickle.HIGHEST_PROTOCOL,
        packages=(*versions, ("smr_notebook", __version__)),
    )
