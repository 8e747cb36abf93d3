"""What all tests share: real input, a workspace of their own, and proof that nothing of ours outlives them."""

from __future__ import annotations

import lzma
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

DATA = Path(__file__).parent / "data"


def _ours(root: Path) -> list[psutil.Process]:
    """Return the processes, other than this one, that were started for a workspace below `root`."""
    found = []
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), process.environ().get("SMR_WORKSPACE", "")]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if process.pid != os.getpid() and any(str(root) in text for text in told):
            found.append(process)
    return found


@pytest.fixture(scope="session")
def workspaces() -> Iterator[Path]:
    """The folder of all workspaces of this run. Its path is short, because that of a socket is bounded (108 bytes).

    At the end no process may be left that works below it.
    """
    root = Path(tempfile.mkdtemp(prefix="smr-", dir="/tmp"))
    yield root
    left = _ours(root)
    told = [f"{process.pid} {' '.join(process.cmdline())[:200]}" for process in left if process.is_running()]
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=10)
    shutil.rmtree(root, ignore_errors=True)
    assert told == [], "services of this run are left: end them in the test or fixture that started them"


@pytest.fixture(autouse=True)
def workspace(workspaces: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace for each test, in `SMR_WORKSPACE` also for the processes that it starts."""
    path = Path(tempfile.mkdtemp(dir=workspaces))
    for name in [name for name in os.environ if name.startswith("SMR_") and name != "SMR_TEST_INSTALLED"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SMR_WORKSPACE", str(path))
    return path


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
