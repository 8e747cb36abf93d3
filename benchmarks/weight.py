"""What this package weighs: its wheel, what an environment with it and each extra holds, and what importing it takes.

    python benchmarks/weight.py [extra ...]

Each environment is made anew by pip, with the pinned versions, in a temporary folder, and holds neither pip nor byte code. Imports are
measured in that with `aws`, if that is asked for, as a worker has it: processor time, the median of nine processes, less that of a bare
Python.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = ("aws", "notebook", "dask", "redis", "sql", "polars", "plot")
IMPORTED = (
    ("smr_notebook", "import smr_notebook"),
    ("… and its session", "from smr_notebook import Session"),
    ("the handler of a worker", "import smr_notebook.handler"),
    ("pandas, for comparison", "import pandas"),
)
_TIMED = "import time; {}; print(time.process_time())"


def packages(folder: Path, wheel: Path, extra: str) -> tuple[int, int]:
    """Install the wheel and an extra into a folder, and return how many distributions that are, and their bytes."""
    wanted = f"{wheel}[{extra}]" if extra else str(wheel)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-compile"]
    subprocess.run([*pip, "--target", str(folder), "-c", str(ROOT / "constraints.txt"), wanted], check=True)
    return len(list(folder.glob("*.dist-info"))), sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def seconds(folder: Path, code: str) -> float:
    """Return the processor time of a process that runs some code with the packages of a folder."""
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {_TIMED.format(code)}"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def imports(folder: Path) -> list[tuple[str, float]]:
    """Return what is imported, and the seconds that it takes; what was imported first leaves its byte code to the others."""
    for _, code in IMPORTED:
        seconds(folder, code)
    bare = statistics.median(seconds(folder, "pass") for _ in range(9))
    return [(name, statistics.median(seconds(folder, code) for _ in range(9)) - bare) for name, code in IMPORTED]


def built(folder: Path) -> Path:
    """Build the wheel as it is in the tree, by way of an sdist, so that nothing stale gets in; return it."""
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        str(folder),
        str(ROOT),
    ]  # by way of an sdist: nothing stale gets in
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(ROOT / "smr_notebook.egg-info", ignore_errors=True)
    return next(folder.glob("*.whl"))


def main(extras: Sequence[str]) -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as place:
        wheel = built(Path(place) / "wheel")
        print(f"wheel: {wheel.stat().st_size / 1e3:,.0f} KB")
        for extra in ("", *extras):
            count, size = packages(Path(place) / (extra or "alone"), wheel, extra)
            print(f"| {extra or 'the wheel alone'} | {count} | {size / 1e6:,.0f} MB |")
        for name, taken in imports(Path(place) / "aws") if "aws" in extras else ():
            print(f"| {name} | {taken * 1e3:,.0f} ms |")


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or EXTRAS)
