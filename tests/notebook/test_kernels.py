"""Cells in a real kernel, with real jobs: as a person runs them (`allow_stdin`), and as a test runner does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

COUNT = """%%smr lines {options}
import os, threading
def map(line):
    while {gate!r} and not os.path.exists({gate!r}):
        threading.Event().wait(0.01)
    for word in line.split():
        yield word, 1
def reduce(word, counts):
    return sum(counts)
"""
FAILING = "%%smr lines --retries 0\ndef map(line):\n    yield line, 1 // (len(line) - 7)"
MIMES = ["text/html", "text/plain"]
WIDGET = "application/vnd.jupyter.widget-view+json"

pytestmark = [
    pytest.mark.filterwarnings("default::DeprecationWarning"),  # of jupyter_client and zmq
    pytest.mark.filterwarnings("default::ResourceWarning"),
]


@dataclass
class Ran:
    """What came of one cell: the bundles as a frontend shows them in the end, and as they were at first; the reply."""

    reply: dict[str, Any] = field(default_factory=dict)
    shown: list[dict[str, Any]] = field(default_factory=list)
    first: list[dict[str, Any]] = field(default_factory=list)
    printed: str = ""
    gate: Path | None = None

    def take(self, message: dict[str, Any]) -> None:
        content = message["content"]
        match message["msg_type"]:
            case "stream":
                self.printed += content["text"]
            case "display_data" | "execute_result":
                self.first.append(content["data"])
                if self.gate:
                    self.gate.touch()
                self.shown.append(content | {"id": content.get("transient", {}).get("display_id")})
            case "update_display_data":
                for output in self.shown:
                    if output["id"] == content["transient"]["display_id"]:
                        output["data"] = content["data"]

    @property
    def bundles(self) -> list[dict[str, Any]]:
        return [output["data"] for output in self.shown]

    @property
    def value(self) -> str:
        return str(self.bundles[-1]["text/plain"])


class Kernel:
    """A kernel and the client that runs cells in it."""

    def __init__(self, manager: Any, client: Any) -> None:
        self.manager = manager
        self.client = client

    def run(self, cell: str, *, watched: bool = False, gate: Path | None = None) -> Ran:
        """Run a cell to its end; `watched` as a person's frontend would ask for it; with the first output `gate` opens."""
        ran = Ran(gate=gate)
        ran.reply = self.client.execute_interactive(cell, allow_stdin=watched, output_hook=ran.take, timeout=120)["content"]
        return ran


@pytest.fixture(scope="module")
def kernel(engine: dict[str, str]) -> Iterator[Kernel]:
    manager, client = start_new_kernel(kernel_name="python3", env=engine)
    started = Kernel(manager, client)
    started.run(
        "%load_ext smr_notebook\nimport smr_notebook as smr\nlines = ['the quick brown fox', 'jumps over the lazy dog', 'the end'] * 8"
    )
    yield started
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def count(options: str, gate: Path | str = "") -> str:
    """Return a cell that counts words; its `map` waits until the file `gate` is there."""
    return COUNT.format(options=options, gate=str(gate))


def test_loading_is_silent_and_can_be_done_twice(kernel: Kernel) -> None:
    ran = kernel.run("%reload_ext smr_notebook\n%load_ext smr_notebook.autoload")
    assert (ran.printed, ran.shown) == ("", [])


def test_without_a_watcher_a_job_leaves_one_table(kernel: Kernel) -> None:
    ran = kernel.run(count("--into df"))
    assert [sorted(bundle) for bundle in ran.first] == [MIMES]
    assert ran.first == ran.bundles
    assert "df: 9 rows × 2 columns (key, value)" in ran.value
    assert kernel.run("df.value.tolist()").value == "[8, 8, 8, 8, 8, 8, 8, 8, 24]"


def test_the_value_of_a_cell_is_the_frame(kernel: Kernel) -> None:
    ran = kernel.run(count(""))
    assert [sorted(bundle) for bundle in ran.bundles] == [MIMES, MIMES]
    assert kernel.run("_.shape").value == "(9, 2)"


