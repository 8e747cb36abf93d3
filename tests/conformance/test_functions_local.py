"""The local function service holds the contract, also where only processes can fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from smr_notebook.backends.local.client import LocalFunctions
from smr_notebook.ports import FunctionService
from smr_notebook.testing.functions import QueueingServiceTests, death_of
from smr_notebook.testing.handlers import Order


class TestLocalFunctions(QueueingServiceTests):
    @pytest.fixture
    def service(self, folder: Path, workspace: Path) -> Iterator[FunctionService]:
        service = LocalFunctions(
            workspace, handler="smr_notebook.testing.handlers:record", location=str(folder), workers=2, idle_seconds=60.0, preload=()
        )
        yield service
        service.shutdown()

    @pytest.mark.parametrize(("ends", "reason"), [("killed", "killed by signal 9 (SIGKILL)"), ("exits", "exited with code 3")])
    def test_an_invocation_whose_process_ends_leads_to_one_notice(
        self, service: FunctionService, folder: Path, ends: str, reason: str
    ) -> None:
        order = Order("dying", ends=ends)
        invocation, told = death_of(service, folder, order)
        assert told == {"failed": order.payload().decode(), "invocation": invocation, "reason": reason}
