"""Where the result of a job file goes: files, a table of a database, a table of DynamoDB.

Rules of this module:

* An output says nothing that `Job.export`, `Job.to_sql` and `Job.to_dynamodb` do not know, and is refused before the job is paid for.
* A URL with a password has no place in a file: `sql = "$NAME"` is what the variable NAME of the environment says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final, Literal

from smr_notebook.dataflow.export_items import open_items
from smr_notebook.dataflow.export_shapes import FORMATS, PARQUET, TEXTS
from smr_notebook.dataflow.export_targets import target_of
from smr_notebook.errors import ConfigError
from smr_notebook.job.handle import Job
from smr_notebook.job.results import sql_place
from smr_notebook.ports import Backend
from smr_notebook.showing.amounts import counted
from smr_notebook.values.suggestions import near

_SCHEME: Final = "dynamodb://"
_OTHER_FILES: Final = frozenset({".json", ".ndjson", ".tsv", ".xlsx", ".gz", ".zst", ".pq", ".feather", ".arrow"})
"""How names of files end that nobody gives to a folder."""


@dataclass(frozen=True, slots=True)
class Output:
    """Files.

    Attributes:
        path: As of `Job.export`.
        overwrite: As of `Job.export`.
        format: As of `Job.export`.
        files: As of `Job.export`.
    """

    path: str
    overwrite: bool = False
    format: Literal["parquet", "csv", "jsonl", "text"] | None = None
    files: Literal["one", "partitions"] | None = None

    @property
    def place(self) -> str:
        """What it is called in messages."""
        return self.path

    def check(self, backend: Backend) -> None:
        """Raise `ConfigError` where nothing can be written there."""
        suffixes = (*PARQUET, *TEXTS)
        told = PurePosixPath(self.path).suffix.lower()
        if told in _OTHER_FILES:
            wanted = f"Name a file that ends in {' or '.join(suffixes)}; or a folder.{near(told, suffixes)}"
            raise ConfigError(f"output: {self.path} would be a folder. {wanted}")
        target_of(
            self.path,
            overwrite=self.overwrite,
            targets=backend.targets,
            platform=backend.name,
            suffixes=suffixes,
            format=self.format,
            files=self.files,
            verb="output",
        ).check()

    def write(self, job: Job) -> str:
        """Write the result of a job that is done, and return what is said of it."""
        written = job.export(self.path, overwrite=self.overwrite, format=self.format, files=self.files)
        return f"{written.path}: {counted(written.rows, 'row')}"


@dataclass(frozen=True, slots=True)
class SqlOutput:
    """A table of a database.

    Attributes:
        sql: As `Job.to_sql` wants the database; or `$` and the name of a variable of the environment that says it.
        table: As of `Job.to_sql`.
        if_exists: As of `Job.to_sql`.
        schema: As of `Job.to_sql`.
    """

    sql: str = field(repr=False)
    table: str
    if_exists: Literal["fail", "append", "replace"] = "fail"
    schema: str | None = None

    @property
    def place(self) -> str:
        """What it is called in messages."""
        return f"the table {self.table}"

    @property
    def _url(self) -> str:
        if not self.sql.startswith("$"):
            return self.sql
        name = self.sql[1:]
        if not os.environ.get(name):
            raise ConfigError(f"output: the variable {name} of the environment, which should name the database, is not set. Set it.")
        return os.environ[name]

    def check(self, backend: Backend) -> None:  # noqa: ARG002 - the face of an output
        """Raise `ConfigError` where nothing can be written there, and `StoreError` where the database cannot be asked."""
        with sql_place(self._url, self.table, if_exists=self.if_exists, schema=self.schema) as sink:
            sink.check()

    def write(self, job: Job) -> str:
        """Write the result of a job that is done, and return what is said of it."""
        written = job.to_sql(self._url, self.table, if_exists=self.if_exists, schema=self.schema)
        return f"{written.database}, table {written.table}: {counted(written.rows, 'row')}"


@dataclass(frozen=True, slots=True)
class ItemsOutput:
    """A table of DynamoDB.

    Attributes:
        path: `dynamodb://` and its name.
        names: As of `Job.to_dynamodb`.
    """

    path: str
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """What it is called in messages."""
        return self.path

    def check(self, backend: Backend) -> None:
        """Raise `ConfigError` where nothing can be written there, and `StoreError` where it cannot be looked at."""
        open_items(self.path, sinks=backend.item_sinks, platform=backend.name, names=self.names)

    def write(self, job: Job) -> str:
        """Write the result of a job that is done, and return what is said of it."""
        written = job.to_dynamodb(self.path, names=self.names)
        return f"{self.path}: {counted(written.items, 'item')}"


AnyOutput = Output | SqlOutput | ItemsOutput


def output_named(path: str, *, overwrite: bool) -> Output | ItemsOutput:
    """Return what a path or a URL means. Raises `ConfigError` where it has a password."""
    _refuse_password(path)
    return ItemsOutput(path) if path.startswith(_SCHEME) else Output(path, overwrite)


def keys_of(given: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what may be said of an output, by what is."""
    if "sql" in given:
        return ("sql", "table", "if_exists", "schema")
    if str(given.get("path", "")).startswith(_SCHEME):
        return ("path", "names")
    return ("path", "overwrite", "format", "files")


def checked_value(name: str, value: object) -> None:
    """Raise `ConfigError` where a value is none of its key's."""
    wanted: type = _OTHERS.get(name, str)
    if not isinstance(value, wanted) or value == "":
        raise ConfigError(f"{_WORDS[wanted]} is wanted{'' if name == 'sql' else f'; got {value!r}'}.")
    known = _CHOICES.get(name)
    if known and value not in known:
        raise ConfigError(f"{value!r} is not known.{near(str(value), known)} Use {', '.join(map(repr, known))}.")


def made_output(given: Mapping[str, Any]) -> AnyOutput:
    """Return what a table of a job file says, whose keys and values were checked.

    Raises:
        ConfigError: It lacks one.
    """
    if "sql" in given:
        if "table" not in given:
            raise ConfigError('there is no table: say which one of the database, table = "totals".')
        return SqlOutput(**given)
    if "path" not in given:
        raise ConfigError("there is no path, and no sql: say where the result goes.")
    _refuse_password(str(given["path"]))
    return ItemsOutput(**given) if str(given["path"]).startswith(_SCHEME) else Output(**given)


def _refuse_password(path: str) -> None:
    """Raise `ConfigError`, in which the path is not told, where it is a URL with a password: paths are told in other messages."""
    if _PASSWORD.match(path):
        raise ConfigError('the path is a URL with a password. A database is named by output = { sql = "$NAME", table = "totals" }.')


_PASSWORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/@]*:[^/]*@")
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "format": tuple(FORMATS),
    "files": ("one", "partitions"),
    "if_exists": ("fail", "append", "replace"),
}
_OTHERS: Final[Mapping[str, type]] = {"overwrite": bool, "names": dict}
_WORDS: Final[Mapping[type, str]] = {str: "text", bool: "true or false", dict: "a table"}
