"""Pictures in a notebook: by a line magic, and again and again under nbval, which compares what can be compared."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import smr_notebook
from smr_notebook.notebook.subcommands import LineMagic
from smr_notebook.pictures.skew import Share, Skew
from smr_notebook.pictures.timed_attempts import Fate, TimedAttempt
from smr_notebook.pictures.timeline import Timeline

SANITIZE = Path(smr_notebook.__file__).parent / "notebook" / "nbval_sanitize.cfg"
CELLS = (
    "import smr_notebook as smr\n%load_ext smr_notebook",
    "job = smr.map_reduce(lambda number: [(number % 3, number)], sum, range(50), reducers=3).wait()",
    "%smr timeline",
    "job.skew()",
    "smr.plan(lambda number: [(number % 3, number)], sum, range(50)).split_sizes()",
    "print(job.timeline())",
)

pytestmark = [
    pytest.mark.filterwarnings("default::DeprecationWarning"),  # of jupyter_client and zmq
    pytest.mark.filterwarnings("default::ResourceWarning"),
]


class PicturedJob:
    """Has the face of a job that is only looked at."""

    def timeline(self) -> Timeline:
        return Timeline("3f9a0c21", "done", 100.0, 102.0, (TimedAttempt("map", 0, 1, Fate.DONE, 100.0, 100.5, 101.5),))

    def skew(self) -> Skew:
        return Skew("3f9a0c21", "partition", (Share(0, 3), Share(1, 30)), read=1, maps=1)


class PicturedSession:
    """Has the face of a session with one job, and writes down which one it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    def attach(self, job: str | None) -> PicturedJob:
        self.asked.append(job)
        return PicturedJob()


def test_a_line_shows_the_pictures_of_a_job(shell: Any) -> None:
    session = PicturedSession()
    unasked: Any = None  # a picture needs no screen, no cell and no settings
    magic: Any = LineMagic(shell, lambda: session, unasked, mode=unasked, run_cell=unasked, given=unasked)  # type: ignore[arg-type, return-value]
    assert magic.run("timeline 3f9a") == PicturedJob().timeline()
    assert magic.run("skew") == PicturedJob().skew()
    assert session.asked == ["3f9a", None]
    assert re.search(r"%smr timeline \[ID\] .*\n.*%smr skew \[ID\] ", repr(magic.run("help")))


def test_a_shell_displays_a_picture_as_an_image_and_as_text(shell: Any) -> None:
    data, _ = shell.display_formatter.format(PicturedJob().timeline())
    assert set(data) == {"text/html", "text/plain"}
    assert 'src="data:image/svg+xml;base64,' in data["text/html"]
    assert "map 0" in data["text/plain"]


def test_a_notebook_with_pictures_passes_nbval_twice(engine: dict[str, str], tmp_path: Path) -> None:
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])  # type: ignore[no-untyped-call]
    NotebookClient(book, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute(env=engine)
    shown = [output for cell in book.cells for output in cell.outputs]
    assert len(shown) == 4
    assert sum("data:image/svg+xml" in output.get("data", {}).get("text/html", "") for output in shown) == 3
    path = tmp_path / "pictures.ipynb"
    nbformat.write(book, path)  # type: ignore[no-untyped-call]
    nbval = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env"]
    for _ in range(2):
        ran = subprocess.run(
            [*nbval, "--nbval-sanitize-with", str(SANITIZE), str(path)],
            cwd=tmp_path,
            env=engine,
            capture_output=True,
            text=True,
            check=False,
        )
        assert f"{len(CELLS)} passed" in ran.stdout, ran.stdout
