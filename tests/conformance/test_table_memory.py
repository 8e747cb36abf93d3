"""The reference table holds the contract of `Table`."""

from __future__ import annotations

import pytest

from smr_notebook.backends.memory.table import MemoryTable
from smr_notebook.testing.table import TableTests


class TestMemoryTable(TableTests):
    @pytest.fixture
    def table(self) -> MemoryTable:
        return MemoryTable()
