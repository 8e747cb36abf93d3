"""How errors look in a notebook."""

from __future__ import annotations

import linecache
import pickle
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from smr_notebook.errors import ConfigError, InputFormatError, JobCancelled, SmrError, TaskError
from smr_notebook.model import AttemptId, Failure, FailureKind, Frame, Phase, TaskId
from smr_notebook.notebook import errors
from smr_notebook.notebook.cells import run_body
from smr_notebook.notebook.errors import error_lines, failure_lines
from smr_notebook.sessions.session import Session
from smr_notebook.standing import FailedAttempt

CELL = "#%%smr lines\ndef map(line):\n    n = 10 // (len(line) - 7)\n    yield line, n\n"
FRAME = Frame("/no/such/cell.py", "Cell In[2]", 3, "map", "    n = 10 // (len(line) - 7)")
FAILURE = Failure(
    FailureKind.USER,
    "ZeroDivisionError",
    "integer division or modulo by zero",
    frames=(FRAME,),
    function="map",
    record="'the end'",
    source="/data/a.gz",
    offset=1_048_576,
    record_number=203,
)
SAMPLE = FailedAttempt(AttemptId(TaskId(Phase.MAP, 17), 3), FAILURE, tasks=3)


@pytest.fixture
def source() -> None:
    linecache.cache[FRAME.file] = (len(CELL), None, CELL.splitlines(keepends=True), FRAME.file)


@pytest.mark.usefixtures("source")
def test_a_failed_job_shows_the_users_line_and_record() -> None:
    assert failure_lines([SAMPLE], "3f9a") == [
        "ZeroDivisionError in map task 17 (3 attempts): integer division or modulo by zero",
        "Cell In[2], line 3, in map",
        "        2 def map(line):",
        "---->   3     n = 10 // (len(line) - 7)",
        "        4     yield line, n",
        "record: 'the end'   (/data/a.gz, byte 1,048,576, record 203 of split 17)",
        "1 kind of error in 3 tasks · %smr errors 3f9a · debug here: %smr debug 3f9a",
    ]


def test_a_kernel_without_the_source_shows_the_one_line() -> None:
    linecache.cache.pop(FRAME.file, None)
    assert failure_lines([SAMPLE], "")[1:3] == ["Cell In[2], line 3, in map", "---->   3     n = 10 // (len(line) - 7)"]


def test_another_source_under_the_same_name_is_not_shown() -> None:
    linecache.cache[FRAME.file] = (1, None, ["a\n", "b\n", "c\n"], FRAME.file)
    assert "---->   3     n = 10 // (len(line) - 7)" in failure_lines([SAMPLE], "")


def test_what_travelled_with_the_failure_is_shown_in_any_kernel() -> None:
    linecache.cache.pop(FRAME.file, None)
    frame = replace(FRAME, around=("#%%smr lines", "def map(line):", "    n = 10 // (len(line) - 7)", "    yield line, n"), first=1)
    assert failure_lines([replace(SAMPLE, failure=replace(FAILURE, frames=(frame,)))], "")[1:5] == [
        "Cell In[2], line 3, in map",
        "        2 def map(line):",
        "---->   3     n = 10 // (len(line) - 7)",
        "        4     yield line, n",
    ]


def test_kinds_are_counted() -> None:
    other = replace(SAMPLE, failure=Failure(FailureKind.CRASH, "WorkerLostError", "killed by signal 9"), tasks=1)
    lines = failure_lines([SAMPLE, other], "")
    assert "WorkerLostError in map task 17 (3 attempts): killed by signal 9" in lines
    assert lines[-1] == "2 kinds of error in 4 tasks"


def test_a_reducer_fails_on_a_key() -> None:
    failure = replace(FAILURE, function="reduce", record="'the'", source="", offset=-1, record_number=0)
    assert "key: 'the'" in failure_lines([replace(SAMPLE, failure=failure)], "")


def test_a_cancelled_job_is_one_line() -> None:
    assert error_lines(JobCancelled("Interrupted: 3f9a cancelled", job="3f9a", failures=(SAMPLE,)), None) == [
        "Interrupted: 3f9a cancelled",
        "what is done stands: %smr resume 3f9a",
    ]


def test_a_job_that_is_still_being_cancelled_cannot_be_resumed_yet() -> None:
    told = "Interrupted: 3f9a is being cancelled"
    assert error_lines(JobCancelled(told, job="3f9a"), None) == [told]


