"""`%smr deploy`, `%smr doctor`, `%smr down` without an AWS, and how a cost is shown. With one: `tests/aws/test_deploy_cells.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from smr_notebook.errors import ConfigError
from smr_notebook.model import JobState
from smr_notebook.notebook.deployment import _PAINTERS, _Lines
from smr_notebook.notebook.extension import load
from smr_notebook.notebook.mode import Display
from smr_notebook.standing import Progress
from smr_notebook.values.usage import Cost
from smr_notebook.views.render import View, html, text


def run(shell: Any, line: str) -> Any:
    """Return the value of a cell; raise what it raised."""
    done = shell.run_cell(line)
    error = done.error_before_exec or done.error_in_exec
    if error is not None:
        raise error
    return done.result


@pytest.fixture(autouse=True)
def loaded(shell: Any) -> None:
    load(shell)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("%smr depoly", "Did you mean 'deploy'"),
        ("%smr deploy --imput logs", r"%smr deploy: there is no option '--imput'\. Did you mean '--input'\?"),
        ("%smr deploy --memory much", "%smr deploy: argument --memory: invalid int value: 'much'"),
        ("%smr deploy --architecture arm65", r"'arm65' is not known\. Did you mean 'arm64'\?"),
        ("%smr doctor smr", "there is no option 'smr'"),
        ("%smr doctor --stac smr", "Did you mean '--stack'"),
    ],
)
def test_a_mistyped_word_is_an_error_of_this_package(shell: Any, line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(shell, line)


def test_nothing_is_removed_without_being_meant(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"deletes the stack logs with all jobs and results.*: %smr down --stack logs --yes"):
        run(shell, "%smr down --stack logs")
    monkeypatch.setenv("SMR_STACK", "another")
    with pytest.raises(ConfigError, match="deletes the stack another"):
        run(shell, "%smr down")


@pytest.mark.parametrize(
    ("line", "option"), [("%smr deploy --help", "--input"), ("%smr doctor -h", "--stack"), ("%smr down --help", "--yes")]
)
def test_help_lists_the_options_of_a_command(shell: Any, line: str, option: str) -> None:
    told = repr(run(shell, line))
    assert told.startswith(f"usage: {line.rpartition(' ')[0]} [-h]")
    assert option in told


def test_the_commands_stand_in_the_help(shell: Any) -> None:
    told = repr(run(shell, "%smr help"))
    assert {name for name in ("deploy", "doctor", "down") if f"%smr {name}" not in told} == set()


def test_lines_grow_in_one_output_where_a_notebook_is_watched(shell: Any, shown: list[dict[str, Any]]) -> None:
    lines = _Lines(_PAINTERS[Display.PANEL])
    lines.tell("one")
    assert (shown, lines.shown) == ([], False), "a single line is an answer"
    lines.tell("two")
    lines.tell("three")
    assert [(output["data"]["text/plain"], output.get("update", False)) for output in shown] == [
        ("one\ntwo", False),
        ("one\ntwo\nthree", True),
    ]
    assert len({output["transient"]["display_id"] for output in shown}) == 1
    assert lines.shown


def test_lines_follow_each_other_in_a_terminal(shell: Any, shown: list[dict[str, Any]]) -> None:
    lines = _Lines(_PAINTERS[Display.TEXT])
    for line in ("one", "two", "three"):
        lines.tell(line)
    assert [output["data"]["text/plain"] for output in shown] == ["one\ntwo", "three"]


@pytest.mark.parametrize("mode", [Display.STATIC, Display.QUIET])
def test_lines_wait_where_nobody_watches(shell: Any, shown: list[dict[str, Any]], mode: Display) -> None:
    lines = _Lines(_PAINTERS.get(mode))
    for line in ("one", "two"):
        lines.tell(line)
    assert (shown, lines.shown, str(lines)) == ([], False, "one\ntwo")


def test_what_a_job_has_cost_is_shown_where_it_costs(moment: Callable[..., Progress]) -> None:
    free = moment(JobState.DONE)
    paid = replace(free, cost=Cost(0.001, 0.0002, 0.00003))
    for render in (text, html):
        assert "$0.0012" in render(View("3f9a", "", paid, 1_004.0))
        assert "$" not in render(View("3f9a", "", free, 1_004.0))
