"""Uploads: data and code that are stored once, have identifiers of their own, and are used by any number of jobs.

Theory. What an upload holds is said by its contents in the object store (`dataflow.uploaded`), which are signed and never change. The table
only keeps who uploaded what, and which jobs use it. So nothing that is believed of an upload hangs on its rows, and rows that are lost
lose a line of a list.

Rows: `uploads`, one for each upload, emptied when it is removed; `uploads/<identifier>`, one for each job that reads it.

Rules of this module:

* Objects first, contents next, row last: an upload that broke off is gone on with by the next one of the same files, and nobody reads it
  before.
* The files are read twice, and must be the same both times: what has the digest of a block is stored, and nothing else.
* An upload is removed only where no job that has not ended reads it, and expires only where no job that is kept does. A job says so before
  it stands, so that one that is just being submitted may still find its input gone: that is an error of it.
* Where objects expire by themselves, we delete nothing: what is removed is forgotten, and what is half as old as it may get is stored
  again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from smr_notebook.control.keys import keys_of
from smr_notebook.control.ledger import Ledger, list_jobs
from smr_notebook.control.rows import RowCodec
from smr_notebook.dataflow.uploaded import (
    BLOCK_BYTES,
    SCHEME,
    Contents,
    UploadedFile,
    UploadedInput,
    UploadKind,
    contents_key,
    digest_of,
    encode_contents,
    file_key,
    folder_of,
    read_contents,
    read_file,
    upload_named,
)
from smr_notebook.errors import (
    ConfigError,
    CorruptObjectError,
    FormatVersionError,
    InputChangedError,
    InputEmptyError,
    InputMissingError,
    InputReadError,
    ObjectNotFoundError,
)
from smr_notebook.ports import Backend, ObjectStore, Row, Table

UPLOADS: Final = "uploads"
"""Group with one row for each upload."""

_FILES_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Upload:
    """One line of a list of uploads.

    Attributes:
        id: Its identifier: `data-…` or `code-…`.
        name: What it was called where it came from.
        files: How many files it holds.
        bytes: How many bytes.
        created: When it was stored.
        used: When it was uploaded, or a job that reads it was submitted, last.
        user: Who uploaded it; empty for nobody in particular.
    """

    id: str
    name: str
    files: int
    bytes: int
    created: float
    used: float
    user: str = ""

    @property
    def kind(self) -> UploadKind:
        """What it is for."""
        return UploadKind(self.id.partition("-")[0])


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to upload, and its name in the upload."""

    name: str
    path: Path


_CODEC: Final = RowCodec(Upload)


def with_uploads(backend: Backend) -> Backend:
    """Return a platform that reads its own uploads, too."""
    source = UploadedInput(backend.objects, lambda: keys_of(backend.table))
    return replace(backend, sources={**backend.sources, SCHEME: source})


# ---------------------------------------------------------------- storing


def upload(backend: Backend, kind: UploadKind, name: str, *, files: Sequence[LocalFile]) -> Upload:
    """Store files as an upload, unless they stand already, and return it: it was just stored if it was never used.

    Args:
        backend: Where to.
        kind: What it is for.
        name: What people call it.
        files: They; the order does not matter.

    Raises:
        InputEmptyError: There are none, or nothing is in them.
        InputReadError: One cannot be read.
        InputChangedError: One changes while it is read.
        StoreError: They cannot be stored.
    """
    ordered = sorted(files, key=lambda file: file.name)
    contents = Contents(kind, tuple(map(_looked_at, ordered)))
    size = sum(file.size for file in contents.files)
    if not size:
        raise InputEmptyError(f"{name}: there is nothing to upload: {len(ordered):,} files, and nothing in them.")
    now = backend.clock.now()
    while True:
        before = _row(backend.table, contents.id)
        standing = _decoded(before)
        if standing is not None and _stands(backend, contents, standing, now):
            told = replace(standing, used=now)
        else:
            _store(backend, contents, ordered)
            told = Upload(contents.id, name, len(ordered), size, now, now, backend.user)
        written = _write(backend.table, before, told)
        if written is not None:  # else somebody has removed it at this very moment
            return written


def _stands(backend: Backend, contents: Contents, standing: Upload, now: float) -> bool:
    """Whether an upload is there as a whole, and is not about to expire by itself."""
    if backend.expires and now - standing.created > backend.policy.longest:
        return False
    with suppress(ObjectNotFoundError, CorruptObjectError):
        there = _sizes(backend.objects, contents)
        wanted = {file_key(contents.id, number): file.size for number, file in enumerate(contents.files)}
        return wanted.items() <= there.items() and read_contents(backend.objects, contents.id, keys_of(backend.table)) == contents
    return False


def _sizes(objects: ObjectStore, contents: Contents) -> dict[str, int]:
    return {info.key: info.size for info in objects.list_prefix(folder_of(contents.id))}


def _store(backend: Backend, contents: Contents, files: Sequence[LocalFile]) -> None:
    there = {} if backend.expires else _sizes(backend.objects, contents)  # what expires by itself may be old

    def put(number: int) -> None:
        file, key = contents.files[number], file_key(contents.id, number)
        if there.get(key) != file.size:
            backend.objects.put(key, _checked(files[number].path, file))

    with ThreadPoolExecutor(max(min(backend.parallel, _FILES_AT_ONCE), 1)) as pool:
        list(pool.map(put, range(len(files))))
    backend.objects.put(contents_key(contents.id), encode_contents(contents, keys_of(backend.table)))


