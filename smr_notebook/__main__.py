"""Commands for setting up: `python -m smr_notebook kernels install|list|remove`, `python -m smr_notebook nbval-sanitize`.

A wheel brings its kernelspec along; an editable install does not, and `kernels install` puts it where Jupyter looks.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

KERNEL = "smr-local"
_SPEC = {
    "argv": ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}", "--ext=smr_notebook.autoload"],
    "display_name": "MapReduce (local)",
    "language": "python",
    "metadata": {"debugger": True},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, and return the exit code of the process."""
    options = _parser().parse_args(arguments)
    for line in options.run(options):
        sys.stdout.write(line + "\n")
    return 0


def kernel_spec() -> dict[str, object]:
    """Return the kernelspec, as `kernels/jupyter/smr-local/kernel.json` holds it."""
    return dict(_SPEC)


def _install(options: argparse.Namespace) -> list[str]:
    from jupyter_client.kernelspec import KernelSpecManager  # noqa: PLC0415 - only these commands need Jupyter

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "kernel.json").write_text(json.dumps(kernel_spec(), indent=2) + "\n", encoding="utf-8")
        prefix = None if options.user else options.prefix or sys.prefix
        where = KernelSpecManager().install_kernel_spec(folder, KERNEL, user=options.user, prefix=prefix)
    return [f"installed {KERNEL} in {where}"]


def _list(options: argparse.Namespace) -> list[str]:  # noqa: ARG001 - the signature of all commands
    from jupyter_client.kernelspec import KernelSpecManager  # noqa: PLC0415 - as above

    found = KernelSpecManager().find_kernel_specs()
    return [f"{name}  {where}" for name, where in sorted(found.items()) if name.startswith("smr-")] or [
        "no kernelspec of this package is installed"
    ]


def _remove(options: argparse.Namespace) -> list[str]:  # noqa: ARG001 - the signature of all commands
    from jupyter_client.kernelspec import KernelSpecManager  # noqa: PLC0415 - as above

    manager = KernelSpecManager()
    if KERNEL not in manager.find_kernel_specs():
        return [f"{KERNEL} is not installed"]
    return [f"removed {manager.remove_kernel_spec(KERNEL)}"]


def _sanitize(options: argparse.Namespace) -> list[str]:  # noqa: ARG001 - the signature of all commands
    return [str(files("smr_notebook") / "notebook" / "nbval_sanitize.cfg")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m smr_notebook", description="Set up Jupyter and CI for smr_notebook.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    sanitize = commands.add_parser("nbval-sanitize", help="print the path of the file for `pytest --nbval-sanitize-with`")
    sanitize.set_defaults(run=_sanitize)
    kernels = commands.add_parser("kernels", help="install, list or remove the Jupyter kernelspec").add_subparsers(
        required=True, metavar="ACTION"
    )
    install = kernels.add_parser("install", help="put the kernelspec where Jupyter looks")
    place = install.add_mutually_exclusive_group()
    place.add_argument("--user", action="store_true", help="for this user, not only for this environment")
    place.add_argument("--prefix", help="into another environment")
    install.set_defaults(run=_install)
    kernels.add_parser("list", help="show what is installed").set_defaults(run=_list)
    kernels.add_parser("remove", help="remove it again").set_defaults(run=_remove)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
