"""The live panel through a real kernel, whatever its version: a client that asks as a person's does, and keeps what widgets were told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

JOB = """%%smr range(40) {options}
import os, threading
def map(x):
    while x >= 20 and not os.path.exists({gate!r}):
        threading.Event().wait(0.01)
    yield x % 7, x
reduce = sum
"""
WIDGET = "application/vnd.jupyter.widget-view+json"
MOVED = re.compile(r'data-state="map".*aria-valuenow="[1-9]', re.DOTALL)

pytestmark = [
    pytest.mark.filterwarnings("default::DeprecationWarning"),  # of jupyter_client and zmq
    pytest.mark.filterwarnings("default::ResourceWarning"),
]


class Person(NotebookClient):
    """Runs a notebook as somebody would who can be asked something, and opens a gate when a bar has moved."""

    gate: Path
    painted: list[str]

    async def async_start_new_kernel_client(self) -> Any:
        client = await super().async_start_new_kernel_client()
        client.allow_stdin = True
        return client

    def handle_comm_msg(self, outs: list[Any], msg: dict[str, Any], cell_index: int) -> None:
        super().handle_comm_msg(outs, msg, cell_index)
        value = msg["content"]["data"].get("state", {}).get("value")
        if value and "smr-job" in value:
            self.painted.append(value)
            if MOVED.search(value):
                self.gate.touch()


def run(cells: list[str], gate: Path, environment: dict[str, str]) -> tuple[list[Any], list[str]]:
    """Run cells as a person does; return them as they would be saved, and what the panel showed on the way."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in ["%load_ext smr_notebook", *cells]])  # type: ignore[no-untyped-call]
    person = Person(book, kernel_name="python3", timeout=240)
    person.gate, person.painted = gate, []
    person.execute(env=environment)
    return [cell.outputs for cell in book.cells[1:]], person.painted


def test_a_panel_is_painted_live_and_leaves_html_and_text(engine: dict[str, str], tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    (outputs, shape), painted = run([JOB.format(options="--into df", gate=str(gate)), "df.shape"], gate, engine)
    assert [sorted(output["data"]) for output in outputs] == [["text/html", "text/plain"]]
    assert 'data-state="done"' in outputs[0]["data"]["text/html"]
    assert "df: 7 rows × 2 columns" in outputs[0]["data"]["text/plain"]
    assert shape[0]["data"]["text/plain"] == "(7, 2)"
    assert len(set(painted)) > 1
    assert 'data-state="done"' in painted[-1]


def test_a_detached_job_is_painted_by_its_own_thread(engine: dict[str, str], tmp_path: Path) -> None:
    """Read as the messages come: a runner of notebooks drops those that come between its cells."""
    gate, painted, frozen = tmp_path / "gate", [], None
    manager, client = start_new_kernel(kernel_name="python3", env=engine)
    client.execute("%load_ext smr_notebook\n")
    client.execute(JOB.format(options="--detach", gate=str(gate)), allow_stdin=True)
    while frozen is None:
        content = client.get_iopub_msg(timeout=120)["content"]
        value = content.get("data", {}).get("state", {}).get("value") if isinstance(content.get("data"), dict) else None
        if value and "smr-job" in value:
            painted.append(value)
            if MOVED.search(value):
                gate.touch()
        if content.get("transient", {}).get("display_id") and WIDGET not in content["data"]:
            frozen = content["data"]
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    assert sorted(frozen) == ["text/html", "text/plain"]
    assert 'data-state="done"' in frozen["text/html"]
    assert len(set(painted)) > 1
