"""The object store as a folder: each object is a file, its key is the path below the root.

* **Nobody sees a part.** An object is written to a file of its own in the folder `.writing`, and then gets its name in
  one step: by a hard link when it must be absent (the kernel lets exactly one of the callers win), else by a rename.
  What a dying process leaves in `.writing` is never listed and never in the way.
* **Order.** A key below folder `a` starts with `a/`, so a folder is sorted among its neighbours as `a/`: then `a-b` and
  `a.b` come before all that is in `a`, and `a0` behind it, as the bytes of the keys want it (code points sort as their
  UTF-8 bytes do). A listing reads one folder at a time, and only those that the prefix can reach.
* **Limits.** A key cannot be the folder of another key (`a` beside `a/b`), a name between two `/` is 255 bytes at most,
  and the first one is not `.writing`. The file system must know hard links. Only folders and regular files are listed.
* **Not flushed to the disk.** The data outlives every process, not a power cut: a flush costs milliseconds for each object,
  and a job that a power cut interrupts is run again. What stands above this port carries checksums, so that an object
  which lost its bytes that way is noticed and never believed.
"""
# Paths are plain strings here, because pathlib costs more than the system calls that it wraps:
# ruff: noqa: PTH100, PTH103, PTH105, PTH106, PTH108, PTH112, PTH120

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from operator import itemgetter
from pathlib import Path

from smr_notebook.backends.local.files import file_version, make_private, read_range
from smr_notebook.errors import ObjectNotFoundError, StoreError
from smr_notebook.model import ObjectInfo
from smr_notebook.ports import Buffer

_WRITING = ".writing"
_NO_NAMES = frozenset({"", ".", ".."})
_NOT_UTF8 = re.compile("[\0\ud800-\udfff]")
# A folder can vanish between its making and its use, when somebody deletes its last object: then it is made again.
_TRIES = 100


class FolderStore:
    """An `ObjectStore` in a folder, for any number of threads and processes of one machine.

    Args:
        root: The folder. It is made with the first object.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.path.abspath(root)
        self._writing = f"{self._root}/{_WRITING}"

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """See `ports.ObjectStore.get`."""
        path = self._path(key)
        with self._translated("read", key):
            try:
                return read_range(path, start, stop)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
                reason = "It was never written, or has been deleted since: look at what the store lists."
                raise ObjectNotFoundError(f"There is no object {key!r} in the object store in {self._root!r}. {reason}") from error

    def put(self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False) -> bool:
        """See `ports.ObjectStore.put`."""
        path = self._path(key)
        with self._translated("write", key):
            temporary, file = self._open_temporary()
        named = False
        try:
            try:
                for chunk in (data,) if isinstance(data, Buffer) else data:
                    with self._translated("write", key):
                        _write_all(file, chunk)
            finally:
                os.close(file)
            with self._translated("write", key):
                written = _give_name(temporary, path, if_absent=if_absent)
            named = written and not if_absent  # renamed, so that the temporary name is gone
            return written
        finally:
            if not named:
                with suppress(FileNotFoundError):
                    os.unlink(temporary)

    def list_prefix(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `ports.ObjectStore.list_prefix`."""
        for key, status in self._walk(*_parted(prefix)):
            if status is not None:
                yield ObjectInfo(key, status.st_size, file_version(status))

    def delete_prefix(self, prefix: str) -> int:
        """See `ports.ObjectStore.delete_prefix`. Removes the folders that are empty then."""
        if not prefix:
            raise StoreError(f"The empty prefix stands for every object in {self._root!r}. Delete the folder if that is what you want.")
        folder, name = _parted(prefix)
        deleted = 0
        for key, status in self._walk(folder, name):
            if status is None:
                self._remove_folder(key)
            else:
                with self._translated("delete", key), suppress(FileNotFoundError):  # somebody else was faster
                    os.unlink(f"{self._root}/{key}")
                    deleted += 1
        while folder and self._remove_folder(folder):
            folder = folder[: folder.rstrip("/").rfind("/") + 1]
        return deleted

    def _path(self, key: str) -> str:
        if not _is_key(key):
            rule = f"names joined by '/', none of them empty, '.' or '..', the first one not {_WRITING!r}, all of them UTF-8 text"
            raise StoreError(f"{key!r} cannot be a key of the object store in {self._root!r}. A key is {rule}.")
        return f"{self._root}/{key}"

    def _open_temporary(self) -> tuple[str, int]:
        path = f"{self._writing}/{secrets.token_hex(16)}"
        mode = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            return path, os.open(path, mode, 0o666)
        except FileNotFoundError:
            make_private(self._writing)
            return path, os.open(path, mode, 0o666)

    def _walk(self, folder: str, name: str = "") -> Iterator[tuple[str, os.stat_result | None]]:
        """Yield the objects below `folder` whose names there start with `name`, and each folder, without status, after what it holds."""
        for key, entry in self._scan(folder, name):
            if key.endswith("/"):
                yield from self._walk(key)
                yield key, None
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # deleted meanwhile
                continue
            yield key, status

    def _scan(self, folder: str, name: str) -> list[tuple[str, os.DirEntry[str]]]:
        entries = []
        with (
            self._translated("list", folder),
            suppress(FileNotFoundError, NotADirectoryError),
            os.scandir(f"{self._root}/{folder}") as listed,
        ):
            for entry in listed:
                if not entry.name.startswith(name) or (not folder and entry.name == _WRITING):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    entries.append((f"{folder}{entry.name}/", entry))
                elif entry.is_file(follow_symlinks=False):
                    entries.append((f"{folder}{entry.name}", entry))
        return sorted(entries, key=itemgetter(0))

    def _remove_folder(self, folder: str) -> bool:
        try:
            os.rmdir(f"{self._root}/{folder}")
        except OSError:  # not empty, or gone
            return False
        return True

    @contextmanager
    def _translated(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except OSError as error:
            advice = "Check that the folder may be read and written, and that its disk works and is not full."
            raise StoreError(f"Cannot {verb} {key!r} of the object store in {self._root!r}: {error.strerror}. {advice}") from error


def _is_key(key: str) -> bool:
    names = key.split("/")
    return names[0] != _WRITING and _NO_NAMES.isdisjoint(names) and not _NOT_UTF8.search(key)


def _parted(prefix: str) -> tuple[str, str]:
    """Return the folder of a prefix, with its `/`, and how names in it start. No key starts with a wrong folder."""
    folder, slash, name = prefix.rpartition("/")
    return (folder + slash, name) if not slash or _is_key(folder) else ("", "/")


def _write_all(file: int, chunk: Buffer) -> None:
    rest = memoryview(chunk).cast("B")
    while rest:
        rest = rest[os.write(file, rest) :]


def _give_name(temporary: str, path: str, *, if_absent: bool) -> bool:
    for left in reversed(range(_TRIES)):
        try:
            if if_absent:
                os.link(temporary, path)
            else:
                os.replace(temporary, path)
        except FileExistsError:
            if os.path.isdir(path):
                raise IsADirectoryError(errno.EISDIR, "it is the folder of other keys", path) from None
            return False
        except FileNotFoundError:
            if not left:
                raise
            # `makedirs` says that a folder exists, too, when it was there and is gone by the time `makedirs` looks.
            with suppress(FileNotFoundError, FileExistsError):
                os.makedirs(os.path.dirname(path), exist_ok=True)
        else:
            return True
    return False
