"""Settings: one frozen value, resolved once.

A later source wins: default < the user's own file (`config.toml` in the platform's configuration folder) < `[tool.smr_notebook]` in
the nearest `pyproject.toml` < environment (`SMR_WORKERS`) < the notebook (`%config Smr`) < argument. `resolve` is a pure function of
these; only `from_machine` and `told_on_machine` look at the process and at files.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import platformdirs

from smr_notebook.errors import ConfigError
from smr_notebook.model import OBJECTS
from smr_notebook.values.addresses import NO_URL, Secret, read_secret
from smr_notebook.values.spellings import parse_size, read_dollars, read_time
from smr_notebook.values.suggestions import near

PROJECT = "pyproject.toml [tool.smr_notebook]"
NOTEBOOK = "%config Smr"
ARGUMENT: Final = "argument"
SESSION: Final = "the session in use"
"""What the sources of settings are called."""

PLATFORMS = ("local", "aws", "dask")
"""Where jobs can run."""

STORES = ("local", "aws")
"""Where what a job on a Dask cluster stores can be."""

EXCHANGES = (OBJECTS, "redis", "sqs", "kinesis")
"""What can carry pairs from map to reduce."""

_SECRETS = frozenset({"redis_url"})
"""Settings whose values no message repeats."""

_SWITCHES = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
DISPLAYS = ("auto", "panel", "text", "static", "quiet")
"""How progress can be shown."""
ON_INTERRUPT = ("cancel", "detach")
"""What an interrupt of a cell does to the job that it waits for."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be set for all jobs of a session.

    Attributes:
        platform: Where jobs run: `local`, `aws` or `dask`.
        workspace: Folder of the embedded default: jobs, table, log of the service; on a Dask cluster one that all its machines share.
        stack: Name of the deployment on AWS.
        region: Region of the deployment; empty for what boto3 finds.
        profile: Profile of the credentials; empty for what boto3 finds.
        address: Of the scheduler of a Dask cluster: `tcp://host:8786`.
        stores: Where jobs on a Dask cluster keep what they store: `local` (the workspace), or `aws` (a deployment's bucket and table).
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
        job_timeout: Seconds after which a job that has not ended gives up; 0 for as long as the platform keeps it going.
        concurrency: Attempts of one job that run at once, at most; 0 means as many as the platform runs.
        on_interrupt: What becomes of a job when the cell that waits for it is interrupted: `cancel`, or `detach` (it goes on).
        ci_seed: Makes the identifiers of jobs the same each time, as far as they are not taken: for notebooks in CI. Empty for chance.
        include: Names of installed modules that travel with the functions, for workers that do not have them.
        exchange: What carries pairs from map to reduce: `objects`, `redis`, `sqs` or `kinesis`.
        redis_url: Where the Redis of `exchange=redis` is: `redis://user:password@host:6379/0`.
        merge_above: Runs are merged before they are reduced if reducers would read more ranges than this; 0: than 300,000, if cheaper.
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
    job_timeout: float = 0.0
    concurrency: int = 0
    on_interrupt: str = "cancel"
    ci_seed: str = ""
    include: tuple[str, ...] = ()
    exchange: str = OBJECTS
    redis_url: Secret = NO_URL
    merge_above: int = 0
    address: str = ""
    stores: str = "local"


@dataclass(frozen=True, slots=True)
class Told:
    """The value of a setting in force, and where it was said, for people."""

    value: Any
    origin: str


def meanings() -> dict[str, str]:
    """Return what each setting means, in the words of the docstring of `Settings`; nothing where Python runs without docstrings."""
    lines = re.findall(r"^\s+(\w+): (.+)$", Settings.__doc__ or "", re.MULTILINE)
    return {field.name: dict(lines).get(field.name, "") for field in fields(Settings)}


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


def _modules(value: object) -> tuple[str, ...]:
    given = value.split(",") if isinstance(value, str) else value
    words = [str(word).strip() for word in given] if isinstance(given, list | tuple) else [""]
    words = [word for word in words if word] if isinstance(value, str) else words
    if not all(part.isidentifier() for word in words for part in word.split(".")):
        raise ValueError("not names of modules")
    return tuple(dict.fromkeys(words))


def _display(value: object) -> str:
    if value not in DISPLAYS:
        raise ValueError("one of " + ", ".join(DISPLAYS))
    return str(value)


def _ending(value: object) -> str:
    if value not in ON_INTERRUPT:
        raise ValueError("one of " + ", ".join(ON_INTERRUPT))
    return str(value)


def read_exchange(value: object) -> str:
    """Return the name of an exchange. Raises `ValueError` where it is none."""
    if value not in EXCHANGES:
        raise ValueError("one of " + ", ".join(EXCHANGES))
    return str(value)


def _user(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > 100:
        raise ValueError("not a name")
    return value.strip()


def _platform(value: object) -> str:
    if value not in PLATFORMS:
        raise ValueError("one of " + ", ".join(PLATFORMS))
    return str(value)


def _stores(value: object) -> str:
    if value not in STORES:
        raise ValueError("one of " + ", ".join(STORES))
    return str(value)


_READERS: dict[str, tuple[Callable[[object], Any], str]] = {
    "platform": (_platform, "one of " + ", ".join(PLATFORMS)),
    "stack": (str, "the name of a deployment"),
    "region": (str, "a region such as eu-west-1"),
    "profile": (str, "the name of a profile"),
    "address": (str, "the address of a Dask scheduler such as tcp://host:8786"),
    "stores": (_stores, "one of " + ", ".join(STORES)),
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
    "job_timeout": (read_time, "a time such as 90, 15m or 2h, 0 for any"),
    "concurrency": (_count, "a whole number, 0 for as many as there can be"),
    "on_interrupt": (_ending, "one of " + ", ".join(ON_INTERRUPT)),
    "ci_seed": (str, "any text"),
    "include": (_modules, "names of modules, as a list or with commas between them"),
    "exchange": (read_exchange, "one of " + ", ".join(EXCHANGES)),
    "redis_url": (read_secret, "a URL such as redis://host:6379/0, rediss://… with TLS, or unix:///path"),
    "merge_above": (_count, "a whole number, 0 for automatic"),
    "display": (_display, "one of " + ", ".join(DISPLAYS)),
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
        raise ConfigError(f"{origin}: there is no setting {name!r}.{near(name, _READERS)} Known: {', '.join(sorted(_READERS))}.")
    reader, wanted = _READERS[name]
    try:
        return reader(value)
    except (ValueError, TypeError) as error:
        told = f"{origin}: {name} must be {wanted}"
        if name in _SECRETS:
            raise ConfigError(f"{told}. What it is now is not shown: it may hold a password.") from None
        raise ConfigError(f"{told}; got {value!r}.") from error


def resolve(
    arguments: Mapping[str, object],
    env: Mapping[str, str],
    file: Mapping[str, object],
    *,
    default_workspace: Path,
    user: tuple[str, Mapping[str, object]],
    notebook: Mapping[str, object],
) -> dict[str, Told]:
    """Return the value of each setting, and which source says it.

    Args:
        arguments: Given in the call; `None` means not given.
        env: Environment variables; those that start with `SMR_` and name a setting count.
        file: The `[tool.smr_notebook]` table.
        default_workspace: Where jobs live when nothing says otherwise.
        user: Name and content of the user's own file.
        notebook: What `%config Smr` says.

    Raises:
        ConfigError: A name or a value is wrong; the message says in which source.
    """
    names = [field.name for field in fields(Settings)]
    standing = Settings(workspace=default_workspace)
    told = {name: Told(getattr(standing, name), "default") for name in names}
    variables = {f"SMR_{name.upper()}": name for name in names}
    sources = [
        (user[0], user[1]),
        (PROJECT, file),
        *((f"environment variable {variable}", {name: env[variable]}) for variable, name in variables.items() if env.get(variable)),
        (NOTEBOOK, notebook),
        (ARGUMENT, {name: value for name, value in arguments.items() if value is not None}),
    ]
    for origin, values in sources:
        told |= {name: Told(read_setting(name, value, origin), origin) for name, value in values.items()}
    return told


def _table(file: Path) -> Mapping[str, object]:
    """Return what stands in a TOML file. Raises `ConfigError` where it cannot be read."""
    try:
        table: dict[str, object] = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    return table


def _project_table() -> Mapping[str, object]:
    """Return what the nearest project file says of us. Raises `ConfigError` where it cannot be read, or says it in the wrong place."""
    try:
        folder = Path.cwd()
    except FileNotFoundError:  # the current folder was removed, and is in no project
        return {}
    file = next((place / "pyproject.toml" for place in (folder, *folder.parents) if (place / "pyproject.toml").is_file()), None)
    tools = _table(file).get("tool", {}) if file else {}
    tools = tools if isinstance(tools, dict) else {}
    if "smr-notebook" in tools:
        raise ConfigError(f"{file}: the table is [tool.smr_notebook], with an underscore; there is [tool.smr-notebook].")
    table = tools.get("smr_notebook", {})
    if not isinstance(table, dict):
        raise ConfigError(f"{file}: [tool.smr_notebook] must be a table of settings; it is {table!r}.")
    return table


def user_file() -> Path:
    """Return where the user's own settings stand, if they stand anywhere."""
    return Path(platformdirs.user_config_dir("smr_notebook", appauthor=False)) / "config.toml"


def told_on_machine(arguments: Mapping[str, object], notebook: Mapping[str, object] | None = None) -> dict[str, Told]:
    """Return each setting of this process, with its source. Arguments and errors as of `from_machine`."""
    file = user_file()
    return resolve(
        arguments,
        os.environ,
        _project_table(),
        default_workspace=Path(platformdirs.user_data_dir("smr_notebook", appauthor=False)),
        user=(str(file), _table(file) if file.exists() else {}),
        notebook=notebook or {},
    )


def from_machine(arguments: Mapping[str, object], notebook: Mapping[str, object] | None = None) -> Settings:
    """Resolve the settings of this process: its environment, its folder's project file, the user's own file, the platform's data folder.

    Args:
        arguments: Given in the call; `None` means not given.
        notebook: What `%config Smr` says.

    Raises:
        ConfigError: A name or a value is wrong, or a file cannot be read; the message says which.
    """
    return settings_of(told_on_machine(arguments, notebook))


def settings_of(told: Mapping[str, Told]) -> Settings:
    """Return settings without their sources."""
    return Settings(**{name: one.value for name, one in told.items()})


def all_told(settings: Settings) -> dict[str, Told]:
    """Return settings that were all given together."""
    return {field.name: Told(getattr(settings, field.name), SESSION) for field in fields(Settings)}


def overlaid(told: Mapping[str, Told], notebook: Mapping[str, object]) -> dict[str, Told]:
    """Return settings with those that `%config Smr` says; what was given as an argument stays.

    Raises:
        ConfigError: One is wrong.
    """
    said = {name: Told(read_setting(name, value, NOTEBOOK), NOTEBOOK) for name, value in notebook.items()}
    return {name: one if one.origin in {ARGUMENT, SESSION} else said.get(name, one) for name, one in told.items()}
