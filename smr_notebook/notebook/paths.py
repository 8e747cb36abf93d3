"""Files and objects whose names begin as what is typed: one folder is listed, up to a bound, and nothing is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

MOST_NAMES: Final = 1_000
"""Files of a folder, or objects below one, that are looked at."""


def paths(typed: str, *, taken: Container[str]) -> Iterator[str]:
    """Yield the files and folders that what is typed could become, in order of their names; a folder ends in `/`.

    A name that begins as an option or as a home does is `./name`.

    Args:
        typed: A path as it stands, relative to the current folder, or from `~`.
        taken: Words that mean something else: a file of such a name has to be called `./name`.
    """
    folder, slash, stem = typed.rpartition("/")
    try:
        with os.scandir(Path(f"{folder}{slash}" or ".").expanduser()) as entries:
            names = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in islice(entries, MOST_NAMES)]
    except (OSError, RuntimeError, ValueError):  # no such folder, no such user's, no name that a folder could have
        return
    for name in sorted(names):
        hidden = name.startswith(".") and not stem.startswith(".")
        if name.startswith(stem) and not hidden and (slash or name not in taken):
            yield f"./{name}" if not slash and name.startswith(("-", "~")) else f"{folder}{slash}{name}"


def keys_of_url(scheme: str, location: str, keys: Callable[[str, str], Sequence[str]]) -> Iterator[str]:
    """Yield the objects and folders that an URL could become.

    Args:
        scheme: Of the URL.
        location: What is typed behind `://`.
        keys: Gives the keys below a folder.
    """
    folder, slash, _ = location.rpartition("/")
    if not slash or not folder:
        return  # which buckets there are nobody knows
    for key in keys(scheme, folder):
        name, below, _ = key.removeprefix(f"{folder}/").partition("/")
        yield f"{scheme}://{folder}/{name}{below}"
