"""The local function service holds the contract, also where only processes can fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from smr_notebook.backends.local.client import LocalFunctions
from smr_notebook.ports import FunctionService
from smr_notebook.testing.functions import QueueingServiceTests
from smr_notebook.testing.handlers import Order
from smr_notebook.testing.waiting import wait_until


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
        service.invoke(order.payload())
        wait_until(lambda: list(folder.glob("notice-*")))
        service.invoke(Order("next").payload())
        wait_until(lambda: list(folder.glob("ended-next-*")))
        [started] = folder.glob("started-dying-*")
        [notice] = folder.glob("notice-*")
        assert json.loads(notice.read_text()) == {
            "failed": order.payload().decode(),
            "invocation": started.name.removeprefix("started-dying-"),
            "reason": reason,
        }
