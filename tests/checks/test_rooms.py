"""The sizes and habits that `CONTRIBUTING.md` asks for, read from the source with `ast`."""

from __future__ import annotations

import ast
import functools
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import smr_notebook

PACKAGE = Path(smr_notebook.__file__).parent
TESTS = Path(__file__).parents[1]
MODULES = sorted(PACKAGE.rglob("*.py"))
MODULE_LINES = 300
FUNCTION_LINES = 40

NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER}

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | Function


@functools.cache
def parsed(path: Path) -> ast.Module:
    """Return the tree of a module without its comments. Nobody may change it: the next test looks at the same one."""
    return ast.parse(path.read_text(encoding="utf-8"))


def in_package(path: Path) -> str:
    """Return the path below the package, as an id of a test."""
    return str(path.relative_to(PACKAGE))


@functools.cache
def code_lines(path: Path) -> frozenset[int]:
    """Return the numbers of the lines that hold code: without blanks, comments and strings that stand alone."""
    with path.open("rb") as file:
        tokens = [token for token in tokenize.tokenize(file.readline) if token.type not in NO_CODE]
    lines = frozenset(line for token in tokens for line in range(token.start[0], token.end[0] + 1))
    alone = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    texts = [node for node in alone if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)]
    return lines - {line for text in texts for line in range(text.lineno, (text.end_lineno or text.lineno) + 1)}


def functions(path: Path) -> list[Function]:
    """Return all functions of a module, also those inside others."""
    return [node for node in ast.walk(parsed(path)) if isinstance(node, Function)]


def undocumented(node: Documented, name: str) -> Iterator[str]:
    """Yield the public names without a docstring: an empty module has nothing to say, an override and an overload may inherit it."""
    if node.body and not ast.get_docstring(node):
        yield name
    if not isinstance(node, Function):
        for child in node.body:
            if isinstance(child, Documented) and not child.name.startswith("_") and not decorators(child) & {"override", "overload"}:
                yield from undocumented(child, f"{name}.{child.name}")


def decorators(node: ast.ClassDef | Function) -> set[str]:
    """Return the decorators of a class or function as they are written."""
    return {ast.unparse(decorator) for decorator in node.decorator_list}


def module_name(path: Path) -> str:
    """Return the dotted name of a file of the package."""
    parts = ("smr_notebook", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, known: frozenset[str]) -> set[str]:
    """Return the modules of the package that a module imports, also inside functions, but not for types only."""
    tree = parsed(path)
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    for_types = {id(inner) for guard in guards for inner in ast.walk(guard)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update((inside & known) or {node.module})
    return (found & known) - {module_name(path)}


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules of one cycle, or of none."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in done:
            for target in sorted(graph[name]):
                if found := visit(target, [*path, name]):
                    return found
            done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := visit(name, []))), [])


@pytest.mark.parametrize("path", MODULES, ids=in_package)
def test_a_module_is_a_small_room(path: Path) -> None:
    assert len(code_lines(path)) <= MODULE_LINES


@pytest.mark.parametrize("path", MODULES, ids=in_package)
def test_a_function_fits_on_a_screen(path: Path) -> None:
    lines = code_lines(path)
    sizes = {f"{node.name}:{node.lineno}": len(lines & set(range(node.lineno, (node.end_lineno or 0) + 1))) for node in functions(path)}
    assert {name: size for name, size in sizes.items() if size > FUNCTION_LINES} == {}


@pytest.mark.parametrize("path", MODULES, ids=in_package)
def test_what_is_public_has_a_docstring(path: Path) -> None:
    assert list(undocumented(parsed(path), module_name(path))) == []


def test_no_module_imports_itself_by_a_detour() -> None:
    known = frozenset(module_name(path) for path in MODULES)
    assert cycle({module_name(path): imports(path, known) for path in MODULES}) == []


def test_the_cycle_finder_finds_a_cycle() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


FORBIDDEN_IN_TESTS = re.compile(
    r"unittest\.mock|\bmocker\b|MagicMock|monkeypatch\.setattr|time\.sleep\(|^from time import .*\bsleep\b", re.MULTILINE
)


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_no_test_mocks_or_sleeps(path: Path) -> None:
    if path != Path(__file__):
        assert FORBIDDEN_IN_TESTS.findall(path.read_text(encoding="utf-8")) == []


LEFT_OPEN = re.compile(r"\b(TODO|FIXME|XXX)\b|\bNotImplementedError\b")
OPEN_BY_DESIGN = {"testing/functions.py"}
"""Suites leave to their subclass how an adapter is made."""


@pytest.mark.parametrize("path", MODULES, ids=in_package)
def test_nothing_is_left_open(path: Path) -> None:
    if in_package(path) not in OPEN_BY_DESIGN:
        assert LEFT_OPEN.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", MODULES, ids=in_package)
def test_no_kwargs_are_passed_through(path: Path) -> None:
    """What a `ParamSpec` types is none: the checker knows each argument. Nor are the columns of `aggregate`, nor what nobody reads."""
    loose = [
        node
        for node in functions(path)
        if node.args.kwarg and not ast.unparse(node.args.kwarg).endswith((".kwargs", "Aggregation", "Unread"))
    ]
    assert [f"{node.name}:{node.lineno}" for node in loose] == []


@pytest.mark.parametrize("path", MODULES, ids=in_package)
def test_a_name_says_what_is_in_the_room(path: Path) -> None:
    assert path.stem not in {"base", "common", "core", "helper", "helpers", "manager", "misc", "util", "utils"}
