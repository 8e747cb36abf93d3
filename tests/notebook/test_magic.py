"""`%%smr` and `%smr` in a real shell, over a session that plays its jobs."""

from __future__ import annotations

import configparser
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

import smr_notebook
from smr_notebook.config import Settings
from smr_notebook.errors import ConfigError, JobCancelled, JobNotFoundError
from smr_notebook.job.handle import PlanWarning
from smr_notebook.model import Estimate, JobState
from smr_notebook.notebook.extension import keep_empty_body, register_magics
from smr_notebook.notebook.subcommands import WORDS, parser_of
from smr_notebook.standing import Progress
from smr_notebook.values.usage import Cost

FRAME = pd.DataFrame({"key": ["a", "b"], "value": [1, 2]})
PLANNED, PREVIEWED = object(), object()
CELL = "%%smr lines {options}\ndef map(line):\n    yield line, 1\ndef reduce(key, values):\n    return sum(values)\n"


class ScriptedSession:
    """Has the face of a session; keeps what was asked for."""

    settings = Settings(Path("nowhere"))

    def __init__(self, job: Any) -> None:
        self.job = job
        self.asked: dict[str, Any] = {}

    def map_reduce(self, map: object, reduce: object, input: object, **options: object) -> Any:
        self.asked = {"map": map, "reduce": reduce, "input": input, **options}
        return self.job

    def plan(self, map: object, reduce: object, input: object, **options: object) -> Any:
        self.asked = {"map": map, "reduce": reduce, "input": input, **options}
        return PLANNED

    def preview(self, map: object, reduce: object, input: object, **options: object) -> Any:
        self.asked = {"map": map, "reduce": reduce, "input": input, **options}
        return PREVIEWED

    def jobs(self, *, everyone: bool = False) -> list[Any]:
        state = self.job.status().state
        return [
            SimpleNamespace(id=f"job{number}", name="", created=float(number), state=state, user=f"u{number}")
            for number in range(3 + everyone)
        ]

    def attach(self, job: str | None = None) -> Any:
        if job is not None and not self.job.id.startswith(job):
            raise JobNotFoundError(f"There is no job {job!r}.")
        return self.job


def sanitized(shown: str) -> str:
    """Return what nbval compares."""
    rules = configparser.RawConfigParser()
    rules.read(Path(smr_notebook.__file__).parent / "notebook" / "nbval_sanitize.cfg")
    for section in rules.sections():
        shown = re.sub(rules[section]["regex"], rules[section]["replace"], shown)
    return shown


@pytest.fixture
def session(shell: Any, scripted: Callable[..., Any], moment: Callable[..., Progress]) -> ScriptedSession:
    found = ScriptedSession(scripted([moment(JobState.MAPPING, 1), moment(JobState.DONE)], frame=FRAME))
    register_magics(shell, lambda: found)  # type: ignore[arg-type, return-value]
    shell.user_ns["lines"] = ["a", "b"]
    return found


def run(shell: Any, cell: str) -> Any:
    """Return the value of a cell; raise what it raised."""
    done = shell.run_cell(cell)
    error = done.error_before_exec or done.error_in_exec
    if error is not None:
        raise error
    return done.result


