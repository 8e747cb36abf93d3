"""The body of a `%%smr` cell: run on its own, and asked for the functions that it defines.

Rules:

* The body runs in a shallow copy of the notebook's variables: it sees them all, and nothing that it defines leaks. So the builtin
  `map` is still there for the next cell.
* What counts is what the body itself binds: a `reduce` that an earlier cell imported is a helper, not the reducer.
* `map_setup`, `map_teardown`, `reduce_setup` and `reduce_teardown` are hooks of these functions, as `smr.hooked` takes them.
* The body keeps its line numbers: line 1 is the `%%smr` line, so that a traceback says `Cell In[2], line 3` and means the third line.
"""

from __future__ import annotations

import builtins
import re
import symtable
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smr_notebook.control.naming import files
from smr_notebook.dataflow.aggregations import BUILTINS
from smr_notebook.dataflow.hooks import Hooked, hooked
from smr_notebook.dataflow.yields import gives_nothing
from smr_notebook.errors import ConfigError, PlanError
from smr_notebook.notebook.arguments import CellOptions, cell_parser
from smr_notebook.values.suggestions import near, near_file

_ROOT = re.compile(r"[^\W\d]\w*(?=[.(\[])")
_ALIASES = {"map": "mapper", "reduce": "reducer", "combine": "combiner"}


@dataclass(frozen=True, slots=True)
class CellFunctions:
    """The functions of a cell; `combine` is `True` when `reduce` serves as the combiner."""

    map: Callable[..., Any]
    reduce: Any = None
    combine: Any = None


def run_body(shell: Any, line: str, body: str) -> dict[str, Any]:
    """Run the body of a cell, and return what it bound.

    Args:
        shell: The interactive shell: its variables are seen, its compiler caches the source for tracebacks.
        line: The words behind `%%smr`.
        body: The lines below.

    Raises:
        Exception: Whatever the body raises.
    """
    __tracebackhide__ = True
    source = f"#%%smr {line}\n{body}"
    running = getattr(shell.displayhook, "exec_result", None)  # shell.execution_count is one ahead while a cell runs
    number = getattr(running, "execution_count", None) or shell.execution_count
    name = shell.compile.cache(source, number, raw_code=source)
    code = compile(source, name, "exec", dont_inherit=True)
    namespace = dict(shell.user_ns)
    exec(code, namespace)  # noqa: S102 - running the user's cell is what a cell magic does
    return {bound: namespace[bound] for bound in _bound_names(source, name) if bound in namespace}


def choose_functions(options: CellOptions, bound: Mapping[str, Any], namespace: Mapping[str, Any]) -> CellFunctions:
    """Take the functions from the cell, or from the options that name them.

    Args:
        options: The line of the cell.
        bound: What the body bound.
        namespace: The notebook's variables.

    Raises:
        ConfigError: A function is missing, named twice, or not callable.
    """
    map: Any = _role("map", options.map, bound, namespace)
    reduce = _role("reduce", options.reduce, bound, namespace)
    combine = _role("combine", None, bound, namespace)
    if map is None:
        raise ConfigError(f"%%smr: the cell defines no map.{_near_map(bound, namespace)} Define `def map(record): yield key, value`.")
    if combine is None and options.combine:
        if reduce is None:
            raise ConfigError("%%smr: --combine needs a reduce. Define `def reduce(key, values)`, or leave --combine out.")
        combine = True
    return CellFunctions(_with_hooks("map", map, bound), _with_hooks("reduce", reduce, bound), combine)


def doubts_of(functions: CellFunctions) -> Iterator[str]:
    """Yield a sentence for each function that gives nothing whatever it is called with: it may be meant so, and hardly ever is."""
    map, reduce = (one.plain if isinstance(one, Hooked) else one for one in (functions.map, functions.reduce))
    if gives_nothing(map):
        yield "map gives no pair: it has no `yield`, and returns nothing. Write `yield key, value`, or return a list of such pairs."
    if gives_nothing(reduce):
        yield "reduce gives no value: it returns nothing, so each value of the result is None. Write `return value`, or `yield key, value`."


