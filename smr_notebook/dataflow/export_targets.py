"""Where the files of a result go: a folder or a file of this machine, or keys of a bucket.

Rules of this module:

* What is there already stays, unless it may be replaced; and of folders only those may that hold nothing but such files.
* On this machine a name is given in one step, when all is written: nobody sees a part, and what was there is there until then. A folder
  that is replaced is moved away first: whoever is killed between the two steps leaves it whole beside, as `.smr-…/before`.
* In a bucket there is no such step for several objects: each appears as a whole, and those that are written are deleted again when another
  one cannot be. What they replace is deleted before the first of them is written: old ones and new ones never stand for one table.
* Where two write to one folder of a bucket at once, whoever finds at the end that not all of its own stands there, and nothing else,
  deletes what does, and says so.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smr_notebook.dataflow.export_shapes import MARK, PARQUET, Shape, is_ours, shape_of
from smr_notebook.errors import ConfigError, SmrError, StoreError
from smr_notebook.ports import ObjectStore

_PIECE: Final = 1 << 20
_URL: Final = re.compile(r"([a-z][a-z0-9+.-]*)://([^/]*)/*(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Target(ABC):
    """Where the files go.

    Attributes:
        path: As the user said it.
        overwrite: Whether to replace what is there.
        shape: What files they are.
        verb: What the user called, for messages.
    """

    path: str
    overwrite: bool
    shape: Shape
    verb: str

    @abstractmethod
    def check(self) -> None:
        """Raise `ConfigError` where nothing can be written, as far as that can be told, or something stands that may not be replaced."""

    @abstractmethod
    def _beside(self) -> Path | None:
        """Return the folder in which files are written first; `None` for any."""

    @abstractmethod
    def publish(self, files: Sequence[Path], mark: Path | None = None) -> Iterable[str]:
        """Put the files where they belong, and the mark that stands beside those of a folder; return where the files are.

        Raises as `exporting.export` does.
        """

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Give a folder for files that nobody sees yet, and remove it afterwards."""
        self.check()
        try:
            place = Path(tempfile.mkdtemp(prefix=".smr-", dir=self._beside()))
        except OSError as error:
            raise StoreError(f"Cannot write beside {self.path}: {error.strerror}. Give a path whose folder is there, and yours.") from error
        try:
            folder = place / "files"
            folder.mkdir()  # its mode is that of any folder of the user's, unlike that of the one around it
            yield folder
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _refuse(self, why: str) -> ConfigError:
        return ConfigError(f"{self.verb}: {self.path} {why}")


_THERE: Final = "is there already. Give another name, or replace it: with overwrite=True, or with --overwrite in a cell or a shell."
_MEANWHILE: Final = "was written by somebody else at the same time, and stays. Give another name, or write it again."
_BOTH: Final = "was written by somebody else at the same time, so that this is not there. Give another name, or write it again."

_TAKEN: Final = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR})
"""What systems say where something has the name already."""

_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})
"""What systems say whose files have but one name."""


class LocalTarget(Target):
    """A folder, or a file, of this machine."""

    __slots__ = ()

    def check(self) -> None:
        """See `Target.check`."""
        path = self._local
        if not path.parent.is_dir():
            raise self._refuse(f"cannot be written: there is no folder {path.parent}. Make it, or give another name.")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise self._refuse(f"cannot be written: the folder {path.parent} does not let you. Give another name.")
        if not os.path.lexists(path):
            return
        if not self.overwrite:
            raise self._refuse(_THERE)
        if self.shape.whole and path.is_dir():
            raise self._refuse("is a folder, and a name that ends so is that of one file. Give another name.")
        if not self.shape.whole and not (path.is_dir() and not path.is_symlink() and all(map(_is_ours, path.iterdir()))):
            raise self._refuse("is no folder of nothing but files that such a call wrote, and so is not replaced. Give another name.")

    def _beside(self) -> Path:
        return self._local.parent

    @property
    def _local(self) -> Path:
        return _place(self.path, self.verb)

    def publish(self, files: Sequence[Path], mark: Path | None = None) -> list[str]:  # noqa: ARG002 - it moves with their folder
        """See `Target.publish`."""
        self.check()  # again, because to write took its time
        path = self._local
        try:
            if not self.shape.whole:
                _give_name(files[0].parent, path, replace=self.overwrite)
                return [str(path / file.name) for file in files]
            if self.overwrite:
                files[0].replace(path)
            else:
                put_new(files[0], path)
        except OSError as error:
            if error.errno in _TAKEN and os.path.lexists(path):
                raise self._refuse(_MEANWHILE if self.overwrite else _THERE) from None
            raise StoreError(f"Cannot write {self.path}: {error.strerror}.") from error
        return [str(path)]


