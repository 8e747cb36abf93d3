"""What a person sees in JupyterLab, from the first bar to the notebook opened again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

JOB = """%%smr data {options}
import os, threading
def map(x):
    while x >= 20 and not os.path.exists({gate!r}):
        threading.Event().wait(0.01)
    yield x % 7, x
def reduce(key, values):
    return sum(values)
"""
FAILING = "%%smr data\ndef map(x):\n    yield x, 1 // (x - 7)\n"
START = "%load_ext smr_notebook\nimport smr_notebook as smr\ndata = range(40)"
MIMES = ["text/html", "text/plain"]

pytestmark = [
    pytest.mark.filterwarnings("default::DeprecationWarning"),  # of the browser's driver
    pytest.mark.filterwarnings("default::ResourceWarning"),
]


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The file that lets a job go on after half of its records."""
    return tmp_path / "gate"


def job(gate: Path, options: str = "") -> str:
    return JOB.format(options=options, gate=str(gate))


def bar(lab: Any) -> int:
    return int(lab.page.locator(".smr-job [role=progressbar]").first.get_attribute("aria-valuenow"))


def test_a_job_is_live_and_the_notebook_can_be_read_by_a_new_kernel(lab: Any, gate: Path) -> None:
    lab.write(START, job(gate, "--into df"), "df.shape")
    lab.run_all()
    lab.page.wait_for_function("() => document.querySelector('.smr-job[data-state=map] [aria-valuenow]')?.ariaValueNow > 0")
    gate.touch()
    lab.outputs(2).get_by_text("(7, 2)").wait_for()
    saved = lab.saved()
    assert [sorted(output["data"]) for output in saved["cells"][1]["outputs"]] == [MIMES]
    assert "widgets" not in saved["metadata"]
    lab.command("kernelmenu:shutdown")
    lab.open()
    lab.wait_jobs("done")
    assert "df: 7 rows × 2 columns" in lab.outputs(1).inner_text()


def test_a_detached_job_is_live_in_each_cell_and_after_a_reload(lab: Any, gate: Path) -> None:
    lab.write(START, job(gate, "--detach"), "job = _\njob", "1 + 1")
    lab.run_all()
    lab.outputs(3).get_by_text("2").wait_for()
    lab.wait_jobs("map", count=2)
    lab.saved()
    lab.open()
    lab.wait_jobs("map", count=2)
    gate.touch()
    lab.wait_jobs("done", count=2)


def test_the_button_cancels_a_detached_job(lab: Any, gate: Path) -> None:
    lab.write(START, job(gate, "--detach"))
    lab.run_all()
    lab.wait_jobs("map")
    lab.page.locator("button.smr-cancel").click()
    lab.wait_jobs("cancelled")
    lab.page.locator("button.smr-cancel").wait_for(state="detached")


def test_an_interrupt_cancels_in_one_line_and_stops_the_cells_behind(lab: Any, gate: Path) -> None:
    lab.write(START, job(gate), "'next'")
    lab.run_all()
    lab.wait_jobs("map")
    lab.interrupt()
    lab.wait_jobs("cancelled")
    lab.wait_not_run(2)
    error = lab.outputs(1).last.inner_text()
    assert error.startswith("Interrupted: ")
    assert len(error.strip().splitlines()) == 1


def test_an_error_points_at_the_users_own_line(lab: Any) -> None:
    lab.write(START, FAILING, "'next'")
    lab.run_all()
    lab.wait_not_run(2)
    lines = [line.rstrip() for line in lab.outputs(1).last.inner_text().splitlines()]
    assert "Cell In[2], line 3, in map" in lines
    assert "---->   3     yield x, 1 // (x - 7)" in lines
    assert any(line.startswith("record: 7 ") for line in lines)
    assert not any("site-packages" in line for line in lines)


def test_a_job_outlives_its_kernel(lab: Any, gate: Path) -> None:
    lab.write(START, job(gate, "--detach"), "%smr attach --into df", "df.value.sum()")
    lab.run(0)
    lab.run(1)
    lab.wait_jobs("map")
    lab.new_kernel()
    gate.touch()
    lab.run(0)
    lab.run(2)
    lab.run(3)
    lab.outputs(3).get_by_text("780").wait_for()
