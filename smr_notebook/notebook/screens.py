"""The screens without widgets, and how a job is followed on any screen.

A screen takes progress and shows it: `paint` while the job runs, `finish` once. Screens differ in where they show it; which one is
chosen is decided in `mode`.

Threads: a cell that blocks paints from the main thread's own wait. Only a detached job is followed from a thread, and that thread
never prints and never displays (the output would land in whichever cell runs then, and with some kernels raises); it only updates
what the cell's own thread has displayed. It runs in a copy of the cell's context and swallows every error: a view must never be
the reason that something fails.
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
import threading
import time
from typing import TYPE_CHECKING, Never, Protocol

from IPython.display import display
from tqdm import tqdm

from smr_notebook.errors import JobCancelled
from smr_notebook.model import JobState
from smr_notebook.views.render import View, bundle

if TYPE_CHECKING:
    from smr_notebook.job.handle import Job
    from smr_notebook.standing import Progress

PROGRESS_AFTER = 0.3
"""Seconds in which nothing is painted: a job that ends sooner only leaves its table."""


class Screen(Protocol):
    """Where the progress of one job is shown."""

    def paint(self, progress: Progress) -> None:
        """Show how far the job is. Called at most five times a second."""
        ...

    def finish(self, progress: Progress, note: str = "") -> None:
        """Show how the job ended, and what became of its result. Called once."""
        ...

    def let_go(self) -> None:
        """The cell waits no more, and the job goes on: show it from now on without the cell, where that can be done."""
        ...


class OpenScreen(Protocol):
    """Opens a screen for a job."""

    def __call__(self, job: Job, *, goes_on: bool) -> Screen:
        """Return the screen of a cell that waits for the job; `goes_on` says whether the job does so when the cell is interrupted."""
        ...


class QuietScreen:
    """Shows nothing."""

    def __init__(self, job: Job, *, goes_on: bool = False) -> None:
        pass

    def paint(self, progress: Progress) -> None:
        """Show nothing."""

    def finish(self, progress: Progress, note: str = "") -> None:
        """Show nothing."""

    def let_go(self) -> None:
        """Show nothing."""


class StaticScreen:
    """Shows one output when the job has ended: the same that a live panel leaves behind."""

    def __init__(self, job: Job, *, goes_on: bool = False) -> None:  # noqa: ARG002 - nothing is shown before the end
        self._job = job

    def paint(self, progress: Progress) -> None:
        """Show nothing yet."""

    def finish(self, progress: Progress, note: str = "") -> None:
        """Display the final view."""
        show(bundle(View(self._job.id, self._job.name, progress, time.time(), note)))

    def let_go(self) -> None:
        """Show nothing: there is no end to be shown."""


class TextScreen:
    """Shows a bar for each phase on standard error, for terminals."""

    def __init__(
        self,
        job: Job,
        *,
        goes_on: bool = False,  # noqa: ARG002 - bars have no room for a hint
        progress_after: float = PROGRESS_AFTER,
    ) -> None:
        self._job = job
        self._shows_at = time.monotonic() + progress_after
        self._bars: dict[str, tqdm[Never]] = {}

    def paint(self, progress: Progress) -> None:
        """Move the bars."""
        if time.monotonic() >= self._shows_at:
            self._move(progress)

    def finish(self, progress: Progress, note: str = "") -> None:  # noqa: ARG002 - a terminal shows the result itself
        """Leave the bars where the job ended, if any were shown."""
        if self._bars:
            self._move(progress)
        self.let_go()

    def let_go(self) -> None:
        """Leave the bars where they are: no thread may write to a terminal."""
        for bar in self._bars.values():
            bar.close()

    def _move(self, progress: Progress) -> None:
        for name, phase in View(self._job.id, self._job.name, progress, progress.updated).phases:
            if name not in self._bars:
                self._bars[name] = tqdm(total=phase.tasks, desc=f"{name:<6}", unit="task", file=sys.stderr, dynamic_ncols=True)
            bar = self._bars[name]
            bar.n = phase.done
            bar.set_postfix_str(f"{phase.running} running" if phase.running else "", refresh=False)
            bar.refresh()


def show(data: dict[str, str]) -> None:
    """Display a bundle of MIME types in the running cell."""
    display(data, raw=True)  # type: ignore[no-untyped-call]


def watch(job: Job, screen: Screen, *, goes_on: bool = False) -> Progress:
    """Follow a job in the running cell until it has ended.

    The screen is not finished yet: what became of the result is known later.

    Args:
        job: The job.
        screen: Where its progress is shown.
        goes_on: Whether an interrupt ends the waiting only; else it cancels the job, too.

    Returns:
        The last progress.

    Raises:
        JobCancelled: The cell was interrupted; the job is cancelled, and the cells queued behind do not run.
        KeyboardInterrupt: The cell was interrupted, and the job goes on; `errors` says how to find it again.
    """
    try:
        return job.watch(screen.paint)
    except KeyboardInterrupt:
        if goes_on:
            screen.let_go()
            raise
        job.cancel()
    try:
        progress = job.watch(screen.paint)
    except KeyboardInterrupt:
        raise JobCancelled(f"Interrupted: {job.id} is being cancelled", job=job.id) from None
    screen.finish(progress)
    done = f"{progress.map.done:,}/{progress.map.tasks:,} map tasks were done"
    stands = "" if progress.state is JobState.DONE else job.id  # what is done before the wish to end it came has nothing to be resumed
    raise JobCancelled(f"Interrupted: {job.id} {progress.state}, {done}", job=stands) from None


def failure_note(progress: Progress) -> str:
    """Return where to read why a job failed that no cell waits for; an empty string when it did not fail.

    Its identifier stands above, and not here: it is another one in each run of the notebook.
    """
    return "what went wrong: errors() of the job, or %smr errors with its identifier" if progress.state is JobState.FAILED else ""


def follow(job: Job, screen: Screen) -> threading.Thread:
    """Follow a job from a thread until it has ended. The screen must have displayed what it updates."""

    def run() -> None:
        with contextlib.suppress(BaseException):  # a view that cannot be drawn must not disturb the notebook
            progress = job.watch(screen.paint, warns=False)
            screen.finish(progress, failure_note(progress))

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), name=f"smr-view-{job.id}", daemon=True)
    thread.start()
    return thread
