"""What the user named as input: objects of a store, items of an iterable, or a DataFrame.

The rules, none of them silent:

* A `str` or a path is a location: one object, a folder (all below it), or a glob. So are several in `files(...)`.
* `data-` with sixteen hexadecimal digits is an upload, all of it or what a name or a glob behind a `/` means; `./data-…` is a file.
* A DataFrame, of pandas or polars, or an Arrow table gives its rows. Any other iterable gives its items.
* A list of strings could be either. When one of them names something that exists, or a URL, it is refused, and
  `smr.files(...)` or `smr.items(...)` says which is meant.
* What is called `_SUCCESS` says of its folder that it holds all, and is input only where it is named itself.
* What is named twice, is missing or holds nothing is an error.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import compress, zip_longest
from pathlib import Path
from typing import Any, Final

from smr_notebook.dataflow.arrow_kinds import mark_missing
from smr_notebook.dataflow.export_marks import without_marks
from smr_notebook.dataflow.frames.rows import library
from smr_notebook.dataflow.known_formats import KNOWN
from smr_notebook.dataflow.uploaded import SCHEME, upload_named
from smr_notebook.errors import (
    ConfigError,
    InputChangedError,
    InputEmptyError,
    InputMissingError,
    InputMixedError,
    InputReadError,
    PairShapeError,
    PlanError,
)
from smr_notebook.model import Format, ObjectInfo
from smr_notebook.ports import InputSource, ItemSource
from smr_notebook.values.globs import WILD
from smr_notebook.values.suggestions import near_file

_STORED = (Format.ITEMS, Format.FRAME, Format.RESULT, Format.SEVERAL, Format.TABLE)
_SUFFIXES = {suffix: format for format, known in KNOWN.items() for suffix in known.suffixes}
_TABS = frozenset({".tsv", ".tab"})
RESULT: Final = "result"
"""Of spans of the result of a job."""

_INNER = frozenset({"job", SCHEME, RESULT})
"""Schemes that no URL names."""

_ON_AWS: Final = " One on AWS has: `smr.use(smr.Session(\"aws\"))`, or `%config Smr.platform = 'aws'` in a notebook."
_READERS: Final = {
    "s3": _ON_AWS,
    "dynamodb": _ON_AWS,
    **dict.fromkeys(("http", "https", "ftp"), " Fetch it first, and name the file."),
}
"""Who reads what a session does not, by scheme."""

_COMPRESSED_SUFFIXES = {".gz", ".bz2", ".zst", ".zstd", ".xz"}


@dataclass(frozen=True, slots=True)
class Files:
    """Locations: paths, folders, globs or URLs.

    Attributes:
        patterns: They.
        versions: For each, the version that the object of that very name must have; none where anything is read that stands there.
    """

    patterns: tuple[str, ...]
    versions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Items:
    """The items of an iterable, each of them one record.

    Attributes:
        values: The items.
        each: How many of them each map task gets at most; 0 for automatic.
    """

    values: Iterable[Any]
    each: int = 0


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a DataFrame, each of them one record: a dict."""

    frame: Any


@dataclass(frozen=True, slots=True)
class JobRows:
    """The rows of the result of a job, each of them one record. The job may not have ended."""

    job: str


Storable = Files | Items | Rows
NamedInput = Storable | JobRows


@dataclass(frozen=True, slots=True)
class FoundObject:
    """One object found under a location.

    Attributes:
        scheme: Of the location.
        info: The object.
        has_items: Whether it is a segment of a table, with items instead of bytes.
    """

    scheme: str
    info: ObjectInfo
    has_items: bool = False


def files(*patterns: str | os.PathLike[str]) -> Files:
    """Name input by location: paths, folders, globs (`**` crosses folders), `~`, or URLs; many at once.

    Raises:
        PlanError: Nothing was named.
    """
    if not patterns:
        raise PlanError("files() needs at least one path, folder or glob.")
    return Files(tuple(os.fspath(pattern) for pattern in patterns))


def items(values: Iterable[Any]) -> Items:
    """Name input by value: each item of the iterable is one record, also when it is a string."""
    return Items(values)


def classify(input: object) -> NamedInput:
    """Tell what the user's `input` argument means.

    Raises:
        PlanError: It cannot be input, or it is a list of strings that could be meant either way.
    """
    if isinstance(input, Files | Items | Rows | JobRows):
        return input
    if isinstance(input, str | os.PathLike):
        return files(input)
    if _is_frame(input):
        return Rows(input)
    converted = _as_pandas(input)
    if converted is not None:
        return Rows(converted)
    if isinstance(input, bytes | bytearray | memoryview | Mapping) or not isinstance(input, Iterable):
        raise PlanError(
            f"input is a {type(input).__name__}, which has no records. "
            f"Pass a path or glob, smr.files(...), a list or another iterable, or a pandas DataFrame."
        )
    if isinstance(input, list | tuple):
        _refuse_ambiguous(input)
        if input and all(isinstance(item, os.PathLike) for item in input):
            return files(*input)
    return Items(input)


