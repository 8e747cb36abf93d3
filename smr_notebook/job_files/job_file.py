"""Job files: a job as a TOML file, so that a shell, a schedule or a build can run it (docs/run.md).

Rules of this module:

* A file says nothing that the calls of `Session` do not know: each key is an argument of `map_reduce` or `aggregate`, or where the
  functions and the result are.
* All of it is read, and refused, before anything is imported or opened. What is wrong is told with its line.
* A relative path is relative to the file.
"""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final

from smr_notebook import formats
from smr_notebook.config import read_setting
from smr_notebook.dataflow import aggregates
from smr_notebook.dataflow.aggregates import Aggregation
from smr_notebook.dataflow.aggregations import BUILTINS
from smr_notebook.dataflow.uploaded import upload_named
from smr_notebook.errors import ConfigError, PlanError
from smr_notebook.formats import AUTO, InputFormat
from smr_notebook.job_files.function_files import Reference, read_reference
from smr_notebook.job_files.outputs import AnyOutput, checked_value, keys_of, made_output, output_named
from smr_notebook.job_files.toml_places import Document, read_document
from smr_notebook.sessions.rounds import read_reducers
from smr_notebook.values.spellings import parse_size, read_bad, read_dollars, read_sorting, read_tolerance
from smr_notebook.values.suggestions import near

_PAIRS: Final = ("map", "reduce", "combine", "sort")
_GROUPS: Final = ("by", "where", "aggregate")
_SHARED: Final = ("name", "reducers", "split_size", "retries", "max_cost", "on_error", "max_bad")
_KEYS: Final = ("input", "code", *_PAIRS, *_GROUPS, "format", *_SHARED, "output", "settings")
_OPTIONAL: Final = ("top", "quantiles")
"""Aggregations that take something besides a column."""

_OF_VALUES: Final = ("count", "mean", "first", "collect", "distinct")
"""Aggregations that stand as `reduce` by their name alone, besides Python's own functions."""

_TYPES: Final[Mapping[str, type]] = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "date": date,
    "datetime": datetime,
    "decimal": Decimal,
}
"""What `types` of CSV may be."""


@dataclass(frozen=True, slots=True)
class PairWork:
    """Arguments of `map_reduce` alone."""

    map: Reference
    reduce: Reference | Callable[..., Any] | None = None
    combine: Reference | bool | None = None
    sort: str | None = None


@dataclass(frozen=True, slots=True)
class GroupWork:
    """Arguments of `aggregate` alone."""

    by: tuple[str, ...] | Mapping[str, str | Reference]
    aggregations: Mapping[str, Aggregation | Reference]
    where: Reference | None = None


@dataclass(frozen=True, slots=True)
class Shared:
    """Arguments of both."""

    name: str = ""
    reducers: int | str | None = None
    split_size: int | None = None
    retries: int | None = None
    max_cost: float | None = None
    on_error: str = "fail"
    max_bad: float | None = None


@dataclass(frozen=True, slots=True)
class Parse:
    """A format of the user's own."""

    function: Reference
    decompress: bool = True


@dataclass(frozen=True, slots=True)
class JobFile:
    """A job, as a file says it.

    Attributes:
        file: Where it stands.
        input: Paths, globs, URLs or uploads.
        code: The folder of the functions, or the identifier of an upload.
        work: What is computed.
        format: How the input is read.
        shared: What is said of any job.
        output: Where the result goes; `None`: it is shown.
        settings: Settings by name.
    """

    file: Path
    input: tuple[str, ...]
    code: str
    work: PairWork | GroupWork
    format: str | InputFormat | Parse = AUTO
    shared: Shared = Shared()
    output: AnyOutput | None = None
    settings: Mapping[str, object] = field(default_factory=dict)


def read_job_file(file: Path) -> JobFile:
    """Read a job file.

    Raises:
        ConfigError: It cannot be read, or says something that makes no sense; the message says in which line.
    """
    return _Reader(read_document(file), Path(file).absolute().parent).job()


