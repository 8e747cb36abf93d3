"""JupyterLab in Chromium: a server with a home of its own, and one page that is driven through Lab's commands.

The tests are skipped where there is no Chromium, no JupyterLab or no playwright. They wait for what the page shows, never for time: how
far a job gets is decided by a file that its `map` waits for.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import smr_notebook
from smr_notebook.config import from_machine

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
MISSING = [name for name in ("jupyterlab", "playwright") if find_spec(name) is None] + ([] if CHROMIUM else ["chromium"])
CHROMIUM_OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
CHROMIUM_OPTIONS += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]
NOTEBOOK = "[...window.jupyterapp.shell.widgets('main')].find(w => w.context && w.sessionContext && w.content && w.content.widgets)"
QUIET_LAB = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}
HOMES = ["HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"]
HOMES += ["JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if MISSING:
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason=f"browser tests need {', '.join(MISSING)}"))


class Lab:
    """One page of JupyterLab with one notebook open."""

    def __init__(self, page: Any, url: str, token: str, folder: Path) -> None:
        self.page = page
        self._url = url
        self._token = token
        self._folder = folder
        self._file = folder

    def write(self, *cells: str) -> None:
        """Make a new notebook of these cells, and open it with a new kernel."""
        self._file = self._folder / f"{secrets.token_hex(4)}.ipynb"
        code: dict[str, Any] = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
        notebook = {
            "cells": [code | {"id": f"cell-{number}", "source": source} for number, source in enumerate(cells)],
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        self._file.write_text(json.dumps(notebook), encoding="utf-8")
        self.open()

    def open(self) -> None:
        """Load the page anew, and wait until the kernel is idle."""
        self.page.goto(f"{self._url}/lab/tree/{self._file.name}?token={self._token}&reset")
        self.page.wait_for_function(f"window.jupyterapp && {NOTEBOOK}")
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        self.page.evaluate(f"() => {{ window.jupyterapp.shell.activateById(({NOTEBOOK}).id); }}")
        self.wait_idle()

    def wait_idle(self) -> None:
        """Wait until the kernel has nothing to do."""
        self.page.wait_for_function(f"() => {NOTEBOOK}.sessionContext.session?.kernel?.status === 'idle'")

    def command(self, name: str) -> None:
        """Give a command of Lab, and wait until it is carried out."""
        self.page.evaluate("name => window.jupyterapp.commands.execute(name).then(() => 1)", name)

    def run_all(self) -> None:
        """Run all cells, without waiting for them."""
        self.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")

    def run(self, number: int) -> None:
        """Run one cell, without waiting for it."""
        self.cell(number).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")

    def interrupt(self) -> None:
        """Press ■."""
        self.command("kernelmenu:interrupt")

    def new_kernel(self) -> None:
        """Put a new kernel in the place of this one, which is killed."""
        self.page.evaluate(f"() => {NOTEBOOK}.sessionContext.session.kernel.restart()")
        self.wait_idle()

    def cell(self, number: int) -> Any:
        """Return a cell, counted from 0."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(number)

    def outputs(self, number: int) -> Any:
        """Return the outputs of a cell."""
        return self.cell(number).locator(".jp-OutputArea-output")

    def wait_not_run(self, number: int) -> None:
        """Wait until a cell that was queued is known not to run, because one before it failed."""
        self.outputs(number - 1).get_by_text(re.compile("Interrupted: |---->")).wait_for()
        self.cell(number).locator(".jp-InputPrompt", has_text="[ ]:").wait_for()

    def wait_jobs(self, state: str, *, count: int = 1) -> None:
        """Wait until so many panels on the page show this state."""
        asked = f"count => document.querySelectorAll('.smr-job[data-state={state}]').length === count"
        self.page.wait_for_function(asked, arg=count)

    def saved(self) -> Any:
        """Save the notebook, and return what the file holds."""
        self.command("docmanager:save")
        return json.loads(self._file.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notebooks")


@pytest.fixture(scope="session")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A JupyterLab on a free port, whose kernels share a workspace."""
    home, workspace, token = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("workspace"), secrets.token_hex(12)
    settings = home / "JUPYTERLAB_SETTINGS_DIR" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(QUIET_LAB), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ours = {"SMR_WORKSPACE": str(workspace), "PYTHONPATH": str(Path(smr_notebook.__file__).parents[1])}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}"]
    command += ["--LabApp.expose_app_in_browser=True", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    command += ["--LabApp.news_url=None", "--KernelSpecManager.ensure_native_kernel=True"]
    environment = os.environ | {name: str(home / name) for name in HOMES} | ours
    with (home / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        yield f"http://127.0.0.1:{port}", token
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    smr_notebook.Session(settings=from_machine({"workspace": workspace})).backend.close()


@pytest.fixture(scope="session")
def page(server: tuple[str, str]) -> Iterator[Any]:
    from playwright.sync_api import Error, sync_playwright

    url, token = server
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        opened = browser.new_page(viewport={"width": 1200, "height": 900})
        opened.set_default_timeout(60_000)
        for _ in range(240):
            try:
                opened.request.get(f"{url}/api/status?token={token}")
                break
            except Error:  # the server is not up yet
                opened.wait_for_timeout(250)
        yield opened
        browser.close()


@pytest.fixture
def lab(page: Any, server: tuple[str, str], folder: Path, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A page; where it stood when a test fails is written to `build/browser/`."""
    failed = request.session.testsfailed
    yield Lab(page, *server, folder)
    if request.session.testsfailed > failed:
        page.screenshot(path=request.config.rootpath / "build" / "browser" / f"{request.node.name}.png")
