"""`smr jobs`, `smr status`, `smr cost`, `smr cancel`, `smr clean` and the others: the jobs of a platform, from a shell."""

from __future__ import annotations

import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smr_notebook.commands.console import Console, add_place
from smr_notebook.errors import ConfigError, JobCancelled, JobError, SmrError
from smr_notebook.job.errors import counted, sample_lines
from smr_notebook.job.handle import cancel_and_tell
from smr_notebook.sessions.session import Session
from smr_notebook.values.spellings import as_option, read_dollars, read_time
from smr_notebook.views.housekeeping import cancel_jobs, clean, cost_table
from smr_notebook.views.render import View, text

if TYPE_CHECKING:
    import pandas as pd

    from smr_notebook.job.handle import Job


def add_commands(commands: Any) -> None:
    """Add the commands to the subparsers of a parser."""
    jobs = commands.add_parser("jobs", help="list the jobs, the latest first")
    jobs.add_argument("-n", "--number", type=_number, metavar="N", help="so many of them (default: all)")
    jobs.add_argument("--everyone", action="store_true", help="those of all users")
    jobs.set_defaults(run=_jobs)
    status = commands.add_parser("status", help="show how far a job is")
    status.set_defaults(run=_status)
    cost = commands.add_parser("cost", help="show what a job has cost so far, by service, and what it was thought to")
    cost.set_defaults(run=_cost)
    cancel = commands.add_parser("cancel", help="stop a job; or all of yours")
    cancel.add_argument("--all", action="store_true", help="all of your jobs that have not ended")
    cancel.set_defaults(run=_cancel)
    resume = commands.add_parser("resume", help="go on from a job that failed or was cancelled")
    resume.add_argument(
        "--max-cost", type=as_option(read_dollars), metavar="$", help="US dollars that the rest may cost (default: as before)"
    )
    resume.set_defaults(run=_resume)
    clean = commands.add_parser("clean", help="remove your jobs that ended long ago, with all that they stored")
    clean.add_argument(
        "--older", type=as_option(read_time), metavar="T", help="ended longer ago than this, such as 2h or 7d (default: keep_days)"
    )
    clean.set_defaults(run=_clean)
    result = commands.add_parser("result", help="wait for a job, and print or save its result")
    result.add_argument("--to", type=Path, metavar="FILE", help="save it there: .parquet or .csv")
    result.set_defaults(run=_result)
    errors = commands.add_parser("errors", help="show one sample of each kind of error of a job")
    errors.set_defaults(run=_errors)
    logs = commands.add_parser("logs", help="show what the functions of a job printed, also while they run")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the job has ended")
    logs.add_argument("--phase", metavar="P", help="map or reduce (default: both)")
    logs.add_argument("--task", type=int, metavar="N", help="of the tasks with this number only")
    logs.set_defaults(run=_logs)
    for command in (status, cost, cancel, resume, result, errors, logs):
        command.add_argument("id", nargs="?", metavar="ID", help="identifier of the job, its beginning, or its name (default: the latest)")
    for command in (jobs, status, cost, cancel, resume, clean, result, errors, logs):
        add_platform(command)


