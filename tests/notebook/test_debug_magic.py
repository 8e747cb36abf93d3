"""`%smr debug` leaves a traceback that `%debug` goes into; `%smr logs` shows what was printed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smr_notebook.config import Settings
from smr_notebook.errors import ConfigError
from smr_notebook.notebook import errors
from smr_notebook.notebook.extension import register_magics
from smr_notebook.sessions.session import Session

FAILING = """%%smr lines --retries 0
def map(line):
    print("looking at", line)
    size = len(line)
    yield line, 1 / (size - 4)
"""


@pytest.fixture
def session(tmp_path: Path, shell: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setenv("SMR_DISPLAY", "static")
    session = Session(settings=Settings(workspace=tmp_path, workers=1))
    errors.install(shell)
    register_magics(shell, lambda: session)
    shell.user_ns["lines"] = ["ok", "oops", "fine!"]
    yield session
    session.close()


def test_debug_leaves_the_users_frame_for_a_post_mortem(shell: Any, session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_cell(FAILING)
    told = capsys.readouterr().out
    assert "debug here: %smr debug" in told
    done = shell.run_cell("%smr debug")
    assert isinstance(done.error_in_exec, ZeroDivisionError)
    trace = shell.InteractiveTB.tb  # where `%debug` begins
    while trace.tb_next is not None:
        trace = trace.tb_next
    assert (trace.tb_frame.f_code.co_name, trace.tb_frame.f_locals["line"], trace.tb_frame.f_locals["size"]) == ("map", "oops", 4)
    shown = capsys.readouterr().out
    assert "yield line, 1 / (size - 4)" in shown
    assert "replaying.py" not in shown, "frames of this package are hidden"


def test_errors_are_shown_as_html_and_text(shell: Any, session: Session) -> None:
    shell.run_cell(FAILING)
    found = shell.run_cell("%smr errors").result
    data, _ = shell.display_formatter.format(found)
    assert "ZeroDivisionError" in data["text/html"]
    assert data["text/plain"].startswith("error 0: 1 task\nZeroDivisionError in map task")


def test_debug_of_what_there_is_not_is_refused(shell: Any, session: Session) -> None:
    shell.run_cell(FAILING)
    assert isinstance(shell.run_cell("%smr debug --error 3").error_in_exec, ConfigError)


def test_logs_are_shown_and_the_panel_says_that_there_are_some(
    shell: Any, session: Session, shown: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    shell.run_cell(FAILING.replace("size - 4", "size"))
    assert '<span class="smr-v">3 lines</span> · job.logs(), %smr logs' in shown[0]["data"]["text/html"]
    assert "looking at oops" in repr(shell.run_cell("%smr logs").result)
    assert repr(shell.run_cell("%smr logs --phase reduce").result).startswith("nothing was written")
    capsys.readouterr()
    assert shell.run_cell("%smr logs --follow").result is None
    assert {line.rpartition("  ")[2] for line in capsys.readouterr().out.splitlines()} == {
        "looking at ok",
        "looking at oops",
        "looking at fine!",
    }