@pytest.fixture(autouse=True)
def static(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMR_DISPLAY", "static")


def test_the_value_of_the_cell_is_the_frame(shell: Any, session: ScriptedSession, shown: list[dict[str, Any]]) -> None:
    assert run(shell, CELL.format(options="")) is FRAME
    assert "result: 2 rows × 2 columns (key, value)" in shown[0]["data"]["text/plain"]


def test_into_takes_the_frame(shell: Any, session: ScriptedSession, shown: list[dict[str, Any]]) -> None:
    assert run(shell, CELL.format(options="--into df")) is None
    assert shell.user_ns["df"] is FRAME
    assert "df: 2 rows × 2 columns (key, value)" in shown[0]["data"]["text/plain"]


def test_what_the_line_says_is_what_the_session_is_asked(shell: Any, session: ScriptedSession) -> None:
    options = "-r 3 -c -f lines -s 1KB --retries 0 --max-cost 1.5 --sort keys --name x -q --on-error skip --max-bad 0.1%"
    run(shell, CELL.format(options=f"{options} --exchange sqs"))
    asked = session.asked
    assert (asked.pop("map")("z").__next__(), asked.pop("reduce")("z", [1, 2])) == (("z", 1), 3)
    assert asked == {
        "input": ["a", "b"], "combine": True, "format": "lines", "reducers": 3, "split_size": 1000, "name": "x", "retries": 0,
        "max_cost": 1.5, "sort": "keys", "on_error": "skip", "max_bad": 0.001,
        "exchange": "sqs",
    }  # fmt: skip


def test_quiet_shows_only_the_value(shell: Any, session: ScriptedSession, shown: list[dict[str, Any]]) -> None:
    assert run(shell, CELL.format(options="-q")) is FRAME
    assert shown == []


def test_detach_gives_the_job(shell: Any, session: ScriptedSession) -> None:
    assert run(shell, CELL.format(options="--detach")) is session.job


@pytest.mark.parametrize("options", ["--detach -q", "--detach --display text"])
def test_a_detached_job_is_shown_as_the_notebook_says(shell: Any, session: ScriptedSession, options: str) -> None:
    with pytest.raises(ConfigError, match="is shown where it is looked at"):
        run(shell, CELL.format(options=options))


def test_dry_run_gives_the_plan(shell: Any, session: ScriptedSession) -> None:
    assert run(shell, CELL.format(options="-n --into df")) is PLANNED
    assert "df" not in shell.user_ns


@pytest.mark.parametrize(("words", "records"), [("--preview", 100), ("--preview 7", 7), ("--preview=1_000 -c", 1_000)])
def test_preview_gives_the_preview_of_so_many_records(shell: Any, session: ScriptedSession, words: str, records: int) -> None:
    assert run(shell, CELL.format(options=f"--into df {words}")) is PREVIEWED
    assert (session.asked["records"], session.asked["input"]) == (records, ["a", "b"])
    assert "df" not in shell.user_ns


def test_an_input_behind_preview_is_no_number(shell: Any, session: ScriptedSession) -> None:
    assert run(shell, "%%smr --preview lines\ndef map(line):\n    yield line, 1\n") is PREVIEWED
    assert session.asked["records"] == 100


@pytest.mark.parametrize("cell", ["%%smr --help", "%%smr --help\n", "%%smr lines --help\nnot even Python"])
def test_help_is_a_value(shell: Any, session: ScriptedSession, cell: str) -> None:
    assert repr(run(shell, cell)).startswith("usage: %%smr INPUT")


def test_a_cell_without_a_body_can_name_functions(shell: Any, session: ScriptedSession) -> None:
    shell.user_ns["f"] = len
    assert run(shell, "%%smr lines --map f --reduce sum") is FRAME
    assert (session.asked["map"], session.asked["reduce"]) == (len, sum)


def test_only_a_lonely_magic_line_gets_a_body() -> None:
    assert keep_empty_body(["%%smr x\n"]) == ["%%smr x\n", "\n"]
    assert keep_empty_body(["%%smrx\n"]) == ["%%smrx\n"]
    assert keep_empty_body(["%%smr x\n", "def map\n"]) == ["%%smr x\n", "def map\n"]


def test_the_body_is_not_expanded(shell: Any, session: ScriptedSession) -> None:
    shell.user_ns["x"] = "filled in"
    run(shell, "%%smr lines -q\ndef map(line):\n    yield '{x} $x', 1\n")
    assert list(session.asked["map"]("")) == [("{x} $x", 1)]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (CELL.format(options="--reducer 3"), "Did you mean '--reducers'"),
        (CELL.format(options="--detach --into df"), "Keep one; .* `%smr attach --into df` has its result later"),
        (CELL.format(options="-n --preview"), "Keep one"),
        (CELL.format(options="--preview 0"), "'0' is less than 1"),
        (CELL.format(options="--previews"), "Did you mean '--preview'"),
        ("%%smr lines\nx = 1\n", "the cell defines no map"),
        ("%%smr\n", "the cell defines no map"),
        ("%%smr nowhere\ndef map(line): pass\n", "neither a variable"),
        ("%smr job", "Did you mean 'jobs'"),
        ("%smr logs/*.gz", r"no subcommand 'logs/\*.gz'. A job over it is a cell that begins with `%%smr logs/\*.gz`"),
        ("%smr attach --info df", "Did you mean '--into'"),
        ("%smr attach a b", "there is no option 'b'"),
    ],
)
def test_a_mistake_is_an_error_of_this_package(shell: Any, session: ScriptedSession, cell: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(shell, cell)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("def map(line):\n    line, 1\n", "map gives no pair: it has no `yield`"),
        ("def map(line):\n    yield line, 1\ndef reduce(key, values):\n    sum(values)\n", "reduce gives no value: it returns nothing"),
        ("def map_setup(): pass\ndef map(line):\n    line, 1\n", "map gives no pair"),
    ],
    ids=["map", "reduce", "with a hook"],
)
def test_a_function_that_gives_nothing_is_a_warning(shell: Any, session: ScriptedSession, body: str, told: str) -> None:
    with pytest.warns(PlanWarning, match=told):
        shell.run_cell(f"%%smr lines\n{body}").raise_error()


