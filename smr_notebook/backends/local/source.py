"""The user's files as an input source.

What a pattern means:

* `~` is the home folder; a relative pattern starts in the current folder; `..` means what the file system means by it.
* A component of the pattern that exists under that very name stands for itself, whatever characters are in it.
* A folder stands for all files below it, hidden ones as well. Links to folders are followed, but not back into a
  folder from inside of it, where there is nothing that is not listed already.
* A glob stands for files alone, as in an object store, which has no folders: `*`, `?` and `[…]` match inside one
  component, `**` any number of folders. A name that begins with a dot is matched only by a component that does.
* **Nothing is left out silently.** A file or folder that matches and cannot be read, a link that leads nowhere, and what
  is neither file nor folder (a pipe, a socket, a device) are errors. The standard library's `glob` skips unreadable
  folders and walks around in circles of links, so the walk is our own; names are matched by the library's `fnmatch`.
"""
# Names need not be text: strings with escaped bytes pass through all of `os`, and fast:
# ruff: noqa: PTH109, PTH111, PTH112, PTH114, PTH115, PTH116, PTH118

from __future__ import annotations

import errno
import glob
import os
import stat
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from smr_notebook.backends.local.files import file_version, read_range
from smr_notebook.errors import InputMissingError, InputReadError
from smr_notebook.model import ObjectInfo


class FileSource:
    """An `InputSource` of local files. Keys are absolute paths, in order of their bytes."""

    def find(self, pattern: str) -> Iterator[ObjectInfo]:
        """See `ports.InputSource.find`."""
        if not pattern or "\0" in pattern:
            return
        path = absolute(pattern)
        matches = _files(path, hidden=True) if os.path.isdir(path) else _expand("/", path.strip("/").split("/"))
        for match in sorted(set(matches), key=os.fsencode):
            try:
                info = self.stat(match)
                self.get(match, 0, 0)  # it can be opened
            except InputMissingError:  # deleted since it was listed
                continue
            yield info

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """See `ports.InputSource.get`."""
        try:
            return read_range(key, start, stop)
        except OSError as error:
            raise _translated(key, error) from error

    def stat(self, key: str) -> ObjectInfo:
        """See `ports.InputSource.stat`."""
        try:
            status = os.stat(key)
        except OSError as error:
            raise _translated(key, error) from error
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, a socket or a device"
            raise InputReadError(f"Cannot read {key!r}: it is {kind}, and not a file. Name files, or leave it out by a narrower pattern.")
        identity = f"{status.st_dev:x}-{status.st_ino:x}" if status.st_ino else ""  # some network file systems have no inodes
        return ObjectInfo(key, status.st_size, file_version(status), identity)


def absolute(pattern: str) -> str:
    """Return the pattern from the root of the file system on, as the file system means it."""
    parts = os.path.join(os.getcwd(), os.path.expanduser(pattern)).split("/")
    # The parent of a link is the parent of what it leads to.
    known = len(parts) - parts[::-1].index("..") if ".." in parts else 0
    return os.path.normpath(os.path.join(os.path.realpath("/".join(parts[:known])) if known else "/", *parts[known:]))


def _expand(folder: str, parts: Sequence[str]) -> Iterator[str]:
    """Yield the files that the components of a pattern match, below a folder."""
    part, rest = parts[0], parts[1:]
    literal = os.path.join(folder, part)
    if _exists(literal):
        matches = [literal]
    elif part == "**":
        yield from _expand_all(folder, rest)
        return
    elif glob.has_magic(part):
        matches = [entry.path for entry in _scan(folder, hidden=part.startswith(".")) if fnmatchcase(entry.name, part)]
    else:
        return
    for match in matches:
        if rest:
            yield from _expand(match, rest)
        elif not os.path.isdir(match):
            yield match


def _expand_all(folder: str, rest: Sequence[str]) -> Iterator[str]:
    if not rest:
        yield from _files(folder, hidden=False)
        return
    for inner in _folders(folder, hidden=False):
        yield from _expand(inner, rest)


def _files(folder: str, *, hidden: bool) -> Iterator[str]:
    for inner in _folders(folder, hidden=hidden):
        yield from (entry.path for entry in _scan(inner, hidden=hidden) if not _is_folder(entry))


def _folders(folder: str, *, hidden: bool, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[str]:
    """Yield a folder and all folders below it. `above` names those that lead here, by device and inode."""
    try:
        status = os.stat(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise _translated(folder, error) from error
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    yield folder
    for entry in _scan(folder, hidden=hidden):
        if _is_folder(entry):
            yield from _folders(entry.path, hidden=hidden, above=above | {identity})


def _scan(folder: str, *, hidden: bool) -> list[os.DirEntry[str]]:
    """Return what is in a folder, without names that begin with a dot unless `hidden`; nothing if it is no folder."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if hidden or not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _translated(folder, error) from error


def _exists(path: str) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # not a name that a file could have
        return False
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise _translated(path, error) from error
    return True


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        raise _translated(entry.path, error) from error


def _translated(path: str, error: OSError) -> InputMissingError | InputReadError:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        advice = "Make it readable for you, or leave it out by a narrower pattern."
        return InputReadError(f"Cannot read {path!r}: {error.strerror}. {advice}")
    if os.path.islink(path):
        return InputReadError(
            f"Cannot read {path!r}: it is a link to {os.readlink(path)!r}, which is not there. Remove the link or mend it."
        )
    return InputMissingError(f"There is no file {path!r}. If a job was to read it, it has been moved or deleted since: put it back.")
