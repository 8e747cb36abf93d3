"""The reference store holds the contract of `ObjectStore`."""

from __future__ import annotations

import pytest

from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.testing.objects import ObjectStoreTests


class TestMemoryStore(ObjectStoreTests):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()
