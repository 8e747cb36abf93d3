"""What a child process is told by its environment, so that it works as this one does, from another folder and after a fork."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""How many threads numerical libraries start, at import: a process that has some cannot be forked. Arrow's own pool follows the first."""

SINGLE_THREADED: Final = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""Keeps Arrow from starting a thread on import, for the same reason."""


def import_paths() -> dict[str, str]:
    """Return `PYTHONPATH` with paths that hold in another folder, and with this package where it runs from its source, if any."""
    paths = [str(Path(path).resolve()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    root = Path(__file__).resolve().parents[2]
    if root.name not in {"site-packages", "dist-packages"}:
        paths.append(str(root))
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))} if paths else {}
