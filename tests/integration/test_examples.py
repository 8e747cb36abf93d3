"""Examples of `docs/stages.md` and `docs/executor.md` run as they stand there, over data of this test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import smr_notebook as smr

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def run(block: str, names: dict[str, Any]) -> dict[str, Any]:
    exec(compile(block, "<example>", "exec"), names)  # noqa: S102 - it is our own page
    return names


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[smr.Session]:
    """A session whose service stays warm from example to example."""
    session = smr.Session(settings={"workspace": tmp_path_factory.mktemp("examples"), "workers": 2})
    yield session
    session.close()


@pytest.fixture(autouse=True)
def folder(own: smr.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that an example runs in, where that session is in use."""
    smr.use(own)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_jobs_over_jobs(folder: Path) -> None:
    (folder / "books").mkdir()
    (folder / "books" / "one.txt").write_text("to be or not to be\n")
    given = {"smr": smr, "words": lambda line: [(word, 1) for word in line.split()], "by_length": lambda row: [(len(row[0]), row[1])]}
    names = run(blocks("stages.md", "python")[0], {**given, "__name__": "__main__"})
    assert names["longest"].result().to_dict("list") == {"key": [2, 3], "most": [5, 1]}


def test_a_join_of_two_inputs(folder: Path) -> None:
    (folder / "users.csv").write_text("id,name\n1,ann\n2,bob\n")
    (folder / "orders.jsonl").write_text('{"user": "1", "amount": 3}\n{"user": "1", "amount": 4}\n')
    block = blocks("stages.md", "python")[1]
    last = block[block.index("smr.map_reduce") :]
    names = run(block.replace(last, f"joined = {last}"), {"smr": smr, "__name__": "__main__"})
    assert names["joined"].result()["amount"].tolist() == [3, 4]


def test_an_executor_and_its_calls(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = blocks("executor.md", "python")
    given = {"simulate": lambda seed: seed * 10, "seeds": [1, 2, 3]}
    run(first.replace("smr.Executor()", 'smr.Executor(name="sweep")'), {**given, "__name__": "__main__"})
    assert capsys.readouterr().out == "256 [10, 20, 30] 60\n"
    run(second, {"smr": smr})
