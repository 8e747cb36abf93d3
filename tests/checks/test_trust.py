"""Each place that loads a pickle, or runs what bytes say in another way, is named here with the reason why those bytes can be trusted."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import smr_notebook

PACKAGE = Path(smr_notebook.__file__).parent

LOADERS = frozenset({"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "_pickle"})
"""Modules whose `load`, `loads`, `Unpickler` and `open` run what they read."""

VERBS = frozenset({"load", "loads", "Unpickler", "open", "read_pickle"})
RUNNERS = frozenset({"eval", "exec", "compile", "__import__"})

SAFE = {
    "calling/outcomes.py:_loaded": "a row of a part whose digest `results` checked",
    "calling/outcomes.py:_outcome": "a row of a part whose digest `results` checked",
    "backends/dask/host.py:_begin": "what the worker that started this process sent by a socket that nobody else has",
    "control/failures.py:_pickled": "its own bytes, pickled on the line before",
    "dataflow/calls.py:_opened": "a value of the job's own groups, which come from blocks that `vouching` proved",
    "dataflow/calls.py:_outcome": "an item of a frame that `formats/stored.py:_proved` gave, which checks its signature",
    "dataflow/calls.py:_pickled": "its own bytes, pickled on the line before",
    "dataflow/code.py:load_program": "a bundle that this process captured, or that `plans.read_code` gave, which checks its signature",
    "dataflow/columns.py:_decode": "a block that `vouching` proved or this process wrote, or a part whose digest `results` checked",
    "dataflow/formats/stored.py:_unpickle_items": "a frame that `_proved` gave, which checks its signature",
    "dataflow/formats/stored.py:_unpickle_slice": "a frame that `_proved` gave, which checks its signature",
    "dataflow/keys.py:decode_keys": "a block that `vouching` proved or this process wrote",
    "job/outcome_errors.py:cause_of": "a row of the table, which is the root of trust",
    "testing/races.py:<module>": "a test's own process, over its stdin",
    "testing/sentences.py:check_sentence": "its own bytes, pickled in the same line",
    "testing/tinyplane.py:reduce_pairs": "a simulation's own bytes",
    "testing/tinyplane.py:result_of": "a simulation's own bytes",
    "notebook/cells.py:run_body": "the user's own cell",
}
"""Where pickles are loaded, as module and function, and why that is safe."""


CALLED_PICKLES = {
    "dataflow/columns.py:encode_values": "it pickled them",
    "dataflow/folds/totals.py:column": "it pickled them",
}
"""Where a column is said to hold pickles. What is read says so itself: bytes that are no pickles by their stored kind are not signed."""


@functools.cache
def parsed(path: Path) -> ast.Module:
    """Return the tree of a module, read once for all tests."""
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Yield each function with its name, and the module itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node
    yield "<module>", ast.Module([node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef)], [])


def loads(node: ast.AST) -> bool:
    """Whether a piece of code names something that loads a pickle, or runs text."""
    return any(map(_loads, ast.walk(node)))


def _loads(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id=module), attr=verb):
            return verb == "read_pickle" or (module in LOADERS and verb in VERBS)
        case ast.ImportFrom(module=module, names=names):
            return module in LOADERS and bool(VERBS & {alias.name for alias in names})
        case ast.Name(id=name):
            return name in RUNNERS
        case ast.keyword(arg=name):
            return name == "allow_pickle"
        case ast.Constant(value=str(text)):
            return "pickle.load(" in text
    return False


def calls_pickles(node: ast.AST) -> bool:
    """Whether a piece of code gives a column the kind of pickles."""
    return any(
        isinstance(inner, ast.Call)
        and isinstance(inner.func, ast.Name)
        and inner.func.id in {"Column", "replace"}
        and any(isinstance(argument, ast.Constant) and argument.value == "pickle" for argument in inner.args)
        for inner in ast.walk(node)
    )


def places(asked: Callable[[ast.AST], bool]) -> set[str]:
    """Return the functions of the package that something is true of."""
    return {
        f"{path.relative_to(PACKAGE)}:{name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for name, node in functions(parsed(path))
        if asked(node)
    }


def test_each_place_that_loads_a_pickle_is_known_and_says_why_it_may() -> None:
    assert places(loads) == set(SAFE)


def test_only_who_pickled_calls_a_column_pickles() -> None:
    assert {place for place in places(calls_pickles) if not place.startswith("testing/")} == set(CALLED_PICKLES)
