"""The extension that the kernelspecs name, so that `%load_ext smr_notebook` in a notebook stays silent on every kernel."""

from __future__ import annotations

from typing import Any

from smr_notebook.notebook.extension import load


def load_ipython_extension(shell: Any) -> None:
    """Load this package into a shell."""
    load(shell)