def choose_input(words: tuple[str, ...], namespace: Mapping[str, Any]) -> object:
    """Return the input that the words of a line name: one variable, one range, or locations.

    Raises:
        ConfigError: No word, a variable beside other inputs, or a name that is neither a variable nor a file.
    """
    if not words:
        raise ConfigError("%%smr: no input. Name a path, a glob, range(…) or a notebook variable: `%%smr logs/*.gz`.")
    if len(words) > 1 and _stands(" ".join(words)) and not all(map(_stands, words)):
        raise ConfigError(f'%%smr: a name with spaces stands in quotes: "{" ".join(words)}".')
    meant = [(word, _meaning(word, namespace)) for word in words]
    values = [word for word, meaning in meant if not issubclass(type(meaning), str)]
    if values and len(words) > 1:
        raise ConfigError(f"%%smr: {values[0]!r} is a value of this notebook and must be the only input; only paths can be several.")
    return meant[0][1] if values else files(*(str(meaning) for _, meaning in meant))


def _meaning(word: str, namespace: Mapping[str, Any]) -> object:
    if word.startswith("range(") and word.endswith(")"):
        return _range(word)
    if word.isidentifier():
        if word in namespace:
            return namespace[word]
        if not Path(word).exists():
            hint = _near_input(word, namespace)
            raise ConfigError(f"%%smr: {word!r} is neither a variable of this notebook nor a file or folder here.{hint}")
    root = _ROOT.match(word)
    if root and root[0] in namespace and word.endswith(")") and not _stands(word):
        raise ConfigError(f"%%smr: {word!r} is an expression. Put its value into a variable, and name that.")
    return str(Path(word).expanduser()) if word.startswith("~") else word


def _stands(name: str) -> bool:
    try:
        return Path(name).exists()
    except OSError:  # a name that is too long
        return False


def _near_input(word: str, namespace: Mapping[str, Any]) -> str:
    """Return what a word may have meant: an option without its dashes (`-into` is read as `-i nto`), a variable, a file."""
    options = {name for action in cell_parser().actions for name in action.option_strings}
    for option in (f"--{word}", f"--i{word}"):
        if option in options:
            return f" Did you mean {option!r}?"
    return near(word, [name for name in namespace if not name.startswith("_")]) or near_file(Path(word))


def _range(word: str) -> range:
    try:
        return range(*(int(part) for part in word[len("range(") : -1].split(",") if part))
    except (ValueError, TypeError):
        raise ConfigError(f"%%smr: {word!r} is not a range of whole numbers. Write range(stop) or range(start, stop, step).") from None


def _bound_names(source: str, file: str) -> list[str]:
    table = symtable.symtable(source, file, "exec")
    return [symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()]


def _role(role: str, named: str | None, bound: Mapping[str, Any], namespace: Mapping[str, Any]) -> Any:
    here = [name for name in (role, _ALIASES[role]) if name in bound]
    if len(here) + (named is not None) > 1:
        option = [f"--{role}"] if named is not None else []
        raise ConfigError(f"%%smr: {' and '.join([*here, *option])} both say what {role} is. Keep one.")
    function = _named(role, named, bound, namespace) if named is not None else bound[here[0]] if here else None
    if function is not None and not callable(function):
        raise ConfigError(f"%%smr: {role} must be a function; it is a {type(function).__name__}.")
    return function


def _with_hooks(role: str, function: Any, bound: Mapping[str, Any]) -> Any:
    """Return a function with the hooks that the cell defines for it: `map_setup`, `map_teardown`, and the same of `reduce`."""
    setup, teardown = bound.get(f"{role}_setup"), bound.get(f"{role}_teardown")
    if setup is None and teardown is None:
        return function
    if function is None:
        raise ConfigError(f"%%smr: the cell defines {role}_setup or {role}_teardown, and no {role}. Define it, or leave them out.")
    try:
        return hooked(function, setup=setup, teardown=teardown)
    except PlanError as error:
        raise ConfigError(f"%%smr: {role}_setup and {role}_teardown: {error}") from None


def _named(role: str, name: str, bound: Mapping[str, Any], namespace: Mapping[str, Any]) -> Any:
    first, *rest = name.split(".")
    for place in (bound, namespace, vars(builtins)):
        if first in place:
            value = place[first]
            for attribute in rest:
                value = getattr(value, attribute, None)
            if value is not None:
                return value
    own = [known for known, value in namespace.items() if callable(value) and not known.startswith("_")]
    hint = near(name, own) or near(name, BUILTINS)
    raise ConfigError(f"%%smr: --{role} {name}: there is no such function in this notebook.{hint}")


def _near_map(bound: Mapping[str, Any], namespace: Mapping[str, Any]) -> str:
    if callable(namespace.get("map")):
        return " The notebook has one: write --map map to use it."
    hint = near("map", [name for name, value in bound.items() if callable(value)])
    return hint or (f" It defines {', '.join(sorted(bound))}." if bound else "")
