"""A real interactive shell whose displays are kept, and a job whose progress is written down beforehand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import smr_notebook
from smr_notebook.config import from_machine
from smr_notebook.errors import JobCancelled
from smr_notebook.job.errors import JobErrors
from smr_notebook.model import JobState, Numbers
from smr_notebook.standing import PhaseProgress, Progress

NUMBERS = Numbers(bytes_read=2_500, records_read=100, records_mapped=100, pairs_in=250, pairs_out=250)


def progress(state: JobState, done: int = 0, tasks: int = 4) -> Progress:
    ended = state is JobState.DONE
    groups = Numbers(bytes_read=900, records_read=7, records_mapped=7, pairs_in=250, pairs_out=7)
    return Progress(
        state,
        PhaseProgress(
            tasks, tasks if ended else done, 0 if ended else 1, numbers=NUMBERS if ended else Numbers(records_mapped=25 * done), slowest=1.5
        ),
        PhaseProgress(2, 2 if ended else 0, numbers=groups if ended else Numbers(), slowest=0.5),
        started=1_000.0,
        updated=1_003.5,
        epoch=1,
        lease_expires=1_010.0,
        proof="4 splits · 100 records read = mapped" if ended else "",
    )


class ScriptedJob:
    """Has the face of a job, and plays a list of moments. An interrupt among them is raised in `watch`, once."""

    id = "3f9a0c21"
    user = ""
    foreign = False
    warnings = ("2 of 4 map tasks are taken over from job 1a2b3c4d.",)

    def __init__(self, moments: list[Progress | type[BaseException]], name: str = "", frame: pd.DataFrame | None = None) -> None:
        self.moments = moments
        self.name = name
        self.frame = frame
        self.cancelled = False
        self.mended: dict[str, object] | None = None
        self.asked = 0

    @property
    def max_cost(self) -> float:
        self.asked += 1
        return 2.0

    def status(self) -> Progress:
        return next(moment for moment in self.moments if isinstance(moment, Progress))

    def done(self) -> bool:
        return self.status().state.ended

    def watch(self, paint: Callable[[Progress], None], *, warns: bool = True) -> Progress:
        while self.moments:
            moment = self.moments.pop(0)
            if not isinstance(moment, Progress):
                raise moment
            shown = replace(moment, state=JobState.CANCELLED) if self.cancelled and moment.state.ended else moment
            paint(shown)
            if shown.state.ended:
                self.moments.insert(0, shown)
                return shown
        raise AssertionError("the script has no end")

    def wait(self) -> ScriptedJob:
        if not self.done():
            self.watch(lambda _: None)
        return self

    def cancel(self) -> bool:
        self.cancelled = not any(isinstance(moment, Progress) and moment.state.ended for moment in self.moments[:1])
        return self.cancelled

    def resume(self) -> ScriptedJob:
        return self.retry_failed()

    def retry_failed(self, **functions: object) -> ScriptedJob:
        self.mended = functions
        return self

    def errors(self) -> JobErrors:
        return JobErrors(self.id, ())

    def result(self) -> pd.DataFrame:
        if self.frame is None:
            raise JobCancelled("The job was cancelled.", job=self.id)
        return self.frame


@pytest.fixture
def moment() -> Callable[..., Progress]:
    return progress


@pytest.fixture
def scripted() -> type[ScriptedJob]:
    return ScriptedJob


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    InteractiveShell.clear_instance()
    instance = InteractiveShell.instance(config=config)
    instance.display_pub = CapturingDisplayPublisher(parent=instance)  # type: ignore[no-untyped-call]
    yield instance
    InteractiveShell.clear_instance()


@pytest.fixture
def shown(shell: InteractiveShell) -> list[dict[str, object]]:
    """What was displayed, oldest first: dicts with `data`, `transient` and `update`."""
    publisher = shell.display_pub
    assert isinstance(publisher, CapturingDisplayPublisher)
    return publisher.outputs


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of kernels that the tests of a module start: one workspace, whose service ends with them."""
    workspace = tmp_path_factory.mktemp("engine")
    package = str(Path(smr_notebook.__file__).parents[1])
    yield os.environ | {"SMR_WORKSPACE": str(workspace), "PYTHONPATH": package, "IPYTHONDIR": str(workspace / "ipython")}
    close = smr_notebook.Session(settings=from_machine({"workspace": workspace})).backend.close
    if close is not None:
        close()
