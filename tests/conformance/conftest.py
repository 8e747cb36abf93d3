"""Failing asserts inside the shipped suites are explained like those of the tests."""

from __future__ import annotations

import pytest

for suite in ("clock", "objects", "source", "stateful", "table"):
    pytest.register_assert_rewrite(f"smr_notebook.testing.{suite}")
