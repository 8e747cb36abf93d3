"""`docs/tutorial.md`: its cells run in its order, in a kernel that is restarted where it says so, and show what stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from configparser import RawConfigParser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import smr_notebook

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESTART = "<!-- the kernel is restarted -->"
HOME = "/home/you/smr-tutorial"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
ERROR = re.compile(r"^\w*Error\b", re.MULTILINE)
IDENTIFIER = re.compile(r"\b[0-9a-f]{8}\b")
LEFT_OUT = "…\n"


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of the page, and what the page says that it shows; `None` where it does not say."""

    source: str
    shows: str | None


def cells(text: str) -> Iterator[Cell]:
    """Yield the cells of a part of the page."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```\n", text, re.MULTILINE | re.DOTALL)
    for (language, source), (behind, shows) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if language in {"ipython", "python"}:
            yield Cell(source.rstrip("\n"), shows.rstrip("\n") if behind == "text" else None)


def rules() -> Sequence[tuple[str, str]]:
    """Return what a notebook in CI is compared by: patterns of what differs between runs, and what stands for it."""
    file = RawConfigParser()
    file.read(Path(smr_notebook.__file__).parent / "notebook" / "nbval_sanitize.cfg", encoding="utf-8")
    return [(file[section]["regex"], file[section]["replace"]) for section in file.sections()]


def stable(text: str) -> str:
    for pattern, replacement in rules():
        text = re.sub(pattern, replacement, text)
    return "\n".join(line.rstrip() for line in IDENTIFIER.sub("ID", text).splitlines())


def shown(cell: Any) -> str:
    """Return what a cell of a notebook that was run shows, as text."""
    return "\n".join(text_of(output).strip("\n") for output in cell.outputs)


def text_of(output: Any) -> str:
    """Return an output as text: what was printed, an error as a person sees it, or a value."""
    if output.output_type == "stream":
        return str(output.text)
    return COLOUR.sub("", "\n".join(output.traceback)) if output.output_type == "error" else str(output.data["text/plain"])


def run(page: Sequence[Cell], folder: Path, environment: dict[str, str]) -> list[str]:
    """Run cells in one kernel, and return what each shows; a cell that raises an error of which the page does not tell ends it."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.source) for cell in page])  # type: ignore[no-untyped-call]
    for cell, written in zip(book.cells, page, strict=True):
        if written.shows and ERROR.search(written.shows):
            cell.metadata["tags"] = ["raises-exception"]
    NotebookClient(book, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute(env=environment)
    return [shown(cell).replace(str(folder.resolve()), HOME) for cell in book.cells]


@pytest.fixture(scope="module")
def done(engine: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Cell, str]]:
    """All cells of the page, each with what it showed."""
    folder = tmp_path_factory.mktemp("tutorial")
    parts = [list(cells(part)) for part in PAGE.split(RESTART)]
    return [pair for part in parts for pair in zip(part, run(part, folder, engine), strict=True)]


def test_the_page_has_a_kernel_that_is_restarted() -> None:
    assert PAGE.count(RESTART) == 1


@pytest.mark.parametrize("number", [number for number, cell in enumerate(cells(PAGE)) if cell.shows is not None])
def test_a_cell_of_the_tutorial_shows_what_the_page_says(number: int, done: list[tuple[Cell, str]]) -> None:
    cell, showed = done[number]
    assert cell.shows is not None
    hidden, _, rest = cell.shows.rpartition(LEFT_OUT)  # above which a page may leave out what a traceback shows
    assert hidden == ""
    assert stable(rest) == stable(showed)[-len(stable(rest)) :] if LEFT_OUT in cell.shows else stable(rest) == stable(showed)


def test_the_cell_and_the_calls_of_the_readme_run(engine: dict[str, str], access_log: Path, tmp_path: Path) -> None:
    """Over the log of a web server that the tests have; what stands there for AWS is no `python` block."""
    (tmp_path / "access.log").write_bytes(access_log.read_bytes())
    page = list(cells(README))
    loaded = Cell("%load_ext smr_notebook", None)
    for cell, showed in zip(page, run([loaded, *page], tmp_path, engine)[1:], strict=True):
        assert cell.shows is None or stable(cell.shows) == stable(showed)
