"""Run a notebook without a browser and print it as text: prose, cells and their outputs.

Exits with 1 when a cell raises, after printing what stands before it and the error.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


def as_text(output: Any) -> str:
    """Return what a terminal can show of one output of a cell."""
    match output["output_type"]:
        case "stream":
            return str(output["text"]).rstrip()
        case "error":
            return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output["traceback"]))  # without its colours
        case _:
            return str(output["data"].get("text/plain", "")).rstrip()


def blocks(notebook: Any) -> Iterator[str]:
    """Yield the blocks of text that a reader of the notebook sees, in order."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            yield "\n".join(f"    {line}" for line in cell.source.splitlines())
            yield from (as_text(output) for output in cell.outputs)
        else:
            yield cell.source


def main() -> int:
    """Run the notebook named on the command line, print it, and return the exit code."""
    parser = argparse.ArgumentParser(description="Run a notebook and print it as text.")
    parser.add_argument("notebook", type=Path)
    path: Path = parser.parse_args().notebook
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]  # nbformat has no annotations
    client = NotebookClient(
        notebook,
        resources={"metadata": {"path": str(path.parent)}},
        timeout=300,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # a kernel on this machine need not warn about its network
    )
    code = 0
    try:
        client.execute()
    except CellExecutionError:
        code = 1  # the failing cell's output holds the traceback
    print("\n\n".join(block for block in blocks(notebook) if block))
    return code


if __name__ == "__main__":
    sys.exit(main())