def test_a_syntax_error_of_the_body_names_its_line(shell: Any, session: ScriptedSession) -> None:
    with pytest.raises(SyntaxError) as caught:
        run(shell, "%%smr lines\ndef map(line):\n    yield line 1\n")
    assert caught.value.lineno == 3


def test_a_cancelled_job_shows_how_it_ended(
    shell: Any, session: ScriptedSession, shown: list[dict[str, Any]], moment: Callable[..., Progress]
) -> None:
    session.job.moments = [moment(JobState.CANCELLED, 2)]
    session.job.frame = None
    with pytest.raises(JobCancelled):
        run(shell, CELL.format(options="--into df"))
    assert 'data-state="cancelled"' in shown[0]["data"]["text/html"]
    assert "df" not in shell.user_ns


def test_jobs_are_a_table_of_the_latest(shell: Any, session: ScriptedSession) -> None:
    assert list(run(shell, "%smr jobs -n 2")["job"]) == ["job2", "job1"]
    everyone = run(shell, "%smr jobs --everyone")
    assert list(everyone["user"]) == ["u3", "u2", "u1", "u0"]


def test_attach_gives_the_job(shell: Any, session: ScriptedSession) -> None:
    assert run(shell, "%smr attach 3f9a") is session.job
    assert run(shell, "%smr attach") is session.job


def test_attach_into_takes_the_frame(shell: Any, session: ScriptedSession) -> None:
    assert run(shell, "%smr attach 3f --into df") is None
    assert shell.user_ns["df"] is FRAME


def test_resume_and_retry_take_the_frame_too(shell: Any, session: ScriptedSession, capsys: pytest.CaptureFixture[str]) -> None:
    shell.user_ns["mended"] = len
    for number, line in enumerate(("%smr resume --into", "%smr retry 3f --map mended --into")):
        assert run(shell, f"{line} df{number}") is None
        assert shell.user_ns[f"df{number}"] is FRAME
    assert session.job.mended == {"map": len}
    assert capsys.readouterr().out.count("2 of 4 map tasks are taken over from job 1a2b3c4d.") == 2


def test_attach_to_nothing(shell: Any, session: ScriptedSession) -> None:
    with pytest.raises(JobNotFoundError):
        run(shell, "%smr attach ffff")


