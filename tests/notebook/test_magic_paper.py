"""`docs/magic.md` says what the parsers know: no option, no subcommand and no setting more or less."""

from __future__ import annotations

import re
from argparse import Action
from dataclasses import fields
from pathlib import Path

import pytest

from smr_notebook.config import Settings
from smr_notebook.notebook.arguments import cell_parser
from smr_notebook.notebook.deployment import COMMANDS
from smr_notebook.notebook.subcommands import CELLS, WORDS, parser_of, usages

PAGE = (Path(__file__).parents[2] / "docs" / "magic.md").read_text(encoding="utf-8")


def first_cells(heading: str) -> list[str]:
    """Return the first cell of each row of the table under a heading, without the head of the table."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [re.split(r"(?<!\\)\|", row)[1].strip().replace("\\|", "|") for row in rows]


def written(action: Action) -> str:
    """Return an option as the page writes it: `-o`, `--into VAR`."""
    value = f" {action.metavar}" if action.metavar else ""
    return ", ".join(f"`{name}`" for name in action.option_strings).removesuffix("`") + f"{value}`"


def test_the_page_tells_every_option_of_a_cell() -> None:
    assert first_cells("`%%smr`") == [written(action) for action in cell_parser().actions if action.option_strings]


def test_the_page_tells_every_subcommand_as_its_help_does() -> None:
    assert [cell.strip("`") for cell in first_cells("`%smr`")] == list(usages())


def test_the_page_tells_every_setting() -> None:
    assert [cell.strip("`") for cell in first_cells("Settings")] == [field.name for field in fields(Settings)]


@pytest.mark.parametrize("word", [word for word in WORDS if word not in CELLS and word not in COMMANDS])
def test_a_usage_tells_every_option(word: str) -> None:
    usage = next(usage for usage in usages() if usage.split()[0] == word)
    told = set(re.findall(r"--?\w+", usage))
    for action in parser_of(word).actions:
        assert not action.option_strings or action.dest == "help" or told & set(action.option_strings)
