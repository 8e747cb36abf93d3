"""How the user's functions travel: captured in the notebook, loaded in a worker.

What travels how:

* Functions, lambdas, closures and the notebook's globals that they use travel *by value* (cloudpickle).
* Modules of the user's own, which no worker has, travel by value too: every imported module whose file lies neither in
  the standard library nor in a `site-packages` folder. Everything else travels *by name* and must be installed there, unless it
  is *included*: then it travels by value like a module of the user's own (`dataflow.including`).
* An `import` statement inside a function runs in the worker, where a module of the user's own cannot be found. That is
  refused before anything runs, with the mend (import it above the function).
* The source lines of the functions travel beside them, so that a failure can show its line in any kernel: the code
  keeps the name of its file (`dataflow.by_value`).

The stored form is a JSON head (lengths, kinds, sources) and the pickle, inside a sealed object.
"""

from __future__ import annotations

import dis
import functools
import inspect
import linecache
import pickle
import sys
import sysconfig
import threading
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import msgspec

from smr_notebook.dataflow import by_value
from smr_notebook.dataflow.hooks import Hooked, parts_of
from smr_notebook.dataflow.including import included_modules
from smr_notebook.dataflow.programs import Program
from smr_notebook.dataflow.sealing import seal, unseal
from smr_notebook.errors import CorruptObjectError, PlanError, UnpicklableError

Sources = dict[str, tuple[str, str]]
"""File name of a code object -> (what a person calls it, its text)."""

LARGE_CAPTURE_BYTES = 10 * 2**20
"""Captured values above this size are named in a warning."""

_BY_NAME = types.FunctionType | types.ModuleType | type | types.BuiltinFunctionType
"""Kinds of values that are no captured data."""

_PICKLING = threading.RLock()  # one registry for the process; held again when an iterable that is stored submits a job