class _Reader:
    """Reads one file."""

    def __init__(self, document: Document, folder: Path) -> None:
        self._document = document
        self._values = document.values
        self._folder = folder

    def job(self) -> JobFile:
        document = self._document
        document.check_keys((), _KEYS)
        if "input" not in self._values:
            raise ConfigError(f"{document.file}: there is no 'input'. Say what the job reads: input = \"logs/*.txt\".")
        return JobFile(
            document.file,
            input=self._read("input", self._inputs),
            code=self._read("code", self._code, default=str(self._folder)),
            work=self._work(),
            format=self._format(),
            shared=self._shared(),
            output=self._output(),
            settings=self._settings(),
        )

    def _read(self, key: str, read: Callable[[Any], Any], *, default: Any = None) -> Any:
        """Return the value of a key, read; the default where the file does not say it. Raises `ConfigError`, with the line."""
        if key not in self._values:
            return default
        return self._tell((key,), lambda: read(self._values[key]))

    def _tell(self, place: tuple[str, ...], read: Callable[[], Any]) -> Any:
        try:
            return read()
        except (ConfigError, PlanError) as error:
            return self._document.refuse(place, str(error))
        except (ValueError, TypeError) as error:
            return self._document.refuse(place, f"{place[-1]} cannot be that: {error}.")

    # ------------------------------------------------------------ what is computed

    def _work(self) -> PairWork | GroupWork:
        pairs, groups = ([key for key in keys if key in self._values] for keys in (_PAIRS, _GROUPS))
        if pairs and groups:
            self._document.refuse((groups[0],), f"{groups[0]!r} belongs to an aggregate, and {pairs[0]!r} to a map. Keep one of the two.")
        if groups:
            return self._groups()
        if "map" not in self._values:
            raise ConfigError(f"{self._document.file}: there is no 'map' and no 'by'. Say what the job does: map = \"words.py:map\".")
        read = self._read
        work = PairWork(read("map", read_reference), read("reduce", _reduce), read("combine", _combine), read("sort", _sorting))
        if work.combine and work.reduce is None:
            self._document.refuse(("combine",), "combine needs a reduce.")
        return work

    def _groups(self) -> GroupWork:
        for missing in [key for key in ("by", "aggregate") if key not in self._values]:
            raise ConfigError(f"{self._document.file}: an aggregate has no {missing!r}.")
        by = self._read("by", _columns)
        told = self._read("aggregate", _table)
        found = {name: self._tell(("aggregate", name), partial(_aggregation, value)) for name, value in told.items()}
        return GroupWork(by, found, self._read("where", read_reference))

    def _shared(self) -> Shared:
        read = self._read
        shared = Shared(
            name=read("name", _text, default=""),
            reducers=read("reducers", read_reducers),
            split_size=read("split_size", parse_size),
            retries=read("retries", _count(0)),
            max_cost=read("max_cost", read_dollars),
            on_error=read("on_error", lambda value: read_tolerance(value).on_error.value, default="fail"),
            max_bad=read("max_bad", _bad),
        )
        self._tell(("max_bad",), lambda: read_tolerance(shared.on_error, shared.max_bad))
        return shared

    # ------------------------------------------------------------ where, and how

    def _inputs(self, value: Any) -> tuple[str, ...]:
        given = value if isinstance(value, list) else [value]
        if not given or not all(isinstance(one, str) and one for one in given):
            raise ConfigError("input must be a path, a glob, a URL or an upload, or a list of such.")
        return tuple(one if upload_named(one) else self._place(one) for one in given)

    def _code(self, value: object) -> str:
        code = _text(value)
        return code if upload_named(code) else self._place(code)

    def _place(self, path: str) -> str:
        return path if "://" in path or path.startswith(("/", "~")) else str(self._folder / path)

    def _format(self) -> str | InputFormat | Parse:
        value = self._values.get("format", AUTO)
        if isinstance(value, str):
            self._read("format", formats.format_of)
            return value
        known = [name for name in formats.__all__ if name != InputFormat.__name__]
        name = value.get("name") if isinstance(value, dict) else None
        if name not in known:
            told = "format must be a name, or a table with one" if name is None else f"there is no format {name!r}"
            self._document.refuse(("format", "name") if name is not None else ("format",), f"{told}: {', '.join(known)}.")
        given = {key: option for key, option in value.items() if key != "name"}
        self._document.check_keys(("format",), ("name", *inspect.signature(getattr(formats, name)).parameters))
        if name == "parse":
            function = self._tell(("format", "function"), lambda: read_reference(given.get("function")))
            return Parse(function, bool(given.get("decompress", True)))
        if "types" in given:
            types = self._tell(("format", "types"), lambda: _table(given["types"]))
            given["types"] = {column: self._type(column, told) for column, told in types.items()}
        made: InputFormat = self._tell(("format",), lambda: getattr(formats, name)(**given))
        return made

    def _type(self, column: str, told: object) -> type:
        if not isinstance(told, str) or told not in _TYPES:
            self._document.refuse(("format", "types", column), f"there is no type {told!r}. Use {', '.join(_TYPES)}.")
        return _TYPES[told]

    def _output(self) -> AnyOutput | None:
        value = self._values.get("output")
        if value is None:
            return None
        if not isinstance(value, dict):
            place = self._place(self._read("output", _text))
            named: AnyOutput = self._tell(("output",), lambda: output_named(place, overwrite=False))
            return named
        self._document.check_keys(("output",), keys_of(value))
        for name in value:
            self._tell(("output", name), partial(checked_value, name, value[name]))
        given = dict(value)
        if "path" in given:
            given["path"] = self._place(given["path"])
        if "sql" in given:
            given["sql"] = self._database(given["sql"])
        made: AnyOutput = self._tell(("output",), lambda: made_output(given))
        return made

    def _database(self, url: str) -> str:
        """Return a URL in which a file of SQLite is relative to this one."""
        scheme, separator, path = url.partition(":///")
        relative = separator and scheme.partition("+")[0] == "sqlite" and path and not path.startswith(("/", ":"))
        return f"{scheme}:///{self._folder / path}" if relative else url

    def _settings(self) -> dict[str, object]:
        given = dict(self._read("settings", _table, default={}))
        for name, value in given.items():
            read_setting(name, value, origin=self._document.place(("settings", name)))
        if isinstance(given.get("workspace"), str):
            given["workspace"] = self._place(str(given["workspace"]))
        return given


