"""The live panel: one HTML widget while the job runs, plain HTML for ever after.

The carrier is a bundle with the widget, and with HTML and text for frontends that know no widgets. A widget survives a reload of the page,
which an updated output does not; a saved widget cannot be read again, which plain HTML can. So at the end the final HTML goes into the
widget, and into the output in place of the widget: what is saved holds no trace of it. The widget is not closed, because a page that
was reloaded still shows it.

Beside the view stands a line that nobody sees, for screen readers: it is set when the state changes and left alone between, because what
is painted anew would be read out anew. The end is in the table that takes the place of all. The button stands outside of what is painted,
so that it keeps the keyboard's focus.

A detached job has a Cancel button. A cell that blocks has none, because most kernels would handle the click only after the cell:
there the hint names the stop button of the notebook.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

import ipywidgets
from IPython.display import DisplayHandle, display

from smr_notebook.errors import SmrError
from smr_notebook.notebook.screens import PROGRESS_AFTER, follow, show
from smr_notebook.views.render import View, announcement, bundle, html
from smr_notebook.views.speed import Start, started

if TYPE_CHECKING:
    from smr_notebook.job.handle import Job
    from smr_notebook.model import JobState
    from smr_notebook.standing import Progress

_WIDGET = "application/vnd.jupyter.widget-view+json"


class Panel:
    """A screen that shows a job live in a notebook.

    `paint` opens it on its own once the job has run for a moment; `open` opens it at once, and again in each further cell that
    shows the same job.

    Args:
        job: Whose progress is shown.
        detached: Whether the cell does not wait for the job.
        goes_on: Whether the job goes on when the cell that waits for it is interrupted.
        progress_after: Seconds in which `paint` shows nothing.

    Attributes:
        widget: What is displayed.
    """

    def __init__(self, job: Job, *, detached: bool = False, goes_on: bool = False, progress_after: float = PROGRESS_AFTER) -> None:
        self._job = job
        self._shows_at = time.monotonic() + progress_after
        self._hint = "" if detached else "■ interrupt to go on without waiting" if goes_on else "■ interrupt to cancel"
        self._handles: list[DisplayHandle] = []
        self._lock = threading.RLock()  # a cell opens what a thread paints
        self._seen: Progress | None = None
        self._final: View | None = None
        self._start: Start | None = None
        self._limit: float | None = None
        self._told: JobState | None = None
        self._html = ipywidgets.HTML()
        self._said = ipywidgets.HTML(layout=ipywidgets.Layout(height="0", margin="0", overflow="hidden"))
        self._button = self._cancel_button() if detached else None
        self.widget = ipywidgets.VBox([self._html, *([self._button] if self._button is not None else []), self._said])

    @property
    def frozen(self) -> bool:
        """Whether it shows the end of the job."""
        return self._final is not None

    def open(self, progress: Progress) -> None:
        """Display the panel in the running cell; the end of the job if that came meanwhile."""
        with self._lock:
            if self._final is not None:
                show(bundle(self._final))
                return
            view = self._draw(progress)
            widget = {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id}
            handle = display({_WIDGET: widget, **bundle(view)}, raw=True, display_id=True)  # type: ignore[no-untyped-call]
            if handle is not None:
                self._handles.append(handle)

    def paint(self, progress: Progress) -> None:
        """Show how far the job is."""
        with self._lock:
            self._start = started(progress, self._start)
            if self._final is not None:
                return
            if self._handles:
                self._draw(progress)
            elif not progress.state.ended and time.monotonic() >= self._shows_at:
                self.open(progress)

    def finish(self, progress: Progress, note: str = "") -> None:
        """Freeze the panel: the final view replaces the widget in every cell that shows it."""
        with self._lock:
            if not self._handles:
                self._final = self._view(progress, note)
                show(bundle(self._final))
                return
            self._final = self._draw(progress, note)
            if self._button is not None:
                self._button.layout.display = "none"
            for handle in self._handles:
                handle.update(bundle(self._final), raw=True)  # type: ignore[no-untyped-call]

    def let_go(self) -> None:
        """Follow the job from a thread, as one that was detached."""
        self._hint = ""
        if self._handles:
            follow(self._job, self)

    def _draw(self, progress: Progress, note: str = "") -> View:
        """Show a look; one that is older than what is shown is not."""
        if self._seen is None or progress.updated >= self._seen.updated:
            self._seen = progress
        view = self._view(self._seen, note)
        self._html.value = html(view)
        if self._seen.state is not self._told:
            self._told = self._seen.state
            self._said.value = announcement(view)
        return view

    def _view(self, progress: Progress, note: str) -> View:
        if progress.state.ended:  # what is saved is the same whether anybody watched or not
            return View(self._job.id, self._job.name, progress, time.time(), note)
        return View(self._job.id, self._job.name, progress, time.time(), note, self._hint, self._start, self._most(progress))

    def _most(self, progress: Progress) -> float:
        """Return how much the job may cost, read once: where nothing costs anything nobody asks."""
        if progress.cost is None or not progress.map.tasks:
            return 0.0
        if self._limit is None:
            self._limit = 0.0
            with contextlib.suppress(SmrError):
                self._limit = self._job.max_cost
        return self._limit

    def _cancel_button(self) -> ipywidgets.Button:
        button = ipywidgets.Button(description="Cancel", tooltip="Cancel this job", layout=ipywidgets.Layout(align_self="flex-start"))
        button.add_class("smr-cancel")
        button.on_click(self._cancel)
        return button

    def _cancel(self, button: ipywidgets.Button) -> None:
        button.disabled = True
        button.description = "Cancelling…"
        try:
            self._job.cancel()
        except SmrError:  # it goes on, as the panel shows, and may be asked to end once more
            button.disabled = False
            button.description = "Cancel"
