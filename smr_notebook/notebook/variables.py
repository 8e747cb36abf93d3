"""Which variables of a notebook could stand for what: told from their types, for nothing of the user's is called to be offered.

`isinstance` would ask an object for its `__class__`, which raises where it is a weak reference to something that is gone: so `type` tells.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeGuard

_READ: Final = ("__iter__", "__fspath__", "__arrow_c_stream__")
_NO_INPUT: Final = (Mapping, bytes, bytearray, memoryview, types.ModuleType)


def variables(namespace: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of values: what is neither a module nor can be called."""
    for name, value in _public(namespace):
        if not _is_module(value) and not callable(value):
            yield name


def inputs(namespace: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of what a job could read: iterables, frames, paths."""
    for name in variables(namespace):
        kind = type(namespace[name])
        if not issubclass(kind, _NO_INPUT) and any(hasattr(kind, part) for part in _READ):
            yield name


def functions(typed: str, namespace: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of functions; behind a module's name and a dot, of those that it names as its own.

    Args:
        typed: What stands there so far.
        namespace: The notebook's variables.
    """
    module, dot, _ = typed.rpartition(".")
    value = namespace.get(module) if dot else None
    if _is_module(value):
        yield from (f"{module}.{name}" for name in getattr(value, "__all__", ()) if _is_function(getattr(value, name, None)))
    for name, value in _public(namespace):
        if _is_function(value):
            yield name


def modules(namespace: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of modules that the notebook imported and that are not Python's own."""
    for _, value in _public(namespace):
        if _is_module(value) and value.__name__.partition(".")[0] not in {*sys.stdlib_module_names, "smr_notebook"}:
            yield value.__name__


def _is_function(value: object) -> bool:
    return callable(value) and not issubclass(type(value), type)


def _is_module(value: object) -> TypeGuard[types.ModuleType]:
    return issubclass(type(value), types.ModuleType)


def _public(namespace: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in namespace.items() if not name.startswith("_"))
