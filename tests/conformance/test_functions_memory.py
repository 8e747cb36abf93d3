"""The function service of threads holds the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from smr_notebook.backends.memory.functions import MemoryFunctions
from smr_notebook.errors import ServiceError
from smr_notebook.ports import FunctionService
from smr_notebook.testing.functions import QueueingServiceTests
from smr_notebook.testing.handlers import Order, record
from smr_notebook.testing.waiting import wait_until


class TestMemoryFunctions(QueueingServiceTests):
    @pytest.fixture
    def service(self, folder: Path) -> Iterator[FunctionService]:
        service = MemoryFunctions(record, location=str(folder), workers=2)
        yield service
        service.close()

    def test_closing_ends_sleepers_and_refuses_calls(self, folder: Path) -> None:
        service = MemoryFunctions(record, location=str(folder), workers=2)
        service.invoke(Order("sleeper", sleeps=3600.0).payload())
        wait_until(lambda: list(folder.glob("started-*")))
        service.close()
        assert list(folder.glob("ended-*")) == []
        with pytest.raises(ServiceError, match="closed"):
            service.invoke(b"{}")
