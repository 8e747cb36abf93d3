"""JupyterLab and Notebook 7 in Chromium: servers with a home of their own, and one page that is driven through the commands of both.

The tests are skipped where there is no Chromium, no JupyterLab, no Notebook or no playwright. They wait for what the page shows, never for
time, and for up to two minutes, because a machine may be busy: how far a job gets is decided by a file that its `map` waits for. No test is
tried twice; only a server is, whose port somebody else may have taken.

What a person would have seen is left in `build/browser/`, one picture for each state.
"""

from __future__ import annotations

import functools
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import smr_notebook
from smr_notebook.config import from_machine
from smr_notebook.testing.waiting import wait_until

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
NEEDED = ("jupyterlab", "notebook", "playwright", "nbval")
MISSING = [name for name in NEEDED if find_spec(name) is None] + ([] if CHROMIUM else ["chromium"])
WAIT_SECONDS = 120.0
CHROMIUM_OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
CHROMIUM_OPTIONS += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]
NOTEBOOK = "[...window.jupyterapp.shell.widgets('main')].find(w => w.context && w.sessionContext && w.content && w.content.widgets)"
CONTRAST = """selector => {
    const parse = text => { const [r, g, b, a = 1] = text.match(/[0-9.]+/g).map(Number); return {rgb: [r, g, b], a}; };
    const linear = value => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const light = rgb => 0.2126 * linear(rgb[0]) + 0.7152 * linear(rgb[1]) + 0.0722 * linear(rgb[2]);
    const ancestors = node => node ? [node, ...ancestors(node.parentElement)] : [];
    const ratios = [...document.querySelectorAll(selector + ' *')]
        .filter(node => [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim()))
        .map(node => {
            const style = getComputedStyle(node), above = ancestors(node);
            const behind = above.map(one => parse(getComputedStyle(one).backgroundColor)).find(one => one.a === 1).rgb;
            const ink = parse(style.color), alpha = above.reduce((all, one) => all * getComputedStyle(one).opacity, ink.a);
            const [a, b] = [ink.rgb.map((value, i) => alpha * value + (1 - alpha) * behind[i]), behind].map(light);
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        });
    return Math.min(...ratios);
}"""
QUIET_LAB = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}
HOMES = ["HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"]
HOMES += ["JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if MISSING:
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason=f"browser tests need {', '.join(MISSING)}"))


