"""Installed modules that travel by value: what workers do not have, they need not have."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import smr_notebook as smr
from smr_notebook.dataflow.code import capture
from smr_notebook.dataflow.including import included_modules
from smr_notebook.dataflow.pair_programs import program_of_pairs
from smr_notebook.errors import PlanError, UnpicklableError
from smr_notebook.model import UNSORTED

LOADED = """
import sys
from smr_notebook.dataflow.code import load_program
program, _ = load_program(sys.stdin.buffer.read())
print([list(function('z')) for name, function in program.named() if name == 'map'])
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package `odd_words` where packages are installed, that this process alone can import."""
    folder = tmp_path / "site-packages"
    package = folder / "odd_words"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from odd_words.deep import double\n", encoding="utf-8")
    (package / "deep.py").write_text("TIMES = 2\n\ndef double(word):\n    return word * TIMES\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "odd_words"]:
        del sys.modules[name]


def load_elsewhere(data: bytes) -> subprocess.CompletedProcess[bytes]:
    """Load captured functions in a process that has no such package, and call `map`."""
    return subprocess.run([sys.executable, "-c", LOADED], input=data, capture_output=True, check=False)


def mapper() -> Callable[[str], list[tuple[str, int]]]:
    import odd_words  # type: ignore[import-not-found]

    def map(record: str) -> list[tuple[str, int]]:
        return [(odd_words.double(record), 1)]

    return map


def test_an_included_module_and_what_is_below_it_travel(installed: Path) -> None:
    program = program_of_pairs(mapper(), None, None, UNSORTED)
    alone = load_elsewhere(capture(program).data)
    assert b"No module named 'odd_words'" in alone.stderr
    bundle = capture(program, include=["odd_words"])
    assert load_elsewhere(bundle.data).stdout.split() == [b"[[('zz',", b"1)]]"]
    assert "odd_words" in bundle.report.modules


def test_what_is_included_is_what_is_written_in_python(installed: Path) -> None:

    assert list(included_modules(["odd_words"])) == ["odd_words", "odd_words.deep"]
    assert list(included_modules(["odd_words.deep"])) == ["odd_words.deep"]


def test_an_included_module_is_imported_above_the_function(installed: Path) -> None:
    def map(record: str) -> list[tuple[str, int]]:
        import odd_words

        return [(odd_words.double(record), 1)]

    program = program_of_pairs(map, None, None, UNSORTED)
    with pytest.raises(UnpicklableError, match="imports your own module 'odd_words' inside its body"):
        capture(program, include=["odd_words"])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("odd_wrods", "there is no module 'odd_wrods' here"),
        ("jso", r"there is no module 'jso' here .*\. Did you mean 'json'\?"),
        ("zlib", "'zlib' is not written in Python, so that it cannot travel. Install it on the workers."),
        ("smr_notebook.job.handle", "on every worker already"),
    ],
)
def test_what_cannot_be_included_is_refused(name: str, told: str) -> None:
    with pytest.raises(PlanError, match=told):
        included_modules([name])


def test_a_real_job_has_what_is_included(installed: Path, workspace: Path) -> None:
    """The local workers have the notebook's folders of modules, but not those that were added to it later."""
    session = smr.Session(settings={"include": "odd_words"})
    try:
        frame = session.map_reduce(mapper(), None, ["a", "b"], wait=True)
    finally:
        session.close()
    assert frame.key.tolist() == ["aa", "bb"]