@dataclass(frozen=True, slots=True)
class CodeReport:
    """What travels with a job's functions, for people.

    Attributes:
        size: Bytes of the whole bundle.
        captured: Name and pickled bytes of each global or closure variable, largest first.
        modules: Names of the modules that travel by value.
    """

    size: int
    captured: tuple[tuple[str, int], ...]
    modules: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each captured value that is large."""
        return tuple(
            f"`{name}` travels with the functions and is large: {size / 1e6:,.0f} MB for each worker. "
            f"Read it inside `map`, or pass it as input."
            for name, size in self.captured
            if size > LARGE_CAPTURE_BYTES
        )


@dataclass(frozen=True, slots=True)
class Bundle:
    """Captured functions: `data` is what is stored, `report` what is told."""

    data: bytes
    report: CodeReport


class _Head(msgspec.Struct, frozen=True):
    sources: Sources


def takes_source(function: Callable[..., Any], *, name: str = "map", what: str = "record") -> bool:
    """Tell whether a function has two required parameters, `(source, record)`, or one, `(record)`.

    Args:
        function: The user's.
        name: What messages call it.
        what: What they call its last parameter.

    Raises:
        PlanError: It can be called with neither.
    """
    try:
        signature = inspect.signature(function.plain if isinstance(function, Hooked) else function)
    except (TypeError, ValueError):
        return False  # a builtin that does not tell its parameters: called with the record
    for count in (1, 2):
        try:
            signature.bind(*range(count))
        except TypeError:
            continue
        return count == 2
    raise PlanError(f"{name} must take ({what}) or (source, {what}); {_name(function)} takes {signature}")


def capture(program: Program, *, label_of: Callable[[str], str] = str, include: Sequence[str] = ()) -> Bundle:
    """Pickle a program with all that its functions need.

    Args:
        program: What to pickle.
        label_of: Gives the name that a person knows a code file by (`Cell In[2]`).
        include: Names of installed modules that travel by value as well.

    Raises:
        UnpicklableError: Something cannot travel; it is named, with the function that captured it.
        PlanError: A module to be included is not there, or cannot travel.
    """
    included = included_modules(include)
    functions = [*parts_of(program.named())]
    reached = [*functions, *_reached(program)]
    captures = [(name, value) for name, value in reached if not isinstance(value, _BY_NAME)]
    own = _own_modules() | included
    for name, function in functions:
        refuse_local_imports(name, function, own)
    with modules_by_value(included):
        body = _pickle(program, captures)
        sizes = tuple(sorted(((name, _size(value)) for name, value in captures), key=lambda item: -item[1]))
    sources = {file: (label_of(file), text) for file, text in _texts(program)}
    head = msgspec.json.encode(_Head(sources))
    data = seal("code", len(head).to_bytes(8, "little") + head + body)
    used = tuple(sorted({home.__name__ for _, value in reached if (home := _home(value)) is not None and home.__name__ in own}))
    return Bundle(data, CodeReport(len(data), sizes, used))


@contextmanager
def modules_by_value(included: Mapping[str, types.ModuleType] | None = None) -> Iterator[None]:
    """Let functions and classes of the user's own modules be pickled by value within the block, as no worker has the modules.

    Args:
        included: Further modules, by name.
    """
    with _PICKLING:
        known = cloudpickle.list_registry_pickle_by_value()
        modules = _own_modules() | dict(included or {})
        registered = [module for name, module in modules.items() if name not in known]
        for module in registered:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in registered:
                cloudpickle.unregister_pickle_by_value(module)


def load_program(data: bytes) -> tuple[Program, Sources]:
    """Load what `capture` stored.

    Raises:
        CorruptObjectError: The bytes are not what was stored.
    """
    sources, pickled = _opened(data)
    program: Program = pickle.loads(pickled)
    return program, sources


def load_sources(data: bytes) -> Sources:
    """Return the sources of what `capture` stored, for whoever must run none of it. Raises as `load_program` does."""
    return _opened(data)[0]


def _opened(data: bytes) -> tuple[Sources, bytes]:
    body = unseal("code", data, name="code")
    length = int.from_bytes(body[:8], "little")
    try:
        head = msgspec.json.decode(body[8 : 8 + length], type=_Head)
    except msgspec.DecodeError as error:
        raise CorruptObjectError(f"code: the head of the code bundle cannot be read: {error}") from error
    return head.sources, body[8 + length :]


# ---------------------------------------------------------------- what a function captures


def _name(function: object) -> str:
    return getattr(function, "__qualname__", None) or type(function).__name__


def _code(function: object) -> types.CodeType | None:
    inner = inspect.unwrap(function) if callable(function) else function
    inner = getattr(inner, "__func__", inner)
    code = getattr(inner, "__code__", None)
    return code if isinstance(code, types.CodeType) else None


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _captured_by(function: object) -> Iterator[tuple[str, Any]]:
    """Yield name and value of the globals and closure variables that a Python function refers to."""
    code = _code(function)
    if code is None:
        return
    inner = inspect.unwrap(function) if callable(function) else function
    inner = getattr(inner, "__func__", inner)
    names = {name for part in _codes(code) for name in part.co_names}
    space = getattr(inner, "__globals__", {})
    for name in sorted(names & space.keys()):
        yield name, space[name]
    for name, cell in zip(code.co_freevars, getattr(inner, "__closure__", None) or (), strict=False):
        try:
            yield name, cell.cell_contents
        except ValueError:  # a cell that is not filled yet
            continue


def _reached(program: Program) -> Iterator[tuple[str, Any]]:
    """Yield name and value of all that the functions use, through helper functions too, each value once."""
    pending: list[object] = [function for _, function in parts_of(program.named()) if not _installed(_home(function))]
    seen = {id(function) for function in pending}
    while pending:
        for name, value in _captured_by(pending.pop()):
            if id(value) not in seen:
                seen.add(id(value))
                yield name, value
                if isinstance(value, types.FunctionType) and not _installed(_home(value)):
                    pending.append(value)


def travelling_functions(program: Program) -> Iterator[types.FunctionType]:
    """Yield the Python functions that travel by value: those of a program, and those that they use."""
    for _, function in (*parts_of(program.named()), *_reached(program)):
        if isinstance(function, types.FunctionType) and not _installed(_home(function)):
            yield function


def _home(value: object) -> types.ModuleType | None:
    """Return the module that a value is, or that a function or class comes from."""
    return value if isinstance(value, types.ModuleType) else sys.modules.get(getattr(value, "__module__", None) or "")


def _texts(program: Program) -> Iterator[tuple[str, str]]:
    used = [function for _, function in (*parts_of(program.named()), *_reached(program)) if not _installed(_home(function))]
    codes = [_code(function) for function in used if callable(function)]
    for file in sorted({code.co_filename for code in codes if code is not None}):
        lines = linecache.getlines(file)
        if lines:
            yield file, "".join(lines)


# ---------------------------------------------------------------- modules of the user's own


@functools.cache
def _installed_roots() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    roots = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(str(Path(root)) + "/" for root in sorted(roots))


def _installed(module: types.ModuleType | None) -> bool:
    """Whether a worker can be expected to import this module by name."""
    file = getattr(module, "__file__", None)
    if module is None or module.__name__ == "__main__":
        return False
    if file is None or module.__name__.partition(".")[0] == "smr_notebook":
        return True
    return in_installation(file)


@functools.lru_cache(maxsize=8_192)
def in_installation(file: str) -> bool:
    """Whether a file of code belongs to Python or to an installed package."""
    return "site-packages/" in file or "dist-packages/" in file or file.startswith(_installed_roots())


def _own_modules() -> dict[str, types.ModuleType]:
    own = [
        (name, module)
        for name, module in list(sys.modules.items())
        if name == getattr(module, "__name__", None) and name != "__main__" and not _installed(module)
    ]
    return dict(sorted(own))


def refuse_local_imports(name: str, function: object, own: Mapping[str, types.ModuleType] | None = None) -> None:
    """Refuse a function that imports a module of the user's own inside its body.

    Args:
        name: What messages call it.
        function: The user's.
        own: The modules of the user's own, by name; those that are loaded if not given.

    Raises:
        UnpicklableError: It does.
    """
    own = _own_modules() if own is None else own
    code = _code(function)
    package = getattr(_home(function), "__package__", None) or ""
    for imported in (one for part in (_codes(code) if code else ()) for one in _imported_by(part, package)):
        if imported in own or imported.partition(".")[0] in own:
            raise UnpicklableError(
                f"{name} imports your own module {imported!r} inside its body, where no worker can find it. "
                f"Import it above the function: then it travels with it."
            )


def _imported_by(code: types.CodeType, package: str) -> Iterator[str]:
    """Yield the names of the modules that a code object imports, in full."""
    steps = list(dis.get_instructions(code))
    for place, step in enumerate(steps):
        if step.opname == "IMPORT_NAME":
            level, parts = steps[place - 2].argval, package.split(".")  # which stands two steps before, and what is wanted of it one
            yield ".".join(filter(None, [*(parts[: len(parts) + 1 - level] if level else ()), step.argval]))


# ---------------------------------------------------------------- pickling, and naming what does not pickle


def _pickle(program: Program, captures: list[tuple[str, Any]]) -> bytes:
    try:
        return by_value.dumps(program)
    except Exception as error:
        raise UnpicklableError(_blame(program, captures, error)) from error


def _blame(program: Program, captures: list[tuple[str, Any]], error: Exception) -> str:
    for name, value in captures:
        if _size(value) < 0:
            users = [which for which, function in parts_of(program.named()) if any(value is found for _, found in _captured_by(function))]
            user = users[0] if users else "a function that yours call"
            return (
                f"{user} uses `{name}`, a {type(value).__module__}.{type(value).__qualname__}, which cannot travel to a worker: {error}. "
                f"Make it inside the function, or pass what it is made from."
            )
    for which, function in parts_of(program.named()):
        if _size(function) < 0:
            return f"{which} ({_name(function)}) cannot travel to a worker: {error}. Define it with `def` in a cell or a module."
    return f"the functions cannot travel to a worker: {error}"


def _size(value: object) -> int:
    """Return the pickled size in bytes, or -1 when the value does not pickle."""
    try:
        return len(by_value.dumps(value))
    except Exception:  # noqa: BLE001 - an object's own __reduce__ may raise anything
        return -1
