"""`%config Smr`: the settings of a notebook, whence they come, and which session has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config

import smr_notebook as smr
from smr_notebook.config import Settings
from smr_notebook.errors import ConfigError
from smr_notebook.notebook.extension import display_of, load, screen_for
from smr_notebook.notebook.screens import QuietScreen, StaticScreen
from smr_notebook.notebook.settings import Smr, settings_of
from smr_notebook.sessions.face import current_session, follow_settings


@pytest.fixture
def notebook(shell: Any, workspace: Path) -> Iterator[Any]:
    """A shell with the extension, over a session of its own; the settings of no notebook count afterwards."""
    smr.use(smr.Session())
    load(shell)
    yield shell
    follow_settings(dict)
    smr.use(smr.Session())


def run(shell: Any, cell: str) -> Any:
    done = shell.run_cell(cell)
    error = done.error_before_exec or done.error_in_exec
    if error is not None:
        raise error
    return done.result


def test_config_lists_every_setting_with_what_it_means(notebook: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run(notebook, "%config Smr")
    told = capsys.readouterr().out
    assert {field.name for field in fields(Settings) if f"Smr.{field.name}=" not in told} == set()
    assert "How progress is shown" in told
    assert "Current: 'auto'" in told


def test_every_setting_says_what_it_means() -> None:
    traits = {name: trait.help for name, trait in Smr.class_traits(config=True).items()}
    assert set(traits) == {field.name for field in fields(Settings)}
    assert all(traits.values())


def test_a_setting_is_set_shown_and_taken_back(notebook: Any) -> None:
    run(notebook, "%config Smr.worker_memory = '64MB'")
    assert run(notebook, "%config Smr.worker_memory") == 64_000_000
    assert current_session().settings.worker_memory == 64_000_000
    run(notebook, "%config Smr.worker_memory = None")
    assert current_session().settings.worker_memory == 0


def test_a_wrong_value_is_told_at_once_and_fails_the_next_cell_that_needs_settings(notebook: Any, caplog: pytest.LogCaptureFixture) -> None:
    """IPython only logs what is wrong with a `%config` line, and a runner of notebooks would not see it."""
    run(notebook, "%config Smr.display = 'loud'")
    assert "%config Smr: display must be one of auto, panel, text, static, quiet; got 'loud'" in caplog.text
    with pytest.raises(ConfigError, match="display must be one of auto"):
        run(notebook, "%smr config")
    assert "display " in repr(run(notebook, "%smr config"))
    assert settings_of(notebook).in_force()["display"].value == "auto"


def test_a_wrong_name_is_told_with_the_right_one(notebook: Any) -> None:
    run(notebook, "%config Smr.retires = 1")
    with pytest.raises(ConfigError, match=r"there is no setting 'retires'\. Did you mean 'retries'"):
        run(notebook, "import smr_notebook\nsmr_notebook.jobs()")


def test_a_setting_that_is_mended_fails_nothing(notebook: Any) -> None:
    run(notebook, "%config Smr.retries = 'many'")
    run(notebook, "%config Smr.retries = 1")
    assert current_session().settings.retries == 1


def test_an_option_wins_over_config_and_config_over_the_environment(notebook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMR_DISPLAY", "quiet")
    assert display_of(notebook) == "quiet"
    run(notebook, "%config Smr.display = 'static'")
    assert display_of(notebook) == "static"
    job: Any = None
    assert isinstance(screen_for(notebook)(job, goes_on=False), StaticScreen)
    assert isinstance(screen_for(notebook, "quiet")(job, goes_on=False), QuietScreen)


def test_config_tells_the_source_of_each_setting(notebook: Any, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = workspace / "config" / "smr_notebook" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("reducers = 3\n", encoding="utf-8")
    (workspace / "pyproject.toml").write_text("[tool.smr_notebook]\nretries = 4\n", encoding="utf-8")
    monkeypatch.chdir(workspace)
    smr.use(smr.Session(settings={"split_size": "1MB"}))
    run(notebook, "%config Smr.max_cost = 2")
    lines = {line.split()[0]: line.split(maxsplit=2)[1:] for line in repr(run(notebook, "%smr config")).splitlines() if line}
    assert {name: lines[name] for name in ("reducers", "retries", "workspace", "max_cost", "split_size", "stack")} == {
        "reducers": ["3", str(file)],
        "retries": ["4", "pyproject.toml [tool.smr_notebook]"],
        "workspace": [str(workspace), "environment variable SMR_WORKSPACE"],
        "max_cost": ["2.0", "%config Smr"],
        "split_size": ["1000000", "argument"],
        "stack": ["smr", "default"],
    }


def test_a_session_whose_settings_are_all_given_is_told_as_such(notebook: Any, workspace: Path) -> None:
    session = smr.use(smr.Session(settings=Settings(workspace=workspace, retries=7)))
    run(notebook, "%config Smr.retries = 1")
    assert current_session() is session
    told = settings_of(notebook).in_force()
    assert (told["retries"].value, told["retries"].origin) == (7, "the session in use")


def test_how_progress_is_shown_is_the_notebooks_affair(notebook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    smr.use(smr.Session(settings={"display": "text"}))
    monkeypatch.setenv("SMR_DISPLAY", "static")
    assert settings_of(notebook).in_force()["display"].value == display_of(notebook) == "static"


def test_an_error_that_waits_is_not_lost_to_what_is_only_shown(notebook: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run(notebook, "%config Smr.retries = 'many'")
    run(notebook, "%config Smr")
    display_of(notebook)
    with pytest.raises(ConfigError, match="retries must be a whole number"):
        current_session()


def test_all_errors_that_wait_are_told_at_once(notebook: Any) -> None:
    run(notebook, "%config Smr.retries = 'many'")
    run(notebook, "%config Smr.split_size = 'big'")
    with pytest.raises(ConfigError, match=r"retries must be a whole number.* split_size must be a size"):
        current_session()
    assert current_session().settings.retries == 2


def test_a_wrong_setting_of_ipythons_own_files_is_told_by_the_next_cell(shell: Any, workspace: Path) -> None:
    shell.config.merge(Config({"Smr": {"retries": "many"}}))
    load(shell)
    done = shell.run_cell("%smr config")
    assert isinstance(done.error_in_exec, ConfigError)
    assert "retries must be a whole number" in str(done.error_in_exec)


def test_settings_of_a_notebook_are_made_once_and_read_from_its_configuration(shell: Any) -> None:
    shell.config.merge(Config({"Smr": {"retries": 5}}))
    assert settings_of(shell).given == {"retries": 5}
    assert settings_of(shell) is settings_of(shell)
    assert [type(one).__name__ for one in shell.configurables].count("Smr") == 1


def test_a_job_is_run_with_the_settings_of_the_notebook(notebook: Any) -> None:
    try:
        run(notebook, "%config Smr.reducers = 3\n%config Smr.display = 'quiet'")
        run(notebook, "%%smr range(10) --into df\ndef map(n):\n    yield n % 2, n\ndef reduce(key, values):\n    return sum(values)\n")
        assert notebook.user_ns["df"].value.tolist() == [20, 25]
        assert len(smr.attach().parts()) == 3
        assert smr.map_reduce(lambda n: [(n, 1)], sum, [1, 2]).wait().status().reduce.tasks == 3
    finally:
        current_session().close()
