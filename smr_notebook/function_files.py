"""Functions by name, for whoever has no notebook: `words.py:map` beside a job file, or `package.module:map`.

Rules of this module:

* The folder is where imports are looked for first, as if Python had been started there. What lies in it is the user's own, and travels with
  the functions by value; what is imported out of it is forgotten with it, so that two folders may use the same names.
* A module of the folder that is imported inside a function is imported here, too: else nobody would notice before a worker that it could
  not be found there (`dataflow.code`).
"""

from __future__ import annotations

import ast
import importlib
import sys
import traceback
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from smr_notebook.errors import ConfigError

Find = Callable[["Reference"], Any]
"""Gives what a reference means."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Where something of the user's is defined: `where:name`.

    Attributes:
        where: A path that ends in `.py`, or the dotted name of a module.
        name: What it is called there; with dots, an attribute of an attribute.
    """

    where: str
    name: str

    @property
    def is_file(self) -> bool:
        """Whether it is told by a path."""
        return self.where.endswith(".py")

    def __str__(self) -> str:
        return f"{self.where}:{self.name}"


def read_reference(value: object) -> Reference:
    """Return what `file.py:name` or `module:name` means.

    Raises:
        ConfigError: It is no such text.
    """
    where, colon, name = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    named = all(part.isidentifier() for part in name.split("."))
    if not colon or not named or not (where.endswith(".py") or all(part.isidentifier() for part in where.split("."))):
        raise ConfigError(f"{value!r} names no function. Write file.py:function, or module:function.")
    return Reference(where, name)


@contextmanager
def functions_below(folder: Path) -> Iterator[Find]:
    """Give what finds functions, from a folder first, to a block that uses them.

    Raises:
        ConfigError: When something is looked for: it is not there, or cannot be imported.
    """
    folder = folder.resolve()
    before, places = frozenset(sys.modules), list(sys.path)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield lambda reference: _found(folder, reference, before)
    finally:
        sys.path[:] = places
        for name in _own_modules(folder, before):
            del sys.modules[name]


def _found(folder: Path, reference: Reference, before: AbstractSet[str]) -> Any:
    module = _module_of_file(folder, reference) if reference.is_file else _imported(reference.where, reference.where)
    _import_late_ones(folder, before)
    found: Any = module
    for part in reference.name.split("."):
        if not hasattr(found, part):
            close = get_close_matches(part, [name for name in dir(found) if not name.startswith("_")], n=1)
            near = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"{reference.where} defines no {reference.name!r}.{near}")
        found = getattr(found, part)
    return found


def _module_of_file(folder: Path, reference: Reference) -> ModuleType:
    path = (folder / Path(reference.where).expanduser()).resolve()
    if not path.is_file():
        near = get_close_matches(path.name, [one.name for one in path.parent.glob("*.py")], n=1)
        raise ConfigError(f"There is no file {path}.{f' Did you mean {near[0]!r}?' if near else ''}")
    if not path.stem.isidentifier():
        raise ConfigError(f"{path} cannot be imported: {path.stem!r} is no name of a module. Rename it.")
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    module = _imported(path.stem, str(path))
    if Path(getattr(module, "__file__", None) or "").resolve() != path:
        taken = getattr(module, "__file__", None) or "a module of Python's own"
        raise ConfigError(f"{path} cannot be imported as {path.stem!r}: that is {taken} already. Rename it.")
    return module


def _imported(name: str, told: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        lines = [step for step in traceback.extract_tb(error.__traceback__) if not step.filename.startswith("<")]
        own = [step for step in lines if step.filename != importlib.__file__ and Path(step.filename) != Path(__file__)]
        where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
        raise ConfigError(f"{told} cannot be imported: {type(error).__name__}: {error}{where}.") from error


def _import_late_ones(folder: Path, before: AbstractSet[str]) -> None:
    """Import the modules of the folder that functions of its modules import, and those that these do."""
    looked: set[str] = set()
    while True:
        modules = _own_modules(folder, before | looked)
        if not modules:
            return
        for name, module in modules.items():
            looked.add(name)
            for late in _late_imports(Path(str(module.__file__))):
                if (folder / f"{late}.py").is_file() or (folder / late / "__init__.py").is_file():
                    _imported(late, f"{late!r}, which {module.__file__} imports inside a function,")


def _late_imports(file: Path) -> Iterator[str]:
    """Yield the first names of the modules that functions of a file import."""
    if file.suffix != ".py":
        return
    for function in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    yield from (alias.name.partition(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    yield node.module.partition(".")[0]


def _own_modules(folder: Path, but: AbstractSet[str]) -> dict[str, ModuleType]:
    """Return the modules that were imported out of a folder, by name, but for some."""
    found = {name: module for name, module in list(sys.modules.items()) if name not in but and isinstance(module, ModuleType)}
    return {name: module for name, module in found.items() if Path(module.__file__ or "/").resolve().is_relative_to(folder)}
