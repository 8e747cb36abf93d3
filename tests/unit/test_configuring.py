"""Other settings are another session: a platform is opened anew only where it must be, and what a session was given stays."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from smr_notebook import Session, handler
from smr_notebook.backends.memory.platform import open_memory
from smr_notebook.config import PLATFORMS, Settings
from smr_notebook.errors import ConfigError
from smr_notebook.sessions import platforms
from smr_notebook.sessions.configuring import configured, overridden
from smr_notebook.sessions.platforms import OPENED_WITH, OPENERS


def test_the_default_session_is_opened_with_the_settings_of_the_notebook() -> None:
    session = configured(None, {"retries": 5})
    assert session.settings.retries == 5
    assert configured(session, {}).settings.retries == 2


def test_the_same_settings_are_the_same_session() -> None:
    session = configured(None, {"retries": 5})
    assert configured(session, {"retries": 5}) is session
    assert overridden(session, {"retries": None}) is session


def test_a_platform_is_opened_anew_only_for_what_it_was_opened_with() -> None:
    session = configured(None, {})
    kept, opened = configured(session, {"reducers": 3}), configured(session, {"workers": 3})
    assert kept.backend.functions is session.backend.functions
    assert opened.backend.functions is not session.backend.functions
    assert opened.backend.functions.limits.concurrency == 3


def test_what_a_platform_is_opened_with_is_known() -> None:
    read = set(re.findall(r"settings\.(\w+)", inspect.getsource(platforms)))
    assert read | {"platform", "user"} == OPENED_WITH


def test_a_platform_that_a_notebook_opens_is_one_that_workers_open() -> None:
    """And a setting names it: a new one is an entry in each of the three."""
    assert set(PLATFORMS) == set(OPENERS) == {*handler._OPENERS, *handler._BORROWERS}


def test_what_a_session_was_given_stays(tmp_path: Path) -> None:
    session = configured(Session(settings={"workspace": tmp_path, "retries": 1}), {"retries": 5, "reducers": 4})
    assert (session.settings.workspace, session.settings.retries, session.settings.reducers) == (tmp_path, 1, 4)
    assert configured(session, {}).settings.reducers == 0
    given = Session(settings=Settings(workspace=tmp_path))
    assert configured(given, {"retries": 5}) is given


def test_a_platform_that_was_brought_along_stays() -> None:
    backend = open_memory()
    session = configured(Session(backend=backend), {"workers": 3, "reducers": 2})
    assert session.backend.objects is backend.objects
    assert session.settings.reducers == 2


def test_an_option_of_one_job_wins_over_all(tmp_path: Path) -> None:
    session = Session(settings={"workspace": tmp_path, "worker_memory": "1MB"})
    changed = overridden(session, {"worker_memory": "2MB", "job_timeout": None})
    assert (changed.settings.worker_memory, session.settings.worker_memory) == (2_000_000, 1_000_000)
    assert changed.backend.functions is session.backend.functions
    with pytest.raises(ConfigError, match="argument: job_timeout must be a time such as 90, 15m or 2h"):
        overridden(session, {"job_timeout": "soon"})


def test_what_stands_elsewhere_meanwhile_is_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = configured(None, {})
    monkeypatch.setenv("SMR_RETRIES", "9")
    (tmp_path / "pyproject.toml").write_text("[tool.smr_notebook]\nworkspace = 'elsewhere'\n")
    monkeypatch.chdir(tmp_path)
    assert configured(session, {}) is session
    changed = configured(session, {"reducers": 2})
    assert (changed.settings.workspace, changed.settings.retries) == (session.settings.workspace, 2)
    assert configured(None, {}).settings.retries == 9


def test_a_user_that_the_notebook_takes_back_is_the_platforms_own() -> None:
    session = configured(Session(backend=open_memory()), {"user": "bob"})
    assert session.backend.user == "bob"
    assert configured(session, {}).backend.user == open_memory().user