def find(named: Files, sources: Mapping[str, InputSource]) -> list[FoundObject]:
    """List the objects behind locations, in the order named, each location's in key order.

    Raises:
        InputMissingError: Nothing stands under a location.
        InputEmptyError: Everything found is empty.
        InputMixedError: An object was named twice.
        InputChangedError: Another version of an object stands there than the one that is meant.
        InputReadError: The name of an object is not UTF-8.
        ConfigError: No source reads this kind of URL.
    """
    found: list[FoundObject] = []
    for pattern, version in zip_longest(named.patterns, named.versions):
        scheme, location = _scheme(pattern, sources)
        before = len(found)
        listed = list(sources[scheme].find(location))
        if version is not None and [(info.key, info.version) for info in listed] != [(location, version)]:
            raise InputChangedError(
                f"{pattern} has been replaced or removed since the upload that this job is about (version {version}). What was uploaded "
                "there later is the input of another job."
            )
        data = without_marks([(info.key, info.size) for info in listed], location)
        has_items = isinstance(sources[scheme], ItemSource)
        found.extend(FoundObject(scheme, info, has_items) for info in compress(listed, data))
        if len(found) == before:
            raise _nothing(pattern, scheme, location, sources[scheme])
    _refuse_repeated(found)
    _refuse_unwritable_names(found)
    if not any(item.info.size for item in found):
        raise InputEmptyError(f"{_patterns(named)}: {len(found):,} objects found, and all of them are empty.")
    return found


def peek(named: Files, sources: Mapping[str, InputSource]) -> None:
    """Look whether something stands under each location, without listing all of it. Raises as `find` does."""
    for pattern in named.patterns:
        scheme, location = _scheme(pattern, sources)
        if next(iter(sources[scheme].find(location)), None) is None:
            raise _nothing(pattern, scheme, location, sources[scheme])


def choose_format(requested: str, found: Iterable[FoundObject]) -> Format:
    """Return the format asked for, or the one that the names of the objects tell.

    Raises:
        ConfigError: There is no such format.
        InputMixedError: The names tell different formats.
    """
    objects = list(found)
    if tables := [item.info.key for item in objects if item.has_items]:
        if requested != "auto":
            raise ConfigError(f"{tables[0]} is a segment of a table, whose items have no format, and format={requested!r}. Leave it out.")
        if len(tables) < len(objects):
            raise InputMixedError(f"The input mixes objects and tables ({tables[0]}). Name them in two jobs.")
        return Format.TABLE
    if requested != "auto":
        known = {str(item): item for item in Format if item not in _STORED}
        if requested not in known:
            raise ConfigError(f"format {requested!r} is not known. Use auto, {', '.join(known)}.")
        return known[requested]
    full = [item for item in objects if item.info.size] or objects  # a mark without bytes, such as _SUCCESS, says nothing of the others
    told = {_told(item.info.key): item.info.key for item in full}
    formats = {_SUFFIXES.get(suffix, Format.TEXT): key for suffix, key in told.items()}
    if len(formats) > 1:
        (first, key), (second, other), *_ = sorted(formats.items())
        raise InputMixedError(
            f"The input mixes formats: {key} is {KNOWN[first].called}, {other} is {KNOWN[second].called}. "
            f'Name them in two jobs, or say format="{first}" or format="{second}".'
        )
    return _alike(next(iter(formats)), told)


def _alike(format: Format, told: Mapping[str, str]) -> Format:
    """Return a format, unless the names tell two dialects of it. Raises `InputMixedError`."""
    tabs, others = sorted(told.keys() & _TABS), sorted(told.keys() - _TABS)
    if tabs and others:
        raise InputMixedError(
            f"The input mixes dialects: {told[others[0]]} is {KNOWN[format].called}, {told[tabs[0]]} holds tabs. "
            "Name them in two jobs, or say what stands between fields: format=smr.formats.csv(delimiter=…)."
        )
    return format


def _told(key: str) -> str:
    path = Path(key.lower())
    return Path(path.stem).suffix if path.suffix in _COMPRESSED_SUFFIXES else path.suffix


def _is_frame(value: object) -> bool:
    pandas = sys.modules.get("pandas")  # whoever holds a DataFrame has imported pandas
    return pandas is not None and isinstance(value, pandas.DataFrame)