def _jobs(options: Namespace, console: Console) -> int:
    session = session_of(options)
    found = session.jobs(everyone=options.everyone)
    if not found:
        whose = "" if options.everyone else " of yours"
        console.note(f"there are no jobs{whose} on the platform {session.backend.name}; --platform and --stack name other places")
    for job in found[: options.number]:
        created = datetime.fromtimestamp(int(job.created), UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        user = f"{job.user or '-':<12} " if options.everyone else ""
        console.tell(f"{job.id}  {created}  {job.state.value:<10} {user}{job.name}".rstrip())
    return 0


def _status(options: Namespace, console: Console) -> int:
    job = _find(options)
    progress = job.status()
    proof = [f" {progress.proof}"] if progress.proof else []
    error = job.exception() if progress.state.ended else None
    why = [f" {line}" for line in told_error(error, job)] if error is not None else []
    console.tell("\n".join([text(View(job.id, job.name, progress, time.time())), *proof, *why]))
    return 0


def _cost(options: Namespace, console: Console) -> int:
    console.tell(repr(cost_table(_find(options))))
    return 0


def _cancel(options: Namespace, console: Console) -> int:
    if not options.all:
        console.tell(cancel_and_tell(_find(options)))
        return 0
    if options.id is not None:
        raise ConfigError(f"cancel {options.id} --all: one job, or all of yours? Keep one of the two.")
    session = session_of(options)
    console.tell(repr(cancel_jobs([session.attach(job.id) for job in session.jobs() if not job.state.ended], all_of_them=True)))
    return 0


def _clean(options: Namespace, console: Console) -> int:
    session = session_of(options)
    older = session.settings.keep_days * 86_400 if options.older is None else options.older
    console.tell(repr(clean(session.backend, older=older)))
    return 0


def _resume(options: Namespace, console: Console) -> int:
    before = _find(options)
    job = before.resume(max_cost=options.max_cost)
    console.tell("\n".join([f"{job.id} goes on from where {before.id} was", *job.warnings]))
    return 0


def _result(options: Namespace, console: Console) -> int:
    write = _writer(options.to) if options.to else None  # before the wait: a wrong name should not cost an hour
    job = _find(options)
    error = job.exception()
    if isinstance(error, JobCancelled):
        raise JobCancelled(f"{job.id} has no result: {error}. `smr resume {job.id}` goes on from what is done.", job=job.id)
    frame = job.result()
    if write is None:
        console.tell(frame.to_string(index=False))
    else:
        write(frame, options.to)
        console.tell(f"{options.to}: {len(frame):,} rows")
    return 0


def _errors(options: Namespace, console: Console) -> int:
    console.tell(repr(_find(options).errors()))
    return 0


def _logs(options: Namespace, console: Console) -> int:
    logs = _find(options).logs(phase=options.phase, task=options.task, follow=options.follow)
    none = True
    for line in logs:
        console.tell(str(line))
        none = False
    if none and not options.follow:
        console.tell(repr(logs))
    return 0


def _number(text: str) -> int:
    if not text.isdecimal():
        raise ArgumentTypeError(f"a whole number is wanted; got {text!r}")
    return int(text)


def told_error(error: SmrError, job: Job) -> list[str]:
    """Return the lines that say why a job has no answer: one sample of each kind of error, with the user's line and record."""
    failures = error.failures if isinstance(error, JobError) else ()
    lines = [line for sample in failures for line in [*sample_lines(sample), ""]]
    if failures:
        return [*lines, f"{counted(failures)} · smr errors {job.id}"]
    cancelled = [f"`smr resume {job.id}` goes on from what is done"] if isinstance(error, JobCancelled) else []
    return [f"{type(error).__name__}: {error}", *cancelled]


def add_platform(command: ArgumentParser) -> None:
    """Add the options that `session_of` reads."""
    command.add_argument("--platform", metavar="P", help="local (the default), aws or dask")
    add_place(command)


def session_of(options: Namespace, settings: Mapping[str, object] | None = None) -> Session:
    """Return the session that the options mean, with settings that count for less than they."""
    return Session(options.platform, stack=options.stack, region=options.region, profile=options.profile, settings=settings)


def _find(options: Namespace) -> Job:
    return session_of(options).attach(options.id)


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, index=False)


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    from pyarrow import ArrowException  # noqa: PLC0415 - only this command needs it

    try:
        frame.to_parquet(path, index=False)
    except (ArrowException, TypeError) as error:
        reason = str(error).splitlines()[0].rstrip(". ")
        raise ConfigError(
            f"{path} cannot hold this result, because a column has values of several kinds ({reason}). Save it as .csv."
        ) from error


_WRITERS = {".csv": _write_csv, ".parquet": _write_parquet}


def _writer(path: Path) -> Any:
    """Return what saves a frame under this name.

    Raises:
        ConfigError: The name says no format that we write.
    """
    if path.suffix.lower() not in _WRITERS:
        raise ConfigError(f"--to {path}: the name must end in {' or '.join(_WRITERS)}.")
    if not path.parent.is_dir():
        raise ConfigError(f"--to {path}: there is no folder {path.parent}.")
    return _WRITERS[path.suffix.lower()]
