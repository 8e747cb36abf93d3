"""The last step of a build: what the image holds can be imported, and is what the notebook said it should be."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from smr_notebook.environment import environment

MODULES = ("awslambdaric", "boto3", "pandas", "pyarrow.parquet", "entry")


def main() -> None:
    """End with a message when the environment is not the one in `stamp.json`."""
    for module in MODULES:
        importlib.import_module(module)
    wanted = json.loads((Path(__file__).parent / "stamp.json").read_text(encoding="utf-8"))
    versions = dict(wanted["packages"])
    stamp = environment(tuple(versions))
    found = {"Python": stamp.python, **dict(stamp.packages)}
    differences = [
        f"{name} {found.get(name, 'missing')} instead of {version}"
        for name, version in {"Python": wanted["python"], **versions}.items()
        if found.get(name) != version
    ]
    if differences:
        sys.exit("The image would differ from the notebook: " + "; ".join(differences))


if __name__ == "__main__":
    main()