class Lab:
    """One page of JupyterLab, or of Notebook 7, with one notebook open."""

    def __init__(self, page: Any, site: Site, pictures: Path) -> None:
        self.page = page
        self._site = site
        self._pictures = pictures
        self.file = site.folder

    def write(self, *cells: str) -> None:
        """Make a new notebook of these cells, and open it with a new kernel."""
        self.file = self._site.folder / f"{secrets.token_hex(4)}.ipynb"
        code: dict[str, Any] = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
        notebook = {
            "cells": [code | {"id": f"cell-{number}", "source": source} for number, source in enumerate(cells)],
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        self.file.write_text(json.dumps(notebook), encoding="utf-8")
        self.open()

    def open(self) -> None:
        """Load the page anew, and wait until the kernel is idle."""
        self.page.goto(self._site.page(self.file.name))
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

    def theme(self, name: str) -> None:
        """Change the colours of the page: `Light` or `Dark`."""
        change = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme}).then(() => 1)"
        self.page.evaluate(change, f"JupyterLab {name}")
        light = "true" if name == "Light" else "false"
        self.page.wait_for_function("light => document.body.dataset.jpThemeLight === light", arg=light)

    def picture(self, name: str, number: int | None = None) -> None:
        """Leave a picture of the page, or of one cell, for people to look at."""
        (self.page if number is None else self.cell(number)).screenshot(path=self._pictures / f"{name}.png")

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

    def wait_not_run(self) -> None:
        """Wait until the cell behind the first is known not to run, because that one failed."""
        self.outputs(1).get_by_text(re.compile("Interrupted: |---->")).wait_for()
        self.cell(2).locator(".jp-InputPrompt", has_text="[ ]:").wait_for()

    def wait_jobs(self, state: str, *, count: int = 1) -> None:
        """Wait until so many panels on the page show this state."""
        asked = f"count => document.querySelectorAll('.smr-job[data-state={state}]').length === count"
        self.page.wait_for_function(asked, arg=count)

    def wait_moved(self) -> None:
        """Wait until a task of a job that runs is done."""
        self.page.wait_for_function("() => document.querySelector('.smr-job[data-state=map] [aria-valuenow]')?.ariaValueNow > 0")

    def contrast(self, selector: str) -> float:
        """Return the least contrast of any text in what is selected to the page behind it, as WCAG counts it: 1 to 21."""
        return float(self.page.evaluate(CONTRAST, selector))

    def saved(self) -> Any:
        """Save the notebook, and return what the file holds."""
        self.command("docmanager:save")
        return json.loads(self.file.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Site:
    """A server that answers, and the folder that it shows."""

    url: str
    path: str
    token: str
    folder: Path

    def page(self, notebook: str) -> str:
        """Return the address of a notebook's page."""
        return f"{self.url}/{self.path}/{notebook}?token={self.token}&reset"


def command(app: str, *, port: int, token: str, folder: Path) -> list[str]:
    """Return what starts a server: without news, without a browser, with its app in reach of the page."""
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
    options += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}", "--KernelSpecManager.ensure_native_kernel=True"]
    lab = ["--LabApp.expose_app_in_browser=True", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    own = {"jupyterlab": [*lab, "--LabApp.news_url=None"], "notebook": ["--JupyterNotebookApp.expose_app_in_browser=True"]}
    return [sys.executable, "-m", app, *options, *own[app]]


def answers(process: subprocess.Popen[bytes], url: str) -> bool:
    """Whether a server is up; an error that says why when it has ended instead."""
    if process.poll() is not None:
        raise ChildProcessError(f"the server ended with {process.returncode}")
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - a server of ours
            return True
    except OSError:
        return False


def start(app: str, folder: Path, home: Path, environment: dict[str, str]) -> tuple[subprocess.Popen[bytes], Site]:
    """Start a server on a free port, and wait until it answers; on another one when somebody took the port meanwhile."""
    token, path = secrets.token_hex(12), {"jupyterlab": "lab/tree", "notebook": "notebooks"}[app]
    for trial in range(3):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        site = Site(f"http://127.0.0.1:{port}", path, token, folder)
        with (home / f"log{trial}").open("w") as log:
            words = command(app, port=port, token=token, folder=folder)
            process = subprocess.Popen(words, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            wait_until(functools.partial(answers, process, f"{site.url}/api/status?token={token}"), WAIT_SECONDS)
        except ChildProcessError:
            continue
        return process, site
    raise AssertionError(f"{app} does not start:\n{(home / 'log2').read_text(encoding='utf-8')[-4000:]}")


@contextmanager
def serving(app: str, folder: Path, home: Path, workspace: Path) -> Iterator[Site]:
    """A server whose kernels use one workspace, and whose home is empty."""
    settings = home / "JUPYTERLAB_SETTINGS_DIR" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(QUIET_LAB), encoding="utf-8")
    ours = {"SMR_WORKSPACE": str(workspace), "PYTHONPATH": str(Path(smr_notebook.__file__).parents[1])}
    process, site = start(app, folder, home, os.environ | {name: str(home / name) for name in HOMES} | ours)
    yield site
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    smr_notebook.Session(settings=from_machine({"workspace": workspace})).backend.close()


@pytest.fixture(scope="session")
def lab_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    places = [tmp_path_factory.mktemp(name) for name in ("notebooks", "home", "workspace")]
    with serving("jupyterlab", places[0], places[1], places[2]) as site:
        yield site


@pytest.fixture(scope="session")
def notebook_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    places = [tmp_path_factory.mktemp(name) for name in ("notebooks", "home", "workspace")]
    with serving("notebook", places[0], places[1], places[2]) as site:
        yield site


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS, timeout=1_000 * WAIT_SECONDS)
        yield started
        started.close()


@pytest.fixture
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A new page; what it shows when its test fails is written down."""
    failed = request.session.testsfailed
    opened = browser.new_page(viewport={"width": 1000, "height": 700})
    opened.set_default_timeout(1_000 * WAIT_SECONDS)
    yield opened
    if request.session.testsfailed > failed:
        opened.screenshot(path=request.config.rootpath / "build" / "browser" / f"failed-{request.node.name}.png")
    opened.evaluate("() => window.jupyterapp?.serviceManager.sessions.shutdownAll()")
    opened.context.close()


@pytest.fixture
def lab(page: Any, lab_site: Site, request: pytest.FixtureRequest) -> Lab:
    return Lab(page, lab_site, request.config.rootpath / "build" / "browser")


@pytest.fixture
def notebook7(page: Any, notebook_site: Site, request: pytest.FixtureRequest) -> Lab:
    return Lab(page, notebook_site, request.config.rootpath / "build" / "browser")
