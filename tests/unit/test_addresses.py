"""Addresses without credentials, and what never shows any."""

from __future__ import annotations

import pickle

import pytest

from smr_notebook.config import from_machine, read_setting, told_on_machine
from smr_notebook.errors import ConfigError
from smr_notebook.notebook.settings import settings_table
from smr_notebook.sessions.carriers import carriers_of, place_of
from smr_notebook.values.addresses import Secret, address_of, plain, read_secret, url_for


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://host", "redis://host:6379/0"),
        ("redis://host:7000/3", "redis://host:7000/3"),
        ("rediss://user:pass@host:6380/1?ssl_cert_reqs=none&password=other", "rediss://host:6380/1"),
        ("redis://:p%40ss@[::1]:6379", "redis://[::1]:6379/0"),
        ("unix://user:pass@/run/redis.sock?db=1", "unix:///run/redis.sock"),
    ],
)
def test_an_address_has_no_credentials(url: str, address: str) -> None:
    assert address_of(url) == address
    assert address_of(address) == address
    assert str(Secret(url)) == f"{Secret(url)}" == address
    assert plain(Secret(url)) == plain(pickle.loads(pickle.dumps(Secret(url)))) == url


@pytest.mark.parametrize("url", ["", "host:6379", "http://user:hidden@host", "redis://", "unix://", "redis://user:hidden@host:port"])
def test_what_is_no_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match=r"redis_url must be the URL of a Redis") as refused:
        address_of(url)
    assert "hidden" not in str(refused.value)
    if url:
        with pytest.raises(ConfigError, match="redis_url must be") as refused:
            read_setting("redis_url", url)
        assert "hidden" not in str(refused.value)


def test_a_process_opens_what_it_was_told_if_that_is_the_same_redis() -> None:
    told = read_secret("redis://user:pass@host:6379/0")
    assert url_for("redis://host:6379/0", told) == "redis://user:pass@host:6379/0"
    assert url_for("redis://other:6379/0", told) == "redis://other:6379/0"
    assert url_for("redis://host:6379/0", "") == "redis://host:6379/0"


def test_no_table_of_settings_shows_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMR_REDIS_URL", "redis://user:hidden@host:6379/0")
    assert "redis://host:6379/0" in settings_table(told_on_machine({})).text
    for shown in (settings_table(told_on_machine({})).text, repr(from_machine({})), repr(told_on_machine({})["redis_url"])):
        assert "hidden" not in shown


def test_a_place_names_no_credentials() -> None:
    settings = from_machine({"redis_url": "redis://user:hidden@host", "region": "eu-west-1", "stack": "mine"})
    assert [place_of(name, settings) for name in ("objects", "redis", "sqs", "kinesis")] == [
        "",
        "redis://host:6379/0",
        "eu-west-1/mine",
        "eu-west-1/mine",
    ]
    with pytest.raises(ConfigError, match="needs the setting redis_url"):
        place_of("redis", from_machine({}))
    assert set(carriers_of(lambda: settings.redis_url)) == {"redis", "sqs", "kinesis"}
