"""Settings come from where the precedence says, and a wrong one says where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from smr_notebook.config import Settings, from_machine, meanings, resolve, settings_of, told_on_machine, user_file
from smr_notebook.errors import ConfigError

HERE = Path("/ws")


def resolved(
    arguments: Mapping[str, object],
    env: Mapping[str, str] = {},
    file: Mapping[str, object] = {},
    *,
    user: Mapping[str, object] = {},
    notebook: Mapping[str, object] = {},
) -> Settings:
    return settings_of(resolve(arguments, env, file, default_workspace=HERE, user=("config.toml", user), notebook=notebook))


def test_a_later_source_wins() -> None:
    file = {"workers": 1, "retries": 1, "reducers": 1}
    env = {"SMR_WORKERS": "2", "SMR_RETRIES": "2", "OTHER": "x"}
    settings = resolved({"workers": 3, "split_size": None}, env, file)
    assert settings == Settings(workspace=HERE, workers=3, retries=2, reducers=1)


def test_the_user_says_less_than_the_project_and_the_notebook_more_than_the_environment() -> None:
    user = {"workers": 9, "retries": 9, "reducers": 9, "split_size": 9}
    settings = resolved({}, {"SMR_WORKERS": "2", "SMR_REDUCERS": "2"}, {"retries": 1}, user=user, notebook={"workers": 3})
    assert settings == Settings(workspace=HERE, workers=3, retries=1, reducers=2, split_size=9)
    with pytest.raises(ConfigError, match=r"config\.toml: workers must be a whole number"):
        resolved({}, user={"workers": "x"})
    with pytest.raises(ConfigError, match="%config Smr: there is no setting 'worker'"):
        resolved({}, notebook={"worker": 1})


@pytest.fixture
def users_file(workspace: Path) -> Path:
    """Where the user's settings would stand: its folder is there."""
    file = user_file()
    assert workspace in file.parents
    file.parent.mkdir(parents=True)
    return file


def test_the_users_own_file_is_read(users_file: Path) -> None:
    assert from_machine({}).retries == 2
    users_file.write_text('retries = 5\ndisplay = "text"\n', encoding="utf-8")
    assert (from_machine({}).retries, from_machine({}).display) == (5, "text")
    assert told_on_machine({})["retries"].origin == str(users_file)
    assert told_on_machine({"retries": 1})["retries"].origin == "argument"
    assert told_on_machine({})["stack"].origin == "default"


@pytest.mark.parametrize("content", ["retries = ", "\udcff", 'retries = "many"', "retreis = 1"])
def test_a_file_of_the_user_that_is_wrong_is_named(users_file: Path, content: str) -> None:
    users_file.write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ConfigError) as caught:
        from_machine({})
    assert str(caught.value).startswith(str(users_file))


def test_a_file_of_the_user_that_cannot_be_read_is_named(users_file: Path) -> None:
    users_file.mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        from_machine({})


def test_every_setting_has_a_meaning() -> None:
    assert [name for name, text in meanings().items() if not text] == []


@pytest.mark.parametrize(
    ("told", "meant"), [("", ()), ("a", ("a",)), ("a, b.c,a", ("a", "b.c")), (["x"], ("x",)), (("x", "y"), ("x", "y")), ([], ())]
)
def test_modules_are_named_with_commas_or_as_a_list(told: object, meant: tuple[str, ...]) -> None:
    assert resolved({"include": told}).include == meant


@pytest.mark.parametrize("wrong", ["a-b", "a..b", [""], [1], 5])
def test_what_is_no_name_of_a_module_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match="include must be names of modules"):
        resolved({"include": wrong})


@pytest.mark.parametrize(
    ("told", "meant"), [(True, True), (False, False), ("on", True), ("Off", False), ("1", True), ("0", False), (" no ", False)]
)
def test_a_switch_is_on_or_off(told: object, *, meant: bool) -> None:
    assert resolved({"speculate": told}).speculate is meant
    assert resolved({}, {}, {"speculate": told}).speculate is meant
    assert resolved({}, {"SMR_SPECULATE": str(told)}, {}).speculate is meant


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
        resolved(arguments, env, file)


def test_a_workspace_may_begin_with_a_tilde() -> None:
    assert resolved({"workspace": "~/x"}).workspace == Path("~/x").expanduser()


def test_what_a_worker_and_a_record_may_take_can_be_set_and_be_without_end() -> None:
    settings = resolved({"worker_limit": "2GB"}, {"SMR_RECORD_TIMEOUT": "0"}, {})
    assert (settings.worker_limit, settings.record_timeout) == (2_000_000_000, 0.0)
    with pytest.raises(ConfigError, match="record_timeout must be a time in seconds, 0 for any"):
        resolved({"record_timeout": -1})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool]\nsmr_notebook = 5\n", r"\[tool\.smr_notebook\] must be a table of settings; it is 5"),
        ("[tool.smr-notebook]\nretries = 1\n", r"with an underscore; there is \[tool\.smr-notebook\]"),
    ],
)
def test_a_table_in_the_wrong_place_is_told(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        from_machine({})


def test_a_folder_that_is_gone_is_in_no_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert from_machine({}).retries == 2