@dataclass(frozen=True, slots=True)
class BucketTarget(Target):
    """Keys of a bucket.

    Attributes:
        store: The bucket.
        key: The key of one object, or what is before the `/` and the names of several.
        scheme: What the path begins with: `s3://bucket/`.
    """

    store: ObjectStore
    key: str
    scheme: str

    def check(self) -> None:
        """See `Target.check`."""
        there = self._there()
        if there and not self.overwrite:
            raise self._refuse(_THERE)
        strange = [key for key in there if not self.shape.whole and not is_ours(key.removeprefix(f"{self.key}/"))]
        if strange:
            raise self._refuse(f"holds {strange[0]!r}, which this did not write, and so is not replaced. Give another name.")

    def _beside(self) -> None:
        return None

    def _there(self) -> list[str]:
        found = self.store.list_prefix(self.key if self.shape.whole else f"{self.key}/")
        return [info.key for info in found if not self.shape.whole or info.key == self.key]

    def publish(self, files: Sequence[Path], mark: Path | None = None) -> list[str]:
        """See `Target.publish`."""
        self.check()
        before = self._there()
        if self.shape.whole:
            self._put(self.key, files[0], new=not self.overwrite)
            return [f"{self.scheme}{self.key}"]
        content = {f"{self.key}/{file.name}": file for file in (*files, *([mark] if mark else []))}  # the mark is the last to appear
        self._delete(sorted(before, key=lambda key: not key.endswith(f"/{MARK}")))  # and the first to go
        written: dict[str, str] = {}
        try:
            for key, file in content.items():
                self._put(key, file, new=True)
                written[key] = self._versions(key).get(key, "")
            self._check_alone(written)
        except BaseException:
            self._take_back(written, content)
            raise
        return [f"{self.scheme}{self.key}/{file.name}" for file in files]

    def _check_alone(self, written: Mapping[str, str]) -> None:
        if self._versions(f"{self.key}/") != written:
            raise self._refuse(_BOTH)

    def _take_back(self, written: Mapping[str, str], content: Mapping[str, Path]) -> None:
        """Delete what is ours of what stands, the last one first: also one of which nobody knows whether it was written."""
        begun, there = list(content)[: len(written) + 1], self._versions(f"{self.key}/")
        for key in reversed(begun):
            if key in there and there[key] == written.get(key, there[key]) and self._is_ours(key, content[key], told=key in written):
                self._delete([key])

    def _is_ours(self, key: str, file: Path, *, told: bool) -> bool:
        """Whether what stands is what we wrote: somebody else may have replaced it before we were told its version."""
        try:
            return self._holds(key, file)
        except SmrError:  # whoever writes may not be let read: then what we were told
            return told

    def _versions(self, prefix: str) -> dict[str, str]:
        return {info.key: info.version for info in self.store.list_prefix(prefix)}

    def _put(self, key: str, file: Path, *, new: bool) -> None:
        if not self.store.put(key, _pieces(file), if_absent=new) and not self._holds(key, file):
            raise self._refuse(_THERE)

    def _holds(self, key: str, file: Path) -> bool:
        """Whether what stands is what was to be written: it was, and the reply was lost."""
        pieces, at = _pieces(file), 0
        for piece in pieces:
            if self.store.get(key, at, at + len(piece)) != piece:
                return False
            at += len(piece)
        return not self.store.get(key, at, at + 1)

    def _delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.store.delete_prefix(key)


