"""What all tests share: real input, a workspace of their own, and proof that nothing of ours outlives them."""

from __future__ import annotations

import contextlib
import itertools
import lzma
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, settings

from smr_notebook import Session
from smr_notebook.config import Settings

# How long an example takes says more about the machine than about us. CI tries the same examples each time.
# `make test-fast` tries fewer: a law that takes more or less says so by `settings().max_examples`, which is what it sets.
settings.register_profile(
    "ours",
    max_examples=int(os.environ.get("SMR_TEST_EXAMPLES", "100")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,
    print_blob=True,
)
settings.load_profile("ours")

pytest.register_assert_rewrite("smr_notebook.testing")  # so that the suites' asserts tell as much as ours

DATA = Path(__file__).parent / "data"

PYTHON = os.environ.get("SMR_TEST_MINISTACK", "")
"""The Python that has ministack. Read here, because a test sees no variable `SMR_…`."""


def _started_below(root: Path) -> list[psutil.Process]:
    """Return the processes that work for a workspace below `root`: services, their workers, kernels."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            command = " ".join(process.cmdline())
            service = "smr_notebook" in command and str(root) in command
            if service or process.environ().get("SMR_WORKSPACE", "").startswith(str(root)):
                found.append(process)
    return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test whose name differs from run to run: several processes could not share the tests out."""
    nameless = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if nameless:
        raise pytest.UsageError(f"Names of tests hold addresses; give `parametrize` its `ids`: {nameless}")


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail at the end of the run when a process of ours works on: whoever started a service ends it."""
    yield
    _, left = psutil.wait_procs(_started_below(tmp_path_factory.getbasetemp()), timeout=10)
    told = [f"{process.pid} {' '.join(process.cmdline())[:300]}" for process in left if process.is_running()]
    for process in left:
        process.kill()
    assert told == []


@pytest.fixture(scope="session")
def workspaces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Names of workspaces, in a folder apart: pytest lists its own for each folder that it makes there, and these are thousands."""
    folder = tmp_path_factory.mktemp("workspaces")
    return (folder / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def workspace(workspaces: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace for each test, in `SMR_WORKSPACE`, and no other setting from outside."""
    path = next(workspaces)
    path.mkdir(mode=0o700)
    for name in [name for name in os.environ if name.startswith("SMR_") and name != "SMR_TEST_INSTALLED"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SMR_WORKSPACE", str(path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(path / "config"))  # where the user's own settings would stand
    return path


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A session on a local service that stays warm from test to test, for all tests that do not kill it."""
    session = Session(settings=Settings(workspace=tmp_path_factory.mktemp("workspace"), workers=2, lease_seconds=5.0))
    yield session
    session.close()


@pytest.fixture
def own_session(tmp_path: Path) -> Iterator[Callable[..., Session]]:
    """Open sessions on a workspace of the test's own, and end their services afterwards."""
    opened: list[Session] = []

    def open_one(**settings: Any) -> Session:
        chosen: dict[str, Any] = {"workspace": tmp_path / "ws", "lease_seconds": 2.0, "workers": 2, **settings}
        opened.append(Session(settings=chosen))
        return opened[-1]

    yield open_one
    for session in opened:
        session.close()


def _unpacked(name: str, folder: Path) -> Path:
    target = folder / name
    with lzma.open(DATA / f"{name}.xz") as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink)
    return target


@pytest.fixture(scope="session")
def war_and_peace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """66,055 lines of UTF-8 with a byte-order mark and CRLF line ends."""
    return _unpacked("war_and_peace.txt", tmp_path_factory.mktemp("war_and_peace"))


@pytest.fixture(scope="session")
def access_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10,000 lines of an Apache combined log."""
    return _unpacked("apache_access.log", tmp_path_factory.mktemp("access_log"))


@pytest.fixture(scope="session")
def ministack_python() -> str:
    """The Python that has ministack; without it the test is skipped, and fails in CI."""
    found = bool(PYTHON) and subprocess.run([PYTHON, "-c", "import ministack"], check=False, capture_output=True).returncode == 0
    if not found:
        reason = f"SMR_TEST_MINISTACK={PYTHON!r} is no Python that has ministack"
        (pytest.fail if "CI" in os.environ else pytest.skip)(reason)
    return PYTHON
