"""`%smr deploy`, `%smr doctor` and `%smr down` in cells, on the emulator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.deploy.stack import read_status
from smr_notebook.errors import CredentialsError, DeploymentError
from smr_notebook.notebook.extension import load


class Cells:
    """A notebook, as far as it is needed here."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._shell.display_pub = CapturingDisplayPublisher(parent=shell)  # type: ignore[no-untyped-call]
        load(shell)

    def run(self, cell: str) -> object:
        """Return the value of a cell; raise what it raised."""
        done = self._shell.run_cell(cell)
        done.raise_error()
        return done.result

    @property
    def shown(self) -> list[str]:
        """What was displayed, as text, oldest first."""
        return [output["data"]["text/plain"] for output in self._shell.display_pub.outputs]


@pytest.fixture
def cells(aws: str) -> Iterator[Cells]:
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    InteractiveShell.clear_instance()
    yield Cells(InteractiveShell.instance(config=config))
    InteractiveShell.clear_instance()


@pytest.fixture
def stack() -> str:
    return f"t-{uuid4().hex[:12]}"


def test_a_deployment_from_nothing_to_nothing(cells: Cells, stack: str, clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMR_DISPLAY", "static")
    told = repr(cells.run(f"%smr deploy --stack {stack} --image a.registry/image:one")).splitlines()
    assert told[0].startswith("CREATE_COMPLETE AWS::S3::Bucket")
    assert told[-1].startswith(f"{stack} in us-east-1 is ready")
    assert read_status(clients, stack) == "CREATE_COMPLETE"
    assert repr(cells.run(f"%smr down --stack {stack} --yes")).splitlines()[-1] == f"nothing is left of {stack} in us-east-1"
    assert read_status(clients, stack) == ""
    assert cells.shown == []


def test_where_somebody_watches_each_line_is_shown_and_there_is_no_value(cells: Cells, stack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMR_DISPLAY", "panel")
    assert cells.run(f"%smr deploy --stack {stack} --image a.registry/image:one") is None
    assert len(cells.shown) > 2
    assert cells.shown[-1].splitlines()[-1].startswith(f"{stack} in us-east-1 is ready")
    assert repr(cells.run(f"%smr deploy --stack {stack} --print-template")).startswith("{"), "not progress, but an answer"


def test_what_the_doctor_finds_wrong_fails_the_cell(cells: Cells, stack: str) -> None:
    with pytest.raises(DeploymentError) as raised:
        cells.run(f"%smr doctor --stack {stack}")
    assert str(raised.value).startswith("%smr doctor: not all is as it should be.\nok    credentials: you are arn:")
    assert f"WRONG stack: there is no stack {stack} in us-east-1.\n      mend it: `smr deploy" in str(raised.value)


def test_an_error_of_a_command_is_one_of_this_package(cells: Cells, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(CredentialsError, match="Asking AWS who you are"):
        cells.run("%smr down --yes")
