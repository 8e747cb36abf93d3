"""`smr kernels install|list|remove` and `smr nbval-sanitize`: what Jupyter and CI need once.

A wheel brings its kernelspecs along; an editable install does not, and `kernels install` puts them where Jupyter looks.

A kernelspec is an ordinary Python kernel that has loaded the magics, and whose environment says on which platform jobs run: so its name is
true whatever the user's environment or a project file says. What a cell says itself counts for more, as everywhere: `smr.use("aws")` in the
local kernel goes to AWS.
"""

from __future__ import annotations

import json
import sys
import tempfile
from argparse import Namespace
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from smr_notebook.cli_console import Console

_TITLES: Final[Mapping[str, str]] = {"local": "MapReduce (local)", "aws": "MapReduce (AWS)"}
"""What Jupyter calls a kernel, by the platform of its jobs."""


def add_commands(commands: Any) -> None:
    """Add the commands to the subparsers of a parser."""
    sanitize = commands.add_parser("nbval-sanitize", help="print the path of the file for `pytest --nbval-sanitize-with`")
    sanitize.set_defaults(run=_sanitize)
    kernels = commands.add_parser("kernels", help="install, list or remove the Jupyter kernelspecs")
    actions = kernels.add_subparsers(required=True, metavar="ACTION")
    install = actions.add_parser("install", help="put the kernelspecs where Jupyter looks")
    place = install.add_mutually_exclusive_group()
    place.add_argument("--user", action="store_true", help="for this user, not only for this environment")
    place.add_argument("--prefix", help="into another environment")
    install.set_defaults(run=_install)
    actions.add_parser("list", help="show what is installed").set_defaults(run=_list)
    actions.add_parser("remove", help="remove them again").set_defaults(run=_remove)


def kernel_specs() -> dict[str, dict[str, object]]:
    """Return the kernelspecs by name, as the files `kernels/jupyter/*/kernel.json` hold them."""
    return {
        f"smr-{platform}": {
            "argv": ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}", "--ext=smr_notebook.autoload"],
            "display_name": title,
            "env": {"SMR_PLATFORM": platform},
            "language": "python",
            "metadata": {"debugger": True},
        }
        for platform, title in _TITLES.items()
    }


def _install(options: Namespace, console: Console) -> int:
    from jupyter_client.kernelspec import KernelSpecManager  # noqa: PLC0415 - only these commands need Jupyter

    prefix = None if options.user else options.prefix or sys.prefix
    for name, spec in kernel_specs().items():
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "kernel.json").write_text(json.dumps(spec, indent=2) + "\n", encoding="utf-8")
            where = KernelSpecManager().install_kernel_spec(folder, name, user=options.user, prefix=prefix)
        console.tell(f"installed {name} in {where}")
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
    for name in kernel_specs():
        installed = name in manager.find_kernel_specs()
        console.tell(f"removed {manager.remove_kernel_spec(name)}" if installed else f"{name} is not installed")
    return 0


def _sanitize(options: Namespace, console: Console) -> int:  # noqa: ARG001 - the signature of all commands
    console.tell(str(files("smr_notebook") / "notebook" / "nbval_sanitize.cfg"))
    return 0
