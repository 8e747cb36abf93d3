"""One word, one meaning: the glossary is in order, the code has its words, and nobody uses those that it rules out."""

from __future__ import annotations

import ast
import functools
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "smr_notebook"
GLOSSARY = ROOT / "docs" / "glossary.md"
OTHERS = {"glossary.md", "coming-from.md", "lambada-flint.md", "CONTRIBUTING.md"}
"""Documents that may use the words of others, or show what is wrong."""


def sections() -> dict[str, list[list[str]]]:
    """Return the rows of each table by the heading above it, without the names of its columns."""
    found: dict[str, list[list[str]]] = {}
    for line in GLOSSARY.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            found[line[3:]] = []
        elif line.startswith("| ") and found:
            found[list(found)[-1]].append([cell.strip() for cell in line[1:-1].split("|")])
    return {name: rows[1:] for name, rows in found.items()}


SECTIONS = sections()
ENTRIES = [row for rows in SECTIONS.values() for row in rows if row[0].startswith("**")]
CHANGED = SECTIONS["Settings whose name changes on the way"]
UNUSED = [(word, but) for row, but in SECTIONS["Words that are not used"] for word in row.split(", ")]


class Names:
    """What the package calls things: its modules, what stands in each and in each class, and all texts."""

    def __init__(self) -> None:
        self.tops: dict[str, set[str]] = defaultdict(set)
        self.members: dict[str, set[str]] = defaultdict(set)
        self.bases: dict[str, set[str]] = defaultdict(set)
        self.names: set[str] = set()
        self.texts: list[tuple[str, str]] = []
        for path in sorted(PACKAGE.rglob("*.py")):
            self._read(path)

    def _read(self, path: Path) -> None:
        where, module = str(path.relative_to(ROOT)), path.parent.name if path.stem == "__init__" else path.stem
        tree = ast.parse(path.read_text(encoding="utf-8"))
        self.names.add(module)
        self.tops[module].update(name for node in tree.body for name in defined(node))
        for node in ast.walk(tree):
            self.names.update(defined(node))
            if isinstance(node, ast.ClassDef):
                self.bases[node.name].update(base.id for base in node.bases if isinstance(base, ast.Name))
                self.members[node.name].update(name for inside in ast.walk(node) for name in defined(inside))
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                self.texts.append((f"{where}:{node.lineno}", node.value))

    def has_member(self, owner: str, name: str) -> bool:
        """Whether a class, or one that it is made from, has a field or a method."""
        return name in self.members[owner] or any(self.has_member(base, name) for base in self.bases[owner])


def defined(node: ast.AST) -> Iterator[str]:
    """Yield the names that a node gives to something."""
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.arg(arg=name):
            yield name
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            yield name


@functools.cache
def package() -> Names:
    """Return the names of the package."""
    return Names()


def is_there(name: str) -> bool:
    """Whether something is called so: a row or a file by its path, a word of a command, a part of a module or of a class, or any name."""
    known, words = package(), {text for _, text in package().texts}
    if "/" in name:
        return name in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    if " " in name or name.startswith(("-", "_")) or name.isupper():
        return all(any(word in re.split(r"[ ,=]", text) for text in words) or word in known.names for word in name.split() if word != "smr")
    *owners, last = name.split(".")
    if not owners or owners == ["smr"]:
        return last in known.names or bool(list(PACKAGE.rglob(name)))
    if last == "md":
        return bool(list(PACKAGE.rglob(name)))
    owner = owners[-1]
    return known.has_member(owner, last) if owner in known.members else last in known.tops[owner]


def plain(cell: str) -> str:
    """Return a word as it is sorted."""
    return cell.replace("*", "").removeprefix("to ").lower()


@pytest.mark.parametrize("section", SECTIONS)
def test_words_are_sorted(section: str) -> None:
    words = [plain(row[0]) for row in SECTIONS[section]]
    if section != "Settings whose name changes on the way":
        assert words == sorted(words)


def test_a_word_that_stands_twice_says_of_what_it_is() -> None:
    twice = [
        word for word, count in Counter(word for row in ENTRIES for word in re.findall(r"\*\*([^*]+)\*\*", row[0])).items() if count > 1
    ]
    named = [re.findall(rf"\*\*{word}\*\*(?: (\([^)]*\)))?", row[0]) for word in twice for row in ENTRIES]
    said = [(found[0]) for found in named if found]
    assert "" not in said
    assert all(count == 1 for count in Counter(row[0] for row in ENTRIES).values())


@pytest.mark.parametrize("row", ENTRIES, ids=lambda row: plain(row[0]))
def test_the_code_has_each_word(row: list[str]) -> None:
    """Under the names that the third column tells; without one, in what the code says of itself."""
    _, means, code, _ = row
    assert means.endswith((".", ".)", "`.")), "a meaning is a sentence"
    names = re.findall(r"`([^`]+)`", code)
    assert [name for name in names if not is_there(name)] == []
    assert names or any(plain(row[0]) in text.lower() for _, text in package().texts)


@pytest.mark.parametrize("row", CHANGED, ids=lambda row: plain(row[1]))
def test_a_setting_is_stored_under_the_name_that_is_told(row: list[str]) -> None:
    options, said, stored = (re.findall(r"`([^`]+)`", cell) for cell in row)
    assert [name for name in said if name not in package().members["Settings"] | package().members["Options"]] == []
    assert [name for name in options + stored if not is_there(name)] == []


def told() -> Iterator[tuple[str, str]]:
    """Yield what the project says, and where: documents, docstrings and messages, names."""
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *PACKAGE.rglob("*.md")]:
        if path.name not in OTHERS:
            yield from ((f"{path.name}:{number}", line) for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1))
    yield from package().texts
    yield from ((name, re.sub(r"_+|(?<=[a-z])(?=[A-Z])", " ", name)) for name in package().names)


@pytest.mark.parametrize(("word", "but"), UNUSED, ids=[word for word, _ in UNUSED])
def test_a_word_that_is_ruled_out_is_not_used(word: str, but: str) -> None:
    asked = re.compile(rf"\b{word.removesuffix('y')}(?:s|y|ies|ed|ing)?\b", re.IGNORECASE)
    assert [where for where, text in told() if asked.search(text)] == [], f"say {but}"
