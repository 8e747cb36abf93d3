"""Writes `docs/commands.md` from the parsers of the shell and of the magics, and from the docstrings of the settings.

    python docs/commands_page.py

A test compares the page with what this writes (`tests/checks/test_reference.py`), so nobody needs to remember it. `MORE` links what another
page says at length of an option or a setting.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, Final

from smr_notebook.cli import ROOMS
from smr_notebook.config import Settings, meanings
from smr_notebook.notebook.arguments import cell_parser
from smr_notebook.notebook.deployment import COMMANDS
from smr_notebook.notebook.subcommands import CELLS, WORDS, parser_of, usages

PAGE: Final = Path(__file__).parent / "commands.md"

HEAD: Final = """\
# Commands, options, settings

Written by `python docs/commands_page.py` from the parsers and the docstrings themselves; a test compares. `smr COMMAND --help`,
`%%smr --help` and `%smr WORD --help` say the same.
How they are used: [in a notebook cell](magic.md), [jobs from a shell](run.md), [on AWS](aws.md).
"""

MORE: Final = {
    "%%smr": {
        "--combine": "[aggregations](aggregations.md)",
        "--detach": "[cells](magic.md#running-on)",
        "--dry-run": "[plans](preview.md#a-plan)",
        "--exchange": "[exchanges](exchanges.md)",
        "--format": "[formats](formats.md)",
        "--include": "[cells](magic.md#what-travels)",
        "--keep": "[cells](magic.md#what-travels)",
        "--limit": "[cells](magic.md#the-result)",
        "--max-bad": "[partial results](partial-results.md)",
        "--max-cost": "[cost model](cost-model.md)",
        "--on-error": "[partial results](partial-results.md)",
        "--output": "[results](results.md)",
        "--preview": "[previews](preview.md)",
        "--reduce": "[aggregations](aggregations.md)",
        "--reducers": "[one output](stages.md#one-output)",
        "--timeout": "[cells](magic.md#running-on)",
    },
    "%smr": {
        "cost": "[cost model](cost-model.md)",
        "debug": "[debugging](debugging.md)",
        "deploy": "[on AWS](aws.md)",
        "errors": "[debugging](debugging.md)",
        "logs": "[debugging](debugging.md)",
        "preview": "[previews](preview.md)",
        "resume": "[resuming](resuming.md)",
        "retry": "[resuming](resuming.md)",
        "skew": "[pictures](pictures.md)",
        "so-far": "[results](results.md)",
        "timeline": "[pictures](pictures.md)",
    },
    "settings": {
        "address": "[Dask](dask.md)",
        "ci_seed": "[CI](ci.md)",
        "exchange": "[exchanges](exchanges.md)",
        "include": "[cells](magic.md#what-travels)",
        "job_timeout": "[cells](magic.md#running-on)",
        "max_cost": "[cost model](cost-model.md)",
        "merge_above": "[merging runs](exchanges.md#merging-runs)",
        "redis_url": "[Redis](exchanges.md#redis)",
        "stores": "[Dask](dask.md)",
        "user": "[users](resuming.md#users)",
    },
}
"""The page that says more: of an option, a word, a setting."""

_PLACE: Final = ("platform", "stack", "region", "profile")

_DEFAULTS: Final = {"workspace": "the platform's data folder", "result_limit": "2 GiB"}


def page() -> str:
    """Return the text of the page."""
    return "\n".join([HEAD, *_cells(), *_words(), *_settings(), *_shell()]).rstrip("\n") + "\n"


def shell_parser() -> argparse.ArgumentParser:
    """Return the parser of the shell, with all commands."""
    parser = argparse.ArgumentParser(prog="smr")
    commands = parser.add_subparsers(metavar="COMMAND")
    for add_commands in ROOMS:
        add_commands(commands)
    return parser


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield the parsers of all commands; of one with actions, those of its actions."""
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001 - argparse has no other way in
    if not inner:
        yield parser
    for action in inner:
        for each in action.choices.values():
            yield from leaves(each)


def _summaries(parser: argparse.ArgumentParser, prefix: str = "smr") -> Iterator[tuple[str, str]]:
    """Yield the summary of each command, and of each action of one, by how it is called."""
    for action in parser._actions:  # noqa: SLF001 - as above
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            for told in action._choices_actions:  # noqa: SLF001 - as above
                yield f"{prefix} {told.dest}", told.help or ""
            for name, each in action.choices.items():
                yield from _summaries(each, f"{prefix} {name}")


