"""Settings come from where the precedence says, and a wrong one says where it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from smr_notebook.config import Settings, parse_size, resolve
from smr_notebook.errors import ConfigError

HERE = Path("/ws")


def test_a_later_source_wins() -> None:
    file = {"workers": 1, "retries": 1, "reducers": 1}
    env = {"SMR_WORKERS": "2", "SMR_RETRIES": "2", "OTHER": "x"}
    settings = resolve({"workers": 3, "split_size": None}, env, file, default_workspace=HERE)
    assert settings == Settings(workspace=HERE, workers=3, retries=2, reducers=1)


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("10", 10), ("128MB", 128_000_000), ("64 MiB", 64 * 2**20), ("1.5g", 1_500_000_000), (7, 7), ("2k", 2000)]
)
def test_sizes_have_units(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("told", "meant"), [(True, True), (False, False), ("on", True), ("Off", False), ("1", True), ("0", False), (" no ", False)]
)
def test_a_switch_is_on_or_off(told: object, *, meant: bool) -> None:
    assert resolve({"speculate": told}, {}, {}, default_workspace=HERE).speculate is meant
    assert resolve({}, {}, {"speculate": told}, default_workspace=HERE).speculate is meant
    assert resolve({}, {"SMR_SPECULATE": str(told)}, {}, default_workspace=HERE).speculate is meant


@pytest.mark.parametrize("wrong", ["", "MB", "-1", "1 potato", None, True, -5, [1], float("inf")])
def test_what_is_no_size_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match="is not a size"):
        parse_size(wrong)


@pytest.mark.parametrize(
    ("arguments", "env", "file", "told"),
    [
        ({"workers": "two"}, {}, {}, "argument: workers must be a whole number"),
        ({}, {"SMR_IDLE_SECONDS": "0"}, {}, "environment variable SMR_IDLE_SECONDS: idle_seconds must be a time"),
        ({}, {}, {"display": "loud"}, r"pyproject.toml \[tool.smr_notebook\]: display must be one of auto"),
        ({"worker": 1}, {}, {}, "there is no setting 'worker'. Did you mean 'workers'"),
        ({}, {}, {"retries": -1}, "retries must be a whole number, 0 or more"),
        ({"speculate": "perhaps"}, {}, {}, "argument: speculate must be true or false; got 'perhaps'"),
    ],
)
def test_a_wrong_setting_says_where_it_stands(
    arguments: dict[str, object], env: dict[str, str], file: dict[str, object], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        resolve(arguments, env, file, default_workspace=HERE)


def test_a_workspace_may_begin_with_a_tilde() -> None:
    assert resolve({"workspace": "~/x"}, {}, {}, default_workspace=HERE).workspace == Path("~/x").expanduser()


def test_what_a_worker_and_a_record_may_take_can_be_set_and_be_without_end() -> None:
    settings = resolve({"worker_limit": "2GB"}, {"SMR_RECORD_TIMEOUT": "0"}, {}, default_workspace=HERE)
    assert (settings.worker_limit, settings.record_timeout) == (2_000_000_000, 0.0)
    with pytest.raises(ConfigError, match="record_timeout must be a time in seconds, 0 for any"):
        resolve({"record_timeout": -1}, {}, {}, default_workspace=HERE)
