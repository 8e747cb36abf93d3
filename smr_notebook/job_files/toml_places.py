"""A TOML file with the places of what it says: for errors that name a line.

Theory. The parser of the standard library tells values, and no lines. But a file can be cut behind any whole statement, and what stands
before the cut is TOML again; inside a statement it cannot. So a statement begins behind the last cut that can be read before the first one
that holds it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from smr_notebook.errors import ConfigError
from smr_notebook.values.suggestions import near

Keys = tuple[str, ...]
"""The keys that lead to a value, from the top."""


@dataclass(frozen=True, slots=True)
class Document:
    """A file that was read.

    Attributes:
        file: Where it is.
        text: What it says.
        values: The same, as TOML means it.
    """

    file: Path
    text: str
    values: Mapping[str, Any]

    def line(self, path: Keys) -> int:
        """Return the line, counted from 1, where the statement begins that says something first; 0 where nothing does."""
        lines = self.text.splitlines(keepends=True)
        behind = 0
        for number in range(1, len(lines) + 1):
            try:
                values = tomllib.loads("".join(lines[:number]))
            except tomllib.TOMLDecodeError:
                continue
            if _holds(values, path):
                return behind + 1
            behind = number
        return 0

    def place(self, path: Keys) -> str:
        """Return where something is said, for people: the file, the line, and the table that it stands in."""
        found = (self.line(path[:end]) for end in range(len(path), 0, -1))  # where it is missing, that of the table that lacks it
        line = next(filter(None, found), 0)
        table = ".".join(path[:-1])
        return f"{self.file}{f', line {line}' if line else ''}{f', in [{table}]' if table else ''}"

    def refuse(self, path: Keys, why: str) -> NoReturn:
        """Raise the `ConfigError` of what is said at a place."""
        raise ConfigError(f"{self.place(path)}: {why}")

    def check_keys(self, table: Keys, known: Iterable[str]) -> None:
        """Refuse a key of a table that is none of those known. Raises `ConfigError`."""
        values: Any = self.values
        for key in table:
            values = values[key]
        names = list(known)
        for key in values:
            if key not in names:
                self.refuse((*table, key), f"there is no key {key!r}.{near(key, names)} Known: {', '.join(names)}.")


def read_document(file: Path) -> Document:
    """Read a TOML file.

    Raises:
        ConfigError: It cannot be read, or is no TOML.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
        return Document(file, text, tomllib.loads(text))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8, as TOML has to be: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not TOML: {error}.") from error


def _holds(values: object, path: Keys) -> bool:
    for key in path:
        if not isinstance(values, Mapping) or key not in values:
            return False
        values = values[key]
    return True
