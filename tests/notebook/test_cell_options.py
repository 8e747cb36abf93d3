"""Options of `%%smr`, and subcommands that look after jobs, over real jobs on this machine."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import smr_notebook as smr
from smr_notebook.errors import ConfigError, JobNotFoundError, JobTimeoutError, ResultTooLargeError, TaskError
from smr_notebook.notebook.extension import register_magics
from smr_notebook.testing.waiting import wait_until

NUMBERS = "%%smr numbers {options}\nTIMES = 3\ndef map(n):\n    yield n % 10, n * TIMES\ndef reduce(key, values):\n    return sum(values)\n"


@pytest.fixture(scope="module")
def engine_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[smr.Session]:
    session = smr.Session(settings={"workspace": tmp_path_factory.mktemp("options"), "workers": 2})
    yield session
    session.close()


@pytest.fixture
def shell_with_jobs(shell: Any, engine_session: smr.Session, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SMR_DISPLAY", "static")
    register_magics(shell, lambda: engine_session)
    shell.user_ns["numbers"] = list(range(100))
    return shell


def run(shell: Any, cell: str) -> Any:
    done = shell.run_cell(cell)
    error = done.error_before_exec or done.error_in_exec
    if error is not None:
        raise error
    return done.result


def test_limit_loads_the_first_rows_in_key_order_and_says_of_how_many(shell_with_jobs: Any, shown: list[dict[str, Any]]) -> None:
    whole = run(shell_with_jobs, NUMBERS.format(options="-r 4"))
    first = run(shell_with_jobs, NUMBERS.format(options="-r 4 --limit 3"))
    assert first.to_dict() == whole.head(3).to_dict()
    assert "result: 3 rows × 2 columns (key, value) · first 3 of 10 rows" in shown[-1]["data"]["text/plain"]
    assert run(shell_with_jobs, NUMBERS.format(options="--limit 10 --into df")) is None
    assert shell_with_jobs.user_ns["df"].equals(whole)
    assert "of 10 rows" not in shown[-1]["data"]["text/plain"]


@pytest.mark.parametrize("shows_none", ["-q", "--display text"])
def test_a_warning_tells_of_rows_left_behind_where_no_panel_does(shell_with_jobs: Any, shows_none: str) -> None:
    with pytest.warns(smr.PlanWarning, match=r"^df holds the first 3 of 10 rows, as --limit says\.$"):
        run(shell_with_jobs, NUMBERS.format(options=f"{shows_none} --limit 3 --into df"))
    run(shell_with_jobs, NUMBERS.format(options=f"{shows_none} --limit 10 --into df"))


def test_the_first_rows_may_be_too_large_as_well(shell_with_jobs: Any, engine_session: smr.Session) -> None:
    small = smr.Session(settings=replace(engine_session.settings, result_limit=10_000), backend=engine_session.backend)
    register_magics(shell_with_jobs, lambda: small)
    cell = "%%smr numbers --limit {rows}\ndef map(n):\n    yield n, 'x' * 1_000\n"
    assert len(run(shell_with_jobs, cell.format(rows=9))) == 9
    with pytest.raises(ResultTooLargeError, match=r"The first 20 of 100 rows of the result take about .* Ask for fewer rows"):
        run(shell_with_jobs, cell.format(rows=20))


def test_output_writes_the_result_instead_of_loading_it(shell_with_jobs: Any, shown: list[dict[str, Any]], tmp_path: Path) -> None:
    whole = run(shell_with_jobs, NUMBERS.format(options="-q"))
    written = run(shell_with_jobs, NUMBERS.format(options=f"--output {tmp_path}/out.parquet"))
    assert (written.rows, len(written.files)) == (10, 1)
    assert repr(written) == f"WrittenFiles(path='{tmp_path}/out.parquet', rows=10)"
    assert pd.read_parquet(tmp_path / "out.parquet").to_dict() == whole.to_dict()
    assert shown[-1]["data"]["text/plain"].endswith(f"{tmp_path}/out.parquet: 10 rows")
    run(shell_with_jobs, NUMBERS.format(options=f"-q --output {tmp_path}/out.parquet --overwrite"))


def test_a_place_that_is_taken_is_told_before_a_job_is_paid_for(shell_with_jobs: Any, engine_session: smr.Session, tmp_path: Path) -> None:
    (tmp_path / "out.parquet").touch()
    for more in ("", "--dry-run", "--preview"):
        with pytest.raises(ConfigError, match=r"out\.parquet is there already.*--overwrite in a cell"):
            run(shell_with_jobs, NUMBERS.format(options=f"--output {tmp_path}/out.parquet --name never {more}"))
        with pytest.raises(ConfigError, match=r"there is no folder .*/no\. Make it"):
            run(shell_with_jobs, NUMBERS.format(options=f"--output {tmp_path}/no/where --name never {more}"))
    assert "never" not in [job.name for job in engine_session.jobs()]


def test_a_screen_that_cannot_be_opened_is_told_before_a_job_is_paid_for(
    shell_with_jobs: Any, engine_session: smr.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "smr_notebook.notebook.panel", None)  # as where ipywidgets is not installed
    with pytest.raises(ConfigError, match=r"display 'panel' needs .* which is not installed"):
        run(shell_with_jobs, NUMBERS.format(options="--display panel --name unseen"))
    monkeypatch.setenv("SMR_DISPLAY", "pannel")
    with pytest.raises(ConfigError, match="SMR_DISPLAY: display must be one of"):
        run(shell_with_jobs, NUMBERS.format(options="--name unseen"))
    assert "unseen" not in [job.name for job in engine_session.jobs()]


@pytest.mark.parametrize("setting", ["quiet", "text", "panel"])
def test_a_detached_job_that_fails_where_nobody_watches_fails_its_cell(
    shell_with_jobs: Any, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMR_DISPLAY", setting)
    shell_with_jobs.get_parent = lambda: {"content": {"allow_stdin": False}}
    with pytest.raises(TaskError):
        run(shell_with_jobs, "%%smr numbers --detach --retries 0\ndef map(n):\n    yield n, 1 // (n - 7)\n")


def test_keep_leaves_what_the_cell_defines_in_the_notebook(shell_with_jobs: Any) -> None:
    run(shell_with_jobs, NUMBERS.format(options="-q"))
    assert {"map", "reduce", "TIMES"}.isdisjoint(shell_with_jobs.user_ns)
    run(shell_with_jobs, NUMBERS.format(options="-q --keep"))
    assert shell_with_jobs.user_ns["TIMES"] == 3
    assert run(shell_with_jobs, "list(map(7))") == [(7, 21)]


def test_display_is_chosen_for_one_cell(shell_with_jobs: Any, shown: list[dict[str, Any]]) -> None:
    run(shell_with_jobs, NUMBERS.format(options="--display quiet"))
    assert shown == []
    run(shell_with_jobs, NUMBERS.format(options=""))
    assert len(shown) == 1


def test_run_is_a_cell_without_a_body(shell_with_jobs: Any, shown: list[dict[str, Any]]) -> None:
    shell_with_jobs.user_ns["by_tens"] = lambda n: [(n // 10, 1)]
    assert run(shell_with_jobs, "%smr run numbers --map by_tens --reduce sum --into df -q") is None
    assert shell_with_jobs.user_ns["df"].value.tolist() == [10] * 10


def test_a_job_that_takes_longer_than_it_may_fails(shell_with_jobs: Any, tmp_path: Path) -> None:
    """It would wait for ever: nobody makes the file."""
    cell = f"%%smr numbers --timeout 0.5s\nimport os, threading\ndef map(n):\n    while not os.path.exists({str(tmp_path / 'gate')!r}):\n"
    with pytest.raises(JobTimeoutError, match=r"^The job has not ended within 500 ms, which is all that it may take\."):
        run(shell_with_jobs, f"{cell}        threading.Event().wait(0.01)\n    yield n, 1\n")


def test_concurrency_is_what_runs_at_once(shell_with_jobs: Any, engine_session: smr.Session) -> None:
    run(shell_with_jobs, NUMBERS.format(options="-q --concurrency 1"))
    job = engine_session.attach()
    assert job._plan().policy.concurrency == 1
    assert max(count for _, count in job.timeline().at_once()) == 1


def test_preview_is_a_cell_without_a_body(shell_with_jobs: Any) -> None:
    shell_with_jobs.user_ns["by_tens"] = lambda n: [(n // 10, 1)]
    assert run(shell_with_jobs, "%smr preview numbers --map by_tens --reduce sum").records == 100
    assert run(shell_with_jobs, "%smr preview 7 numbers --map by_tens --reduce sum").records == 7


def test_all_of_ones_own_jobs_can_be_cancelled(shell_with_jobs: Any, engine_session: smr.Session, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one job, or all of yours"):
        run(shell_with_jobs, "%smr cancel abc --all")
    assert repr(run(shell_with_jobs, "%smr cancel --all")) == "no job of yours is running"
    gate = tmp_path / "gate"

    def patient(n: int) -> Any:
        while not gate.exists():
            threading.Event().wait(0.01)
        yield n, 1

    jobs = [engine_session.map_reduce(patient, None, [1]) for _ in range(2)]
    first, *told = repr(run(shell_with_jobs, "%smr cancel --all")).splitlines()
    assert re.fullmatch(r"2 jobs \[smr-cancel, \d+\.\d s\]", first)
    assert sorted(told) == sorted(f" ! Job     {job.id} is being cancelled" for job in jobs)
    wait_until(lambda: all(job.cancelled() for job in jobs))


def test_memory_is_what_a_worker_may_take(shell_with_jobs: Any, engine_session: smr.Session) -> None:
    run(shell_with_jobs, NUMBERS.format(options="-q --memory 48MB"))
    assert engine_session.attach()._plan().budget == 48_000_000


def test_cost_tells_where_nobody_bills(shell_with_jobs: Any) -> None:
    run(shell_with_jobs, NUMBERS.format(options="-q"))
    assert " Cost    none: nobody bills for it" in repr(run(shell_with_jobs, "%smr cost"))


def test_clean_removes_what_ended_longer_ago(shell_with_jobs: Any, engine_session: smr.Session) -> None:
    run(shell_with_jobs, NUMBERS.format(options="-q"))
    job = engine_session.attach()
    for line in ("%smr clean", "%smr clean --older 1d"):
        assert re.fullmatch(r"0 jobs removed \[smr-clean, \d+\.\d s\]", repr(run(shell_with_jobs, line)))
    before, told = len(engine_session.jobs()), []

    def cleaned() -> bool:
        """A job whose coordinator has not let go of it yet stays."""
        told.append(repr(run(shell_with_jobs, "%smr clean --older 0")))
        return not engine_session.jobs()

    wait_until(cleaned)
    assert sum(int(line.split()[0]) for line in told) == before
    assert re.match(r"\d+ jobs? removed \[smr-clean, \d+\.\d s\]\n ! Jobs    [0-9a-f]{8}", told[0])
    with pytest.raises(JobNotFoundError):
        job.result()


def test_an_identifier_that_nobody_has_is_told_with_one_that_is_near(shell_with_jobs: Any, engine_session: smr.Session) -> None:
    run(shell_with_jobs, NUMBERS.format(options="-q --name codes"))
    with pytest.raises(JobNotFoundError, match=r"There is no job 'coeds' .* Did you mean 'codes'\?"):
        run(shell_with_jobs, "%smr status coeds")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--limit 0", "'0' is less than 1"),
        ("--detach --limit 3", "--limit needs the result, and --detach does not wait for it. Keep one"),
        ("--detach --display text", "as `%config Smr.display` says: leave --display out"),
        ("--detach -q", "as `%config Smr.display` says: leave -q out"),
        ("--output ''", "the path is empty"),
        ("--detach --output out", "--output needs the result, and --detach does not wait for it"),
        ("--into df --output out", "--into loads the result, and --output writes it instead"),
        ("--overwrite", "--overwrite says what --output may do"),
        ("-q --display text", "-q and --display text both say how progress is shown"),
        ("--display pannel", r"'pannel' is not known\. Did you mean 'panel'\?"),
        ("--timeout soon", "'soon' is not a time"),
        ("--memory much", "'much' is not a size"),
        ("--include a-b", "'a-b' is not the name of a module"),
    ],
)
def test_what_contradicts_itself_or_means_nothing_is_refused(shell_with_jobs: Any, options: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(shell_with_jobs, NUMBERS.format(options=options))
