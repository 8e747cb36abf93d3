"""The notebooks of the repository: each one is a test (`make test-notebooks` compares their outputs), and some must fail."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from smr_notebook import cli as commands

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NEGATIVE = sorted((ROOT / "notebooks" / "negative").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NEGATIVE, ids=lambda path: path.stem)
def test_a_notebook_with_a_mistake_stops_at_it(notebook: Path, engine: dict[str, str]) -> None:
    """Under nbclient, which papermill, nbmake and nbconvert run notebooks with; `make test-negative` asks nbval."""
    book = nbformat.read(notebook, 4)  # type: ignore[no-untyped-call]
    client = NotebookClient(book, kernel_name="python3", resources={"metadata": {"path": str(notebook.parent)}})
    with pytest.raises(CellExecutionError, match=r"%%smr|ZeroDivisionError in map"):
        client.execute(env=engine)


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
    assert text.count("\nregex: ") == text.count("\nreplace: ") == 5
