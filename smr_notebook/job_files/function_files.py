"""Functions by name, for whoever has no notebook: `words.py:map` beside a job file, or `package.module:map`.

Rules of this module:

* The folder is where imports are looked for first, as if Python had been started there. What lies in it is the user's own, and travels with
  the functions by value; what is imported out of it is forgotten with it, so that two folders may use the same names.
* A module of the folder that is imported inside a function is imported here, too: else nobody would notice before a worker that it could
  not be found there (`dataflow.code`).
* What a module of the folder imports by the name of a file beside it is that file, or nothing is run: a module of that name that this
  process has loaded already, one of Python's own for example, would be taken in its place without a word.
"""

from __future__ import annotations

import ast
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from smr_notebook.errors import ConfigError
from smr_notebook.values.suggestions import near

_RELATIVE: Final = "relative import with no known parent package"

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
            names = [name for name in dir(found) if not name.startswith("_")]
            raise ConfigError(f"{reference.where} defines no {reference.name!r}.{near(part, names)}")
        found = getattr(found, part)
    return found


def _module_of_file(folder: Path, reference: Reference) -> ModuleType:
    path = (folder / os.path.expanduser(reference.where)).resolve()  # noqa: PTH111 - which leaves a folder of nobody's as it is
    if not path.is_file():
        raise ConfigError(f"There is no file {path}.{near(path.name, [one.name for one in path.parent.glob('*.py')])}")
    if not path.stem.isidentifier():
        raise ConfigError(f"{path} cannot be imported: {path.stem!r} is no name of a module. Rename it.")
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    module = _imported(path.stem, str(path))
    _check_place(module, path, str(path))
    return module


def _imported(name: str, told: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        lines = [step for step in traceback.extract_tb(error.__traceback__) if not step.filename.startswith("<")]
        own = [step for step in lines if step.filename != importlib.__file__ and Path(step.filename) != Path(__file__)]
        where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
        hint = " What lies beside it is imported by its name alone: `import name`." if _RELATIVE in str(error) else ""
        raise ConfigError(f"{told} cannot be imported: {type(error).__name__}: {error}{where}.{hint}") from error


def _import_late_ones(folder: Path, before: AbstractSet[str]) -> None:
    """Import the modules of the folder that functions of its modules import, and those that these do; refuse what would be another one."""
    looked: set[str] = set()
    while True:
        modules = _own_modules(folder, before | looked)
        if not modules:
            return
        for name, module in modules.items():
            looked.add(name)
            file = Path(str(module.__file__))
            for imported, late in _imports(file).items():
                beside = _beside(imported, {str(folder), str(file.parent)})
                if beside is not None and late:
                    _imported(imported, f"{imported!r}, which {file} imports inside a function,")
                if beside is not None and imported in sys.modules:
                    _check_place(sys.modules[imported], beside, f"{beside}, which {file} imports,")


def _beside(name: str, folders: AbstractSet[str]) -> Path | None:
    """Return the file that Python would take for the module of a name, where that lies in one of some folders; never this package."""
    places = [Path(place) for place in sys.path if place in folders and name != __package__]
    return next((file for place in places for file in (place / name / "__init__.py", place / f"{name}.py") if file.is_file()), None)


def _check_place(module: ModuleType, path: Path, told: str) -> None:
    """Refuse a module that does not come from a file. Raises `ConfigError`."""
    file = getattr(module, "__file__", None)
    if Path(file or "").resolve() != path.resolve():
        taken = file or "a module of Python's own"
        raise ConfigError(f"{told} cannot be imported as {module.__name__!r}: that is {taken} already. Rename it.")


def _imports(file: Path) -> dict[str, bool]:
    """Return the first names of the modules that a file imports, and whether a function does."""
    if file.suffix != ".py":
        return {}
    tree = ast.parse(file.read_bytes())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    late = {name for function in functions for name in _imported_in(function)}
    return {name: name in late for name in sorted({*_imported_in(tree)})}


def _imported_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _own_modules(folder: Path, but: AbstractSet[str]) -> dict[str, ModuleType]:
    """Return the modules that were imported out of a folder, by name, but for some."""
    found = {name: module for name, module in list(sys.modules.items()) if name not in but and isinstance(module, ModuleType)}
    return {name: module for name, module in found.items() if Path(module.__file__ or "/").resolve().is_relative_to(folder)}
