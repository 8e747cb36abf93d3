"""`%%smr`: the cell is the program. An argument parser around one call of the library, and a screen beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from smr_notebook.errors import ConfigError
from smr_notebook.model import JobState
from smr_notebook.notebook.arguments import CellOptions, cell_help, parse_cell_line
from smr_notebook.notebook.cells import CellFunctions, choose_functions, choose_input, run_body
from smr_notebook.notebook.render import Shown, rows_note
from smr_notebook.notebook.screens import QuietScreen, Screen, watch

if TYPE_CHECKING:
    import pandas as pd

    from smr_notebook.control.planned import PlannedJob
    from smr_notebook.job import Job
    from smr_notebook.previews import Preview
    from smr_notebook.session import Session

ScreenFor = Callable[["Job"], Screen]
"""Opens the screen that fits the running cell."""


class CellMagic:
    """What `%%smr` does.

    Args:
        shell: The interactive shell.
        session: Gives the session that jobs are submitted to.
        screen: Opens a screen for a job.
        watched: Tells whether somebody watches the running cell.
    """

    def __init__(self, shell: Any, session: Callable[[], Session], screen: ScreenFor, *, watched: Callable[[], bool]) -> None:
        self._shell = shell
        self._watched = watched
        self._session = session
        self._screen = screen

    def run(self, line: str, body: str) -> object:
        """Run a `%%smr` cell.

        Args:
            line: The words behind `%%smr`.
            body: The lines below.

        Returns:
            The DataFrame; nothing with `--into`; the job with `--detach`; the plan with `--dry-run`; the preview with `--preview`; what is
            to be read with `--help`.

        Raises:
            SmrError: The line, the functions or the input are wrong, or the job failed.
        """
        __tracebackhide__ = True
        options = parse_cell_line(line, self._shell.user_ns)
        if options.help:
            return Shown(cell_help())
        if options.detach and options.into:
            raise ConfigError("%%smr: --into needs the result, and --detach does not wait for it. Keep one; a detached job is in `_`.")
        if options.dry_run and options.preview:
            raise ConfigError("%%smr: --dry-run runs nothing, and --preview runs the first records. Keep one.")
        functions = choose_functions(options, run_body(self._shell, line, body), self._shell.user_ns)
        source = choose_input(options.inputs, self._shell.user_ns)
        if options.dry_run:
            return self._plan(functions, source, options)
        if options.preview:
            return self._preview(functions, source, options, options.preview)
        job = self._submit(functions, source, options)
        if options.detach:
            return job if self._watched() else job.wait()  # a runner of notebooks must see that the job failed
        frame = run_in_cell(job, QuietScreen(job) if options.quiet else self._screen(job), options.into or "result")
        if options.into is None:
            return frame
        self._shell.user_ns[options.into] = frame
        return None

    def _submit(self, functions: CellFunctions, source: object, options: CellOptions) -> Job:
        return self._session().map_reduce(
            functions.map,
            functions.reduce,
            source,
            combine=functions.combine,
            format=options.format,
            reducers=options.reducers,
            split_size=options.split_size,
            name=options.name,
            retries=options.retries,
            max_cost=options.max_cost,
            sort=options.sort,
            on_error=options.on_error,
            max_bad=options.max_bad,
        )

    def _plan(self, functions: CellFunctions, source: object, options: CellOptions) -> PlannedJob:
        return self._session().plan(
            functions.map,
            functions.reduce,
            source,
            combine=functions.combine,
            format=options.format,
            reducers=options.reducers,
            split_size=options.split_size,
            name=options.name,
            retries=options.retries,
            max_cost=options.max_cost,
            sort=options.sort,
            on_error=options.on_error,
            max_bad=options.max_bad,
        )

    def _preview(self, functions: CellFunctions, source: object, options: CellOptions, records: int) -> Preview:
        __tracebackhide__ = True
        return self._session().preview(
            functions.map,
            functions.reduce,
            source,
            records=records,
            combine=functions.combine,
            format=options.format,
            reducers=options.reducers,
            split_size=options.split_size,
            name=options.name,
            retries=options.retries,
            max_cost=options.max_cost,
            sort=options.sort,
            on_error=options.on_error,
            max_bad=options.max_bad,
        )


def run_in_cell(job: Job, screen: Screen, variable: str) -> pd.DataFrame:
    """Follow a job in the running cell, and load its result.

    Args:
        job: The job.
        screen: Where its progress is shown.
        variable: What the result will be called, for the last line of the panel.

    Raises:
        JobError: It has no result, or the cell was interrupted.
        ResultTooLargeError: The result would not fit in memory.
    """
    progress = watch(job, screen)
    note = ""
    try:
        frame = job.result()
        note = rows_note(variable, frame.shape, frame.columns) if progress.state is JobState.DONE else ""
    finally:
        screen.finish(progress, note)
    return frame
