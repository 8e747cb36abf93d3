"""The live panel: one HTML widget while the job runs, plain HTML for ever after.

The carrier is a bundle with the widget, and with HTML and text for frontends that know no widgets. A widget survives a reload of the page,
which an updated output does not; a saved widget cannot be read again, which plain HTML can. So at the end the final HTML goes into the
widget, and into the output in place of the widget: what is saved holds no trace of it. The widget is not closed, because a page that
was reloaded still shows it.

A detached job has a Cancel button. A cell that blocks has none, because most kernels would handle the click only after the cell:
there the hint names the stop button of the notebook.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import ipywidgets
from IPython.display import DisplayHandle, display

from smr_notebook.errors import SmrError
from smr_notebook.notebook.render import View, bundle, html
from smr_notebook.notebook.screens import PROGRESS_AFTER, show

if TYPE_CHECKING:
    from smr_notebook.job import Job
    from smr_notebook.standing import Progress

_WIDGET = "application/vnd.jupyter.widget-view+json"


class Panel:
    """A screen that shows a job live in a notebook.

    `paint` opens it on its own once the job has run for a moment; `open` opens it at once, and again in each further cell that
    shows the same job.

    Args:
        job: Whose progress is shown.
        detached: Whether the cell does not wait for the job.
        progress_after: Seconds in which `paint` shows nothing.

    Attributes:
        widget: What is displayed.
    """

    def __init__(self, job: Job, *, detached: bool = False, progress_after: float = PROGRESS_AFTER) -> None:
        self._job = job
        self._shows_at = time.monotonic() + progress_after
        self._hint = "" if detached else "■ interrupt to cancel"
        self._handles: list[DisplayHandle] = []
        self._html = ipywidgets.HTML()
        self._button = self._cancel_button() if detached else None
        self.widget = ipywidgets.VBox([self._html, self._button]) if self._button is not None else self._html

    def open(self, progress: Progress) -> None:
        """Display the panel in the running cell."""
        view = self._view(progress)
        self._html.value = html(view)
        widget = {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id}
        handle = display({_WIDGET: widget, **bundle(view)}, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        if handle is not None:
            self._handles.append(handle)

    def paint(self, progress: Progress) -> None:
        """Show how far the job is."""
        if self._handles:
            self._html.value = html(self._view(progress))
        elif not progress.state.ended and time.monotonic() >= self._shows_at:
            self.open(progress)

    def finish(self, progress: Progress, note: str = "") -> None:
        """Freeze the panel: the final view replaces the widget in every cell that shows it."""
        view = self._view(progress, note)
        if not self._handles:
            show(bundle(view))
            return
        self._html.value = html(view)
        if self._button is not None:
            self._button.layout.display = "none"
        for handle in self._handles:
            handle.update(bundle(view), raw=True)  # type: ignore[no-untyped-call]

    def _view(self, progress: Progress, note: str = "") -> View:
        return View(self._job.id, self._job.name, progress, time.time(), note, self._hint)

    def _cancel_button(self) -> ipywidgets.Button:
        button = ipywidgets.Button(description="Cancel", tooltip="Cancel this job", layout=ipywidgets.Layout(align_self="flex-start"))
        button.add_class("smr-cancel")
        button.on_click(self._cancel)
        return button

    def _cancel(self, button: ipywidgets.Button) -> None:
        button.disabled = True
        button.description = "Cancelling…"
        with contextlib.suppress(SmrError):  # what the job says of itself is what the panel shows
            self._job.cancel()
