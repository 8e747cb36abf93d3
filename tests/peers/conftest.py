"""One warm local service for the losses that a real job can show."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from smr_notebook import Session
from smr_notebook.config import Settings


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A session whose service stays warm from test to test."""
    session = Session(settings=Settings(workspace=tmp_path_factory.mktemp("workspace"), workers=2, lease_seconds=5.0))
    yield session
    session.close()
