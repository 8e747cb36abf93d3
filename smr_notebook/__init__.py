"""Map/reduce that a data scientist writes in a notebook cell and runs anywhere, with an answer they can trust.

The names in `__all__` are the public face; every module besides `errors`, `formats` and `testing` is private.

The names are loaded when they are first used (PEP 562): workers and the local service import modules of this package all the time,
and must not pay for the face of the notebook.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, Final

from smr_notebook._version import __version__

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from smr_notebook import errors, formats
    from smr_notebook.calling.executor import Executor
    from smr_notebook.calling.sets import CallSet, calls
    from smr_notebook.control.naming import files, items
    from smr_notebook.control.planned import PlannedJob
    from smr_notebook.counting import count_up, counter
    from smr_notebook.dataflow.aggregates import col, collect, count, distinct, first, max, mean, min, quantiles, sum, top
    from smr_notebook.dataflow.hooks import hooked
    from smr_notebook.errors import SmrError
    from smr_notebook.job.handle import Job, PlanWarning
    from smr_notebook.job.left_out import LeftOutWarning
    from smr_notebook.sessions.face import aggregate, attach, jobs, map_frames, map_reduce, plan, preview, use
    from smr_notebook.sessions.mapped_inputs import mapped
    from smr_notebook.sessions.previews import Preview
    from smr_notebook.sessions.session import Session

__all__ = [
    "CallSet",
    "Executor",
    "Job",
    "LeftOutWarning",
    "PlanWarning",
    "PlannedJob",
    "Preview",
    "Session",
    "SmrError",
    "__version__",
    "aggregate",
    "attach",
    "calls",
    "col",
    "collect",
    "count",
    "count_up",
    "counter",
    "distinct",
    "errors",
    "files",
    "first",
    "formats",
    "hooked",
    "items",
    "jobs",
    "load_ipython_extension",
    "map_frames",
    "map_reduce",
    "mapped",
    "max",
    "mean",
    "min",
    "plan",
    "preview",
    "quantiles",
    "sum",
    "top",
    "use",
]

_HOMES: Final = {
    "CallSet": "calling.sets",
    "Executor": "calling.executor",
    "Job": "job.handle",
    "LeftOutWarning": "job.left_out",
    "PlanWarning": "job.handle",
    "PlannedJob": "control.planned",
    "Preview": "sessions.previews",
    "Session": "sessions.session",
    "SmrError": "errors",
    "aggregate": "sessions.face",
    "attach": "sessions.face",
    "calls": "calling.sets",
    "col": "dataflow.aggregates",
    "collect": "dataflow.aggregates",
    "count": "dataflow.aggregates",
    "count_up": "counting",
    "counter": "counting",
    "distinct": "dataflow.aggregates",
    "files": "control.naming",
    "first": "dataflow.aggregates",
    "hooked": "dataflow.hooks",
    "items": "control.naming",
    "jobs": "sessions.face",
    "map_frames": "sessions.face",
    "map_reduce": "sessions.face",
    "mapped": "sessions.mapped_inputs",
    "max": "dataflow.aggregates",
    "mean": "dataflow.aggregates",
    "min": "dataflow.aggregates",
    "plan": "sessions.face",
    "preview": "sessions.face",
    "quantiles": "dataflow.aggregates",
    "sum": "dataflow.aggregates",
    "top": "dataflow.aggregates",
    "use": "sessions.face",
}


_PUBLIC_MODULES: Final = ("errors", "formats")


def __getattr__(name: str) -> Any:
    if name in _PUBLIC_MODULES:
        return importlib.import_module(f"smr_notebook.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'smr_notebook' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"smr_notebook.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


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
