"""What a person sees in JupyterLab and Notebook 7, from the first bar to the notebook opened again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import smr_notebook

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
SLOW = """import os, threading
lines = ["127.0.0.1 - - [26/Nov/2026:06:25:24 +0000] GET / HTTP/1.1 200 12"] * 3_600
lines += ["127.0.0.1 - - [26/Nov/2026:06:25:25 +0000] GET /last HTTP/1.1 200 12"] * 400
def status(line):
    while "/last" in line and not os.path.exists({gate!r}):
        threading.Event().wait(0.01)
    threading.Event().wait(0.01)
    return line.split()[8]
"""
CODES = """%%smr lines --into codes --name "status codes"
def map(line):
    yield status(line), 1

def reduce(code, counts):
    return sum(counts)
"""
START = "%load_ext smr_notebook\nimport smr_notebook as smr\ndata = range(40)"
MIMES = ["text/html", "text/plain"]
READABLE = 4.0
"""Contrast that text has at least. One colour on white and on black cannot have more than some 4.4 on both."""

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


def test_a_job_is_live_and_the_notebook_can_be_read_by_a_new_kernel(lab: Any, gate: Path) -> None:
    lab.write(START, job(gate, "--into df --name 'sevens'"), "df.shape")
    lab.run_all()
    lab.wait_moved()
    lab.picture("running")
    gate.touch()
    lab.outputs(2).get_by_text("(7, 2)").wait_for()
    lab.picture("done")
    saved = lab.saved()
    assert [sorted(output["data"]) for output in saved["cells"][1]["outputs"]] == [MIMES]
    assert "widgets" not in saved["metadata"]
    lab.command("kernelmenu:shutdown")
    lab.open()
    lab.wait_jobs("done")
    lab.picture("reopened")
    assert "df: 7 rows × 2 columns" in lab.outputs(1).inner_text()
    assert lab.page.get_by_text("model not found").count() == 0


def test_a_job_says_how_fast_it_is_and_how_long_its_phase_may_still_take(lab: Any, gate: Path) -> None:
    """On two workers, of which the last records never let go: so it says so until it is interrupted, however many cores there are."""
    lab.write(f"{START}\n%config Smr.workers = 2", SLOW.format(gate=str(gate)), CODES)
    lab.run_all()
    head, bars = lab.cell(2).locator(".smr-head"), lab.cell(2).locator(".smr-map")
    head.get_by_text(re.compile("≈ [0-9:]+ of map left")).wait_for()
    bars.get_by_text(re.compile("running · .* rec/s")).wait_for()
    lab.picture("panel", 2)
    lab.interrupt()
    lab.wait_jobs("cancelled")


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


def test_two_views_of_a_job_are_one(lab: Any, gate: Path) -> None:
    lab.write(START, job(gate, "--detach --name 'seen twice'"), "job = _\njob")
    lab.run_all()
    lab.wait_jobs("map", count=2)
    lab.picture("two-views")
    lab.page.locator("button.smr-cancel").nth(1).click()
    lab.wait_jobs("cancelled", count=2)
    lab.page.wait_for_function("() => !document.querySelector('button.smr-cancel')")


def test_the_button_cancels_a_detached_job(lab: Any, gate: Path) -> None:
    lab.write(START, job(gate, "--detach"))
    lab.run_all()
    lab.wait_jobs("map")
    lab.picture("detached")
    lab.page.get_by_role("button", name="Cancel", exact=True).click()
    lab.wait_jobs("cancelled")
    lab.page.locator("button.smr-cancel").wait_for(state="detached")
    lab.picture("cancelled")


def test_the_button_is_reached_by_keyboard(lab: Any, gate: Path) -> None:
    lab.write(START, job(gate, "--detach"))
    lab.run_all()
    lab.wait_moved()
    for _ in range(100):
        if lab.page.evaluate("() => document.activeElement.classList.contains('smr-cancel')"):
            break
        lab.page.keyboard.press("Tab")
    lab.page.wait_for_function("() => document.activeElement.classList.contains('smr-cancel')")
    lab.picture("focused")
    lab.page.keyboard.press("Space")
    lab.wait_jobs("cancelled")


def test_a_panel_leaves_the_focus_where_it_is(lab: Any, gate: Path) -> None:
    lab.write(START, job(gate, "--detach"), "")
    lab.run(0)
    lab.run(1)
    lab.wait_moved()
    lab.cell(2).locator(".cm-content").click()
    gate.touch()
    lab.wait_jobs("done")
    lab.page.keyboard.type("a sentence")
    assert lab.cell(2).locator(".cm-content").inner_text() == "a sentence"


def test_a_screen_reader_finds_names_and_is_told_the_state(lab: Any, gate: Path) -> None:
    lab.write(START, job(gate, "--name told"))
    lab.run_all()
    lab.wait_moved()
    assert lab.page.get_by_role("progressbar", name="map tasks").get_attribute("aria-valuetext").endswith("/16 tasks")
    assert lab.page.get_by_role("progressbar", name="reduce tasks").count() == 1
    assert lab.cell(1).get_by_role("status").inner_text() == "MapReduce told: map"
    gate.touch()
    lab.wait_jobs("done")
    lab.cell(1).get_by_role("table").first.wait_for()
    lab.cell(1).get_by_role("status").wait_for(state="detached")


@pytest.mark.parametrize("theme", ["Dark", "Light"])
def test_a_panel_can_be_read_in_any_theme(lab: Any, gate: Path, theme: str) -> None:
    lab.write(START, job(gate, "--detach"), FAILING.replace("data", "data --detach"), job(gate, "--detach --name cancelled"))
    lab.theme(theme)
    lab.run(0)
    lab.run(2)
    lab.wait_jobs("failed")
    lab.run(3)
    lab.wait_jobs("map")
    lab.cell(3).locator("button.smr-cancel").click()
    lab.wait_jobs("cancelled")
    lab.run(1)
    lab.wait_moved()
    lab.picture(f"states-{theme.lower()}")
    assert lab.contrast(".smr-job[data-state=map]") >= READABLE
    gate.touch()
    lab.wait_jobs("done")
    assert lab.contrast(".smr-job") >= READABLE
    lab.picture(f"ends-{theme.lower()}")


def test_an_interrupt_cancels_in_two_lines_and_stops_the_cells_behind(lab: Any, gate: Path) -> None:
    lab.write(START, job(gate), "'next'")
    lab.run_all()
    lab.wait_jobs("map")
    lab.interrupt()
    lab.wait_jobs("cancelled")
    lab.wait_not_run()
    error = lab.outputs(1).last.inner_text()
    assert error.startswith("Interrupted: ")
    assert [line.partition(":")[0] for line in error.strip().splitlines()] == ["Interrupted", "what is done stands"]
    lab.picture("interrupted")


def test_an_error_points_at_the_users_own_line(lab: Any) -> None:
    lab.write(START, FAILING, "'next'")
    lab.run_all()
    lab.wait_not_run()
    lines = [line.rstrip() for line in lab.outputs(1).last.inner_text().splitlines()]
    assert "Cell In[2], line 3, in map" in lines
    assert "---->   3     yield x, 1 // (x - 7)" in lines
    assert any(line.startswith("record: 7 ") for line in lines)
    assert not any("site-packages" in line for line in lines)
    lab.picture("failed")


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


def test_in_notebook_7_a_job_is_live_and_leaves_a_table(notebook7: Any, gate: Path) -> None:
    notebook7.write(START, job(gate, "--into df --name 'sevens'"), "df.shape")
    notebook7.run_all()
    notebook7.wait_moved()
    notebook7.picture("notebook7-running")
    gate.touch()
    notebook7.outputs(2).get_by_text("(7, 2)").wait_for()
    saved = notebook7.saved()
    assert [sorted(output["data"]) for output in saved["cells"][1]["outputs"]] == [MIMES]
    assert "widgets" not in saved["metadata"]
    notebook7.open()
    notebook7.wait_jobs("done")
    notebook7.picture("notebook7-reopened")
    assert notebook7.page.get_by_text("model not found").count() == 0


def test_in_notebook_7_the_button_cancels_a_detached_job(notebook7: Any, gate: Path) -> None:
    notebook7.write(START, job(gate, "--detach"))
    notebook7.run_all()
    notebook7.wait_jobs("map")
    notebook7.page.get_by_role("button", name="Cancel", exact=True).click()
    notebook7.wait_jobs("cancelled")


def test_a_notebook_saved_by_a_person_passes_in_ci(lab: Any, gate: Path, workspace: Path) -> None:
    lab.write(START, job(gate, "--into df"), "df", job(gate, "--detach --name again"), "_.result().shape")
    lab.run_all()
    lab.wait_moved()
    gate.touch()
    lab.outputs(4).get_by_text("(7, 2)").wait_for()
    lab.wait_jobs("done", count=2)
    lab.wait_idle()
    assert sorted(lab.saved()["cells"][3]["outputs"][0]["data"]) == MIMES
    rules = str(files("smr_notebook") / "notebook" / "nbval_sanitize.cfg")
    words = ["-q", "-p", "no:cacheprovider", "--nbval", "--nbval-sanitize-with", rules, "--nbval-current-env", str(lab.file)]
    environment = os.environ | {"SMR_WORKSPACE": str(workspace), "IPYTHONDIR": str(gate.parent / "ipython")}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *words], env=environment, cwd=gate.parent, capture_output=True, text=True, check=False
    )
    smr_notebook.Session().close()
    assert ran.returncode == 0, ran.stdout
    assert "5 passed" in ran.stdout