def test_status_is_a_snapshot(shell: Any, session: ScriptedSession) -> None:
    assert "· map ·" in repr(run(shell, "%smr status"))


def test_cancel(shell: Any, session: ScriptedSession, moment: Callable[..., Progress]) -> None:
    told = run(shell, "%smr cancel 3f")
    assert re.fullmatch(r"Job is being cancelled \[smr-cancel, \d+\.\d s\]\n ! Job     3f9a0c21", repr(told))
    assert "3f9a0c21" not in sanitized(repr(told)) + sanitized(told.html)
    assert session.job.cancelled
    session.job.moments = [moment(JobState.DONE)]
    assert sanitized(repr(run(shell, "%smr cancel"))) == "Job has ended already: done [JOB, TIME]"


def test_a_job_is_gone_on_from_with_functions_of_the_notebook(shell: Any, session: ScriptedSession) -> None:
    assert run(shell, "%smr resume 3f") is session.job
    assert session.job.mended == {}
    shell.user_ns["sound"] = len
    assert run(shell, "%smr retry 3f --map sound") is session.job
    assert session.job.mended == {"map": len}
    with pytest.raises(ConfigError, match=r"the notebook has no 'sond'\. Did you mean 'sound'"):
        run(shell, "%smr retry --reduce sond")


def test_errors_of_a_job_without_any(shell: Any, session: ScriptedSession) -> None:
    found = run(shell, "%smr errors")
    assert repr(found) == "3f9a0c21: no task has failed"
    shown = shell.display_formatter.format(found)[0]
    assert sanitized(shown["text/plain"]) == "no task has failed [JOB, TIME]"
    assert "3f9a0c21" not in sanitized(shown["text/html"])


def test_costs_are_told_and_vary(shell: Any, session: ScriptedSession, moment: Callable[..., Progress]) -> None:
    cost, thought = Cost(compute=1_200.0, objects=30.0, table=4.0), Estimate(1.0, 1.0, low=1_000.0, high=2_000.0, sampled=1)
    session.job.moments = [replace(moment(JobState.DONE), cost=cost, estimate=thought)]
    told = run(shell, "%smr cost")
    assert repr(told).splitlines()[1:] == [
        " ! Job     3f9a0c21",
        " ! Cost    $1,234.00",
        " ! compute $1,200.00",
        " ! objects $30.00",
        " ! table   $4.00",
        " ! Thought $1,000.00 to $2,000.00, before it ran",
    ]
    assert sanitized(repr(told)) == "Cost of a job [JOB, TIME]"
    assert not re.search(r"\$|3f9a0c21", sanitized(told.html))
    status = repr(run(shell, "%smr status"))
    assert "$1,234.00" in status
    assert "$" not in sanitized(status)


@pytest.mark.parametrize("line", ["%smr", "%smr help", "%smr --help", "%smr -h"])
def test_help_lists_the_subcommands(shell: Any, session: ScriptedSession, line: str) -> None:
    text = repr(run(shell, line))
    words = ("jobs", "attach", "status", "cancel", "resume", "retry", "errors", "debug", "logs", "run", "cost", "clean", "config")
    assert {word for word in words if f"%smr {word}" not in text} == set()


@pytest.mark.parametrize("word", WORDS)
def test_each_subcommand_tells_its_options(shell: Any, session: ScriptedSession, word: str) -> None:
    text = repr(run(shell, f"%smr {word} --help"))
    assert text.startswith("usage: ")
    options = {option for action in parser_of(word).actions for option in action.option_strings if option.startswith("--")}
    assert {option for option in options if option not in text} == set()


def test_loading_twice_is_harmless(shell: Any, session: ScriptedSession) -> None:
    before = len(shell.input_transformers_cleanup)
    register_magics(shell, lambda: session)  # type: ignore[arg-type, return-value]
    assert len(shell.input_transformers_cleanup) == before
