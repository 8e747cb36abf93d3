"""`docs/extending.md`, followed to the letter: a store and a format from outside, and a format in a copy of the package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import smr_notebook as smr
from smr_notebook.backends.local.platform import LocalOptions, open_local
from smr_notebook.errors import ConfigError

TEXT = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
OWN_FORMAT, OWN_STORE, _, FORMAT_HERE = re.findall(r"^## An (?:input format|object store).*?(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
NAMED = re.compile(r"`([\w/]+\.py)`[^`]*\n\n```(python|diff)\n(.*?)```", re.DOTALL)
"""A block that is a file, or changes one: its name is the last that stands before."""


def nameless(section: str) -> str:
    """Return the block of a section that belongs to no file: what a user writes in a notebook."""
    (block,) = re.findall(r"```python\n(.*?)```", NAMED.sub("", section), re.DOTALL)
    return str(block)


def write_files(section: str, folder: Path) -> list[Path]:
    """Write the files of a section, and change those that it changes."""
    written = []
    for name, kind, block in NAMED.findall(section):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(changed(path.read_text(encoding="utf-8"), block) if kind == "diff" else block, encoding="utf-8")
        written.append(path)
    return written


def changed(text: str, diff: str) -> str:
    """Return a text with the hunks of a diff put in, whose context must stand there exactly once."""
    for hunk in diff.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if not line.startswith("+"))
        assert text.count(before) == 1, f"docs/extending.md changes what does not stand in the source (once):\n{before}"
        text = text.replace(before, "".join(line[1:] for line in lines if not line.startswith("-")))
    return text


def python(folder: Path, *arguments: str) -> None:
    """Run Python in a folder, whose modules come before all others."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)]), "SMR_WORKSPACE": str(folder / "ws")}
    command = [sys.executable, "-W", "ignore", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-4_000:]


@pytest.fixture
def session(workspace: Path) -> Iterator[smr.Session]:
    session = smr.Session()
    yield session
    session.close()


def test_a_parser_is_a_format(session: smr.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {name: getattr(smr, name) for name in smr.__all__}
    face = {name: getattr(session, name) for name in ("map_reduce", "aggregate")}
    exec(compile(nameless(OWN_FORMAT), "extending.md", "exec"), {"smr": SimpleNamespace(**(names | face)), "__name__": "paper"})  # noqa: S102 - it is ours


def test_a_store_of_ones_own_keeps_the_contract_of_its_port(tmp_path: Path) -> None:
    store, test = write_files(OWN_STORE, tmp_path)
    assert (store.name, test.name) == ("one_file.py", "test_one_file.py")
    python(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", test.name)


def test_a_job_keeps_its_objects_in_a_store_of_ones_own(tmp_path: Path) -> None:
    write_files(OWN_STORE, tmp_path)
    (tmp_path / "notebook.py").write_text(nameless(OWN_STORE), encoding="utf-8")
    python(tmp_path, "notebook.py")


def test_a_store_that_only_the_notebook_can_import_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No job could end, nor even fail: whoever would say so needs the store."""
    write_files(OWN_STORE, tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"workers could not import it: ModuleNotFoundError: No module named 'one_file'.*PYTHONPATH"):
        open_local(LocalOptions(str(tmp_path / "ws"), objects="one_file:OneFileStore"))


def test_a_format_is_a_reader_and_three_places(tmp_path: Path) -> None:
    shutil.copytree(Path(smr.__file__).parent, tmp_path / "smr_notebook", ignore=shutil.ignore_patterns("__pycache__"))
    *_, test = write_files(FORMAT_HERE, tmp_path)
    python(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test))
    (tmp_path / "notebook.py").write_text(nameless(FORMAT_HERE), encoding="utf-8")
    python(tmp_path, "notebook.py")
