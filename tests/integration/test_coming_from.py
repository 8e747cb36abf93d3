"""`docs/coming-from.md`: the example of each system runs as it stands there, in a folder of its own."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import smr_notebook as smr

PAPER = Path(__file__).parents[2] / "docs" / "coming-from.md"


class Block(NamedTuple):
    """A piece of the paper: in which language it is written, and what it says."""

    language: str
    text: str


def blocks(section: str) -> list[Block]:
    return [Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)]


START, *SECTIONS = re.split(r"^## ", PAPER.read_text(encoding="utf-8"), flags=re.MULTILINE)


def heading(section: str) -> str:
    return section.partition("\n")[0]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[smr.Session]:
    """A session whose service stays warm from example to example."""
    session = smr.Session(settings={"workspace": tmp_path_factory.mktemp("examples"), "workers": 2})
    yield session
    session.close()


@pytest.fixture
def folder(own: smr.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that an example runs in, where that session is in use, in Python and in a shell."""
    smr.use(own)
    monkeypatch.setenv("SMR_WORKSPACE", str(own.settings.workspace))
    monkeypatch.setenv("SMR_WORKERS", "2")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(block: Block, names: dict[str, Any]) -> None:
    """Do what a reader does: save a block that begins with a file's name, give commands to a shell, run the others in a notebook."""
    file = re.match(r"# ([\w/]+\.\w+)\n", block.text)
    if file:
        Path(file[1]).parent.mkdir(exist_ok=True)
        Path(file[1]).write_text(block.text, encoding="utf-8")
    elif block.language == "sh":
        for line in block.text.splitlines():
            command, *words = shlex.split(line)
            assert command == "smr"
            variables = {**os.environ, "PYTHONPATH": str(Path(smr.__file__).parents[1])}
            subprocess.run([sys.executable, "-m", "smr_notebook", *words], env=variables, check=True, capture_output=True)
    else:
        assert block.language == "python"
        exec(compile(block.text, "<example>", "exec"), names)  # noqa: S102 - it is our own paper


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("section", SECTIONS, ids=[re.sub(r"\W+", "-", heading(section)) for section in SECTIONS])
def test_the_example_of_a_system_runs(section: str) -> None:
    examples = blocks(section)
    assert examples, "a system has an example"
    assert any(re.search(r"^ *assert ", block.text, re.MULTILINE) for block in examples), "an example says what comes out"
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in [*blocks(START), *examples]:
        run(block, names)
