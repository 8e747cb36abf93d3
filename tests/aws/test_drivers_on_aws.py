"""`smr upload`, `smr run`, `smr attach` and `smr uploads remove`, as a shell says them, on S3, DynamoDB and Lambda."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import smr_notebook as smr
from smr_notebook.cli import main
from smr_notebook.testing.lambdas.service import Service

pytestmark = pytest.mark.filterwarnings("ignore:.*tasks run .* at a time")  # of a small account, which these are

TASK = """
from stop_words import STOP
def mapper(doc_id, chunk):
    for word in chunk.split():
        if word not in STOP:
            yield word, doc_id
def reducer(key_values):
    return sorted(set(key_values[1]))
"""


def test_uploaded_code_runs_over_uploaded_data(
    deploy: Callable[..., AbstractContextManager[tuple[smr.Session, Service]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"code/task.py": TASK, "code/stop_words.py": "STOP = {'a'}", "data/one.txt": "a rose\n", "data/sub/two.txt": "rose is a\n"}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    with deploy() as (session, _):

        def smr_says(*words: str) -> str:
            capsys.readouterr()
            assert main([*words, "--platform", "aws", "--stack", session.settings.stack]) == 0
            return capsys.readouterr().out.strip()

        data, code = (smr_says("upload", kind, str(tmp_path / kind)) for kind in ("data", "code"))
        assert smr_says("upload", "data", str(tmp_path / "data")) == data
        output = tmp_path / "index.jsonl"
        assert smr_says("run", "-d", data, "-c", code, "-o", str(output)) == f"{output}: 2 rows"
        wanted = [{"key": "is", "value": ["sub/two.txt"]}, {"key": "rose", "value": ["one.txt", "sub/two.txt"]}]
        assert [json.loads(line) for line in output.read_text().splitlines()] == wanted
        job = smr_says("run", "-d", f"{data}/sub", "-c", code, "--detach")
        assert smr_says("attach", job).split() == ["key", "value", "is", "[sub/two.txt]", "rose", "[sub/two.txt]"]
        assert smr_says("uploads", data).split() == ["7", "one.txt", "10", "sub/two.txt"]
        assert smr_says("uploads", "remove", data) == f"{data} is removed: 2 files, 17 B"
        assert [line.split()[0] for line in smr_says("uploads").splitlines()] == [code]
