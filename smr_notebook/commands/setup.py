"""`smr kernels install|list|remove` and `smr nbval-sanitize`: what Jupyter and CI need once.

A wheel brings its kernelspecs along; an editable install does not, and `kernels install` puts them where Jupyter looks.

A kernelspec is an ordinary Python kernel that has loaded the magics, and whose environment says on which platform jobs run: so its name is
true whatever the user's environment or a project file says. What a cell says itself counts for more, as everywhere: `smr.use("aws")` in the
local kernel goes to AWS.

`kernels remove` removes what `kernels install` put there, in the place that is named, and never a file that pip has on its list: that
goes with the package.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping
from importlib.metadata import distributions
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from smr_notebook.commands.console import Console
from smr_notebook.errors import ConfigError

_TITLES: Final[Mapping[str, str]] = {"local": "MapReduce (local)", "aws": "MapReduce (AWS)"}
"""What Jupyter calls a kernel, by the platform of its jobs."""

_PACKAGES: Final = ("lib/python3*/site-packages", "lib64/python3*/site-packages", "Lib/site-packages")
"""Where the packages of an environment are."""


def add_commands(commands: Any) -> None:
    """Add the commands to the subparsers of a parser."""
    sanitize = commands.add_parser("nbval-sanitize", help="print the path of the file for `pytest --nbval-sanitize-with`")
    sanitize.set_defaults(run=_sanitize)
    kernels = commands.add_parser("kernels", help="install, list or remove the Jupyter kernelspecs")
    actions = kernels.add_subparsers(required=True, metavar="ACTION")
    install = actions.add_parser("install", help="put the kernelspecs where Jupyter looks")
    install.set_defaults(run=_install)
    actions.add_parser("list", help="show what is installed").set_defaults(run=_list)
    remove = actions.add_parser("remove", help="remove what was installed there; what pip installed goes with the package")
    remove.set_defaults(run=_remove)
    for action, elsewhere in ((install, "into another environment"), (remove, "from another environment")):
        place = action.add_mutually_exclusive_group()
        place.add_argument("--user", action="store_true", help="for this user, not only for this environment")
        place.add_argument("--prefix", help=elsewhere)


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
            try:
                where = KernelSpecManager().install_kernel_spec(folder, name, user=options.user, prefix=prefix)
            except OSError as error:
                raise ConfigError(
                    f"kernels install: {name} cannot be written to {_place(options) / name} ({error.strerror}). "
                    "Give another place: --user, or --prefix with a folder that is yours."
                ) from error
        console.tell(f"installed {name} in {where}")
    return 0


def _list(options: Namespace, console: Console) -> int:  # noqa: ARG001 - the signature of all commands
    from jupyter_client.kernelspec import KernelSpecManager  # noqa: PLC0415 - as above

    found = KernelSpecManager().find_kernel_specs()
    lines = [f"{name}  {where}" for name, where in sorted(found.items()) if name.startswith("smr-")]
    for line in lines or ["no kernelspec of this package is installed"]:
        console.tell(line)
    return 0


def _remove(options: Namespace, console: Console) -> int:
    """Return 1 where something stays that was meant to go."""
    place, refused = _place(options), False
    owned = {file.resolve() for file in _files_of_pip(options.prefix)}
    for name in kernel_specs():
        where = place / name
        if (where / "kernel.json").resolve() in owned:
            refused = True
            console.tell(f"{name} stays in {where}: pip installed it with the package, and `pip uninstall smr_notebook` removes both")
        elif not where.is_dir():
            console.tell(f"{name} is not installed in {place}; `smr kernels list` shows where it is, --user and --prefix name other places")
        else:
            _delete(where)
            console.tell(f"removed {where}")
    return int(refused)


def _delete(where: Path) -> None:
    try:
        if where.is_symlink():
            where.unlink()
        else:
            shutil.rmtree(where)
    except OSError as error:
        raise ConfigError(f"kernels remove: {where} cannot be removed ({error.strerror}). Do it as its owner.") from error


def _place(options: Namespace) -> Path:
    """Return the folder of kernelspecs that the options name."""
    from jupyter_client.kernelspec import KernelSpecManager  # noqa: PLC0415 - as above

    if options.user:
        return Path(KernelSpecManager().user_kernel_dir)
    return Path(options.prefix or sys.prefix).absolute() / "share" / "jupyter" / "kernels"


def _files_of_pip(prefix: str | None) -> Iterator[Path]:
    """Yield the files that pip has on the list of this package: in this environment, and in another one if it is named."""
    others = [str(folder) for pattern in _PACKAGES for folder in Path(prefix).glob(pattern)] if prefix else []
    for found in distributions(name="smr_notebook", path=[*sys.path, *others]):
        yield from (Path(str(file.locate())) for file in found.files or ())


def _sanitize(options: Namespace, console: Console) -> int:  # noqa: ARG001 - the signature of all commands
    console.tell(str(files("smr_notebook") / "notebook" / "nbval_sanitize.cfg"))
    return 0
