"""The measures of the house, as one row of the table in CONTRIBUTING.md: `python tests/checks/measures.py`.

Code lines are those without blanks, comments and docstrings. `mock` and `sleep`: mocks and patches, and sleeps, per 1,000 lines of tests.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER}
MOCKS = re.compile(r"\bmock\b|Mock\(|monkeypatch\.setattr|patch\(")
SLEEPS = re.compile(r"\btime\.sleep\(|asyncio\.sleep\(")


def texts_of(tree: ast.Module) -> set[int]:
    """Return the lines of strings that stand alone."""
    alone = [node for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    texts = [node for node in alone if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)]
    return {line for text in texts for line in range(text.lineno, (text.end_lineno or text.lineno) + 1)}


def lines_of(source: str) -> tuple[set[int], set[int], int]:
    """Return the lines of code, those of docstrings, and how many lines are comments and nothing else."""
    tokens = list(tokenize.tokenize(io.BytesIO(source.encode()).readline))
    code = {line for token in tokens if token.type not in NO_CODE for line in range(token.start[0], token.end[0] + 1)}
    texts = texts_of(ast.parse(source))
    comments = {token.start[0] for token in tokens if token.type == tokenize.COMMENT} - code
    return code - texts, texts, len(comments)


def at(values: Sequence[int], share: float) -> int:
    """Return a quantile, by rank."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def documented(tree: ast.Module) -> tuple[int, int]:
    """Return how many public names of a module have a docstring, and how many there are."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    public = [node for node in found if not node.name.startswith("_")]
    return sum(ast.get_docstring(node) is not None for node in public), len(public)


def annotated(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether all of a function's arguments but `self` and what it returns have types."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    own = [argument for argument in arguments if argument.arg not in {"self", "cls"}]
    return function.returns is not None and all(argument.annotation for argument in own)


def row() -> str:
    """Return the measures of the package and its tests as they are."""
    sources = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "smr_notebook").rglob("*.py"))]
    measured = [lines_of(source) for source in sources]
    modules = [len(code) for code, _, _ in measured if code]
    lengths, typed, told, names = [], [], 0, 0
    for source, (own, _, _) in zip(sources, measured, strict=True):
        tree = ast.parse(source)
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        lengths += [len(own & set(range(node.lineno, (node.end_lineno or 0) + 1))) for node in functions]
        typed += [annotated(node) for node in functions]
        with_text, public = documented(tree)
        told, names = told + with_text, names + public
    tests = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("*.py")) if path.name != Path(__file__).name]
    test_lines = sum(len(lines_of(text)[0]) for text in tests)
    code = sum(modules)
    cells = [
        f"{len(modules)}",
        f"{code:,}",
        f"{at(modules, 0.5)} / {at(modules, 0.9)} / {max(modules)}",
        f"{at(lengths, 0.95)} / {max(lengths)}",
        f"{sum(typed) / len(typed):.0%}",
        f"{told / names:.0%}",
        f"{sum(comments for _, _, comments in measured) / code:.0%} / {sum(len(texts) for _, texts, _ in measured) / code:.0%}",
        f"{test_lines / code:.1f}",
        "0%",
        ", ".join(f"{sum(len(words.findall(text)) for text in tests) / test_lines * 1000:.1f}" for words in (MOCKS, SLEEPS)),
    ]
    return "| smr_notebook | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    print(row())
