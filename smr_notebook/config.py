"""Settings: one frozen value, resolved once.

A later source wins: default < `[tool.smr_notebook]` in the nearest `pyproject.toml` < environment (`SMR_WORKERS`) <
argument. `resolve` is a pure function of these; only `from_machine` looks at the process and at files.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from operator import index
from pathlib import Path
from typing import Any, SupportsIndex

import platformdirs

from smr_notebook.errors import ConfigError
from smr_notebook.model import Sorting
from smr_notebook.tolerance import DEFAULT_COUNT, DEFAULT_SHARE, STRICT, OnError, Tolerance

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", re.IGNORECASE)
PLATFORMS = ("local", "aws")
"""Where jobs can run."""

_SWITCHES = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_DISPLAYS = ("auto", "panel", "text", "static", "quiet")


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be set for all jobs of a session.

    Attributes:
        platform: Where jobs run: `local` or `aws`.
        workspace: Folder of the embedded default: jobs, table, log of the service.
        stack: Name of the deployment on AWS.
        region: Region of the deployment; empty for what boto3 finds.
        profile: Profile of the credentials; empty for what boto3 finds.
        max_cost: US dollars that one job may cost; 0 for any.
        workers: Worker processes that run at once; 0 means as many as this process has cores.
        worker_memory: Resident bytes that one worker may take before it spills to disk; 0 means by what the platform gives it.
        result_limit: Largest result, in bytes, that `Job.result` loads into memory.
        retries: Further attempts of a task after its first one failed.
        speculate: Whether a task that takes far longer than the others gets a second attempt beside its first one.
        reducers: Partitions of a job; 0 means by the size of the input.
        split_size: Bytes of input for each map task; 0 means by the size of the input and the workers.
        idle_seconds: The local service ends after so long without work.
        lease_seconds: An attempt or a coordinator that is silent for so long counts as lost.
        keep_days: Jobs that ended, or were left alone, longer ago than this are removed from the workspace.
        display: How progress is shown: `auto`, `panel`, `text`, `static` or `quiet`.
        user: Whose the jobs are that are submitted, and which are found by default; empty for what the platform says.
        worker_limit: Resident bytes at which a worker of this machine is ended; 0 means when the machine has no memory left.
        record_timeout: Seconds that one record, or one group, may take before its attempt counts as hanging; 0 for any.
    """

    workspace: Path
    platform: str = "local"
    stack: str = "smr"
    region: str = ""
    profile: str = ""
    max_cost: float = 0.0
    workers: int = 0
    worker_memory: int = 0
    result_limit: int = 2 * 2**30
    retries: int = 2
    reducers: int = 0
    split_size: int = 0
    idle_seconds: float = 300.0
    lease_seconds: float = 15.0
    keep_days: float = 7.0
    display: str = "auto"
    user: str = ""
    speculate: bool = True
    worker_limit: int = 0
    record_timeout: float = 3600.0