def _cells() -> Iterator[str]:
    yield "## A cell: `%%smr`\n"
    yield "```\n%%smr INPUT… [--into VAR] [options]\n```\n"
    more = MORE["%%smr"]
    rows = (
        (_named(action), _told(action), _first(more, action.option_strings)) for action in cell_parser().actions if action.option_strings
    )
    yield from _table(("option", "meaning", "more"), rows)


def _words() -> Iterator[str]:
    yield "## A line: `%smr`\n"
    yield "An ID may be shortened, or be the job's name; without one the latest job is meant.\n"
    rows = ((f"`{_escaped(usage)}`", _marked(told), MORE["%smr"].get(usage.split()[0], "")) for usage, told in usages().items())
    yield from _table(("`%smr …`", "meaning", "more"), rows)
    yield "`run` and `preview` have the options of a cell, and the commands of a deployment those of the shell. The others:\n"
    words = [word for word in WORDS if word not in CELLS and word not in COMMANDS]
    options = (
        (f"`{word}`", action) for word in words for action in parser_of(word).actions if action.option_strings and action.dest != "help"
    )
    yield from _table(("of", "option", "meaning"), ((word, _named(action), _told(action)) for word, action in options))


def _settings() -> Iterator[str]:
    yield "## Settings\n"
    yield "Where they may stand, and which source wins: [in a notebook cell](magic.md#settings).\n"
    told = meanings()
    rows = ((f"`{field.name}`", _default(field), told[field.name], MORE["settings"].get(field.name, "")) for field in fields(Settings))
    yield from _table(("setting", "default", "meaning", "more"), rows)


def _shell() -> Iterator[str]:
    yield "## A shell: `smr`\n"
    yield "Most commands have some of these, which say where. What is not said is in the [settings](#settings).\n"
    parser = shell_parser()
    summaries = dict(_summaries(parser))
    commands = list(leaves(parser))
    where = {action.dest: action for command in commands for action in command._actions if action.dest in _PLACE}  # noqa: SLF001 - as above
    yield from _table(("option", "meaning"), ((_named(where[name]), _told(where[name])) for name in _PLACE))
    for command in commands:
        yield f"### `{command.prog}`\n"
        told = summaries[command.prog]
        yield f"{told[0].upper()}{told[1:]}.\n"
        yield from _options([action for action in command._actions if action.dest != "help"])  # noqa: SLF001 - as above


def _options(actions: Sequence[argparse.Action]) -> Iterator[str]:
    """Yield the table of a command's options, with those that say where in one row."""
    rows = [(_named(action), _told(action)) for action in actions if action.dest not in _PLACE]
    where = [f"`--{action.dest}`" for action in actions if action.dest in _PLACE]
    rows += [(", ".join(where), "where: as above")] if where else []
    if rows:
        yield from _table(("option", "meaning"), rows)


def _named(action: argparse.Action) -> str:
    """Return an option as a person writes it: `-o`, `--into VAR`."""
    metavar = action.metavar or ("" if action.nargs == 0 else action.dest.upper())
    value = "{" + ",".join(map(str, action.choices)) + "}" if action.choices and not action.metavar else str(metavar)
    value = f"[{value}]" if action.nargs == "?" and action.option_strings else value
    more = "…" if action.nargs in {"+", "*"} and not value.startswith("[") else ""
    if not action.option_strings:
        return f"`{_escaped(value)}{more}`"
    names = ", ".join(f"`{name}`" for name in action.option_strings).removesuffix("`")
    return f"{names} {_escaped(value)}{more}`" if value else f"{names}`"


def _told(action: argparse.Action) -> str:
    return _marked((action.help or "").replace("%%", "%"))


def _marked(text: str) -> str:
    """Return a text of a parser as Markdown: options and values as code, where they are written without marks."""
    return re.sub(r"(?<![\w`-])(%{1,2}smr\b|%debug\b|--[a-z][a-z-]+)(?![\w`])", r"`\1`", _escaped(text))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _default(field: Field[Any]) -> str:
    if field.name in _DEFAULTS:
        return _DEFAULTS[field.name]
    value = field.default
    if value is MISSING or value in {"", ()}:
        return ""
    return f"{value:g}" if isinstance(value, float) else f"`{value}`" if isinstance(value, str) else str(value).lower()


def _first(more: dict[str, str], names: Sequence[str]) -> str:
    return next((more[name] for name in names if name in more), "")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |".replace("|  |", "| |")
    yield ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
