"""What every `ObjectStore` holds.

An adapter subclasses `ObjectStoreTests` and provides the fixture `store`: an empty store. An adapter for more than one process
subclasses `SharedObjectStoreTests` instead and provides the fixture `open_store`: a function without arguments that opens
the same, at first empty, store each time, and that pickles (`functools.partial(Store, address)` does)::

    class TestFolderStore(SharedObjectStoreTests):
        @pytest.fixture
        def open_store(self, tmp_path):
            return partial(FolderStore, tmp_path)

What the port leaves open is not tested: a key that is the folder of another key (`a` beside `a/b`) may be refused.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from smr_notebook.errors import ObjectNotFoundError, StoreError
from smr_notebook.ports import Buffer, ObjectStore
from smr_notebook.testing.races import create_all, in_processes, in_threads
from smr_notebook.testing.stateful import ODD_KEYS, run_store_machine


def keys(store: ObjectStore, prefix: str) -> list[str]:
    """Return the keys that a store lists."""
    return [info.key for info in store.list_prefix(prefix)]


class ObjectStoreTests:
    """The contract of `ports.ObjectStore`."""

    @pytest.mark.parametrize("size", [0, 1, 100_000])
    def test_what_was_put_is_what_is_got(self, store: ObjectStore, size: int) -> None:
        """Of all kinds of buffers."""
        body = (bytes(range(256)) * (size // 256 + 1))[:size]
        buffers: list[Buffer] = [body, bytearray(body), memoryview(body)]
        for number, buffer in enumerate(buffers):
            assert store.put(f"a/{number}", buffer)
            assert store.get(f"a/{number}") == body

    @pytest.mark.parametrize("start", [0, 1, 9, 10, 11, 1000])
    @pytest.mark.parametrize("stop", [None, 0, 1, 5, 10, 11, 1 << 40])
    @pytest.mark.parametrize("body", [b"0123456789", b""])
    def test_a_range_is_clamped_at_both_ends(self, store: ObjectStore, body: bytes, start: int, stop: int | None) -> None:
        """Beyond the end, and before the beginning, there is nothing."""
        store.put("digits", body)
        assert store.get("digits", start, stop) == body[start:stop]

    @pytest.mark.parametrize("key", ["none", "a", "a/", "a/b/c", "a/b/c/d", "a/bc", "none/none"])
    def test_what_is_not_there_is_not_found(self, store: ObjectStore, key: str) -> None:
        """Not the folder of an object, and nothing below an object. A name that cannot be a key may be refused as such."""
        store.put("a/b", b"x")
        with pytest.raises(StoreError if key.endswith("/") else ObjectNotFoundError, match=key):
            store.get(key)

    def test_a_put_replaces(self, store: ObjectStore) -> None:
        """Also a longer body by a shorter one."""
        assert store.put("a", b"a long first body")
        assert store.put("a", b"short")
        assert store.get("a") == b"short"

    def test_if_absent_leaves_what_stands(self, store: ObjectStore) -> None:
        """And says so."""
        assert store.put("a/b", b"first", if_absent=True)
        assert not store.put("a/b", b"second", if_absent=True)
        assert not store.put("a/b", iter([b"thi", b"rd"]), if_absent=True)
        assert store.get("a/b") == b"first"

    def test_what_was_deleted_is_absent(self, store: ObjectStore) -> None:
        """So it can be created again."""
        store.put("a/b", b"first")
        store.delete_prefix("a/b")
        assert store.put("a/b", b"second", if_absent=True)
        assert store.get("a/b") == b"second"

    @pytest.mark.parametrize("if_absent", [False, True])
    def test_a_stream_becomes_one_object(self, store: ObjectStore, if_absent: bool) -> None:  # noqa: FBT001 - a parameter of pytest
        """Of chunks of any kind, number and size; the empty stream becomes an empty object."""
        chunks: list[Buffer] = [b"", b"x" * 3_000_000, bytearray(b"yy"), memoryview(b"zzz")[1:], *([b"."] * 1000)]
        assert store.put("streamed", (chunk for chunk in chunks), if_absent=if_absent)
        assert store.get("streamed") == b"".join(chunks)
        assert store.put("nothing", iter(()), if_absent=if_absent)
        assert store.get("nothing") == b""

    @pytest.mark.parametrize("error", [ValueError("broken"), OSError("broken"), KeyboardInterrupt()])
    @pytest.mark.parametrize("if_absent", [False, True])
    def test_a_stream_that_fails_writes_nothing(self, store: ObjectStore, if_absent: bool, error: BaseException) -> None:  # noqa: FBT001 - as above
        """The caller gets the very error; an object that stood there stands."""

        def failing() -> Iterator[bytes]:
            yield b"x" * 1_000_000
            raise error

        store.put("old/a", b"old")
        for key in ("old/a", "new/a"):
            with pytest.raises(type(error)) as caught:
                store.put(key, failing(), if_absent=if_absent)
            assert caught.value is error
        assert keys(store, "") == ["old/a"]
        assert store.get("old/a") == b"old"

    def test_a_listing_is_in_order_of_the_bytes_of_the_keys(self, store: ObjectStore) -> None:
        """Whatever is in the keys."""
        for key in ODD_KEYS:
            store.put(key, key.encode())
        assert keys(store, "") == sorted(ODD_KEYS, key=str.encode)
        for prefix in {key[:length] for key in ODD_KEYS for length in range(1, 6)}:
            assert keys(store, prefix) == sorted((key for key in ODD_KEYS if key.startswith(prefix)), key=str.encode)
        assert [store.get(key) for key in ODD_KEYS] == [key.encode() for key in ODD_KEYS]

    def test_a_listing_has_no_last_page(self, store: ObjectStore) -> None:
        """There are stores that list 1,000 keys at a time."""
        expected = [f"many/{number % 3}/{number:05d}" for number in range(2600)]
        for key in expected:
            store.put(key, b"")
        assert keys(store, "many/") == sorted(expected)
        assert store.delete_prefix("many/") == 2600
        assert keys(store, "") == []

    def test_a_prefix_is_no_folder(self, store: ObjectStore) -> None:
        """It may end inside of a name, name one object, a folder, or nothing."""
        for key in ("job", "job-1/a", "job-10/a", "job-10/b/c", "jobs/x"):
            store.put(key, b"")
        assert keys(store, "job-1") == ["job-1/a", "job-10/a", "job-10/b/c"]
        assert keys(store, "job-1/") == ["job-1/a"]
        assert keys(store, "job-10/b/c") == ["job-10/b/c"]
        assert keys(store, "job-10/b/c/") == keys(store, "job-2") == keys(store, "no/such/folder/") == keys(store, "/") == []

    def test_a_listing_tells_sizes_and_versions(self, store: ObjectStore) -> None:
        """A version stays while the content does, and changes when the content does."""
        store.put("a", b"123")
        (first,) = store.list_prefix("a")
        (again,) = store.list_prefix("a")
        store.put("a", b"456")
        (changed,) = store.list_prefix("a")
        assert first == again
        assert (first.key, first.size) == (changed.key, changed.size) == ("a", 3)
        assert first.version != changed.version

    def test_a_prefix_is_deleted_and_nothing_else(self, store: ObjectStore) -> None:
        """And counted; a second time there is nothing."""
        for key in ("a/b", "a/c/d", "a/c/e", "a/cc", "a.b", "ab"):
            store.put(key, b"")
        assert store.delete_prefix("a/c") == 3
        assert keys(store, "") == ["a.b", "a/b", "ab"]
        assert store.delete_prefix("a/c") == 0
        assert store.delete_prefix("/") == 0
        assert store.delete_prefix("a") == 3
        assert keys(store, "") == []

    def test_the_empty_prefix_deletes_nothing(self, store: ObjectStore) -> None:
        """It is refused: it would be everything."""
        store.put("a", b"")
        with pytest.raises(StoreError):
            store.delete_prefix("")
        assert keys(store, "") == ["a"]

    def test_one_of_many_threads_creates(self, store: ObjectStore) -> None:
        """The object is the winner's, though all have seen that it is absent and written almost all of theirs."""
        for number in range(20):
            key, halfway = f"race/{number}", threading.Barrier(16)

            def body(thread: int, halfway: threading.Barrier = halfway) -> Iterator[bytes]:
                yield f"{thread} ".encode() * 5000
                halfway.wait()
                yield f"{thread}".encode()

            won = in_threads(16, lambda thread, key=key, body=body: store.put(key, body(thread), if_absent=True))  # type: ignore[misc]
            assert sum(won) == 1
            assert set(store.get(key).split()) == {f"{won.index(True)}".encode()}

    def test_a_reader_sees_one_body_or_another(self, store: ObjectStore) -> None:
        """Never parts of two, never a part of one, and never nothing once there was something."""
        bodies = [bytes([65 + number]) * (70_000 + number) for number in range(8)]
        store.put("hot", bodies[0])
        writing = threading.Event()
        writing.set()

        def work(thread: int) -> set[bytes]:
            if thread == 0:
                for body in bodies * 20:
                    store.put("hot", [body[:30_000], body[30_000:]])
                writing.clear()
                return set()
            seen: set[bytes] = set()
            while writing.is_set():
                seen.add(store.get("hot"))
            return seen

        assert set().union(*in_threads(4, work)) <= set(bodies)

    def test_deleting_disturbs_nobody(self, store: ObjectStore) -> None:
        """Objects are written and listed in a folder that others delete; each is deleted once."""

        def work(thread: int) -> tuple[int, int]:
            written = deleted = 0
            for number in range(150):
                if thread < 2:
                    written += store.put(f"busy/{number % 3}/{thread}-{number}", b"x", if_absent=True)
                    keys(store, "busy/")
                else:
                    deleted += store.delete_prefix("busy/")
            return written, deleted

        done = in_threads(4, work)
        deleted = sum(count for _, count in done) + store.delete_prefix("busy/")
        assert deleted == sum(count for count, _ in done) == 300
        assert keys(store, "") == []

    def test_any_sequence_of_calls_does_what_it_does_to_a_dict(self, store: ObjectStore) -> None:
        """See `stateful.ObjectStoreMachine`."""
        run_store_machine(store)


class SharedObjectStoreTests(ObjectStoreTests):
    """The contract of an `ObjectStore` that several processes open."""

    @pytest.fixture
    def store(self, open_store: Callable[[], ObjectStore]) -> ObjectStore:
        """The store as this process opens it."""
        return open_store()

    def test_two_openings_see_one_store(self, open_store: Callable[[], ObjectStore]) -> None:
        """At once."""
        first, second = open_store(), open_store()
        first.put("a", b"x")
        assert second.get("a") == b"x"
        assert not second.put("a", b"y", if_absent=True)

    def test_one_of_many_processes_creates(self, open_store: Callable[[], ObjectStore]) -> None:
        """Each object is the winner's."""
        writers = [f"writer-{number}" for number in range(4)]
        in_processes([partial(create_all, open_store, 40, writer=writer, writers=len(writers)) for writer in writers])
        store = open_store()
        won = [(number, writer) for writer in writers for number in store.get(f"won/{writer}").decode().split(",") if number]
        assert len(won) == 40
        assert {key: store.get(key) for key in keys(store, "race/")} == {
            f"race/{number:>04}": f"{writer}!".encode() for number, writer in won
        }