def test_a_watched_job_is_a_widget_and_ends_as_the_same_table(kernel: Kernel, tmp_path: Path) -> None:
    ran = kernel.run(count("--into df", tmp_path / "gate"), watched=True, gate=tmp_path / "gate")
    assert [sorted(bundle) for bundle in ran.first] == [sorted([WIDGET, *MIMES])]
    assert [sorted(bundle) for bundle in ran.bundles] == [MIMES]
    assert 'data-state="done"' in ran.bundles[0]["text/html"]
    assert "df: 9 rows × 2 columns (key, value)" in ran.value


def test_a_detached_job_waits_when_nobody_watches(kernel: Kernel) -> None:
    ran = kernel.run(count("--detach --name detached"))
    assert [sorted(bundle) for bundle in ran.bundles] == [MIMES]
    assert "'detached' done" in ran.value
    assert kernel.run("_.result().shape").value == "(9, 2)"


def test_a_detached_job_that_fails_is_an_error_when_nobody_watches(kernel: Kernel) -> None:
    reply = kernel.run(FAILING.replace("--retries 0", "--retries 0 --detach")).reply
    assert (reply["status"], reply["ename"]) == ("error", "TaskError")


def test_a_detached_job_is_a_widget_when_somebody_watches(kernel: Kernel, tmp_path: Path) -> None:
    ran = kernel.run(count("--detach --name open", tmp_path / "gate"), watched=True, gate=tmp_path / "gate")
    assert [sorted(bundle) for bundle in ran.first] == [sorted([WIDGET, *MIMES])]
    while WIDGET in ran.bundles[0]:
        ran.take(kernel.client.get_iopub_msg(timeout=60))
    assert 'data-state="done"' in ran.bundles[0]["text/html"]
    assert kernel.run("_.result().shape").value == "(9, 2)"


def test_a_job_that_has_ended_is_shown_as_its_table(kernel: Kernel) -> None:
    kernel.run("job = smr.map_reduce(lambda n: [(n % 2, n)], sum, range(10), name='odd and even').wait()")
    ran = kernel.run("job", watched=True)
    assert [sorted(bundle) for bundle in ran.first] == [MIMES]


def test_a_job_can_be_found_again(kernel: Kernel) -> None:
    kernel.run("job = smr.map_reduce(lambda n: [(n % 2, n)], sum, range(10))")
    kernel.run("%smr attach --into df")
    assert kernel.run("df.equals(smr.attach(job.id[:6]).result()), df.value.tolist()").value == "(True, [20, 25])"


def test_a_cell_awaits_a_job(kernel: Kernel) -> None:
    kernel.run("job = smr.map_reduce(lambda n: [(n % 2, n)], sum, range(10))")
    ran = kernel.run("frame = await job\nframe.value.tolist()")
    assert (ran.value, ran.printed) == ("[20, 25]", "")


def test_the_loop_of_the_kernel_goes_on_while_a_cell_awaits(kernel: Kernel, tmp_path: Path) -> None:
    """A task of the same loop opens the gate that the job waits for."""
    kernel.run(count("--detach", tmp_path / "gate"), watched=True)
    kernel.run("job = _\nimport asyncio, pathlib")
    kernel.run(f"async def opens():\n    await asyncio.sleep(0)\n    pathlib.Path({str(tmp_path / 'gate')!r}).touch()")
    ran = kernel.run("opening = asyncio.ensure_future(opens())\nframe = await job\nawait opening\nframe.shape")
    assert ran.value == "(9, 2)"


def test_a_kernel_survives_who_awaits_a_cancelled_job(kernel: Kernel, tmp_path: Path) -> None:
    """In tasks of its loop, too, which would end with a `KeyboardInterrupt`."""
    kernel.run(count("--detach", tmp_path / "never"), watched=True)
    kernel.run("job = _\nimport asyncio\nwaiting = asyncio.gather(job, return_exceptions=True)\njob.cancel()")
    assert kernel.run("[type(error).__name__ for error in await waiting]").value == "['JobError']"
    reply = kernel.run("await job").reply
    assert (reply["status"], reply["ename"]) == ("error", "JobError")
    assert kernel.run("job.cancelled()").value == "True"


