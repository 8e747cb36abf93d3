"""What a command of the shell is given besides its options: where its lines go, and who answers its questions.

A command is a function of its options and of a console, and returns the exit code. So the shell, `%smr` in a notebook and a test run the
very same commands.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Console:
    """Where a command runs.

    Attributes:
        tell: Takes one line for people, or one text for other programs.
        ask: Shows a question, and returns the answer; empty where nobody can answer.
    """

    tell: Callable[[str], None]
    ask: Callable[[str], str]


Command = Callable[[Namespace, Console], int]
"""A command: what it was told, and where it runs; returns the exit code."""
