"""A session's settings: by name they win over the environment, and a wrong one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import smr_notebook as smr
from smr_notebook.errors import ConfigError


def test_settings_given_by_name_win_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMR_WORKERS", "7")
    monkeypatch.setenv("SMR_RETRIES", "5")
    session = smr.Session(settings={"workspace": tmp_path, "workers": 2})
    assert (session.settings.workspace, session.settings.workers, session.settings.retries) == (tmp_path, 2, 5)
    assert session.backend.functions.limits.concurrency == 2


def test_a_setting_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'workers'"):
        smr.Session(settings={"worker": 2})
    with pytest.raises(ConfigError, match="platform must be one of local, aws"):
        smr.Session("cloud")
