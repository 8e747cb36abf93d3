"""Run by `make test-wheel` in an environment that holds the wheel and nothing of the notebook extra."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

import smr_notebook
from smr_notebook.config import Settings

EXPECTED = (
    "smr_notebook/py.typed",
    "smr_notebook/dataflow/FORMAT.md",
    "/nbval_sanitize.cfg",
    "/share/jupyter/kernels/smr-local/kernel.json",
    "/share/jupyter/kernels/smr-aws/kernel.json",
    "/share/smr_notebook/lambda/Dockerfile",
    "/share/smr_notebook/lambda/check.py",
    "/share/smr_notebook/lambda/entry.py",
    "/licenses/LICENSE",
)


def double(number: int) -> list[tuple[int, int]]:
    """Map a number to itself and its double."""
    return [(number, 2 * number)]


def main(wheel: Path) -> None:
    """Check what the wheel holds, that it came from here, and that it runs a job without IPython."""
    names = zipfile.ZipFile(wheel).namelist()
    missing = [expected for expected in EXPECTED if not any(name.endswith(expected) for name in names)]
    assert missing == [], f"{wheel.name} lacks {missing}"
    strange = [name for name in names if not name.startswith(("smr_notebook/", "smr_notebook-"))]
    assert strange == [], f"{wheel.name} holds {strange}"
    assert importlib.util.find_spec("IPython") is None, "the environment should be bare"
    assert Path(smr_notebook.__file__).is_relative_to(sysconfig.get_path("purelib")), smr_notebook.__file__
    assert importlib.metadata.version("smr_notebook") == smr_notebook.__version__
    with tempfile.TemporaryDirectory() as folder:
        session = smr_notebook.Session(settings=Settings(workspace=Path(folder)))
        frame = session.map_reduce(double, None, [1, 2, 3], wait=True)
        session.close()
    assert frame["value"].tolist() == [2, 4, 6], frame
    print(f"{wheel.name}: {len(names)} files, imports and runs without IPython")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