def parse_size(value: object) -> int:
    """Return a size in bytes from a number or from text such as `128MB`, `64 MiB` or `1.5g`.

    Raises:
        ConfigError: It is neither.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return int(value)
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ConfigError(f"{value!r} is not a size. Write bytes, or a number with a unit: 128MB, 64MiB, 1.5GB.")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def _path(value: object) -> Path:
    return Path(os.fspath(value) if isinstance(value, os.PathLike) else str(value)).expanduser().absolute()


def _count(value: object) -> int:
    number = int(str(value))
    if number < 0:
        raise ValueError("negative")
    return number


def _seconds(value: object) -> float:
    number = float(str(value))
    if not 0 < number < float("inf"):
        raise ValueError("not above zero")
    return number


def _switch(value: object) -> bool:
    text = str(value).strip().lower()
    if text not in _SWITCHES:
        raise ValueError("neither true nor false")
    return _SWITCHES[text]


def _patience(value: object) -> float:
    return 0.0 if float(str(value)) == 0 else _seconds(value)


def _display(value: object) -> str:
    if value not in _DISPLAYS:
        raise ValueError("one of " + ", ".join(_DISPLAYS))
    return str(value)


def _user(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > 100:
        raise ValueError("not a name")
    return value.strip()


def _platform(value: object) -> str:
    if value not in PLATFORMS:
        raise ValueError("one of " + ", ".join(PLATFORMS))
    return str(value)


def read_sorting(value: object) -> Sorting:
    """Return what `sort` means: `keys`, `values`, both with a comma between them or as a list, or `None` for neither.

    Raises:
        ConfigError: It is anything else.
    """
    given = value.split(",") if isinstance(value, str) else value
    if given is None:
        return Sorting()
    words = [word.strip() if isinstance(word, str) else word for word in given] if isinstance(given, list | tuple | set) else []
    if not words or any(word not in {"keys", "values"} for word in words):
        raise ConfigError(f"sort must be 'keys', 'values', or 'keys,values'; got {value!r}.")
    return Sorting(keys="keys" in words, values="values" in words)


def read_dollars(value: object) -> float:
    """Return an amount of US dollars from a number or from text such as `$0.50`.

    Raises:
        ValueError: It is neither, or negative.
    """
    amount = float(str(value).strip().removeprefix("$"))
    if not 0 <= amount < float("inf"):
        raise ValueError("not an amount")
    return amount


def read_tolerance(on_error: object, max_bad: object = None) -> Tolerance:
    """Return what `on_error` and `max_bad` mean.

    Args:
        on_error: `fail`, `skip` or `collect`.
        max_bad: A share from 0 to 1 (`0.001`, or `0.1%` as text), or a whole number of records; `None` for the default.

    Raises:
        ConfigError: It is anything else.
    """
    words = [word.value for word in OnError]
    if on_error not in words:
        raise ConfigError(f"on_error must be one of {', '.join(map(repr, words))}; got {on_error!r}.")
    chosen = OnError(str(on_error))
    if max_bad is None:
        return Tolerance(chosen, DEFAULT_SHARE, DEFAULT_COUNT) if chosen is not OnError.FAIL else STRICT
    if chosen is OnError.FAIL:
        raise ConfigError(f"max_bad={max_bad!r} needs on_error='skip' or 'collect': with 'fail', nothing is left out.")
    share, count = read_bad(max_bad)
    return Tolerance(chosen, share, count)


def read_bad(value: object) -> tuple[float, int]:
    """Return the share, or the number, that `max_bad` means; the other is zero.

    Raises:
        ConfigError: It is anything else.
    """
    try:
        if isinstance(value, str):
            text = value.strip().replace("_", "").replace(",", "")
            value = float(text[:-1]) / 100 if text.endswith("%") else int(text) if text.isdecimal() else float(text)
        if isinstance(value, SupportsIndex) and not isinstance(value, bool) and index(value) >= 0:
            return 0.0, index(value)
        if isinstance(value, float) and 0 <= value <= 1:
            return float(value), 0
    except (ValueError, TypeError):
        pass
    raise ConfigError(f"max_bad must be a share of the records such as 0.001, or a whole number of them such as 100; got {value!r}.")


_READERS: dict[str, tuple[Callable[[object], Any], str]] = {
    "platform": (_platform, "one of " + ", ".join(PLATFORMS)),
    "stack": (str, "the name of a deployment"),
    "region": (str, "a region such as eu-west-1"),
    "profile": (str, "the name of a profile"),
    "max_cost": (read_dollars, "an amount of dollars such as 0.50, 0 for any"),
    "workspace": (_path, "a folder"),
    "workers": (_count, "a whole number, 0 for as many as there are cores"),
    "worker_memory": (parse_size, "a size such as 512MB, 0 for automatic"),
    "result_limit": (parse_size, "a size such as 2GB"),
    "retries": (_count, "a whole number, 0 or more"),
    "reducers": (_count, "a whole number, 0 for automatic"),
    "split_size": (parse_size, "a size such as 64MB, 0 for automatic"),
    "idle_seconds": (_seconds, "a time in seconds above 0"),
    "lease_seconds": (_seconds, "a time in seconds above 0"),
    "keep_days": (_seconds, "a number of days above 0"),
    "worker_limit": (parse_size, "a size such as 4GB, 0 for automatic"),
    "record_timeout": (_patience, "a time in seconds, 0 for any"),
    "display": (_display, "one of " + ", ".join(_DISPLAYS)),
    "user": (_user, "a name on one line, of 100 characters at most"),
    "speculate": (_switch, "true or false"),
}


def read_setting(name: str, value: object, origin: str = "argument") -> Any:
    """Return the value of a setting.

    Args:
        name: Of the setting.
        value: As it was given.
        origin: Where that was, for people.

    Raises:
        ConfigError: There is no such setting, or the value is none.
    """
    if name not in _READERS:
        close = get_close_matches(name, _READERS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"{origin}: there is no setting {name!r}.{hint} Known: {', '.join(sorted(_READERS))}.")
    reader, wanted = _READERS[name]
    try:
        return reader(value)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{origin}: {name} must be {wanted}; got {value!r}.") from error


def resolve(arguments: Mapping[str, object], env: Mapping[str, str], file: Mapping[str, object], *, default_workspace: Path) -> Settings:
    """Merge the sources of settings into one value.

    Args:
        arguments: Given in the call; `None` means not given.
        env: Environment variables; those that start with `SMR_` and name a setting count.
        file: The `[tool.smr_notebook]` table.
        default_workspace: Where jobs live when nothing says otherwise.

    Raises:
        ConfigError: A name or a value is wrong; the message says in which source.
    """
    values: dict[str, Any] = {"workspace": default_workspace}
    for name, value in file.items():
        values[name] = read_setting(name, value, "pyproject.toml [tool.smr_notebook]")
    for field in fields(Settings):
        variable = f"SMR_{field.name.upper()}"
        if env.get(variable):
            values[field.name] = read_setting(field.name, env[variable], f"environment variable {variable}")
    for name, value in arguments.items():
        if value is not None:
            values[name] = read_setting(name, value)
    return Settings(**values)


def _project_table(folder: Path) -> Mapping[str, object]:
    for place in (folder, *folder.parents):
        file = place / "pyproject.toml"
        if not file.is_file():
            continue
        try:
            table = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("smr_notebook", {})
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{file} cannot be read: {error}") from error
        return table if isinstance(table, dict) else {}
    return {}


def from_machine(arguments: Mapping[str, object]) -> Settings:
    """Resolve the settings of this process: its environment, its folder's project file, the platform's data folder."""
    default = Path(platformdirs.user_data_dir("smr_notebook", appauthor=False))
    return resolve(arguments, os.environ, _project_table(Path.cwd()), default_workspace=default)
