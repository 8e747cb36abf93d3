"""What the exchanges travel by, for the tests: a real Redis, and an emulator of AWS. Without them tests are skipped, and fail in CI."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from smr_notebook.testing.emulators import aws_environment, emulator
from smr_notebook.testing.redis_server import RedisServer, found, redis_server

PYTHON = os.environ.get("SMR_TEST_MINISTACK", "")
"""The Python that has ministack. Read here, because a test sees no variable `SMR_…`."""


def absent(reason: str) -> None:
    """Skip a test for want of something; fail it in CI."""
    (pytest.fail if "CI" in os.environ else pytest.skip)(reason)


@pytest.fixture(scope="session")
def redis_there() -> None:
    """Whether there is a Redis, and a client of it."""
    if importlib.util.find_spec("redis") is None or not found():
        absent("there is no redis-server, or no redis-py")


@pytest.fixture(scope="session")
def server(redis_there: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that lives as long as the run. Tests share it: each uses boxes of its own."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def own_server(redis_there: None, tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Starts servers of the test's own, which end with it."""
    with ExitStack() as stack:
        yield lambda *options, password="": stack.enter_context(redis_server(tmp_path / "redis", *options, password=password))


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an emulator of AWS that lives as long as the run. Tests share it: each uses names of its own."""
    if not PYTHON or subprocess.run([PYTHON, "-c", "import ministack"], check=False, capture_output=True).returncode:
        absent(f"SMR_TEST_MINISTACK={PYTHON!r} is no Python that has ministack")
    with emulator(PYTHON, tmp_path_factory.mktemp("ministack")) as url:
        yield url


@pytest.fixture
def aws(ministack: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Lead boto3's own chain to the emulator, here and in processes started here, until the test ends; its URL."""
    for name, value in aws_environment(ministack).items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    return ministack
