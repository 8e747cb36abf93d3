"""A notebook with a preview and a plan: its saved outputs are those of each further run, as nbval compares them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import smr_notebook

SANITIZE = Path(smr_notebook.__file__).parent / "notebook" / "nbval_sanitize.cfg"

SETUP = """
%load_ext smr_notebook
from pathlib import Path
Path("logs").mkdir(exist_ok=True)
for number in range(3):
    Path(f"logs/{number}.txt").write_text("".join(f"{line % 7} word{line}\\n" for line in range(20_000)))
""".strip()

MAP = """
def map(line):
    yield line.split()[0], 1
""".strip()

REDUCE = """
def reduce(key, values):
    return sum(values)
""".strip()

FAILING = "%%smr logs --preview\ndef map(line):\n    yield 1 // (len(line) - 8), 1"

CELLS = [
    SETUP,
    f"%%smr logs --preview\n{MAP}\nreduce = sum",
    f"%%smr logs --preview 500 --combine --name 'first words'\n{MAP}\n{REDUCE}",
    f"%%smr range(1000) --preview\n{MAP.replace('line.split()[0]', 'line % 3')}",
    f"%%smr logs -n --combine --split-size 50KB\n{MAP}\n{REDUCE}",
    f"%%smr logs -n\n{MAP}",
    "import smr_notebook as smr\nsmr.preview(lambda line: [(len(line), 1)], smr.count(), 'logs').result",
]


def executed(cells: list[str], folder: Path, engine: dict[str, str], *, failing: bool = False) -> nbformat.NotebookNode:
    """Return a notebook that was run in a folder."""
    book: nbformat.NotebookNode = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])  # type: ignore[no-untyped-call]
    client = NotebookClient(book, kernel_name="python3", resources={"metadata": {"path": str(folder)}}, allow_errors=failing)
    client.execute(env=engine)
    return book


def shown(cell: nbformat.NotebookNode) -> dict[str, str]:
    """Return what the last output of a cell shows."""
    data: dict[str, str] = cell.outputs[-1].data
    return data


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, engine: dict[str, str]) -> Path:
    """A notebook that was run and saved."""
    path = tmp_path_factory.mktemp("preview") / "preview.ipynb"
    nbformat.write(executed(CELLS, path.parent, engine), path)  # type: ignore[no-untyped-call]
    return path


def test_further_runs_of_a_saved_notebook_show_the_same_twice(saved: Path, engine: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env"]
    for _ in range(2):
        run = subprocess.run(
            [*command, "--nbval-sanitize-with", str(SANITIZE), str(saved)],
            cwd=saved.parent, env=engine, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stdout[-4_000:]
        assert f"{len(CELLS)} passed" in run.stdout


def test_a_preview_is_the_value_of_its_cell(saved: Path) -> None:
    book = nbformat.read(saved, 4)  # type: ignore[no-untyped-call]
    first, plan = shown(book.cells[1]), shown(book.cells[4])
    assert first["text/html"].startswith('<div class="smr-preview"')
    assert "first 100 records" in first["text/plain"]
    assert 'class="dataframe"' in first["text/html"]
    assert plan["text/html"].startswith('<div class="smr-plan"')
    assert "✓ map tried on " in plan["text/plain"]
    assert ", and combine keeps its law on what it gave" in plan["text/plain"]
    assert "widgets" not in book.metadata


def test_a_failing_map_is_shown_by_the_line_of_the_cell_and_the_record(tmp_path: Path, engine: dict[str, str]) -> None:
    [_, cell] = executed([SETUP, FAILING], tmp_path, engine, failing=True).cells
    told = "\n".join(cell.outputs[-1].traceback)
    assert "ZeroDivisionError in map task 0 (1 attempt): integer division or modulo by zero" in told
    assert "Cell In[2], line 3, in map\n" in told
    assert "---->   3     yield 1 // (len(line) - 8), 1\n" in told
    assert "record: '3 word10'" in told
    assert "smr_notebook/" not in told.replace(str(tmp_path), ""), "no frame of this package"
    assert "%smr errors" not in told, "there is no job to ask"