def _as_pandas(value: object) -> object:
    """Return a frame of another library as one of pandas, exactly; `None` when it is none. Raises `PlanError`."""
    for name, module, kind in (("polars", "polars", "DataFrame"), ("arrow", "pyarrow", "Table")):
        loaded = sys.modules.get(module)  # whoever holds one has imported it
        if loaded is not None and isinstance(value, getattr(loaded, kind, ())):
            try:
                return library("pandas").frame_of(mark_missing(library(name).rows_of(value, "the input")))
            except PairShapeError as error:
                raise PlanError(str(error)) from error
    return None


def _refuse_ambiguous(values: list[Any] | tuple[Any, ...]) -> None:
    if not values or not all(isinstance(value, str) for value in values):
        return
    for value in values[:100]:
        if upload_named(value):
            raise PlanError(
                f"input is a list of strings, and {value!r} names an upload. Say smr.files(*names) to read the uploads, or "
                "smr.items(strings) to map over the strings themselves."
            )
        if "://" in value[:16] or (("/" in value or "." in value) and _exists(value)):
            raise PlanError(
                f"input is a list of strings, and {value!r} names a file or a URL. "
                f"Say smr.files(*paths) to read the files, or smr.items(strings) to map over the strings themselves."
            )


def _exists(value: str) -> bool:
    if not value or len(value) > 4096 or "\n" in value or "\0" in value:
        return False
    try:
        return Path(value).expanduser().exists()
    except (OSError, RuntimeError):  # a name too long, or a user that is not known
        return False


def _scheme(pattern: str, sources: Mapping[str, InputSource]) -> tuple[str, str]:
    scheme, separator, rest = pattern.partition("://")
    if upload_named(pattern):
        return SCHEME, pattern
    if not separator:
        scheme, rest = "file", pattern
        if "file" not in sources:
            known = ", ".join(f"{name}://" for name in sorted(set(sources) - _INNER))
            raise ConfigError(
                f"{pattern!r} is a file of this machine, which the workers cannot read: they read {known}. Copy it there and name it so "
                "(`aws s3 cp --recursive`), or pass its content as items or as a DataFrame."
            )
        return scheme, rest
    if scheme not in sources or scheme in _INNER:
        known = ", ".join(sorted(set(sources) - _INNER))
        hint = _READERS.get(scheme, "")
        raise ConfigError(f"{pattern!r}: this session has no reader for {scheme}:// (it reads {known}://).{hint}")
    return scheme, rest


def _nothing(pattern: str, scheme: str, location: str, source: InputSource) -> InputMissingError:
    what = f"Nothing found under {pattern!r}{_place(scheme, location)}"
    for form in ("NFC", "NFD"):
        other = unicodedata.normalize(form, location)
        if other != location and next(iter(source.find(other)), None) is not None:
            return InputMissingError(
                f"{what}. There is something whose name looks the same and is written with other signs (Unicode {form}): name it by a "
                f"glob, or as unicodedata.normalize({form!r}, name)."
            )
    if scheme == SCHEME:
        return InputMissingError(f"{what}: the upload holds no such file. `smr uploads {upload_named(pattern)}` lists its files.")
    if scheme == "s3":
        return InputMissingError(
            f"{what}. Check the name, or the glob: `aws s3 ls s3://{location.partition('/')[0]}/` lists what is there."
        )
    hint = "" if WILD.search(location) else near_file(Path(location))
    return InputMissingError(f"{what}: no such file, and no folder with a file in it. Check the path, or the glob.{hint}")


def _place(scheme: str, location: str) -> str:
    if scheme != "file" or location.startswith(("/", "~")):
        return ""
    return f" (in {Path.cwd()})"


def _patterns(named: Files) -> str:
    return ", ".join(named.patterns)


def _refuse_repeated(found: list[FoundObject]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for item in found:
        name = (item.scheme, item.info.identity or item.info.key)
        before = seen.get(name)
        seen[name] = item.info.key
        if before is None:
            continue
        if before == item.info.key:
            raise InputMixedError(f"{item.info.key} is named twice: its records would count twice. Name it once.")
        if item.has_items:
            raise InputMixedError(f"{before} and {item.info.key} are of one table: its items would count twice. Name it once.")
        raise InputMixedError(
            f"{before} and {item.info.key} are one file, under two names that are links: its records would count twice. Leave one out by a "
            "narrower pattern, or remove the link."
        )


def _refuse_unwritable_names(found: list[FoundObject]) -> None:
    for item in found:
        try:
            item.info.key.encode()
        except UnicodeEncodeError:
            raise InputReadError(
                f"{item.info.key!r}: the name of this file is not UTF-8, so that no plan can name it. Rename it."
            ) from None
