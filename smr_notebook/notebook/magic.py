"""`%%smr`: the cell is the program. An argument parser around one call of the library, and a screen beside it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from smr_notebook.dataflow.export_targets import target_of
from smr_notebook.errors import ConfigError
from smr_notebook.job.handle import PlanWarning, warn
from smr_notebook.model import JobState
from smr_notebook.notebook.arguments import CellOptions, cell_help, parse_cell_line
from smr_notebook.notebook.cells import CellFunctions, choose_functions, choose_input, doubts_of, run_body
from smr_notebook.notebook.screens import OpenScreen, QuietScreen, Screen, TextScreen, watch
from smr_notebook.sessions.configuring import overridden
from smr_notebook.showing.amounts import counted
from smr_notebook.views.render import Shown, rows_note

if TYPE_CHECKING:
    import pandas as pd

    from smr_notebook.dataflow.exporting import WrittenFiles
    from smr_notebook.job.handle import Job
    from smr_notebook.sessions.session import Session

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cells:
    """What the magics know of the running cell.

    Attributes:
        screen_for: Returns what opens the screen that fits it, or the one that is named. Raises `ConfigError`.
        lets_go: Whether a job goes on when the cell that waits for it is interrupted.
        watched: Whether somebody watches it; a runner of notebooks does not.
    """

    screen_for: Callable[[str | None], OpenScreen]
    lets_go: Callable[[], bool]
    watched: Callable[[], bool]


class CellMagic:
    """What `%%smr` does.

    Args:
        shell: The interactive shell.
        session: Gives the session that jobs are submitted to.
        cells: Knows the running cell.
    """

    def __init__(self, shell: Any, session: Callable[[], Session], cells: Cells) -> None:
        self._shell = shell
        self._session = session
        self._cells = cells

    def run(self, line: str, body: str) -> object:
        """Run a `%%smr` cell.

        Args:
            line: The words behind `%%smr`.
            body: The lines below.

        Returns:
            The DataFrame; nothing with `--into`; what was written with `--output`;
            the job with `--detach`; the plan with `--dry-run`; the preview with `--preview`; what is to be read with `--help`.

        Raises:
            SmrError: The line, the functions or the input are wrong, or the job failed.
        """
        __tracebackhide__ = True
        options = parse_cell_line(line, self._shell.user_ns)
        if options.help:
            return Shown(cell_help())
        _refuse_contradictions(options)
        bound = run_body(self._shell, line, body)
        functions = choose_functions(options, bound, self._shell.user_ns)
        if options.keep:
            self._shell.user_ns.update(bound)
        source = choose_input(options.inputs, self._shell.user_ns)
        session = self._session_for(options)
        if options.output is not None:
            _check_place(session, options.output, overwrite=options.overwrite)
        for doubt in doubts_of(functions):
            warn(doubt, PlanWarning)
        if options.dry_run:
            return _called(session.plan, functions, source, options)
        if options.preview:
            return _called(functools.partial(session.preview, records=options.preview), functions, source, options)
        open_screen, goes_on = self._cells.screen_for("quiet" if options.quiet else options.display), self._cells.lets_go()
        job: Job = _called(session.map_reduce, functions, source, options)
        return self._follow(job, open_screen, options, goes_on=goes_on)

    def _follow(self, job: Job, open_screen: OpenScreen, options: CellOptions, *, goes_on: bool) -> object:
        """Follow a job, and return what becomes of its result. The job is paid for: nothing may fail here that is not of it."""
        __tracebackhide__ = True
        if options.detach:
            return job if self._cells.watched() else job.wait()  # a runner of notebooks must see that the job failed
        screen = open_screen(job, goes_on=goes_on)
        if options.output is not None:
            return write_in_cell(job, screen, options.output, overwrite=options.overwrite, goes_on=goes_on)
        frame = run_in_cell(job, screen, options.into or "result", limit=options.limit, goes_on=goes_on)
        if options.into is None:
            return frame
        self._shell.user_ns[options.into] = frame
        return None

    def _session_for(self, options: CellOptions) -> Session:
        """Return the session with what the line says of its job alone."""
        session = self._session()
        told = {name: value for name, value in options.settings.items() if value is not None}
        if options.include:
            told["include"] = (*session.settings.include, *options.include)
        return overridden(session, told) if told else session


def _called(verb: Callable[..., T], functions: CellFunctions, source: object, options: CellOptions) -> T:
    """Return what a verb of a session gives for a cell: `map_reduce`, `plan` and `preview` are asked for the same, by the same names."""
    __tracebackhide__ = True
    return verb(
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
        exchange=options.exchange,
    )


def _refuse_contradictions(options: CellOptions) -> None:
    """Raise `ConfigError` where one option says what another one forbids."""
    results = (("--into", options.into), ("--limit", options.limit), ("--output", options.output))
    needs = [option for option, value in results if value is not None]
    if options.detach and needs:
        later = f", and `%smr attach --into {options.into}` has its result later" if options.into else ""
        raise ConfigError(
            f"%%smr: {needs[0]} needs the result, and --detach does not wait for it. Keep one; a detached job is in `_`{later}."
        )
    if options.output is not None and needs[0] != "--output":
        raise ConfigError(f"%%smr: {needs[0]} loads the result, and --output writes it instead. Keep one; `job.result()` loads it, too.")
    if options.overwrite and options.output is None:
        raise ConfigError("%%smr: --overwrite says what --output may do. Give --output PATH, or leave it out.")
    if options.detach and (options.display or options.quiet):
        option = "--display" if options.display else "-q"
        raise ConfigError(f"%%smr: a job with --detach is shown where it is looked at, as `%config Smr.display` says: leave {option} out.")
    if options.dry_run and options.preview:
        raise ConfigError("%%smr: --dry-run runs nothing, and --preview runs the first records. Keep one.")
    if options.quiet and options.display:
        raise ConfigError(f"%%smr: -q and --display {options.display} both say how progress is shown. Keep one.")


def run_in_cell(job: Job, screen: Screen, variable: str, *, limit: int | None = None, goes_on: bool) -> pd.DataFrame:
    """Follow a job in the running cell, and load its result.

    Args:
        job: The job.
        screen: Where its progress is shown.
        variable: What the result will be called, for the last line of the panel.
        limit: Rows that are loaded, the first in key order; that line says of how many, or a warning where there is none. All if not given.
        goes_on: Whether an interrupt ends the waiting only; else it cancels the job, too.

    Raises:
        JobError: It has no result, or the cell was interrupted.
        ResultTooLargeError: The result would not fit in memory.
    """
    progress = watch(job, screen, goes_on=goes_on)
    note = ""
    try:
        total = sum(part.rows for part in job.parts()) if limit is not None else 0
        frame = job.head(limit) if limit is not None and limit < total else job.result()
        note = rows_note(variable, frame.shape, frame.columns) if progress.state is JobState.DONE else ""
        if note and len(frame) < total:
            note += f" · first {len(frame):,} of {total:,} rows"
    finally:
        screen.finish(progress, note)
    if len(frame) < total and isinstance(screen, (QuietScreen, TextScreen)):  # which show no note
        warn(f"{variable} holds the first {len(frame):,} of {total:,} rows, as --limit says.", PlanWarning)
    return frame


def write_in_cell(job: Job, screen: Screen, path: str, *, overwrite: bool, goes_on: bool) -> WrittenFiles:
    """Follow a job in the running cell, and write its result to files.

    Args:
        job: The job.
        screen: Where its progress is shown.
        path: As of `Job.to_parquet`.
        overwrite: Whether to replace what is there.
        goes_on: As of `run_in_cell`.

    Raises:
        JobError: It has no result, or the cell was interrupted.
        ConfigError: Something is there already, or the result goes into no Parquet file.
        StoreError: The files cannot be written.
    """
    progress = watch(job, screen, goes_on=goes_on)
    note = ""
    try:
        written = job.to_parquet(path, overwrite=overwrite)
        note = f"{written.path}: {counted(written.rows, 'row')}"
    finally:
        screen.finish(progress, note)
    return written


def _check_place(session: Session, path: str, *, overwrite: bool) -> None:
    """Raise `ConfigError` where `--output` cannot be written to: before a job is paid for, or looked at."""
    backend = session.backend
    target_of(path, overwrite=overwrite, targets=backend.targets, platform=backend.name).check()
