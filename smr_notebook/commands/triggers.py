"""`smr schedule`, `smr on-upload` and `smr triggers`: jobs that start with nobody there."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from smr_notebook.commands.console import Console
from smr_notebook.commands.jobs import add_platform, session_of
from smr_notebook.control.planning import Request
from smr_notebook.errors import ConfigError, PlatformError
from smr_notebook.job.handle import Job
from smr_notebook.job_files.asking import asked_by_file
from smr_notebook.job_files.job_file import JobFile, read_job_file
from smr_notebook.sessions.session import Session
from smr_notebook.sessions.triggering import StandingTrigger
from smr_notebook.values.globs import WILD

_MISUSED: Final = 2

Given = tuple[Session, Job | Request, str]


def add_commands(commands: Any) -> None:
    """Add the commands to the subparsers of a parser."""
    schedule = commands.add_parser("schedule", help="have a job made at times, with nobody there: `rate(1 day)`, `cron(0 3 * * ? *)`")
    schedule.add_argument("times", metavar="TIMES", help="rate(1 day), cron(0 3 * * ? *) or at(2026-12-31T23:00:00)")
    schedule.add_argument("--timezone", default="UTC", metavar="Z", help="in which cron and at are meant (default: UTC)")
    schedule.add_argument("--skip-running", action="store_true", help="make none while the one before has not ended")
    schedule.set_defaults(run=_schedule)
    on_upload = commands.add_parser("on-upload", help="have a job made for each object that is uploaded, with nobody there")
    on_upload.add_argument("location", metavar="LOCATION", help="s3://bucket/folder/, or a glob: s3://bucket/logs/*.gz")
    on_upload.set_defaults(run=_on_upload)
    for command in (schedule, on_upload):
        command.add_argument("job", metavar="JOB", help="a job file (docs/run.md); or identifier or name of a job that was submitted")
        command.add_argument("--name", default="", metavar="NAME", help="of the trigger, and of its jobs (default: that of the job)")
    triggers = commands.add_parser("triggers", help="list what starts jobs by itself; or remove one")
    triggers.add_argument("what", nargs="*", metavar="[remove NAME]")
    triggers.set_defaults(run=_triggers)
    for command in (schedule, on_upload, triggers):
        add_platform(command)


def _schedule(options: Namespace, console: Console) -> int:
    def make(session: Session, job: Job | Request, name: str) -> StandingTrigger:
        return session.schedule(options.times, job, name=name, timezone=options.timezone, skip_running=options.skip_running)

    return _made(options, console, make)


def _on_upload(options: Namespace, console: Console) -> int:
    def make(session: Session, job: Job | Request, name: str) -> StandingTrigger:
        return session.on_upload(options.location, job, name=name)

    return _made(options, console, make, watched=options.location)


def _made(options: Namespace, console: Console, make: Any, *, watched: str = "") -> int:
    try:
        with _given(options, watched) as given:
            trigger = make(*given)
    except ConfigError as error:
        console.note(f"smr: {error}")
        return _MISUSED
    console.note(f"{trigger.what} makes jobs named {trigger.name}: `smr jobs`, `smr result {trigger.name}`")
    console.tell(trigger.name)
    return 0


@contextmanager
def _given(options: Namespace, watched: str) -> Iterator[Given]:
    """Give the session, the job, and the name of its trigger. Raises `ConfigError` where that makes no sense."""
    if not _is_file(options.job):
        session = session_of(options)
        yield session, session.attach(options.job), options.name
        return
    job_file = read_job_file(Path(options.job))
    _refuse_output(job_file, watched)
    settings: Mapping[str, object] = job_file.settings
    session = session_of(options, settings)
    with asked_by_file(job_file, session) as asked:
        yield session, asked.request(), options.name or job_file.shared.name or job_file.file.stem


def _is_file(job: str) -> bool:
    return job.endswith(".toml") or Path(job).is_file()


def _refuse_output(job_file: JobFile, watched: str) -> None:
    """Refuse an output: it would start the job anew, or nobody would wait to write it. Raises `ConfigError`."""
    if job_file.output is None:
        return
    path = job_file.output.place
    if watched and _would_start(path, watched):
        raise ConfigError(f"{job_file.file}: the output {path} lies under {watched}: the job would start itself. Write it somewhere else.")
    raise ConfigError(
        f"{job_file.file}: nobody would wait to write {path}. Leave the output out; the result stays with the job, and "
        "`smr result NAME --to FILE` writes it."
    )


def _would_start(output: str, watched: str) -> bool:
    """Whether what is written to an output may be what is watched."""
    begin = WILD.split(watched, maxsplit=1)[0]
    begin = begin if begin != watched else f"{watched.rstrip('/')}/"
    place = f"{output.rstrip('/')}/"
    return place.startswith(begin) or begin.startswith(place)


def _triggers(options: Namespace, console: Console) -> int:
    session = session_of(options)
    match options.what:
        case []:
            for trigger in session.triggers():
                last = f"last job {trigger.last}" if trigger.last else "no job yet"
                console.tell(f"{trigger.name:<24} {trigger.what:<40} {last}{_trouble(trigger)}")
        case ["remove", name]:
            removed = session.remove_trigger(name)
            console.tell(f"{name} is removed: {removed.what}")
        case words:
            raise ConfigError(f"`smr triggers {' '.join(words)}`: say `remove` and a name, or nothing for a list.")
    return 0


def _trouble(trigger: StandingTrigger) -> str:
    """Return what is wrong with a trigger, as far as whoever asks may look."""
    try:
        stands = trigger.stands
    except PlatformError:
        return ""
    return "" if stands else f"  · does not fire any more: remove it (`smr triggers remove {trigger.name}`) and make it anew"
