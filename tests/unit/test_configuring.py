"""Other settings are another session: a platform is opened anew only where it must be, and what a session was given stays."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from smr_notebook import Session, platforms
from smr_notebook.backends.memory.platform import open_memory
from smr_notebook.config import Settings
from smr_notebook.configuring import configured, overridden
from smr_notebook.errors import ConfigError
from smr_notebook.platforms import OPENED_WITH


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
