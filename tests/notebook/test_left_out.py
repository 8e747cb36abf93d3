"""`%%smr --on-error` in a real shell, over the real service."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import smr_notebook as smr
from smr_notebook.errors import TooManyBadError
from smr_notebook.notebook.extension import register_magics

CELL = """%%smr numbers {options}
def map(number):
    yield number % 2, 100 // (number - 3)
def reduce(key, values):
    return sum(values)
"""


@pytest.fixture
def session(shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[smr.Session]:
    monkeypatch.setenv("SMR_DISPLAY", "static")
    session = smr.Session(settings={"workspace": str(tmp_path), "workers": 1})
    register_magics(shell, lambda: session)
    shell.user_ns["numbers"] = list(range(10))
    yield session
    session.close()


def test_a_cell_leaves_out_what_fails_and_says_so(shell: Any, session: smr.Session, shown: list[dict[str, Any]]) -> None:
    with pytest.warns(smr.LeftOutWarning, match="leaves out 1 of 10 records; job.bad shows them. The first: ZeroDivisionError"):
        done = shell.run_cell(CELL.format(options="--on-error collect --into df"))
    assert done.success
    assert shell.user_ns["df"]["value"].tolist() == [
        sum(100 // (n - 3) for n in range(0, 10, 2)),
        sum(100 // (n - 3) for n in (1, 5, 7, 9)),
    ]
    assert "map     9 records (1 left out) → 9 pairs" in shown[-1]["data"]["text/plain"]
    (bad,) = session.attach().bad.itertuples()
    assert (bad.record, bad.function) == ("3", "map")
    assert "line 3: yield number % 2, 100 // (number - 3)" in str(bad.line)


def test_a_cell_that_is_run_again_warns_again(shell: Any, session: smr.Session, shown: list[dict[str, Any]]) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")  # as in a kernel: once for each line of code
        for _ in range(2):
            shell.run_cell(CELL.format(options="--on-error skip --into df"))
    assert [(warning.category, warning.filename) for warning in told] == [(smr.LeftOutWarning, "%%smr")] * 2


def test_a_cell_that_leaves_out_too_much_fails_by_name(shell: Any, session: smr.Session, shown: list[dict[str, Any]]) -> None:
    done = shell.run_cell(CELL.format(options="--on-error skip --max-bad 0"))
    assert isinstance(done.error_in_exec, TooManyBadError)
    assert session.attach().status().state == "failed"
    told = repr(session.attach().errors())
    assert "no task has failed; 1 left out: job.bad shows them" in told
    assert "TooManyBadError: Job " in told
