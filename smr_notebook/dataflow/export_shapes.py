"""What the files of a result are: their format, how many there are, and what they are called.

Rules of this module:

* A name that ends as that of a format does is one file of it, unless it is asked for one for each partition; any other is a folder.
* Files of a folder are `part-00000` and so on, with the suffix of their format: counted in the order of the pieces, or, one for each
  partition, by the number of the partition, so that a partition without rows has none.
* Beside them stands the mark `_SUCCESS` (`export_marks`), whose name readers pass over because of its underscore.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from smr_notebook.errors import ConfigError
from smr_notebook.values.suggestions import near

PARQUET: Final = (".parquet",)
"""How the name of one file ends that is Parquet."""

TEXTS: Final = (".csv", ".jsonl", ".txt")
"""How the name of one file ends that is text."""

FORMATS: Final[Mapping[str, str]] = MappingProxyType({"parquet": ".parquet", "csv": ".csv", "jsonl": ".jsonl", "text": ".txt"})
"""How the names of files end, by their format."""

MARK: Final = "_SUCCESS"
"""Name of what says that a folder holds all of a result."""

_COUNTS: Final = ("one", "partitions")
_OURS: Final = re.compile(rf"part-\d{{5,}}({'|'.join(map(re.escape, FORMATS.values()))})|{MARK}")

FileCount = Literal["one", "partitions"]


@dataclass(frozen=True, slots=True)
class Shape:
    """What files a result becomes.

    Attributes:
        format: As `FORMATS` knows it.
        whole: Whether it is one file under the very name, rather than a folder.
        files: `one` for one of all rows, `partitions` for one of each partition that has rows; `None` for one of each piece.
    """

    format: str = "parquet"
    whole: bool = False
    files: FileCount | None = None

    @property
    def suffix(self) -> str:
        """How the names of the files end."""
        return FORMATS[self.format]

    def name(self, number: int) -> str:
        """Return the name of a file in a folder of them."""
        return f"part-{number:05d}{self.suffix}"


def is_ours(name: str) -> bool:
    """Whether a file in a folder is called as ours are."""
    return bool(_OURS.fullmatch(name))


def shape_of(path: str, *, format: object, files: object, suffixes: tuple[str, ...], verb: str) -> Shape:
    """Return what files a path, and what is said besides, ask for.

    Args:
        path: As the user said it.
        format: As `FORMATS` knows it; `None` for what the name tells, and Parquet where it tells nothing.
        files: As of `Shape`; `None` for what the name tells.
        suffixes: How the name of one file ends.
        verb: What the user called, for messages.

    Raises:
        ConfigError: There is no such format or count, or the name tells another format.
    """
    if files is not None:
        _check(files, _COUNTS, verb=verb, name="files")
    if format is not None:
        _check(format, FORMATS, verb=verb, name="format")
    suffix = next((suffix for suffix in suffixes if path.lower().endswith(suffix)), None)
    told = next((name for name, ending in FORMATS.items() if ending == suffix), None)
    if told and format not in {None, told}:
        raise ConfigError(
            f"{verb}: {path} is called as {told} is, and format={format!r}. Leave the format out, or give a name that ends in "
            f"{FORMATS[str(format)]}, or that of a folder."
        )
    chosen: FileCount | None = "one" if files == "one" else "partitions" if files == "partitions" else None
    return Shape(told or (str(format) if format else "parquet"), told is not None and chosen != "partitions", chosen)


def _check(value: object, known: Iterable[str], *, verb: str, name: str) -> None:
    names = tuple(known)
    if isinstance(value, str) and value in names:
        return
    raise ConfigError(f"{verb}: {name}={value!r} is not known.{near(value, names)} Use {', '.join(map(repr, names))}, or leave it out.")
