"""What a worker loads before it works: nothing that only a notebook needs, or few jobs. It is paid for with each cold start."""

from __future__ import annotations

import subprocess
import sys

import pytest

NEEDLESS = (
    "IPython",
    "ipywidgets",
    "matplotlib",
    "pandas",
    "platformdirs",
    "polars",
    "smr_notebook.config",
    "smr_notebook.control.firing",
    "smr_notebook.control.triggers",
    "smr_notebook.dataflow.frames.programs",
    "smr_notebook.dataflow.mending",
    "smr_notebook.job.handle",
    "smr_notebook.notebook",
    "smr_notebook.pictures",
)
LOADED = "import sys, smr_notebook.handler\nprint(*sys.modules)"


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    done = subprocess.run([sys.executable, "-c", LOADED], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", NEEDLESS)
def test_a_worker_loads_nothing_that_only_a_notebook_or_few_jobs_need(loaded: set[str], module: str) -> None:
    assert "smr_notebook.control.worker" in loaded
    assert not [name for name in loaded if name == module or name.startswith(f"{module}.")]