def test_a_callback_of_a_job_prints_nothing_by_itself(kernel: Kernel) -> None:
    kernel.run("import threading\nended, event = [], threading.Event()")
    kernel.run("job = smr.map_reduce(lambda n: [(n % 2, n)], sum, range(10))")
    ran = kernel.run("job.add_done_callback(lambda job: (ended.append(job.id), event.set()))\nevent.wait(60), ended == [job.id]")
    assert (ran.value, ran.printed) == ("(True, True)", "")


def test_an_early_answer_is_shown_as_one(kernel: Kernel) -> None:
    kernel.run("job = smr.map_reduce(lambda n: [(n % 2, n)], sum, range(10)).wait()")
    ran = kernel.run("%smr so-far")
    assert sorted(ran.bundles[0]) == MIMES
    assert "map tasks: all of the input" in ran.value
    assert "<table" in ran.bundles[0]["text/html"]
    assert kernel.run("_.frame.value.tolist()").value == "[20, 25]"
    reply = kernel.run("smr.map_reduce(lambda n: [(n, n)], None, range(3)).wait()\n%smr so-far nobody").reply
    assert (reply["status"], reply["ename"]) == ("error", "JobNotFoundError")


def test_a_failing_map_shows_the_users_line_and_record(kernel: Kernel) -> None:
    reply = kernel.run(FAILING).reply
    assert (reply["status"], reply["ename"]) == ("error", "TaskError")
    lines = "\n".join(reply["traceback"]).splitlines()
    assert lines[0].startswith("ZeroDivisionError in map task ")
    assert lines[1].startswith("Cell In[")
    assert lines[1].endswith("], line 3, in map")
    assert "---->   3     yield line, 1 // (len(line) - 7)" in lines
    assert any(line.startswith("record: 'the end'") for line in lines)
    assert not any("site-packages" in line or "/smr_notebook/" in line for line in lines)


@pytest.mark.parametrize("cell", ["%%smr lines --reducer 2\ndef map(n):\n    yield n, 1", "%smr jbos", "%%smr lines"])
def test_a_mistyped_line_is_an_error_that_runners_see(kernel: Kernel, cell: str) -> None:
    reply = kernel.run(cell).reply
    assert (reply["status"], reply["ename"]) == ("error", "ConfigError")


def test_an_interrupt_lets_the_job_go_on_where_that_is_set(kernel: Kernel, tmp_path: Path) -> None:
    client, gate = kernel.client, tmp_path / "gate"
    kernel.run("%config Smr.on_interrupt = 'detach'")
    asked = client.execute(count("", gate), allow_stdin=True)
    while client.get_iopub_msg(timeout=60)["msg_type"] != "display_data":
        continue
    kernel.manager.interrupt_kernel()
    reply = client.get_shell_msg(timeout=60)
    while reply["parent_header"]["msg_id"] != asked:
        reply = client.get_shell_msg(timeout=60)
    assert (reply["content"]["status"], reply["content"]["ename"]) == ("error", "KeyboardInterrupt")
    told = reply["content"]["traceback"]
    assert told[0].endswith(" goes on")
    assert told[-1].startswith("%smr attach ")
    gate.touch()
    kernel.run("%smr attach --into found")
    assert kernel.run("len(found) > 0").reply["status"] == "ok"
    kernel.run("%config Smr.on_interrupt = None")


def test_an_interrupt_cancels_the_job(kernel: Kernel, tmp_path: Path) -> None:
    client = kernel.client
    asked = client.execute(count("", tmp_path / "never"), allow_stdin=True)
    while client.get_iopub_msg(timeout=60)["msg_type"] != "display_data":
        continue
    kernel.manager.interrupt_kernel()
    reply = client.get_shell_msg(timeout=60)
    while reply["parent_header"]["msg_id"] != asked:
        reply = client.get_shell_msg(timeout=60)
    assert (reply["content"]["status"], reply["content"]["ename"]) == ("error", "JobCancelled")
    assert reply["content"]["traceback"][0].startswith("Interrupted: ")
