"""Installed modules that travel with the functions, because the workers lack them.

A module is included with those below it that are imported. Its functions and classes travel by value, so it must be written in Python: what
is compiled has no value that could travel. What it imports itself is looked for on the workers, unless it is included too.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Sequence
from typing import Final

from smr_notebook.errors import PlanError
from smr_notebook.values.suggestions import near

_WRITTEN: Final = (".py",)


def included_modules(names: Sequence[str]) -> dict[str, types.ModuleType]:
    """Return the modules of these names, and those below them, by name.

    Args:
        names: Dotted names; what is not imported yet is.

    Raises:
        PlanError: There is no such module, or it is none that could travel.
    """
    found: dict[str, types.ModuleType] = {}
    for name in names:
        _import(name)
        found |= {known: module for known, module in sorted(sys.modules.items()) if known == name or known.startswith(f"{name}.")}
    return {name: module for name, module in found.items() if _is_written(module)}


def _import(name: str) -> None:
    if name.partition(".")[0] == "smr_notebook":
        raise PlanError(f"include: {name!r} is on every worker already. Leave it out.")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise PlanError(f"include: there is no module {name!r} here ({error}).{near(name, list(sys.modules))}") from error
    if not _is_written(module):
        raise PlanError(f"include: {name!r} is not written in Python, so that it cannot travel. Install it on the workers.")


def _is_written(module: types.ModuleType) -> bool:
    return str(getattr(module, "__file__", None) or "").endswith(_WRITTEN)
