"""What a job file, or a folder with a task, asks of a session: to plan it, to try it, to submit it.

Rules of this module:

* Functions are looked up once, in a block; what is done with them is done inside it.
* Code that was uploaded is imported only after its signature, and the digest of each of its files, were found right.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from smr_notebook import formats
from smr_notebook.backends.local.source import absolute
from smr_notebook.control.naming import files
from smr_notebook.control.planned import PlannedJob
from smr_notebook.control.planning import Request
from smr_notebook.control.uploads import read_code
from smr_notebook.dataflow.pair_programs import program_of_pairs
from smr_notebook.dataflow.programs import Program
from smr_notebook.dataflow.table_programs import program_of_aggregations
from smr_notebook.dataflow.uploaded import upload_named
from smr_notebook.errors import ConfigError
from smr_notebook.formats import InputFormat
from smr_notebook.job.handle import Job
from smr_notebook.job_files.function_files import Find, Reference, functions_below
from smr_notebook.job_files.job_file import GroupWork, JobFile, Parse, Shared
from smr_notebook.job_files.task_folders import load_functions
from smr_notebook.sessions.options import Options
from smr_notebook.sessions.previews import Preview
from smr_notebook.sessions.rounds import combining
from smr_notebook.sessions.session import Session
from smr_notebook.values.spellings import read_sorting


@dataclass(frozen=True, slots=True)
class Asked:
    """A job that can be submitted.

    Attributes:
        submit: Does so.
        plan: Says what it would do.
        preview: Runs it here over so many records.
        request: The same as a request, for whoever submits it another way.
    """

    submit: Callable[[], Job]
    plan: Callable[[], PlannedJob]
    preview: Callable[[int], Preview]
    request: Callable[[], Request]


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with a task, the data that it is run over, and what else is said of the job.

    Attributes:
        data: A path, a glob, a URL or an upload.
        code: The folder, or an upload.
        passage: Bytes of a passage, as a number or as text.
        reducers: Number of partitions; `None` for by the size of the input.
        name: What the job is called.
    """

    data: str
    code: str
    passage: str = "8MB"
    reducers: int | None = None
    name: str = ""


@contextmanager
def asked_by_folder(folder: Folder, session: Session) -> Iterator[Asked]:
    """Give what a folder asks for.

    Raises:
        ConfigError: There is no such folder, it holds no task, or an option has a wrong value.
        InputMissingError: There is no such upload.
    """
    format = formats.passages(folder.passage)
    with _code_below(folder.code, session) as code, functions_below(code) as find:
        found = load_functions(find, code, data=folder.data)
        shared = Shared(folder.name, folder.reducers)
        yield _asked_pairs(session, Given((folder.data,), format, shared), _Functions(found.map, found.reduce))


@contextmanager
def asked_by_file(job_file: JobFile, session: Session) -> Iterator[Asked]:
    """Give what a job file asks for.

    Raises:
        ConfigError: A function is not there, or cannot be imported.
        InputMissingError: There is no such upload.
    """
    with _code_below(job_file.code, session) as code, functions_below(code) as find:
        given, work = Given(job_file.input, _format(job_file, find), job_file.shared), job_file.work
        if isinstance(work, GroupWork):
            yield _asked_groups(session, given, work, find)
        else:
            functions = _Functions(find(work.map), _found(find, work.reduce), _found(find, work.combine), work.sort)
            yield _asked_pairs(session, given, functions)


@dataclass(frozen=True, slots=True)
class Given:
    """What is given to both verbs: the input, its format, and further options."""

    input: tuple[str, ...]
    format: str | InputFormat
    shared: Shared


@dataclass(frozen=True, slots=True)
class _Functions:
    map: Callable[..., Any]
    reduce: Callable[..., Any] | None
    combine: Callable[..., Any] | bool | None = None
    sort: str | None = None

    def program(self, reducers: int | str | None) -> Program:
        """Return what the job runs, with so many partitions."""
        combine = combining(self.combine, reducers, reduce=self.reduce)
        return program_of_pairs(self.map, self.reduce, combine, read_sorting(self.sort))


def _asked_pairs(session: Session, given: Given, functions: _Functions) -> Asked:
    arguments = {**asdict(given.shared), "format": given.format, "combine": functions.combine, "sort": functions.sort}
    what = (functions.map, functions.reduce, files(*given.input))
    return Asked(
        submit=lambda: session.map_reduce(*what, **arguments),
        plan=lambda: session.plan(*what, **arguments),
        preview=lambda records: session.preview(*what, records=records, **arguments),
        request=lambda: session.request(
            functions.program(given.shared.reducers), files(*given.input), options=_options(given, functions.combine)
        ),
    )


def _asked_groups(session: Session, given: Given, groups: GroupWork, find: Find) -> Asked:
    arguments = {**asdict(given.shared), "format": given.format, "where": _found(find, groups.where)}
    by = list(groups.by) if isinstance(groups.by, tuple) else {name: _found(find, column) for name, column in groups.by.items()}
    aggregations = {name: _found(find, one) for name, one in groups.aggregations.items()}

    def refuse(*_: object) -> NoReturn:
        raise ConfigError("An aggregate can be neither planned nor previewed. Leave --dry-run and --preview out.")

    def request() -> Request:
        program = program_of_aggregations(by, arguments["where"], aggregations)
        return session.request(program, files(*given.input), options=_options(given))

    return Asked(lambda: session.aggregate(files(*given.input), by=by, **arguments, **aggregations), refuse, refuse, request)


def _options(given: Given, combine: Any = None) -> Options:
    return Options(combine, given.format, **asdict(given.shared))


def _format(job_file: JobFile, find: Find) -> str | InputFormat:
    told = job_file.format
    return formats.parse(find(told.function), decompress=told.decompress) if isinstance(told, Parse) else told


def _found(find: Find, told: Any) -> Any:
    """Return what a reference means; anything else as it is."""
    return find(told) if isinstance(told, Reference) else told


@contextmanager
def _code_below(code: str, session: Session) -> Iterator[Path]:
    """Give the folder of the functions: one of this machine, or what was uploaded."""
    if not upload_named(code):
        folder = Path(absolute(code))
        if not folder.is_dir():
            raise ConfigError(f"There is no folder {code!r} with code (in {Path.cwd()}).")
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="smr-code-") as place:
        folder = Path(place) / code
        for name, content in read_code(session.backend, code):
            if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
                raise ConfigError(f"{code} holds a file {name!r}, which does not lie below its folder.")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        yield folder