# ---------------------------------------------------------------- values


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"text is wanted; got {value!r}.")
    return value


def _table(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"a table is wanted; got {value!r}.")
    return value


def _count(least: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"a whole number, {least} or more, is wanted; got {value!r}.")
        return value

    return read


def _bad(value: object) -> float:
    share, number = read_bad(value)
    return share or number


def _sorting(value: object) -> str | None:
    read_sorting(value)
    if isinstance(value, bool):
        return "keys" if value else None
    return ",".join(value) if isinstance(value, list) else str(value)


def _combine(value: object) -> Reference | bool:
    return value if isinstance(value, bool) else read_reference(value)


def _reduce(value: object) -> Reference | Callable[..., Any]:
    if isinstance(value, dict):
        return _with_arguments(value, column=False)
    if isinstance(value, str) and ":" not in value:
        known: dict[str, Any] = {name: getattr(aggregates, name) for name in _OF_VALUES}
        known |= {name: getattr(builtins, name) for name in BUILTINS}
        if value not in known:
            raise ConfigError(f"reduce: there is no {value!r}.{near(value, known)} Name file.py:function, or one of {', '.join(known)}.")
        return known[value]  # type: ignore[no-any-return]
    return read_reference(value)


def _columns(value: object) -> tuple[str, ...] | Mapping[str, str | Reference]:
    if isinstance(value, dict):
        return {name: read_reference(column) if ".py:" in column else column for name, column in _texts(value).items()}
    given = value if isinstance(value, list) else [value]
    if not given or not all(isinstance(one, str) for one in given):
        raise ConfigError('by must be a column, a list of columns, or a table: by = { day = "time.py:day" }.')
    return tuple(given)


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {name: _text(value) for name, value in values.items()}


def _aggregation(value: object) -> Aggregation | Reference:
    if value == "count":
        return aggregates.count()
    if isinstance(value, str):
        return read_reference(value)
    return _with_arguments(value, column=True)


def _with_arguments(value: object, *, column: bool) -> Aggregation:
    """Return an aggregation such as `{ top = "amount", n = 3 }` of a column, or `{ top = 3 }` of the values of pairs."""
    given = dict(value) if isinstance(value, dict) else {}
    known = (*_OPTIONAL, *(("sum", "count", "mean", "min", "max", "first", "collect", "distinct") if column else ()))
    names = [name for name in given if name in known] or list(given)
    if len(names) != 1 or names[0] not in known:
        wrong = f"there is no aggregation {names[0]!r}.{near(names[0], known)}" if len(names) == 1 else f"{value!r} names no aggregation."
        example = '{ sum = "amount" }' if column else "{ top = 3 }"
        raise ConfigError(f"{wrong} Write one of {', '.join(known)}, such as {example}.")
    further = {key: given[key] for key in given if key != names[0]}
    return getattr(aggregates, names[0])(given[names[0]], **further)  # type: ignore[no-any-return]
