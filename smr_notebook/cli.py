"""The command line, `smr`: what can be asked of the package without a notebook.

The commands stand in rooms of their own. What fails is one sentence on standard error, and exit code 1; a word that is not understood
is exit code 2, as everywhere.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from smr_notebook.commands import aws as cli_aws
from smr_notebook.commands import jobs as cli_jobs
from smr_notebook.commands import run as cli_run
from smr_notebook.commands import setup as cli_setup
from smr_notebook.commands import triggers as cli_triggers
from smr_notebook.commands import uploads as cli_uploads
from smr_notebook.commands.console import Console, run
from smr_notebook.errors import SmrError

ROOMS = (
    cli_run.add_commands,
    cli_triggers.add_commands,
    cli_jobs.add_commands,
    cli_uploads.add_commands,
    cli_aws.add_commands,
    cli_setup.add_commands,
)
"""Where the commands are, in the order of `smr --help`."""

_INTERRUPTED = 130
_UNREAD = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command in a shell, and return the exit code of the process."""
    parser = argparse.ArgumentParser(prog="smr", description="Map/reduce from a notebook cell: jobs, deployments on AWS, Jupyter.")
    words = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a terminal or a file cannot hold is told, and not the end of a job
    try:
        return run(words, Console(_print, _ask, _note), rooms=ROOMS, parser=parser)
    except SmrError as error:
        sys.stderr.write(f"smr: {error}\n")
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # nobody reads on: `smr jobs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where the rest goes when Python ends
        return _UNREAD


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _note(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _ask(question: str) -> str:
    """Ask on the terminal; nobody answers where there is none."""
    if not sys.stdin.isatty():
        return ""
    sys.stdout.write(question)
    sys.stdout.flush()
    return sys.stdin.readline()
