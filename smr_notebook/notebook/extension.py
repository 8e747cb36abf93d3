"""What happens to a shell: magics and their completion, settings, how jobs and errors look. Silent, and harmless when done again."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from IPython.core.magic import no_var_expand

from smr_notebook.config import from_machine
from smr_notebook.face import current_session, follow_settings
from smr_notebook.job import Job
from smr_notebook.notebook import errors
from smr_notebook.notebook.magic import CellMagic
from smr_notebook.notebook.matcher import register_matcher
from smr_notebook.notebook.mode import Display, choose_display, is_notebook
from smr_notebook.notebook.screens import QuietScreen, Screen, StaticScreen, TextScreen, failure_note, follow, lets_go, show, watch
from smr_notebook.notebook.settings import settings_of
from smr_notebook.notebook.subcommands import LineMagic
from smr_notebook.session import Session

_DOC = "Map/reduce in a cell (`%%smr INPUT…`, options: `%%smr --help`), questions about jobs, and deployments on AWS (`%smr help`)."


def load(shell: Any) -> None:
    """Give a shell the magics `%%smr` and `%smr`, besides what `register_display` does."""
    register_display(shell)
    register_magics(shell, current_session)
    settings = settings_of(shell)
    follow_settings(lambda: settings.given)


def register_display(shell: Any) -> None:
    """Make a job show itself live in a notebook, and errors of this package show the user's own lines."""
    errors.install(shell)
    if is_notebook(shell):
        shell.display_formatter.ipython_display_formatter.for_type(Job, JobDisplay(shell).display)


def register_magics(shell: Any, session: Callable[[], Session]) -> None:
    """Register the magics for the session that `session` gives."""
    screen = functools.partial(open_screen, shell)
    mode = functools.partial(display_of, shell)
    settings = settings_of(shell)
    cell_magic = CellMagic(shell, session, screen, watched=lambda: mode() is not Display.STATIC)
    line_magic = LineMagic(shell, session, screen, mode=mode, run_cell=cell_magic.run, given=lambda: settings.given)

    def smr(line: str, cell: str | None = None) -> object:
        __tracebackhide__ = True
        settings.tell_refused()
        return line_magic.run(line) if cell is None else cell_magic.run(line, cell)

    smr.__doc__ = _DOC
    shell.register_magic_function(no_var_expand(smr), magic_kind="line_cell")
    register_matcher(shell, session, ready=lambda: not settings.refused)
    if keep_empty_body not in shell.input_transformers_cleanup:
        shell.input_transformers_cleanup.append(keep_empty_body)


def keep_empty_body(lines: list[str]) -> list[str]:
    """Give a `%%smr` line without a body an empty one: IPython would answer with an error that test runners do not see."""
    alone = len(lines) == 1 and lines[0].split(maxsplit=1)[:1] == ["%%smr"]
    return [*lines, "\n"] if alone else lines


def display_of(shell: Any) -> Display:
    """Return how progress is shown by the running cell, as settings and frontend say."""
    return choose_display(from_machine({}, settings_of(shell).values).display, shell)


def open_screen(shell: Any, job: Job, display: str | None = None) -> Screen:
    """Open the screen for a job that the running cell waits for; the one that `display` asks for, if it does."""
    mode = choose_display(display, shell) if display else display_of(shell)
    return _SCREENS[mode](job) if mode in _SCREENS else _panel(shell, job)


def _panel(shell: Any, job: Job) -> Screen:
    from smr_notebook.notebook.panel import Panel  # noqa: PLC0415 - ipywidgets may be missing, and is slow to import

    return Panel(job, goes_on=lets_go(from_machine({}, settings_of(shell).values)))


_SCREENS: dict[Display, Callable[[Job], Screen]] = {
    Display.TEXT: TextScreen,
    Display.STATIC: StaticScreen,
    Display.QUIET: QuietScreen,
}


class JobDisplay:
    """Shows a job that is the value of a cell: live and without waiting, or, when nobody watches, once it has ended."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._panels: dict[str, Any] = {}

    def display(self, job: Job) -> None:
        """Show a job in the running cell."""
        mode = display_of(self._shell)
        if mode is Display.STATIC:
            screen = StaticScreen(job)
            screen.finish(watch(job, screen))
        elif mode is Display.PANEL:
            self._show_panel(job)
        else:
            show({"text/plain": repr(job)})

    def _show_panel(self, job: Job) -> None:
        from smr_notebook.notebook.panel import Panel  # noqa: PLC0415 - as above

        progress = job.status()
        panel = self._panels.get(job.id)
        if progress.state.ended:
            Panel(job).finish(progress, failure_note(job, progress))
        elif panel is not None:
            panel.open(progress)
        else:
            self._panels[job.id] = panel = Panel(job, detached=True)
            panel.open(progress)
            follow(job, panel)
