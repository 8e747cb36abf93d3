"""Lambda as a function service holds the contract: real sandboxes, forked processes, the queue of failures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.functions import LambdaFunctions
from smr_notebook.backends.aws.names import ROUTES, Names
from smr_notebook.backends.system_clock import SystemClock
from smr_notebook.ports import FunctionService
from smr_notebook.testing.functions import FunctionServiceTests, death_of
from smr_notebook.testing.handlers import Order
from smr_notebook.testing.lambdas.service import lambda_service
from smr_notebook.testing.lambdas.settings import ACCOUNT, REGION, Function

NAMES = Names("smr", ACCOUNT, REGION)


class TestLambdaFunctions(FunctionServiceTests):
    @pytest.fixture
    def service(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FunctionService]:
        functions = [
            Function(
                NAMES.function(route),
                "smr_notebook.testing.lambdas.recorder.handler",
                environment={"SMR_LOCATION": str(folder)},
                retries=0,
                on_failure=NAMES.function("coordinator"),
                recursive=True,
            )
            for route in ROUTES
        ]
        with lambda_service(functions, account_limit=6, time_scale=0.002) as running:
            for name, value in running.access.items():
                monkeypatch.setenv(name, value)
            yield LambdaFunctions(Clients(), NAMES, route=lambda payload: "mapper", clock=SystemClock())

    @pytest.mark.parametrize(
        ("ends", "reason"), [("killed", "killed by signal 9: most likely out of memory (limit 512 MB)"), ("exits", "exited with code 3")]
    )
    def test_an_invocation_whose_process_ends_leads_to_one_notice_and_the_next_one_runs(
        self, service: FunctionService, folder: Path, ends: str, reason: str
    ) -> None:
        invocation, told = death_of(service, folder, Order("dying", ends=ends))
        assert told["reason"] == reason
        assert invocation.startswith(f"{told['invocation']}~")