def _looked_at(file: LocalFile) -> UploadedFile:
    size, digests = 0, bytearray()
    for block in _blocks(file.path):
        size += len(block)
        digests += digest_of(block)
    return UploadedFile(file.name, size, bytes(digests))


def _checked(path: Path, file: UploadedFile) -> Iterator[bytes]:
    """Yield the blocks of a file as long as they are those that were looked at."""
    seen = bytearray()
    for block in _blocks(path):
        seen += digest_of(block)
        if not file.digests.startswith(bytes(seen)):
            break
        yield block
    if bytes(seen) != file.digests:
        raise InputChangedError(f"{path} changed while it was uploaded. Upload it again when nothing writes to it any more.")


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as source:
            while block := source.read(BLOCK_BYTES):
                yield block
    except OSError as error:
        raise InputReadError(f"Cannot read {str(path)!r}: {error.strerror}.") from error


# ---------------------------------------------------------------- finding, and using


def list_uploads(table: Table) -> list[Upload]:
    """Return all uploads, the oldest first."""
    found = [one for row in table.query(UPLOADS) if (one := _decoded(row)) is not None]
    return sorted(found, key=lambda one: (one.created, one.id))


def read_code(backend: Backend, identifier: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file of an upload of code.

    Raises:
        InputMissingError: There is no such upload.
        CorruptObjectError: It is not what was uploaded; or, as `UntrustedObjectError`, not by this workspace.
        StoreError: It cannot be read.
    """
    try:
        contents = read_contents(backend.objects, identifier, keys_of(backend.table))
        for number, file in enumerate(contents.files):
            yield file.name, read_file(backend.objects, identifier, contents, number)
    except ObjectNotFoundError as error:
        raise InputMissingError(f"There is no upload {identifier} here. `smr uploads` lists what there is.") from error


def note_use(backend: Backend, job: str, patterns: Iterable[str]) -> None:
    """Say that a job reads the uploads that some patterns name, if they name any. Raises `StoreError`."""
    now = backend.clock.now()
    for identifier in dict.fromkeys(filter(None, map(upload_named, patterns))):
        backend.table.put(f"{UPLOADS}/{identifier}", job, b"{}", expect=0)
        row = _row(backend.table, identifier)
        standing = _decoded(row)
        if standing is not None:
            _write(backend.table, row, replace(standing, used=now))


def _readers(table: Table, identifier: str) -> set[str]:
    """Return the jobs that read an upload: those that said so, and those that go on from them."""
    readers = {row.key for row in table.query(f"{UPLOADS}/{identifier}")}
    for entry in list_jobs(table):  # the oldest first
        if entry.base in readers:
            readers.add(entry.job)
    return readers


# ---------------------------------------------------------------- removing


def remove_upload(backend: Backend, identifier: str) -> Upload:
    """Remove an upload, and return what it was.

    Raises:
        ConfigError: There is none, or a job that has not ended reads it.
        StoreError: It cannot be removed.
    """
    row = _row(backend.table, identifier)
    standing = _decoded(row)
    if row is None or standing is None:
        raise ConfigError(f"There is no upload {identifier!r} here. `smr uploads` lists what there is.")
    readers = _readers(backend.table, identifier)
    at_work = [
        entry.job for entry in list_jobs(backend.table) if entry.job in readers and Ledger(backend.table, entry.job).outcome() is None
    ]
    if at_work:
        raise ConfigError(
            f"{identifier} is read by {', '.join(at_work)}, which {'has' if len(at_work) == 1 else 'have'} not ended: wait for that, or "
            f"`smr cancel {at_work[0]}`."
        )
    if not _remove(backend.objects if not backend.expires else None, backend.table, row, identifier):
        raise ConfigError(f"{identifier} was uploaded, or named by a job, at this very moment. Look whether you still want it removed.")
    return standing


def remove_expired_uploads(objects: ObjectStore, table: Table, *, now: float, keep_seconds: float) -> tuple[str, ...]:
    """Remove the uploads that nobody used for long, and that no job which is kept reads. Return their identifiers.

    Args:
        objects: Where they are.
        table: Where their rows are.
        now: The time.
        keep_seconds: Uploads that were used less than so long ago stay.
    """
    rows = [(row, one) for row in table.query(UPLOADS) if (one := _decoded(row)) is not None and one.used < now - keep_seconds]
    kept = {entry.job for entry in list_jobs(table)} if rows else set()
    old = [(row, one.id) for row, one in rows if kept.isdisjoint(_readers(table, one.id))]
    return tuple(identifier for row, identifier in old if _remove(objects, table, row, identifier))


def _remove(objects: ObjectStore | None, table: Table, row: Row, identifier: str) -> bool:
    """Empty the row, so that nobody counts on the rest any more; then remove that, where anything is. Return whether that was done."""
    if table.put(UPLOADS, row.key, b"", expect=row.version).value:
        return False
    if objects is not None:
        objects.delete_prefix(contents_key(identifier))
        objects.delete_prefix(folder_of(identifier))
        table.delete_group(f"{UPLOADS}/{identifier}")
    return True


def _row(table: Table, identifier: str) -> Row | None:
    return table.get(UPLOADS, identifier)


def _decoded(row: Row | None) -> Upload | None:
    if row is None or not row.value:
        return None
    with suppress(FormatVersionError):
        return _CODEC.decode(row.key, row.value)
    return None


def _write(table: Table, before: Row | None, upload: Upload) -> Upload | None:
    """Write the row of an upload where nobody else did meanwhile, and return what stands; `None` where that is nothing any more."""
    row = table.put(UPLOADS, upload.id, _CODEC.encode(upload), expect=before.version if before is not None else 0)
    return _decoded(row) or upload if row.value else None
