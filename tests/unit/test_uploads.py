"""Uploads: the same contents are one, nothing of them changes unseen, and they stay as long as somebody needs them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.backends.memory.platform import open_memory
from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.control.keys import keys_of
from smr_notebook.control.ledger import Ledger
from smr_notebook.control.naming import classify, files, find
from smr_notebook.control.rows import JobEntry
from smr_notebook.control.uploads import (
    LocalFile,
    Upload,
    list_uploads,
    note_use,
    read_code,
    remove_expired_uploads,
    remove_upload,
    upload,
    with_uploads,
)
from smr_notebook.dataflow.uploaded import BLOCK_BYTES, SCHEME, UploadKind, contents_key, folder_of, upload_named
from smr_notebook.errors import (
    ConfigError,
    CorruptObjectError,
    InputChangedError,
    InputEmptyError,
    InputError,
    InputMissingError,
    PlanError,
    SmrError,
    UntrustedObjectError,
)
from smr_notebook.model import JobState, ObjectInfo
from smr_notebook.ports import Backend, Buffer, InputSource
from smr_notebook.sessions.session import Session
from smr_notebook.standing import Outcome


class CountingStore(MemoryStore):
    """Knows what was put into it."""

    def __init__(self) -> None:
        super().__init__()
        self.puts: list[str] = []

    def put(self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False) -> bool:
        self.puts.append(key)
        return super().put(key, data, if_absent=if_absent)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


@pytest.fixture
def backend(store: CountingStore) -> Backend:
    return with_uploads(replace(open_memory(), objects=store))


def written(folder: Path, contents: dict[str, bytes]) -> list[LocalFile]:
    found = []
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        found.append(LocalFile(name, path))
    return found


def source_of(backend: Backend) -> InputSource:
    return backend.sources[SCHEME]


def stored(backend: Backend, folder: Path, contents: dict[str, bytes], kind: UploadKind = UploadKind.DATA) -> Upload:
    return upload(backend, kind, "it", files=written(folder, contents))


LARGE = bytes(range(256)) * (BLOCK_BYTES // 256) * 2 + b"the end"


def test_the_same_contents_are_stored_once(backend: Backend, store: CountingStore, tmp_path: Path) -> None:
    first = stored(backend, tmp_path / "a", {"x/1.txt": b"one", "2.txt": b"two"})
    before = list(store.puts)
    again = stored(backend, tmp_path / "b", {"2.txt": b"two", "x/1.txt": b"one"})
    assert store.puts == before
    assert (again.id, again.created, again.files, again.bytes) == (first.id, first.created, 2, 6)
    assert list_uploads(backend.table) == [again]


@pytest.mark.parametrize("other", [{"a": b"1", "b": b"2"}, {"a": b"12"}, {"b": b"1"}, {"a": b"2"}])
def test_other_contents_are_another_upload(backend: Backend, tmp_path: Path, other: dict[str, bytes]) -> None:
    kinds = (UploadKind.DATA, UploadKind.CODE)
    assert len({stored(backend, tmp_path, contents, kind).id for contents in ({"a": b"1"}, other) for kind in kinds}) == 4


def test_identifiers_are_what_they_were_in_version_1(backend: Backend, tmp_path: Path) -> None:
    assert stored(backend, tmp_path, {"a.txt": b"words\n"}).id == "data-f4d5f0ca4320c98a"


@settings(max_examples=min(60, settings().max_examples))
@given(
    content=st.sampled_from([b"words", LARGE, LARGE[:BLOCK_BYTES]]),
    ends=st.tuples(st.integers(-3, len(LARGE) + 3), st.integers(-3, len(LARGE) + 3)),
)
def test_any_bytes_are_read_as_of_the_file(content: bytes, ends: tuple[int, int]) -> None:
    backend = with_uploads(replace(open_memory(), objects=CountingStore()))
    with tempfile.TemporaryDirectory() as folder:
        made = stored(backend, Path(folder), {"a": content})
    start, stop = max(ends[0], 0), ends[1]
    assert source_of(backend).get(f"{made.id}/a", start, max(stop, 0)) == content[start : max(stop, 0)]
    assert source_of(backend).get(f"{made.id}/a", start) == content[start:]


@settings(max_examples=min(60, settings().max_examples))
@given(at=st.integers(0, len(LARGE) - 1), start=st.integers(0, len(LARGE) - 1))
def test_no_changed_byte_is_handed_out(at: int, start: int) -> None:
    backend = with_uploads(replace(open_memory(), objects=CountingStore()))
    with tempfile.TemporaryDirectory() as folder:
        made = stored(backend, Path(folder), {"a": LARGE})
    changed = bytearray(LARGE)
    changed[at] ^= 1
    backend.objects.put(f"{folder_of(made.id)}000000", bytes(changed))
    try:
        data = source_of(backend).get(f"{made.id}/a", start)
    except CorruptObjectError as error:
        assert f"{made.id}/a is not what was uploaded" in error.message  # noqa: PT017 - or it gives what was uploaded
    else:
        assert data == LARGE[start:]
        assert at // BLOCK_BYTES < start // BLOCK_BYTES


def test_contents_that_somebody_else_wrote_are_not_believed(backend: Backend, tmp_path: Path) -> None:
    """Who can write to the object store alone cannot make anybody import their code."""
    made = stored(backend, tmp_path, {"task.py": b"mine"}, UploadKind.CODE)
    thieves = with_uploads(replace(backend, objects=CountingStore(), table=MemoryTable()))
    theirs = stored(thieves, tmp_path, {"task.py": b"theirs"}, UploadKind.CODE)
    for info in thieves.objects.list_prefix(folder_of(theirs.id)):
        for identifier in (made.id, theirs.id):
            backend.objects.put(info.key.replace(theirs.id, identifier), thieves.objects.get(info.key))
    for identifier in (made.id, theirs.id):
        with pytest.raises(UntrustedObjectError):
            list(read_code(backend, identifier))


def test_contents_of_another_upload_are_refused(backend: Backend, tmp_path: Path) -> None:
    one, other = (stored(backend, tmp_path, {"task.py": text}, UploadKind.CODE) for text in (b"1", b"2"))
    backend.objects.put(contents_key(one.id), backend.objects.get(contents_key(other.id)))
    with pytest.raises(CorruptObjectError):
        list(read_code(backend, one.id))


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:5], lambda data: b"", lambda data: data + b"\0"])
def test_damaged_contents_are_refused_and_mended_by_another_upload(
    backend: Backend, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    made = stored(backend, tmp_path, {"a": b"1"})
    backend.objects.put(contents_key(made.id), damage(backend.objects.get(contents_key(made.id))))
    with pytest.raises(CorruptObjectError):
        list(source_of(backend).find(made.id))
    stored(backend, tmp_path, {"a": b"1"})
    assert [info.key for info in source_of(backend).find(made.id)] == [f"{made.id}/a"]


def test_a_file_that_is_gone_is_stored_again(backend: Backend, tmp_path: Path) -> None:
    made = stored(backend, tmp_path, {"a": b"1", "b": b"2"})
    backend.objects.delete_prefix(f"{folder_of(made.id)}000001")
    with pytest.raises(InputMissingError, match="`smr upload` brings it back"):
        source_of(backend).get(f"{made.id}/b")
    stored(backend, tmp_path, {"a": b"1", "b": b"2"})
    assert source_of(backend).get(f"{made.id}/b") == b"2"


def test_a_file_that_changes_while_it_is_stored_is_not(store: CountingStore, tmp_path: Path) -> None:
    class Changing(CountingStore):
        def put(self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False) -> bool:
            (tmp_path / "a").write_bytes(b"2")
            return super().put(key, data, if_absent=if_absent)

    backend = with_uploads(replace(open_memory(), objects=Changing()))
    with pytest.raises(InputChangedError, match="changed while it was uploaded"):
        stored(backend, tmp_path, {"a": b"1"})
    assert list(backend.objects.list_prefix("jobs/")) == []
    assert list_uploads(backend.table) == []


@pytest.fixture
def session(backend: Backend) -> Session:
    return Session(backend=backend)


def test_what_a_path_means_is_what_the_file_system_means(session: Session, backend: Backend, tmp_path: Path) -> None:
    written(tmp_path, {"there/wanted.txt": b"wanted", "there/deep/too.txt": b"too", "other.txt": b"other"})
    (tmp_path / "link").symlink_to("there/deep")
    found = session.upload_data(f"{tmp_path}/link/..")
    assert found.id == session.upload_data(tmp_path / "there").id
    assert [info.key for info in source_of(backend).find(found.id)] == [f"{found.id}/deep/too.txt", f"{found.id}/wanted.txt"]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("", "Nothing found under ''"),
        ("~nobody-of-this-name/x", "Nothing found under '~nobody-of-this-name/x'"),
        ("bad", r"Cannot upload '.*bad\\udcff\.txt': its name is no UTF-8 text\. Rename it"),
    ],
)
def test_what_cannot_be_uploaded_is_told(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, told: str) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, {"here.txt": b"not meant", os.fsdecode(b"bad/bad\xff.txt"): b"1"})
    with pytest.raises(InputError, match=told):
        session.upload_data(path)
    with pytest.raises(InputError, match=told if path == "bad" else "There is no folder with code under"):
        session.upload_code(path)
    assert session.uploads() == []


class RemovingStore(CountingStore):
    """While the objects of an upload are looked at, somebody removes it, once."""

    def __init__(self) -> None:
        super().__init__()
        self.removes: list[Callable[[], object]] = []

    def list_prefix(self, prefix: str) -> Iterator[ObjectInfo]:
        found = list(super().list_prefix(prefix))
        while self.removes:
            self.removes.pop()()
        return iter(found)


@pytest.mark.parametrize("again", [{"a": b"1"}, {"a": b"1", "b": LARGE}])
def test_what_is_removed_while_it_is_uploaded_again_stands_in_the_end(tmp_path: Path, again: dict[str, bytes]) -> None:
    store = RemovingStore()
    backend = with_uploads(replace(open_memory(), objects=store))
    first = stored(backend, tmp_path, again)
    store.removes.append(lambda: remove_upload(backend, first.id))
    assert stored(backend, tmp_path, again).id == first.id
    assert [one.id for one in list_uploads(backend.table)] == [first.id]
    assert source_of(backend).get(f"{first.id}/a") == b"1"


def test_nothing_is_no_upload(backend: Backend, tmp_path: Path) -> None:
    for contents in ({}, {"a": b""}):
        with pytest.raises(InputEmptyError, match="there is nothing to upload"):
            stored(backend, tmp_path, contents)


# ---------------------------------------------------------------- naming


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("", ["a.txt", "x/a.csv", "x/y/b.txt", "x/y/c.txt"]),
        ("/a.txt", ["a.txt"]),
        ("/x", ["x/a.csv", "x/y/b.txt", "x/y/c.txt"]),
        ("/x/y/", ["x/y/b.txt", "x/y/c.txt"]),
        ("/*.txt", ["a.txt"]),
        ("/**/*.txt", ["a.txt", "x/y/b.txt", "x/y/c.txt"]),
        ("/x/**", ["x/a.csv", "x/y/b.txt", "x/y/c.txt"]),
        ("/x/*/[bd].txt", ["x/y/b.txt"]),
    ],
)
def test_what_a_pattern_means(backend: Backend, tmp_path: Path, pattern: str, names: list[str]) -> None:
    made = stored(backend, tmp_path, {"a.txt": b"1", "x/a.csv": b"2", "x/y/b.txt": b"3", "x/y/c.txt": b"4"})
    found = find(files(f"{made.id}{pattern}"), backend.sources)
    assert [(one.scheme, one.info.key) for one in found] == [(SCHEME, f"{made.id}/{name}") for name in names]


def test_what_is_not_there_is_told(backend: Backend, tmp_path: Path) -> None:
    made = stored(backend, tmp_path, {"a.txt": b"1"})
    with pytest.raises(InputMissingError, match=f"the upload holds no such file. `smr uploads {made.id}` lists its files"):
        find(files(f"{made.id}/b.txt"), backend.sources)
    with pytest.raises(InputMissingError, match="it was removed, or has expired"):
        find(files("data-0123456789abcdef"), backend.sources)


def test_a_list_of_uploads_is_asked_about() -> None:
    with pytest.raises(PlanError, match=r"names an upload\. Say smr\.files"):
        classify(["data-0123456789abcdef"])
    assert upload_named("./data-0123456789abcdef") == upload_named("data-0123456789ABCDEF") == upload_named("data-1") == ""


# ---------------------------------------------------------------- removing, and expiring


def job(backend: Backend, name: str, *, base: str = "", ended: bool = False) -> None:
    ledger = Ledger(backend.table, name)
    ledger.create_job(JobEntry(name, "", 1.0, "plan", base=base))
    if ended:
        ledger.put_outcome(Outcome(JobState.DONE, 2.0))


@pytest.mark.parametrize("reader", ["itself", "derived"])
def test_what_a_job_reads_is_not_removed_before_it_has_ended(backend: Backend, tmp_path: Path, reader: str) -> None:
    made = stored(backend, tmp_path, {"a": b"1"})
    note_use(backend, "11111111", [f"{made.id}/a", "other"])
    job(backend, "11111111", ended=reader == "derived")
    if reader == "derived":
        job(backend, "22222222", base="11111111")
    at_work = "22222222" if reader == "derived" else "11111111"
    with pytest.raises(ConfigError, match=f"is read by {at_work}, which has not ended: wait for that, or `smr cancel {at_work}`"):
        remove_upload(backend, made.id)
    Ledger(backend.table, at_work).put_outcome(Outcome(JobState.DONE, 2.0))
    assert remove_upload(backend, made.id).id == made.id
    assert list(backend.objects.list_prefix("jobs/data-")) == []
    assert list_uploads(backend.table) == []
    with pytest.raises(ConfigError, match="There is no upload"):
        remove_upload(backend, made.id)
    with pytest.raises(InputMissingError):
        find(files(made.id), backend.sources)


def test_what_was_removed_may_be_uploaded_again(backend: Backend, tmp_path: Path) -> None:
    made = stored(backend, tmp_path, {"a": b"1"})
    remove_upload(backend, made.id)
    assert stored(backend, tmp_path, {"a": b"1"}).id == made.id
    assert source_of(backend).get(f"{made.id}/a") == b"1"


def test_what_nobody_used_for_long_expires_unless_a_job_that_is_kept_reads_it(backend: Backend, tmp_path: Path) -> None:
    unused, used = (stored(backend, tmp_path, {"a": content}) for content in (b"1", b"2"))
    note_use(backend, "11111111", [used.id])
    job(backend, "11111111", ended=True)
    now = backend.clock.now()
    assert remove_expired_uploads(backend.objects, backend.table, now=now, keep_seconds=3600) == ()
    assert remove_expired_uploads(backend.objects, backend.table, now=now + 7200, keep_seconds=3600) == (unused.id,)
    assert [one.id for one in list_uploads(backend.table)] == [used.id]


def test_where_objects_expire_by_themselves_nothing_is_deleted_and_what_is_old_is_stored_again(
    backend: Backend, store: CountingStore, tmp_path: Path
) -> None:
    expiring = replace(backend, expires=True)
    made = stored(expiring, tmp_path, {"a": b"1"})
    count = len(store.puts)
    stored(expiring, tmp_path, {"a": b"1"})
    assert len(store.puts) == count
    remove_upload(expiring, made.id)
    assert list_uploads(expiring.table) == []
    assert len(list(store.list_prefix(folder_of(made.id)))) == 2
    stored(expiring, tmp_path, {"a": b"1"})
    assert len(store.puts) == 2 * count
    old = replace(expiring, policy=replace(expiring.policy, longest=-1.0))
    stored(old, tmp_path, {"a": b"1"})
    assert len(store.puts) == 3 * count


def test_the_key_is_asked_for_when_something_is_read(backend: Backend) -> None:
    """A session that names no upload makes none."""
    assert backend.table.query("lasting") == []
    with pytest.raises(SmrError):
        list(source_of(backend).find("data-0123456789abcdef"))
    assert keys_of(backend.table) is keys_of(backend.table)