def target_of(
    path: str | os.PathLike[str],
    *,
    overwrite: bool,
    targets: Mapping[str, Callable[[str], ObjectStore]],
    platform: str,
    suffixes: tuple[str, ...] = PARQUET,
    format: str | None = None,
    files: str | None = None,
    verb: str = "to_parquet",
) -> Target:
    """Return where the user wants files.

    Args:
        path: A path, or a URL.
        overwrite: Whether to replace what is there.
        targets: As of `ports.Backend`.
        platform: Name of the platform, for messages.
        suffixes: How the name of one file ends.
        format: As of `export_shapes.shape_of`.
        files: As of `export_shapes.shape_of`.
        verb: What the user called, for messages.

    Raises:
        ConfigError: It is no path, or an empty one, or nothing can be written there from here; or there are no such files.
    """
    text = _text(path, verb)
    if not text.strip():
        raise ConfigError(f"{verb}: the path is empty. Name a folder, or a file that ends in {' or '.join(suffixes)}.")
    shape = shape_of(text, format=format, files=files, suffixes=suffixes, verb=verb)
    url = _URL.fullmatch(text)
    if url is None:
        _place(text, verb)
        return LocalTarget(text, overwrite, shape, verb)
    scheme, bucket, key = url[1], url[2], url[3].rstrip("/")
    if scheme not in targets:
        known = ", ".join(f"{name}://" for name in targets) or "no URL"
        raise ConfigError(
            f"{verb}: a session on the platform {platform!r} cannot write to {scheme}:// (it can to: {known}). Give a path of this "
            "machine, call job.to_dynamodb(…) or job.to_sql(…) for a table, or attach to the job from a session that can."
        )
    if not bucket or not key:
        raise ConfigError(f"{verb}: {text} must name a bucket and what is to stand in it: {scheme}://bucket/folder.")
    return BucketTarget(text, overwrite, shape, verb, targets[scheme](bucket), key, f"{scheme}://{bucket}/")


def _text(path: object, verb: str) -> str:
    if not isinstance(path, str | os.PathLike) or not isinstance(text := os.fspath(path), str):
        raise ConfigError(f"{verb}: the path is {path!r}, which is neither a str nor a pathlib.Path. Name a folder, or a file.")
    try:
        if b"\0" not in os.fsencode(text):
            return text
    except UnicodeEncodeError:
        pass
    raise ConfigError(f"{verb}: the path {text!r} has a character that no name of a file can have. Leave it out.")


def _place(text: str, verb: str) -> Path:
    try:
        return Path(os.path.abspath(Path(text).expanduser()))  # noqa: PTH100 - links stay as the user named them
    except RuntimeError as error:
        raise ConfigError(f"{verb}: nobody knows the home folder of {text.partition('/')[0]!r}. Write the whole path.") from error
    except FileNotFoundError as error:
        raise ConfigError(f"{verb}: {text} is told from the working folder, which was removed. Write the whole path.") from error


def _give_name(folder: Path, path: Path, *, replace: bool) -> None:
    """Move a folder to where it belongs. What it replaces is put where the folder came from, and back again should that fail."""
    before = folder.parent / "before"
    if replace and path.exists():
        path.rename(before)
    try:
        folder.rename(path)  # which fails if a folder with something in it is there
    except OSError:
        with suppress(OSError):  # because the name is somebody else's now
            before.rename(path)
        raise


def put_new(file: Path, path: Path, link: Callable[[Path, Path], None] = os.link) -> None:
    """Give a file a name that nothing has yet. Where files have but one name, the name is taken first, and then the file moved to it.

    Args:
        file: The file.
        path: The name, in the same file system.
        link: Gives a file a second name.

    Raises:
        OSError: It cannot be; a `FileExistsError` where the name is taken.
    """
    try:
        link(file, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        path.open("x").close()
        try:
            file.replace(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _is_ours(file: Path) -> bool:
    return is_ours(file.name) and file.is_file()


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as source:
        while piece := source.read(_PIECE):
            yield piece
