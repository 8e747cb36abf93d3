"""The papers keep up with the code: links lead somewhere, each dependency is explained and pinned."""

from __future__ import annotations

import ast
import configparser
import functools
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import smr_notebook
from smr_notebook import formats

ROOT = Path(__file__).parents[2]
PACKAGE = Path(smr_notebook.__file__).parent
PAPERS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "smr_notebook").rglob("*.md"), *(ROOT / "tests").rglob("*.md")]
)


def dependencies() -> list[str]:
    """Return the names of all direct dependencies, of the package and of its extras."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lists = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    return [re.split(r"[><=;\[ ]", line)[0] for text in lists for line in text.split("\n") if line]


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_link_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").rglob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_shows_no_path_of_the_machine_that_ran_it(path: Path) -> None:
    """What a reader sees of a notebook is what they would see: no virtual environment, no checkout."""
    words = re.split(r"[\s\"]+", path.read_text(encoding="utf-8"))
    assert [word for word in words if re.search(r"/site-packages/|/smr_notebook/\w+\.py", word)] == []


def held_by() -> list[tuple[str, str]]:
    """Return the rows of `coming-from.md` that say what users of a system had, each with what is said to hold it."""
    lines = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8").splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    return [(row[0], row[-1]) for row in cells if len(row) == 3 and row[-1] != "held by"]


def quoted() -> list[tuple[str, list[str]]]:
    """Return what `CONTRIBUTING.md` shows as right: the file that it names, and the lines, without their indent."""
    blocks = re.findall(r"^ *```python\n(.*?)^ *```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [[line.strip() for line in block.splitlines()] for block in blocks]
    return [(first.removeprefix("# "), rest) for first, *rest in lines if re.fullmatch(r"# [\w/]+\.py", first)]


@pytest.mark.parametrize(("path", "lines"), quoted(), ids=[path for path, _ in quoted()])
def test_what_the_style_guide_shows_as_right_stands_in_the_code(path: str, lines: list[str]) -> None:
    source = [line.strip() for line in (ROOT / path).read_text(encoding="utf-8").splitlines()]
    assert any(source[start : start + len(lines)] == lines for start in range(len(source)))


def cells_of(path: Path, first: str) -> list[str]:
    """Return the cells of the first row of a page whose first cell begins so."""
    rows = [line.strip("|").split("|") for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return [cell.strip() for cell in next(row for row in rows if row[0].strip().startswith(first))]


@pytest.mark.parametrize("workload", ["W1", "W2", "W3", "W4", "W7"])
def test_the_readme_has_the_numbers_of_the_benchmark(workload: str) -> None:
    """Whoever measures anew writes both."""
    page = ROOT / "docs" / "performance.md"
    lines = page.read_text(encoding="utf-8").splitlines()
    head, _, *rows = lines[lines.index(next(line for line in lines if line.startswith("| | product | product, columns"))) :]
    measured = next(row for row in rows if row.startswith(f"| {workload} |"))
    by_name = dict(zip(*([cell.strip() for cell in row.split("|")] for row in (head, measured)), strict=True))
    told = [by_name["product"].split()[0], by_name["Ray"], by_name["Spark"], by_name["Dask processes"]]
    assert cells_of(ROOT / "README.md", f"{workload}: ")[1:] == told


@functools.cache
def names_of_tests() -> frozenset[str]:
    """Return the names of all files with tests, and of all tests."""
    files = list((ROOT / "tests").rglob("test_*.py"))
    tests = (re.findall(r"^ *(?:async )?def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE) for file in files)
    return frozenset(file.name for file in files).union(*tests)


@pytest.mark.parametrize(("row", "said"), held_by(), ids=[str(number) for number in range(len(held_by()))])
def test_what_a_user_of_another_system_had_is_held_by_tests_that_exist(row: str, said: str) -> None:
    """A file or folder by its path, or by its name alone; a test by its name; a notebook, which is a test, by its path."""
    named = re.findall(r"`((?:tests/|notebooks/|test_)[^`]*)`", said)
    assert named, f"nothing is said to hold {row!r}"
    assert [name for name in named if name not in names_of_tests() and not ("/" in name and (ROOT / name).exists())] == []


def paper(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted({*formats.NAMES, *formats.__all__} - {formats.InputFormat.__name__}))
def test_a_format_is_in_its_paper(name: str) -> None:
    row = re.search(rf"^\|.*(`{name}`|smr\.formats\.{name}\()", paper("formats.md"), re.MULTILINE)
    assert row, f"The table of docs/formats.md has no {name}: say there what a record of it is."


@pytest.mark.parametrize("folder", ["backends", "control", "dataflow", "dataflow/formats"])
def test_a_room_is_on_the_map(folder: str) -> None:
    """Each module and folder is named in `architecture.md`, which says what it is for."""
    rooms = {path.stem for path in (PACKAGE / folder).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    missing = rooms - {"__init__"} - set(re.findall(r"\w+", paper("architecture.md")))
    assert not missing, f"docs/architecture.md does not say what is in smr_notebook/{folder}: {', '.join(sorted(missing))}."


def imported() -> set[str]:
    """Return the libraries that the package imports, by the names of their modules."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    since_3_14 = {"compression"}
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - since_3_14 - {"smr_notebook"}


COME_ALONG = {"botocore": "boto3", "urllib3": "boto3", "jupyter_client": "ipykernel", "traitlets": "ipython", "dask": "distributed"}
"""Modules of what a dependency cannot be without."""


def test_what_is_imported_is_a_dependency() -> None:
    """Of the package, or of one of its extras."""
    provided = packages_distributions()
    told = {name: {COME_ALONG.get(name, ""), *(dist.lower() for dist in provided.get(name, [name]))} for name in imported()}
    missing = sorted(name for name, dists in told.items() if not dists & {dependency.lower() for dependency in dependencies()})
    assert not missing, f"setup.cfg declares nothing that brings {', '.join(missing)}: name it in an extra, and in docs/dependencies.md."


def test_the_map_of_the_tests_says_of_each_folder_what_it_holds_and_what_it_guards() -> None:
    rows = re.findall(r"^\| (`[a-z]+/`(?:, `[a-z]+/`)*) \|", (ROOT / "tests" / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"[a-z]+", row)]
    folders = [path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert sorted(named) == sorted(2 * folders)


@pytest.mark.parametrize("name", dependencies())
def test_a_dependency_says_what_it_is_for(name: str) -> None:
    rows = [
        line.split("|")[1] for line in (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")
    ]
    assert any(name in re.split(r", | ", row) for row in rows)


@pytest.mark.parametrize("name", dependencies())
def test_a_dependency_is_pinned(name: str) -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower()
    assert re.search(rf"^{re.escape(name.lower())}==", pins, re.MULTILINE)


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-browser.txt"])
def test_a_pin_names_a_version_and_no_place(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []
