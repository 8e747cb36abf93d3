"""One warm local service for all integration tests that do not kill it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from smr_notebook import Session
from smr_notebook.config import Settings


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A session whose service stays warm from test to test."""
    session = Session(settings=Settings(workspace=tmp_path_factory.mktemp("workspace"), workers=2, lease_seconds=5.0))
    yield session
    session.close()


@pytest.fixture
def own_session(tmp_path: Path) -> Iterator[Callable[..., Session]]:
    """Open sessions on a workspace of the test's own, and end their services afterwards."""
    opened: list[Session] = []

    def open_one(**settings: Any) -> Session:
        chosen: dict[str, Any] = {"lease_seconds": 2.0, "workspace": tmp_path / "ws", **settings}
        opened.append(Session(settings=Settings(workers=2, **chosen)))
        return opened[-1]

    yield open_one
    for session in opened:
        session.close()
