"""What happens to a shell: magics and their completion, settings, how jobs and errors look. Silent, and harmless when done again."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.magic import no_var_expand

from smr_notebook.config import from_machine
from smr_notebook.errors import ConfigError
from smr_notebook.job.handle import Job
from smr_notebook.notebook import errors
from smr_notebook.notebook.magic import CellMagic, Cells
from smr_notebook.notebook.matcher import register_matcher
from smr_notebook.notebook.mode import Display, choose_display, is_notebook, somebody_watches
from smr_notebook.notebook.screens import OpenScreen, QuietScreen, StaticScreen, TextScreen, failure_note, follow, show, watch
from smr_notebook.notebook.settings import settings_of
from smr_notebook.notebook.subcommands import LineMagic
from smr_notebook.sessions.face import current_session, follow_settings, session_if_open
from smr_notebook.sessions.session import Session

if TYPE_CHECKING:
    from smr_notebook.notebook.panel import Panel

_DOC = "Map/reduce in a cell (`%%smr INPUT…`, options: `%%smr --help`), questions about jobs, and deployments on AWS (`%smr help`)."


def load(shell: Any) -> None:
    """Give a shell the magics `%%smr` and `%smr`, besides what `register_display` does."""
    register_display(shell)
    register_magics(shell, current_session, session_if_open)
    settings = settings_of(shell)
    follow_settings(lambda: settings.given)


def register_display(shell: Any) -> None:
    """Make a job show itself live in a notebook, and errors of this package show the user's own lines."""
    errors.install(shell)
    if is_notebook(shell):
        shell.display_formatter.ipython_display_formatter.for_type(Job, JobDisplay(shell).display)


def register_magics(shell: Any, session: Callable[[], Session], if_open: Callable[[], Session | None] | None = None) -> None:
    """Register the magics for the session that `session` gives, and that `if_open` gives without opening it."""
    settings = settings_of(shell)
    cells = Cells(functools.partial(screen_for, shell), functools.partial(lets_go, shell), functools.partial(somebody_watches, shell))
    cell_magic = CellMagic(shell, session, cells)
    mode = functools.partial(display_of, shell)
    line_magic = LineMagic(shell, session, cells, mode=mode, run_cell=cell_magic.run, given=lambda: settings.given)

    def smr(line: str, cell: str | None = None) -> object:
        __tracebackhide__ = True
        settings.tell_refused()
        return line_magic.run(line) if cell is None else cell_magic.run(line, cell)

    smr.__doc__ = _DOC
    shell.register_magic_function(no_var_expand(smr), magic_kind="line_cell")
    register_matcher(shell, if_open or session, ready=lambda: not settings.refused)
    if keep_empty_body not in shell.input_transformers_cleanup:
        shell.input_transformers_cleanup.append(keep_empty_body)


def keep_empty_body(lines: list[str]) -> list[str]:
    """Give a `%%smr` line without a body an empty one: IPython would answer with an error that test runners do not see."""
    alone = len(lines) == 1 and lines[0].split(maxsplit=1)[:1] == ["%%smr"]
    return [*lines, "\n"] if alone else lines


def display_of(shell: Any) -> Display:
    """Return how progress is shown by the running cell, as settings and frontend say."""
    return choose_display(from_machine({}, settings_of(shell).values).display, shell)


def lets_go(shell: Any) -> bool:
    """Whether a job goes on when the cell that waits for it is interrupted, as settings say."""
    return from_machine({}, settings_of(shell).values).on_interrupt == "detach"


def screen_for(shell: Any, display: str | None = None) -> OpenScreen:
    """Return what opens the screen for a job that the running cell waits for. Nothing can be wrong with it any more.

    Args:
        shell: The interactive shell.
        display: The one that is asked for; if not given, the one that settings and frontend say.

    Raises:
        ConfigError: A setting is wrong, or what the screen is made of is not installed.
    """
    mode = choose_display(display, shell) if display else display_of(shell)
    return _panel_class() if mode is Display.PANEL else _SCREENS[mode]


def _panel_class() -> type[Panel]:
    try:
        from smr_notebook.notebook.panel import Panel  # noqa: PLC0415 - ipywidgets may be missing, and is slow to import
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"display 'panel' needs {error.name}, which is not installed: `pip install 'smr_notebook[notebook]'` brings it."
        ) from None
    return Panel


_SCREENS: dict[Display, OpenScreen] = {Display.TEXT: TextScreen, Display.STATIC: StaticScreen, Display.QUIET: QuietScreen}


class JobDisplay:
    """Shows a job that is the value of a cell: live and without waiting; or, when nobody watches, once it has ended."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._followed: dict[str, tuple[Panel, threading.Thread]] = {}

    def display(self, job: Job) -> None:
        """Show a job in the running cell."""
        mode = display_of(self._shell)
        if not somebody_watches(self._shell):
            self._wait(job, mode)
        elif mode is Display.PANEL:
            self._show_panel(job)
        else:
            show({"text/plain": repr(job)})

    def _wait(self, job: Job, mode: Display) -> None:
        """Show how the job ended, however long that takes: a runner of notebooks keeps what a person would keep in the end."""
        progress = watch(job, QuietScreen(job), goes_on=True)
        if mode in {Display.TEXT, Display.QUIET}:
            show({"text/plain": repr(job)})
        else:
            StaticScreen(job).finish(progress, failure_note(progress))

    def _show_panel(self, job: Job) -> None:
        progress = job.status()
        panel, thread = self._followed.pop(job.id, (None, None))
        if panel is None or panel.frozen:
            if progress.state.ended:  # nothing moves any more, and needs no widget
                StaticScreen(job).finish(progress, failure_note(progress))
                return
            panel, thread = _panel_class()(job, detached=True), None
        panel.open(progress)
        if thread is None or not thread.is_alive():  # it was never followed, or whoever did could not reach the platform any more
            thread = follow(job, panel)
        self._followed[job.id] = (panel, thread)
