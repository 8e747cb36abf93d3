"""The notebooks of the repository: each one is a test, and some must fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from smr_notebook import __main__ as commands

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NEGATIVE = sorted((ROOT / "notebooks" / "negative").glob("*.ipynb"))


def pytest_on(env: dict[str, str], options: list[str], notebooks: list[Path]) -> subprocess.CompletedProcess[str]:
    """Run pytest in a process of its own, without the settings of this repository."""
    settings = ["-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(notebooks[0].parent)]
    command = [sys.executable, "-m", "pytest", *settings, *options, *map(str, notebooks)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def test_the_notebooks_give_what_they_were_saved_with(engine: dict[str, str]) -> None:
    sanitize = ROOT / "smr_notebook" / "notebook" / "nbval_sanitize.cfg"
    done = pytest_on(engine, ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", str(sanitize)], NOTEBOOKS)
    assert done.returncode == 0, done.stdout


def test_a_notebook_with_a_mistake_fails(engine: dict[str, str]) -> None:
    """Here with nbmake; `make test-negative` asks nbval too, and at which cell."""
    done = pytest_on(engine, ["--nbmake"], NEGATIVE)
    assert f"{len(NEGATIVE)} failed" in done.stdout, done.stdout


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_saved_notebook_holds_no_trace_of_a_widget(notebook: Path) -> None:
    book = nbformat.read(notebook, 4)  # type: ignore[no-untyped-call]
    nbformat.validate(book)
    assert "widgets" not in book.metadata
    assert "application/vnd.jupyter" not in notebook.read_text(encoding="utf-8")
    assert all(cell.outputs for cell in book.cells if cell.cell_type == "code" and "raises-exception" in cell.metadata.get("tags", []))


def test_the_sanitize_file_is_found_by_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    commands.main(["nbval-sanitize"])
    text = Path(capsys.readouterr().out.strip()).read_text(encoding="utf-8")
    assert text.count("\nregex: ") == text.count("\nreplace: ") == 3
