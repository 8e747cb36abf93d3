"""Uploads as they are stored, and the input source that reads them.

Theory. An upload is files under names, and its identifier a hash of the names and of what is in the files. So it never changes, and who
uploads the same again finds it there. Its objects stand below `jobs/<identifier>/input/`, as what a notebook stores for a job does: so
the same parties may read and write them, and they expire alike.

Rules of this module:

* The contents is a sealed list of the files, signed like all that is believed (`signing`). It holds a digest of each block of each file,
  and no byte is handed out before the digest of its block was found right. So whoever can write to the object store alone changes nothing
  unseen.
* What is read is named `<identifier>/<name>`, wherever it is stored: so `map` gets the same source in every workspace.
* The version of an uploaded file is the digest of its blocks, so that it cannot have changed since a job was planned.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

import msgspec

from smr_notebook.dataflow.sealing import seal, unseal
from smr_notebook.dataflow.signing import SIGNATURE_BYTES, Keyring
from smr_notebook.errors import CorruptObjectError, InputMissingError, InputReadError, ObjectNotFoundError, StoreError
from smr_notebook.model import ObjectInfo
from smr_notebook.ports import Buffer, ObjectStore

SCHEME: Final = "upload"
"""Of spans of uploads."""

BLOCK_BYTES: Final = 256 << 10
"""Bytes that have a digest of their own: reading begins and ends at a multiple."""

_DIGEST_BYTES: Final = 16
_IDENTIFIER: Final = re.compile(r"(data|code)-[0-9a-f]{16}")
_KIND: Final = "upload"
_PLACE: Final = "contents"
_CACHED: Final = 16


class UploadKind(StrEnum):
    """What an upload is for."""

    DATA = "data"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """One file.

    Attributes:
        name: Its path below what was uploaded, with `/` between folders.
        size: Bytes.
        digests: Those of its blocks, one behind the other.
    """

    name: str
    size: int
    digests: bytes

    @property
    def version(self) -> str:
        """What differs whenever the content does."""
        return hashlib.blake2b(self.digests, digest_size=_DIGEST_BYTES).hexdigest()


@dataclass(frozen=True, slots=True)
class Contents:
    """What an upload is made of: its files, in the order of their names."""

    kind: UploadKind
    files: tuple[UploadedFile, ...]

    @property
    def id(self) -> str:
        """Its identifier: the same contents, and no other, has it."""
        return f"{self.kind}-{hashlib.blake2b(msgspec.json.encode(self), digest_size=8).hexdigest()}"


def upload_named(pattern: str) -> str:
    """Return the identifier that a pattern begins with, alone or in front of a `/`; an empty string where it names no upload."""
    identifier = pattern.partition("/")[0]
    return identifier if _IDENTIFIER.fullmatch(identifier) else ""


def digest_of(block: Buffer) -> bytes:
    """Return the digest of one block."""
    return hashlib.blake2b(block, digest_size=_DIGEST_BYTES).digest()


def folder_of(identifier: str) -> str:
    """Return what the keys of an upload begin with."""
    return f"jobs/{identifier}/input/"


def contents_key(identifier: str) -> str:
    """Return the key of the contents."""
    return f"{folder_of(identifier)}contents"


def file_key(identifier: str, number: int) -> str:
    """Return the key of the file of this number, counted from 0."""
    return f"{folder_of(identifier)}{number:06d}"


def encode_contents(contents: Contents, keys: Keyring) -> bytes:
    """Return contents as they are stored."""
    sealed = seal(_KIND, msgspec.json.encode(contents))
    return sealed + keys.of_object(contents_key(contents.id)).sign(_KIND, _PLACE, sealed)


def read_contents(objects: ObjectStore, identifier: str, keys: Keyring) -> Contents:
    """Return the contents of an upload. The signature proves that they are those of this one: it covers the folder.

    Raises:
        ObjectNotFoundError: There is none.
        CorruptObjectError: They are not what was written; or, as `UntrustedObjectError`, not by this workspace.
        StoreError: The store cannot be read.
    """
    key = contents_key(identifier)
    data = objects.get(key)
    sealed, signature = data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
    body = unseal(_KIND, sealed, name=key)
    keys.of_object(key).check(_KIND, _PLACE, sealed, signature=signature, name=key)
    try:
        return msgspec.json.decode(body, type=Contents)
    except msgspec.MsgspecError as error:
        raise CorruptObjectError(f"{key} does not hold the contents of an upload ({error}). Upload it again.") from error


def read_file(objects: ObjectStore, identifier: str, contents: Contents, number: int, *, start: int = 0, stop: int | None = None) -> bytes:
    """Return bytes `[start, stop)` of a file, both ends clamped to its size.

    Args:
        objects: Where it stands.
        identifier: Of the upload.
        contents: Those of the upload.
        number: Of the file, counted from 0.
        start: The first byte.
        stop: The byte behind the last one; `None` for its end.

    Raises:
        ObjectNotFoundError: It is gone.
        CorruptObjectError: It is not what was uploaded.
        StoreError: The store cannot be read.
    """
    file = contents.files[number]
    stop = file.size if stop is None else min(stop, file.size)
    if not 0 <= start < stop:
        return b""
    first = start // BLOCK_BYTES
    origin, end = first * BLOCK_BYTES, min(-(-stop // BLOCK_BYTES) * BLOCK_BYTES, file.size)
    data = objects.get(file_key(identifier, number), origin, end)
    view = memoryview(data)
    for at in range(0, end - origin, BLOCK_BYTES):
        place = _DIGEST_BYTES * (first + at // BLOCK_BYTES)
        if digest_of(view[at : at + BLOCK_BYTES]) != file.digests[place : place + _DIGEST_BYTES]:
            raise CorruptObjectError(
                f"{identifier}/{file.name} is not what was uploaded, at or behind byte {origin + at:,}. Remove the upload, upload it "
                "again, and look who else may write to the object store."
            )
    return data[start - origin : stop - origin]


class UploadedInput:
    """The input source of scheme `upload`: what was uploaded to the session's own store.

    Args:
        objects: Where it is.
        keys: Gives the key of the workspace when it is needed.
    """

    def __init__(self, objects: ObjectStore, keys: Callable[[], Keyring]) -> None:
        self._objects = objects
        self._keys = keys
        self._contents = lru_cache(maxsize=_CACHED)(self._read)

    def find(self, pattern: str) -> Iterator[ObjectInfo]:
        """Yield the files that `data-…`, `data-…/folder` or `data-…/glob` names, in the order of their names.

        Raises:
            InputMissingError: There is no such upload.
            InputReadError: It cannot be read.
        """
        identifier, _, rest = pattern.partition("/")
        self._contents.cache_clear()  # it may have been removed since
        for file in self._contents(identifier).contents.files:
            if _matches(file.name, rest.strip("/")):
                yield ObjectInfo(f"{identifier}/{file.name}", file.size, file.version)

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return bytes of one file. Raises as `find` does, and `CorruptObjectError` where it is not what was uploaded."""
        identifier, number, contents = self._file(key)
        with _translated(identifier):
            return read_file(self._objects, identifier, contents, number, start=start, stop=stop)

    def stat(self, key: str) -> ObjectInfo:
        """Return size and version of one file. Raises as `find` does."""
        _, number, contents = self._file(key)
        return ObjectInfo(key, contents.files[number].size, contents.files[number].version)

    def _file(self, key: str) -> tuple[str, int, Contents]:
        identifier, _, name = key.partition("/")
        known = self._contents(identifier)
        if name not in known.numbers:
            raise InputMissingError(f"{identifier} holds no file {name!r}. `smr uploads` lists what there is.")
        return identifier, known.numbers[name], known.contents

    def _read(self, identifier: str) -> _Known:
        with _translated(identifier):
            contents = read_contents(self._objects, identifier, self._keys())
        return _Known(contents, {file.name: number for number, file in enumerate(contents.files)})


@dataclass(frozen=True, slots=True)
class _Known:
    """The contents of an upload, with the numbers of its files by name."""

    contents: Contents
    numbers: Mapping[str, int]


@contextmanager
def _translated(identifier: str) -> Iterator[None]:
    try:
        yield
    except ObjectNotFoundError as error:
        raise InputMissingError(
            f"There is no upload {identifier} here: it was removed, or has expired, or lies in another workspace or stack. `smr uploads` "
            "lists what there is; `smr upload` brings it back under the same name."
        ) from error
    except StoreError as error:
        raise InputReadError(f"The upload {identifier} cannot be read: {error}") from error


def _matches(name: str, pattern: str) -> bool:
    """Whether a file is meant by what stands behind the identifier: nothing, its name, a folder above it, or a glob."""
    if not pattern or name == pattern or name.startswith(f"{pattern}/"):
        return True
    return _fits(name.split("/"), pattern.split("/"))


def _fits(names: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether the components of a name match those of a glob."""
    if not parts:
        return not names
    if parts[0] == "**":
        return any(_fits(names[skipped:], parts[1:] or ["*"]) for skipped in range(len(names)))
    return bool(names) and fnmatchcase(names[0], parts[0]) and _fits(names[1:], parts[1:])
