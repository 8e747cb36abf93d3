"""What a command of the shell is given besides its options: where its lines go, and who answers its questions.

A command is a function of its options and of a console, and returns the exit code. So the shell, `%smr` in a notebook and a test run the
very same commands.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Console:
    """Where a command runs.

    Attributes:
        tell: Takes one line for people, or one text for other programs.
        ask: Shows a question, and returns the answer; empty where nobody can answer.
        note: Takes a line that is no answer: how far something is, what should be known. Nobody sees it where nothing is said.
    """

    tell: Callable[[str], None]
    ask: Callable[[str], str]
    note: Callable[[str], None] = lambda _: None


Command = Callable[[Namespace, Console], int]
"""A command: what it was told, and where it runs; returns the exit code."""

Room = Callable[[Any], None]
"""Adds the commands of one room to the subparsers of a parser, each with its `Command` as the default `run`."""


def add_place(command: ArgumentParser) -> None:
    """Add the options that say which deployment is meant; what is not said is in the settings, as for a notebook."""
    command.add_argument("--stack", metavar="S", help="name of the deployment on AWS (default: smr)")
    command.add_argument("--region", metavar="R", help="region of AWS (default: that of the profile or of AWS_REGION)")
    command.add_argument("--profile", metavar="P", help="profile of the credentials (default: AWS_PROFILE)")


def run(words: Sequence[str], console: Console, *, rooms: Sequence[Room], parser: ArgumentParser) -> int:
    """Run one command, and return its exit code.

    Args:
        words: The command with its options.
        console: Where its lines go, and who answers its questions.
        rooms: Where the commands are.
        parser: Reads the words, and says what is wrong with them.

    Raises:
        SmrError: What was asked could not be done.
    """
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add_commands in rooms:
        add_commands(commands)
    options = parser.parse_args(words)
    return int(options.run(options, console))
