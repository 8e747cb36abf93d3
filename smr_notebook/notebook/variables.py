"""Which variables of a notebook could stand for what: told from their types, for nothing of the user's is called to be offered."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any, Final

_READ: Final = ("__iter__", "__fspath__", "__arrow_c_stream__")
_NO_INPUT: Final = (Mapping, bytes, bytearray, memoryview, types.ModuleType)


def variables(namespace: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of values: what is neither a module nor can be called."""
    for name, value in _public(namespace):
        if not isinstance(value, types.ModuleType) and not callable(value):
            yield name


def inputs(namespace: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of what a job could read: iterables, frames, paths."""
    for name in variables(namespace):
        value = namespace[name]
        if not isinstance(value, _NO_INPUT) and any(hasattr(type(value), part) for part in _READ):
            yield name


def functions(typed: str, namespace: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of functions; behind a module's name and a dot, of those that it names as its own.

    Args:
        typed: What stands there so far.
        namespace: The notebook's variables.
    """
    module, dot, _ = typed.rpartition(".")
    value = namespace.get(module) if dot else None
    if isinstance(value, types.ModuleType):
        yield from (f"{module}.{name}" for name in getattr(value, "__all__", ()) if _is_function(getattr(value, name, None)))
    for name, value in _public(namespace):
        if _is_function(value):
            yield name


def modules(namespace: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of modules that the notebook imported and that are not Python's own."""
    for _, value in _public(namespace):
        if isinstance(value, types.ModuleType) and value.__name__.partition(".")[0] not in {*sys.stdlib_module_names, "smr_notebook"}:
            yield value.__name__


def _is_function(value: object) -> bool:
    return callable(value) and not isinstance(value, type)


def _public(namespace: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in namespace.items() if not name.startswith("_"))
