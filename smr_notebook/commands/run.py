"""`smr run`: a job from a job file, or from a folder with a task, from its submission to its result; `smr attach`: from where it is.

What it says on standard output is the answer: rows, where they were written, an identifier, a plan, a preview. How far the job is, and
what should be known of it, goes to standard error. The exit code is 0 when that answer is there, 1 when the job failed or could not be run,
and 2 when what was asked makes no sense: then nothing was run.
"""

from __future__ import annotations

import sys
import time
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TextIO

from smr_notebook.commands.console import Console
from smr_notebook.commands.jobs import add_platform, session_of, told_error
from smr_notebook.errors import ConfigError
from smr_notebook.job.handle import Job, cancel_and_tell
from smr_notebook.job_files.asking import Asked, Folder, asked_by_file, asked_by_folder
from smr_notebook.job_files.job_file import read_job_file
from smr_notebook.job_files.outputs import AnyOutput, Output, output_named
from smr_notebook.sessions.session import Session
from smr_notebook.standing import Progress
from smr_notebook.views.render import View, text

_INTERRUPTED: Final = 130
_MISUSED: Final = 2
_PREVIEWED: Final = "100"
_PAINT_SECONDS: Final = 1.0

Opened = tuple[Session, AbstractContextManager[Asked], AnyOutput | None]


def add_commands(commands: Any) -> None:
    """Add the commands to the subparsers of a parser."""
    run = commands.add_parser("run", help="run a job file; or a folder with task.py over data")
    add = run.add_argument
    add("file", nargs="?", metavar="JOB.toml", help="the job, as docs/run.md says")
    add("-d", "--data", metavar="DATA", help="path, folder, glob, URL or upload (data-…): what the mapper gets")
    add("-c", "--code", metavar="CODE", help="folder, or upload (code-…), with task.py: mapper(doc_id, chunk) and reducer(key_values)")
    add("-o", "--output", metavar="OUTPUT", help="where the result goes: a folder or file.parquet, file.csv, file.jsonl, s3://…")
    add("--overwrite", action="store_true", help="let it replace what an earlier run wrote there")
    add("--passage", metavar="SIZE", help="with -c: about how many bytes of text a chunk has at most (default: 8MB)")
    add("--reducers", type=int, metavar="N", help="with -c: number of partitions (default: by the size of the input)")
    add("--name", metavar="TEXT", help="with -c: what the job is called")
    add("--detach", action="store_true", help="print the identifier of the job, and do not wait for it")
    add("-n", "--dry-run", action="store_true", help="show the plan; run nothing")
    told = f"try the first N records here (default: {_PREVIEWED}), and show what they give; run no job"
    add("--preview", nargs="?", const=_PREVIEWED, metavar="N", help=told)
    add_platform(run)
    run.set_defaults(run=_run)
    attach = commands.add_parser("attach", help="watch a job that was submitted before, and write or show its result, as run does")
    attach.add_argument("id", nargs="?", metavar="ID", help="identifier of the job, its beginning, or its name (default: the latest)")
    attach.add_argument("-o", "--output", metavar="OUTPUT", help="where the result goes, as of run; shown if not given")
    attach.add_argument("--overwrite", action="store_true", help="let it replace what an earlier run wrote there")
    add_platform(attach)
    attach.set_defaults(run=_attach)


def _attach(options: Namespace, console: Console) -> int:
    session = session_of(options)
    job = session.attach(options.id)
    output = output_named(options.output, overwrite=options.overwrite) if options.output else None
    if output is not None:  # before the wait: a wrong name should not cost an hour
        output.check(session.backend)
    with _noting(console):
        return _waited(job, output, console=console, goes_on=True)


def _run(options: Namespace, console: Console) -> int:
    with ExitStack() as stack:
        try:
            session, asking, output = _opened(options)
            with _prints_aside():
                asked = stack.enter_context(asking)
        except ConfigError as error:
            console.note(f"smr run: {error}")
            return _MISUSED
        stack.enter_context(_noting(console))
        return _answered(options, console, session=session, asked=asked, output=output)


