"""What a session keeps for later jobs: data and code that are uploaded once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from smr_notebook.backends.local.source import FileSource, absolute
from smr_notebook.control.uploads import LocalFile, Upload, list_uploads, remove_upload, upload
from smr_notebook.dataflow.functions import writable
from smr_notebook.dataflow.uploaded import UploadKind
from smr_notebook.errors import InputMissingError, InputReadError
from smr_notebook.ports import Backend

_LEFT_BEHIND: Final = "__pycache__"


class KeepsUploads:
    """The verbs of a session that upload.

    Attributes:
        backend: Where to.
    """

    backend: Backend

    def upload_data(self, path: str | os.PathLike[str]) -> Upload:
        """Store files once, so that any number of jobs may read them: `input=upload.id`, or `f"{upload.id}/some/*.csv"`.

        The same files have the same identifier, and are stored once; the names that they have below `path` count.

        Args:
            path: A file, a folder (all below it), or a glob.

        Raises:
            InputError: There is nothing, it is empty, it cannot be read, or it changes meanwhile.
            StoreError: It cannot be stored.
        """
        text = os.fspath(path)
        files = [LocalFile(name, place) for name, place in _named(text)]
        if not files:
            raise InputMissingError(f"Nothing found under {text!r} (in {Path.cwd()}): no such file, and no folder with a file in it.")
        return upload(self.backend, UploadKind.DATA, text, files=files)

    def upload_code(self, folder: str | os.PathLike[str]) -> Upload:
        """Store a folder of Python code once, for `smr run -c` and job files. What begins with a dot, and `__pycache__`, is left behind.

        Raises:
            InputError, StoreError: As `upload_data` does.
        """
        text = os.fspath(folder)
        files = [LocalFile(name, place) for name, place in _named(text) if _is_code(name)] if text and Path(absolute(text)).is_dir() else []
        if not files:
            raise InputMissingError(f"There is no folder with code under {text!r} (in {Path.cwd()}).")
        return upload(self.backend, UploadKind.CODE, text, files=files)

    def uploads(self) -> list[Upload]:
        """Return what was uploaded, latest first."""
        return list_uploads(self.backend.table)[::-1]

    def remove_upload(self, id: str) -> Upload:
        """Remove what was uploaded, and return what it was. Where objects expire by themselves, it is forgotten, and they do so later.

        Args:
            id: Its identifier.

        Raises:
            ConfigError: There is none, or a job that has not ended reads it.
            StoreError: It cannot be removed.
        """
        return remove_upload(self.backend, id)


def root_of(pattern: str) -> Path:
    """Return the folder that the names of files are told from: the one that a pattern names, or the one that what it names lies in."""
    path = Path(absolute(pattern))
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _named(pattern: str) -> Iterator[tuple[str, Path]]:
    """Yield the files of this machine that a pattern names, with their names below its root."""
    root = root_of(pattern)
    for info in FileSource().find(pattern):
        name = Path(info.key).relative_to(root).as_posix()
        if name != writable(name):
            raise InputReadError(
                f"Cannot upload {info.key!r}: its name is no UTF-8 text. Rename it, or leave it out by a narrower pattern."
            )
        yield name, Path(info.key)


def _is_code(name: str) -> bool:
    return not any(part.startswith(".") or part == _LEFT_BEHIND for part in name.split("/"))
