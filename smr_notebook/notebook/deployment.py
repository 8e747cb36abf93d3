"""`%smr deploy`, `%smr doctor`, `%smr down`: the commands of the shell that look after a deployment, in a cell.

Rules of this module:

* What a command does is its own business (`commands.aws`); only its console differs. Nobody is asked anything: what the shell asks about
  must be said.
* A command that does not end well is an error, with all that it told: a runner of notebooks must see it.
* What a command tells is the value of the cell. Where somebody watches a command that takes minutes, each line is shown as it comes, and
  there is no value: a saved notebook holds the same either way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from IPython.display import display

from smr_notebook.commands import aws as cli_aws
from smr_notebook.commands.console import Console
from smr_notebook.config import from_machine
from smr_notebook.errors import ConfigError, DeploymentError
from smr_notebook.notebook.arguments import MagicParser
from smr_notebook.notebook.mode import Display
from smr_notebook.notebook.screens import show
from smr_notebook.views.render import Shown


@dataclass(frozen=True, slots=True)
class Command:
    """A command: how it is written, what it does, how it fails where it raises nothing, whether it takes minutes."""

    usage: str
    summary: str
    failure: str = ""
    slow: bool = False


COMMANDS: Final = {
    "deploy": Command("deploy [options]", "make or change a deployment on AWS", slow=True),
    "doctor": Command("doctor [options]", "what stands between you and a job on AWS", "not all is as it should be"),
    "down": Command("down --yes [options]", "remove a deployment with all that it holds", "something is left", slow=True),
}
"""By name."""


def command_help(name: str) -> Shown:
    """Return the options of a command."""
    return Shown(command_parser(name).format_help())


def run_command(name: str, words: Sequence[str], mode: Display, *, given: Mapping[str, object]) -> Shown | None:
    """Run a command.

    Args:
        name: One of `COMMANDS`.
        words: Its options.
        mode: How progress is shown by the running cell.
        given: The settings of the notebook, of which those say the place that no option says.

    Returns:
        What it told; nothing where that is on the screen already.

    Raises:
        ConfigError: An option is wrong, or `down` is not meant.
        DeploymentError: It did not end well.
        SmrError: What was asked could not be done.
    """
    __tracebackhide__ = True
    options = command_parser(name).read(list(words))
    for place in ("stack", "region", "profile"):
        setattr(options, place, getattr(options, place) or given.get(place))
    if name == "down" and not options.yes:
        stack = from_machine({"stack": options.stack}).stack
        raise ConfigError(f"%smr down deletes the stack {stack} with all jobs and results. If you mean it: %smr down --stack {stack} --yes")
    lines = _Lines(_PAINTERS.get(mode) if COMMANDS[name].slow else None)
    code = options.run(options, Console(lines.tell, lambda _: ""))
    if code:
        raise DeploymentError(f"%smr {name}: {COMMANDS[name].failure}.\n{lines}")
    return None if lines.shown else Shown(str(lines))


class _Lines:
    """What a command tells. Shown by a painter, if there is one, from the second line on: a single one is an answer, not progress."""

    def __init__(self, painter: Callable[[], Callable[[list[str]], None]] | None) -> None:
        self._told: list[str] = []
        self._painter = painter
        self._paint: Callable[[list[str]], None] | None = None

    def __str__(self) -> str:
        return "\n".join(self._told)

    @property
    def shown(self) -> bool:
        """Whether they are on the screen."""
        return self._paint is not None

    def tell(self, line: str) -> None:
        """Take a line."""
        self._told.append(line)
        if self._paint is None and self._painter is not None and len(self._told) > 1:
            self._paint = self._painter()
        if self._paint is not None:
            self._paint(self._told)


class _NotebookLines:
    """Shows lines as one output of the cell, which grows."""

    def __init__(self) -> None:
        self._handle: Any = None

    def __call__(self, lines: list[str]) -> None:
        data = {"text/plain": "\n".join(lines)}
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(data, raw=True)


class _TerminalLines:
    """Shows lines one after the other."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, lines: list[str]) -> None:
        show({"text/plain": "\n".join(lines[self._count :])})
        self._count = len(lines)


_PAINTERS: Final[dict[Display, Callable[[], Callable[[list[str]], None]]]] = {Display.PANEL: _NotebookLines, Display.TEXT: _TerminalLines}
"""Where somebody watches."""


def command_parser(name: str) -> MagicParser:
    """Return the parser of a command, with the manners of a magic's. Raises `KeyError`."""
    commands = MagicParser(prog="%smr").add_subparsers()
    cli_aws.add_commands(commands)
    parser = commands.choices[name]
    parser.allow_abbrev = False
    return parser