def _answered(options: Namespace, console: Console, *, session: Session, asked: Asked, output: AnyOutput | None) -> int:
    if options.dry_run:
        with _prints_aside():
            plan = asked.plan()
        console.tell(str(plan))
        return 0
    if options.preview is not None:
        with _prints_aside():
            preview = asked.preview(int(options.preview))
        console.tell(repr(preview))
        return 0
    if output is not None:  # before anything is paid for
        output.check(session.backend)
    try:
        with _prints_aside():
            job = asked.submit()
    except ConfigError as error:
        console.note(f"smr run: {error}")
        return _MISUSED
    if options.detach:
        console.tell(job.id)
        return 0
    return _waited(job, output, console=console, goes_on=session.settings.on_interrupt == "detach")


def _opened(options: Namespace) -> Opened:
    """Return the session, what is asked of it, and where the result goes. Raises `ConfigError` where that makes no sense."""
    if options.preview is not None and not options.preview.isdecimal() and options.file is None:
        options.file, options.preview = options.preview, _PREVIEWED  # `smr run --preview job.toml`
    if options.preview is not None and (not options.preview.isdecimal() or not int(options.preview)):
        raise ConfigError(f"--preview {options.preview}: say how many records, 1 or more.")
    given = [f"--{name}" for name in ("data", "code", "passage", "reducers", "name") if getattr(options, name) is not None]
    if options.file is not None:
        if given:
            raise ConfigError(f"{given[0]} goes without a job file: say it in {options.file}.")
        return _opened_file(options)
    missing = [f"--{name}" for name in ("data", "code") if getattr(options, name) is None]
    if missing:
        raise ConfigError(f"Say a job file, or -d DATA -c CODE -o OUTPUT: there is no {' and no '.join(missing)}.")
    ends = options.detach or options.dry_run or options.preview is not None
    if options.output is None and not ends:
        raise ConfigError("There is no --output: say where the result goes, or --detach, --dry-run or --preview.")
    _check_detached(options, options.output)
    session = session_of(options)
    folder = Folder(options.data, options.code, options.passage or "8MB", options.reducers, options.name or "")
    return session, asked_by_folder(folder, session), output_named(options.output, overwrite=options.overwrite) if options.output else None


def _opened_file(options: Namespace) -> Opened:
    job_file = read_job_file(Path(options.file))
    told = job_file.output
    overwrite = options.overwrite or (isinstance(told, Output) and told.overwrite)
    if options.output:
        told = output_named(options.output, overwrite=overwrite)
    elif isinstance(told, Output):
        told = replace(told, overwrite=overwrite)
    _check_detached(options, told.place if told else None)
    session = session_of(options, job_file.settings)
    return session, asked_by_file(job_file, session), told


def _check_detached(options: Namespace, output: str | None) -> None:
    if options.detach and output:
        raise ConfigError(
            f"--detach: nobody would wait to write {output}. Leave the output out, and write it later (`smr result ID --to FILE`); or wait."
        )


def _waited(job: Job, output: AnyOutput | None, *, console: Console, goes_on: bool) -> int:
    """Show how far a job is until it has ended; then write, or show, its result. An interrupt cancels it, unless it goes on."""
    try:
        progress = job.watch(_painter(console.note), interval=_PAINT_SECONDS)
    except KeyboardInterrupt:
        console.note(f"{job.id} goes on: `smr status {job.id}`" if goes_on else cancel_and_tell(job))
        return _INTERRUPTED
    error = job.exception()
    console.note(text(View(job.id, job.name, progress, time.time())))
    if error is not None:
        console.note("\n".join(told_error(error, job)))
        return 1
    console.note(f" {job.proof}")
    if output is None:
        console.tell(job.result().to_string(index=False))
    else:
        console.tell(output.write(job))
    return 0


def _painter(note: Callable[[str], None]) -> Callable[[Progress], None]:
    """Return what tells how far a job is, in a line whenever that is another one."""
    told = ""

    def paint(progress: Progress) -> None:
        nonlocal told
        line = " · ".join([str(progress.state), *(f"{name} {phase.done:,}/{phase.tasks:,}" for name, phase in progress.phases)])
        if line != told and not progress.state.ended:
            note(line)
        told = line

    return paint


def _prints_aside() -> redirect_stdout[TextIO]:
    """Let what functions print while they are tried here go to standard error: the answer stands alone."""
    return redirect_stdout(sys.stderr)


@contextmanager
def _noting(console: Console) -> Iterator[None]:
    """Tell warnings as lines of their own: where in this package they were raised says nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_, **__: console.note(f"warning: {message}")
        yield
