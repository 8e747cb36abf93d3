"""The contract of a small master with workers: a folder with `task.py`, which defines `mapper(doc_id, chunk)` and `reducer(key_values)`.

What the functions get and give:

* `mapper(doc_id, chunk)`: the name of an input object, below what was named as data, and a passage of its text (`formats.passages`). It
  yields, or returns an iterable of, (key, value) pairs, or returns `None`.
* `reducer(key_values)`: one key and all values of it, as `(key, [value, …])`. A tuple of two that it returns is a pair, what it yields are
  pairs, `None` is none; anything else, a list too, is the value of the key.
* `reducer = None`: the mapped pairs are the result.

Rules of this module:

* What wraps a user's function says that it comes from the user's module: so it travels by value, with all that the function needs.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from smr_notebook.dataflow.code import refuse_local_imports
from smr_notebook.dataflow.uploaded import upload_named
from smr_notebook.errors import ConfigError
from smr_notebook.job_files.function_files import Find, Reference
from smr_notebook.sessions.uploading import root_of

TASK: Final = "task.py"
_MAPPER: Final = "mapper"
_REDUCER: Final = "reducer"
_WILD: Final = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class FolderFunctions:
    """The functions of a folder, as `map` and `reduce`."""

    map: Callable[..., Any]
    reduce: Callable[..., Any] | None


def load_functions(find: Find, folder: Path, *, data: str) -> FolderFunctions:
    """Return the functions of a folder.

    Args:
        find: Finds functions below it.
        folder: It.
        data: What the job reads.

    Raises:
        ConfigError: There is no `task.py`, it cannot be imported, or lacks a function.
        UnpicklableError: A function imports what lies beside it inside its body.
    """
    if not (folder / TASK).is_file():
        raise ConfigError(f"{folder} is no folder with code: there is no {TASK} in it, which defines {_MAPPER}(doc_id, chunk).")
    mapper, reducer = find(Reference(TASK, _MAPPER)), find(Reference(TASK, _REDUCER))
    _check(mapper, _MAPPER, "doc_id", "chunk")
    refuse_local_imports(_MAPPER, mapper)
    if reducer is not None:
        _check(reducer, _REDUCER, "key_values")
        refuse_local_imports(_REDUCER, reducer)
    return FolderFunctions(_as_map(mapper, names_below(data)), None if reducer is None else _as_reduce(reducer))


def names_below(data: str) -> str:
    """Return what the names of objects are told from: the folder, the prefix or the upload that a location names, or that it lies in."""
    if upload_named(data):
        return upload_named(data)
    _, url, rest = data.partition("://")
    if not url:
        return str(root_of(data))
    wild = _WILD.search(rest)
    return rest[: wild.start()].rpartition("/")[0] if wild else rest.rstrip("/")


def _check(function: Any, name: str, *parameters: str) -> None:
    try:
        inspect.signature(function).bind(*parameters)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{TASK}: {name} must be a function that takes ({', '.join(parameters)}): {error}.") from None


def _as_map(mapper: Callable[..., Any], below: str) -> Callable[..., Any]:
    def map(source: str, passage: str) -> Any:
        return mapper(_name(source, below), passage)

    return _as_from(mapper, map)


def _as_reduce(reducer: Callable[..., Any]) -> Callable[..., Any]:
    def reduce(key: Any, values: Iterator[Any]) -> Iterator[Any]:
        made = reducer((key, list(values)))
        if isinstance(made, Iterator):
            yield from made
        elif made is not None:
            yield made if isinstance(made, tuple) and len(made) == 2 else (key, made)

    return _as_from(reducer, reduce)


def _as_from(function: Callable[..., Any], wrapper: Callable[..., Any]) -> Callable[..., Any]:
    wrapper.__module__ = function.__module__
    wrapper.__name__ = wrapper.__qualname__ = getattr(function, "__name__", type(function).__name__)
    return wrapper


def _name(source: str, below: str) -> str:
    return source.rpartition("/")[2] if source == below else source.removeprefix(f"{below}/")
