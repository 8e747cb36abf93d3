"""Notebooks in the CI of users: each step of the workflow in `docs/ci.md`, as it stands there, over a good notebook and over bad ones."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

from smr_notebook.cli import main

ROOT = Path(__file__).parents[2]
NEGATIVE = sorted((ROOT / "notebooks" / "negative").glob("*.ipynb"))
CELLS = [
    "%load_ext smr_notebook\nimport smr_notebook as smr\ndata = range(40)",
    "%%smr data --into df\ndef map(x):\n    yield x % 7, x\ndef reduce(key, values):\n    return sum(values)",
    "df",
    "%%smr data --detach\ndef map(x):\n    yield x % 2, x\nreduce = sum",
    "print(_.result())",
    "%smr cost",
    "%smr cancel",
    "%smr errors",
    "%smr clean --older 1d",
]


def workflow() -> list[dict[str, Any]]:
    """Return the steps of the workflow."""
    found = re.search(r"```yaml\n(.*?)```", (ROOT / "docs" / "ci.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    steps: list[dict[str, Any]] = yaml.safe_load(found[1])["jobs"]["notebooks"]["steps"]
    return steps


STEPS = {step["name"]: step["run"] for step in workflow() if "run" in step and step["name"] != "install"}


@pytest.fixture(scope="module")
def environment(engine: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment as a user's CI has it: this Python is `python`, and the kernels of the package are there."""
    prefix = tmp_path_factory.mktemp("prefix")
    main(["kernels", "install", "--prefix", str(prefix)])
    python = prefix / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o700)
    path = os.pathsep.join([str(prefix), engine["PATH"]])
    return engine | {"PATH": path, "JUPYTER_PATH": str(prefix / "share" / "jupyter"), "PYTEST_ADDOPTS": "-q -p no:cacheprovider"}


@pytest.fixture(scope="module")
def good(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A notebook that was run and saved."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])  # type: ignore[no-untyped-call]
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    NotebookClient(book, kernel_name="python3").execute(env=environment)
    path = tmp_path_factory.mktemp("good") / "good.ipynb"
    nbformat.write(book, path)  # type: ignore[no-untyped-call]
    return path


def run_step(step: str, notebook: Path, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a step as GitHub does, in a checkout whose only notebook is this one."""
    (folder / "notebooks").mkdir()
    (folder / "notebooks" / notebook.name).write_bytes(notebook.read_bytes())
    shell = ["bash", "-e", "-c", STEPS[step]]
    return subprocess.run(shell, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def test_the_workflow_installs_what_it_runs() -> None:
    install = next(step["run"] for step in workflow() if step.get("name") == "install")
    assert {"pytest", "nbval", "nbmake", "papermill"} <= set(install.split())


@pytest.mark.parametrize("step", STEPS)
def test_a_good_notebook_passes(step: str, good: Path, environment: dict[str, str], tmp_path: Path) -> None:
    ran = run_step(step, good, environment, tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("step", [step for step in STEPS if "kernel" not in step])
@pytest.mark.parametrize("notebook", NEGATIVE, ids=lambda path: path.stem)
def test_a_notebook_with_a_mistake_fails(step: str, notebook: Path, environment: dict[str, str], tmp_path: Path) -> None:
    ran = run_step(step, notebook, environment, tmp_path)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert re.search(r"there is no option '--reducer'|ZeroDivisionError in map", ran.stdout + ran.stderr)
