"""Triggers in memory hold the contract of `Triggers`."""

from __future__ import annotations

import zlib
from itertools import count

import pytest

from smr_notebook.backends.memory.triggers import MemoryTriggers
from smr_notebook.testing.triggers import TriggersBench, TriggersTests


class TestMemoryTriggers(TriggersTests):
    @pytest.fixture
    def bench(self) -> TriggersBench:
        calls: list[bytes] = []
        triggers, numbers = MemoryTriggers(calls.append), count()

        def upload(key: str, content: bytes) -> None:
            version = f"{zlib.crc32(content):08x}"
            triggers.appeared(f"bucket/{key}", version=version, size=len(content), sequence=str(next(numbers)))

        return TriggersBench(triggers, "bucket", upload, lambda: list(calls))
