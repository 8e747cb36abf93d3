"""A job that the test runs by hand."""

from __future__ import annotations

import pytest

from smr_notebook.testing.job_by_hand import ITEMS, Job, functions, remainders


@pytest.fixture
def job() -> Job:
    return Job(functions(remainders), ITEMS)
