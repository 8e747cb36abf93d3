"""The folder holds the contract of `ObjectStore`, and what only a folder can get wrong."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smr_notebook.backends.local.objects import FolderStore
from smr_notebook.errors import ObjectNotFoundError, StoreError
from smr_notebook.testing.objects import SharedObjectStoreTests, keys
from smr_notebook.testing.races import in_threads


class TestFolderStore(SharedObjectStoreTests):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> partial[FolderStore]:
        return partial(FolderStore, tmp_path / "no" / "such" / "folder" / "yet")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def store(root: Path) -> FolderStore:
    return FolderStore(root)


BAD_KEYS = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    "a/..",
    "a\0b",
    ".writing",
    ".writing/a",
    "\ud800",
    "a/\udc80",
]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_what_is_not_a_key_is_refused(store: FolderStore, root: Path, key: str) -> None:
    for call in (lambda: store.put(key, b"x"), lambda: store.put(key, b"x", if_absent=True), lambda: store.get(key)):
        with pytest.raises(StoreError, match="cannot be a key"):
            call()
    assert not root.exists()


@pytest.mark.parametrize("prefix", [*BAD_KEYS[1:], "../", ".writing/", "a\0/", ".w", "./", "//"])
def test_nothing_is_listed_or_deleted_outside(store: FolderStore, root: Path, prefix: str) -> None:
    outside = root.parent / "a"
    outside.write_bytes(b"x")
    store.put("z/b", b"x")
    left_over = root / ".writing" / "left-over"
    left_over.write_bytes(b"part")
    assert list(store.list_prefix(prefix)) == []
    assert store.delete_prefix(prefix) == 0
    assert keys(store, "") == ["z/b"]
    assert outside.exists()
    assert left_over.exists()


def test_nothing_but_the_objects_is_left_in_the_folder(store: FolderStore, root: Path) -> None:
    for _ in range(3):
        store.put("a/b/c", b"x")
        store.put("a/b/c", b"y", if_absent=True)
        store.put("a/d", iter([b"x"]), if_absent=True)
    assert {path.relative_to(root).as_posix() for path in root.rglob("*")} == {"a", "a/b", "a/b/c", "a/d", ".writing"}
    store.delete_prefix("a/b/")
    assert {path.relative_to(root).as_posix() for path in root.rglob("*")} == {"a", "a/d", ".writing"}
    store.delete_prefix("a/d")
    assert {path.relative_to(root).as_posix() for path in root.rglob("*")} == {".writing"}


def test_empty_folders_that_somebody_left_are_removed_with_their_prefix(store: FolderStore, root: Path) -> None:
    (root / "a/b/c").mkdir(parents=True)
    (root / "a/d").mkdir()
    (root / "b").mkdir()
    assert store.delete_prefix("a/") == 0
    assert [path.name for path in root.iterdir()] == ["b"]


def test_a_listing_reads_only_the_folder_of_its_prefix(store: FolderStore, root: Path) -> None:
    for key in ("a/x/1", "a/y/1", "b/1"):
        store.put(key, b"")
    listing = store.list_prefix("a/x/")
    assert [info.key for info in listing] == ["a/x/1"]
    lazy = store.list_prefix("a/")
    assert next(lazy).key == "a/x/1"
    store.put("a/y/2", b"")
    assert [info.key for info in lazy] == ["a/y/1", "a/y/2"]


@pytest.mark.parametrize("if_absent", [False, True])
def test_a_key_cannot_be_the_folder_of_another(store: FolderStore, if_absent: bool) -> None:
    store.put("a/b", b"x")
    for key in ("a", "a/b/c", "a/b/c/d"):
        with pytest.raises(StoreError, match=f"'{key}'"):
            store.put(key, b"y", if_absent=if_absent)
    with pytest.raises(ObjectNotFoundError):
        store.get("a")
    assert keys(store, "") == ["a/b"]


def test_a_name_too_long_is_an_error_that_names_the_key(store: FolderStore) -> None:
    with pytest.raises(StoreError, match=r"xxx.*File name too long.*Check"):
        store.put("a/" + "x" * 300, b"")


def test_a_root_that_is_a_file_is_an_error(root: Path) -> None:
    root.write_bytes(b"")
    with pytest.raises(StoreError, match="Not a directory"):
        FolderStore(root).put("a", b"")
    assert list(FolderStore(root).list_prefix("")) == []


def test_two_versions_written_in_the_same_moment_differ(store: FolderStore, root: Path) -> None:
    seen = set()
    for body in (b"1", b"2"):
        store.put("a", body)
        os.utime(root / "a", ns=(0, 0))
        seen.add(next(store.list_prefix("a")).version)
    assert len(seen) == 2


def test_writers_in_one_new_folder_do_not_disturb_each_other(store: FolderStore) -> None:
    for number in range(20):
        in_threads(8, lambda thread, number=number: store.put(f"{number}/a/b/c/{thread}", b"x"))  # type: ignore[misc]
    assert len(keys(store, "")) == 160


def test_a_folder_that_comes_and_goes_disturbs_no_writer(store: FolderStore, root: Path) -> None:
    store.put("first", b"")
    written = threading.Event()

    def flap() -> None:
        while not written.is_set():
            for change, folder in ((os.rmdir, "busy/0"), (os.rmdir, "busy"), (os.mkdir, "busy"), (os.mkdir, "busy/0")):
                with suppress(OSError):
                    change(root / folder)

    def write() -> int:
        try:
            return sum(store.put(f"busy/0/{number}", b"x", if_absent=True) + store.delete_prefix("busy/0/") for number in range(500))
        finally:
            written.set()

    assert in_threads(3, lambda thread: write() if thread == 0 else flap())[0] == 1000


def test_a_stream_in_flight_is_not_listed(store: FolderStore) -> None:
    halfway, go_on = threading.Event(), threading.Event()

    def chunks() -> Iterator[bytes]:
        yield b"first"
        halfway.set()
        go_on.wait()
        yield b"second"

    def work(thread: int) -> list[str]:
        if thread == 0:
            store.put("a/b", chunks())
            return []
        halfway.wait()
        listed = keys(store, "")
        go_on.set()
        return listed

    assert in_threads(2, work) == [[], []]
    assert store.get("a/b") == b"firstsecond"


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.text(max_size=20),
        st.lists(
            st.sampled_from(["a", "..", ".", "", "\0", "\n", "%2e%2e", "é", "e\u0301", "\ud800", "~", ".writing", "c:", "\\..\\"]),
            max_size=5,
        ).map("/".join),
    )
)
def test_whatever_a_key_says_nothing_is_made_outside_of_the_folder(tmp_path: Path, key: str) -> None:
    below = tmp_path / "outer" / "objects"
    store = FolderStore(below)
    with suppress(StoreError):
        store.put(key, b"data")
        assert store.get(key) == b"data"
        assert [info.key for info in store.list_prefix(key)] == [key]
        store.delete_prefix(key)
    assert [found for found in tmp_path.rglob("*") if below not in found.parents and found not in {below, below.parent}] == []


def test_nobody_else_enters_a_folder_that_is_made(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        FolderStore(tmp_path / "new" / "objects").put("a", b"")
    finally:
        os.umask(before)
    assert {found.stat().st_mode & 0o777 for found in (tmp_path / "new", tmp_path / "new" / "objects")} == {0o700}
