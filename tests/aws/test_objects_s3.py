"""A bucket holds the contract of `ObjectStore`."""

from __future__ import annotations

import tracemalloc
from functools import partial

import pytest

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.objects import PART, S3Store
from smr_notebook.testing.objects import SharedObjectStoreTests, keys


class TestS3Store(SharedObjectStoreTests):
    @pytest.fixture
    def open_store(self, aws: str, clients: Clients, bucket: str) -> partial[S3Store]:
        return partial(S3Store, clients, bucket)


@pytest.fixture
def store(aws: str, clients: Clients, bucket: str) -> S3Store:
    return S3Store(clients, bucket)


def test_a_long_stream_is_never_in_memory(store: S3Store) -> None:
    tracemalloc.start()
    try:
        store.put("a", (bytes([number]) * (1 << 20) for number in range(100)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * PART
    assert store.get("a", 99 << 20) == bytes([99]) * (1 << 20)
    assert store.delete_prefix("a") == 1


@pytest.mark.parametrize(
    "key", ["a//b", "a/../b", "./a", "a/.", "/a", "a/", "a\\b", "%2e%2e/a", "a?versionId=1", "a&b=c", "\r\n", "<a>&amp;"]
)
def test_what_is_no_key_elsewhere_is_one_here(store: S3Store, key: str) -> None:
    """A user's bucket holds such keys, and the path of a request must not change them."""
    assert store.put(key, key.encode(), if_absent=True)
    assert not store.put(key, b"", if_absent=True)
    assert store.get(key) == key.encode()
    assert keys(store, "") == keys(store, key) == [key]
    assert store.delete_prefix(key) == 1
    assert keys(store, "") == []
