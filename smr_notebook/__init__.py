"""Map/reduce that a data scientist writes in a notebook cell and runs anywhere, with an answer they can trust.

The names in `__all__` are the public face; every module besides `errors` and `testing` is private.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from smr_notebook import errors
from smr_notebook._version import __version__
from smr_notebook.control.naming import files, items
from smr_notebook.errors import SmrError
from smr_notebook.face import attach, jobs, map_reduce, plan, use
from smr_notebook.job import Job
from smr_notebook.session import Session

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = [
    "Job",
    "Session",
    "SmrError",
    "__version__",
    "attach",
    "errors",
    "files",
    "items",
    "jobs",
    "load_ipython_extension",
    "map_reduce",
    "plan",
    "use",
]


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register `%%smr`, `%smr` and the display of jobs: what `%load_ext smr_notebook` calls."""
    from smr_notebook.notebook import extension  # noqa: PLC0415 - IPython is there when this is called, and else need not be

    extension.load(shell)


def _show_jobs_in_this_shell() -> None:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        from smr_notebook.notebook import extension  # noqa: PLC0415 - as above

        extension.register_display(shell)


_show_jobs_in_this_shell()
