"""The papers keep up with the code: links lead somewhere, each dependency is explained and pinned."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
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
    assert re.findall(r"[^\s\"]*(?:/site-packages/|/smr_notebook/\w+\.py)[^\s\"]*", path.read_text(encoding="utf-8")) == []


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
