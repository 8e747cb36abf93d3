"""`smr kernels install|list|remove` and `smr nbval-sanitize`: what Jupyter and CI need once.

A wheel brings its kernelspec along; an editable install does not, and `kernels install` puts it where Jupyter looks.
"""

from __future__ import annotations

import json
import sys
import tempfile
from argparse import Namespace
from importlib.resources import files
from pathlib import Path
from typing import Any

from smr_notebook.cli_console import Console

KERNEL = "smr-local"
_SPEC = {
    "argv": ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}", "--ext=smr_notebook.autoload"],
    "display_name": "MapReduce (local)",
    "language": "python",
    "metadata": {"debugger": True},
}


def add_commands(commands: Any) -> None:
    """Add the commands to the subparsers of a parser."""
    sanitize = commands.add_parser("nbval-sanitize", help="print the path of the file for `pytest --nbval-sanitize-with`")
    sanitize.set_defaults(run=_sanitize)
    kernels = commands.add_parser("kernels", help="install, list or remove the Jupyter kernelspec")
    actions = kernels.add_subparsers(required=True, metavar="ACTION")
    install = actions.add_parser("install", help="put the kernelspec where Jupyter looks")
    place = install.add_mutually_exclusive_group()
    place.add_argument("--user", action="store_true", help="for this user, not only for this environment")
    place.add_argument("--prefix", help="into another environment")
    install.set_defaults(run=_install)
    actions.add_parser("list", help="show what is installed").set_defaults(run=_list)
    actions.add_parser("remove", help="remove it again").set_defaults(run=_remove)


def kernel_spec() -> dict[str, object]:
    """Return the kernelspec, as `kernels/jupyter/smr-local/kernel.json` holds it."""
    return dict(_SPEC)


def _install(options: Namespace, console: Console) -> int:
    from jupyter_client.kernelspec import KernelSpecManager  # noqa: PLC0415 - only these commands need Jupyter

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "kernel.json").write_text(json.dumps(kernel_spec(), indent=2) + "\n", encoding="utf-8")
        prefix = None if options.user else options.prefix or sys.prefix
        where = KernelSpecManager().install_kernel_spec(folder, KERNEL, user=options.user, prefix=prefix)
    console.tell(f"installed {KERNEL} in {where}")
    return 0


def _list(options: Namespace, console: Console) -> int:  # noqa: ARG001 - the signature of all commands
    from jupyter_client.kernelspec import KernelSpecManager  # noqa: PLC0415 - as above

    found = KernelSpecManager().find_kernel_specs()
    lines = [f"{name}  {where}" for name, where in sorted(found.items()) if name.startswith("smr-")]
    for line in lines or ["no kernelspec of this package is installed"]:
        console.tell(line)
    return 0


def _remove(options: Namespace, console: Console) -> int:  # noqa: ARG001 - the signature of all commands
    from jupyter_client.kernelspec import KernelSpecManager  # noqa: PLC0415 - as above

    manager = KernelSpecManager()
    installed = KERNEL in manager.find_kernel_specs()
    console.tell(f"removed {manager.remove_kernel_spec(KERNEL)}" if installed else f"{KERNEL} is not installed")
    return 0


def _sanitize(options: Namespace, console: Console) -> int:  # noqa: ARG001 - the signature of all commands
    console.tell(str(files("smr_notebook") / "notebook" / "nbval_sanitize.cfg"))
    return 0
