"""The reference source holds the contract of `InputSource`."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from smr_notebook.backends.memory.source import MemorySource
from smr_notebook.testing.source import InputSourceTests, Place


class TestMemorySource(InputSourceTests):
    @pytest.fixture
    def objects(self) -> dict[str, bytes]:
        return {"elsewhere/a.txt": b""}

    @pytest.fixture
    def source(self, objects: dict[str, bytes]) -> MemorySource:
        return MemorySource(objects)

    @pytest.fixture
    def place(self, objects: dict[str, bytes]) -> Place:
        def place(placed: Mapping[str, bytes]) -> str:
            objects.update({f"in/put/{name}": body for name, body in placed.items()})
            return "in/put/"

        return place