def test_the_kind_of_an_error_is_said_once() -> None:
    error = InputFormatError("InputFormatError in map task 0: a.csv, line 4 has 3 fields")
    assert error_lines(error, None) == ["InputFormatError in map task 0: a.csv, line 4 has 3 fields"]


def test_a_job_cancelled_elsewhere_is_one_line_too() -> None:
    assert error_lines(JobCancelled("cancelled by the user", job="3f9a"), None) == [
        "JobCancelled: cancelled by the user",
        "what is done stands: %smr resume 3f9a",
    ]


def test_a_cell_shows_the_line_that_led_to_the_error(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    errors.install(shell)
    shell.user_ns["fail"] = raising(ConfigError("there is no setting 'x'"))
    done = shell.run_cell("x = 1\nfail()")
    assert isinstance(done.error_in_exec, ConfigError)
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "ConfigError: there is no setting 'x'",
        f"Cell In[{done.execution_count}], line 2, in <module>",
        "        1 x = 1",
        "---->   2 fail()",
    ]


def test_a_failed_job_in_a_cell_shows_no_frame_of_this_package(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    errors.install(shell)
    shell.user_ns["fail"] = raising(TaskError("no answer", job="3f9a", failures=(SAMPLE,)))
    shell.run_cell("fail()")
    assert capsys.readouterr().out.splitlines() == failure_lines([SAMPLE], "3f9a")


def test_the_last_traceback_can_be_shown_again(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    errors.install(shell)
    shell.user_ns["fail"] = raising(JobCancelled("Interrupted"))
    shell.run_cell("fail()")
    shell.run_cell("%tb")
    assert capsys.readouterr().out.splitlines() == ["Interrupted", "Interrupted"]


def test_other_errors_look_as_before(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    errors.install(shell)
    shell.run_cell("1 / 0")
    assert "ZeroDivisionError: division by zero" in capsys.readouterr().out


def test_the_handler_of_another_package_stays(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def handle(shell: object, kind: object, error: object, trace: object, tb_offset: object = None) -> None:
        print("theirs")  # noqa: T201 - what another package does

    shell.set_custom_exc((KeyError,), handle)
    errors.install(shell)
    errors.install(shell)
    shell.run_cell("{}['x']")
    assert capsys.readouterr().out == "theirs\n"
    assert shell.custom_exceptions == (KeyError, SmrError, KeyboardInterrupt, SyntaxError)


def test_an_interrupted_wait_for_a_job_is_told_in_few_lines(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    errors.install(shell)
    with closing(Session()) as session:
        job = session.map_reduce(pairs, None, [1, 2])
        shell.user_ns.update(job=job, interrupted=interrupted)
        done = shell.run_cell("job.watch(interrupted)")
    assert isinstance(done.error_in_exec, KeyboardInterrupt)
    assert capsys.readouterr().out.splitlines() == [
        f"KeyboardInterrupt: the job {job.id} goes on",
        f"Cell In[{done.execution_count}], line 1, in <module>",
        "---->   1 job.watch(interrupted)",
        f"%smr attach {job.id} · %smr cancel {job.id}",
    ]


def test_an_interrupt_of_something_else_looks_as_before(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    errors.install(shell)
    shell.run_cell("raise KeyboardInterrupt")
    assert "Traceback (most recent call last)" in capsys.readouterr().out


def test_a_body_that_is_no_python_shows_its_line_only(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    errors.install(shell)
    shell.register_magic_function(lambda line, cell: run_body(shell, line, cell), magic_kind="cell", magic_name="body")
    done = shell.run_cell("%%body\ndef map(l) yield l, 1")
    assert isinstance(done.error_in_exec, SyntaxError)
    told = capsys.readouterr().out
    assert "line 2\n    def map(l) yield l, 1\n" in told
    assert "run_body" not in told


def test_other_errors_of_syntax_look_as_before(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    errors.install(shell)
    shell.run_cell("exec('a b')")
    assert "Traceback (most recent call last)" in capsys.readouterr().out


def test_an_error_that_was_shown_still_pickles(shell: Any) -> None:
    errors.install(shell)
    error = ConfigError("wrong")
    shell.user_ns["fail"] = raising(error)
    shell.run_cell("fail()")
    assert str(pickle.loads(pickle.dumps(error))) == "wrong"


def pairs(record: int) -> list[tuple[int, int]]:
    return [(record, record)]


def raising(error: SmrError) -> object:
    def fail() -> None:
        raise error

    return fail
