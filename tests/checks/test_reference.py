"""The reference leaves nothing public out, and no page tells of an option or of a setting that is not there."""

from __future__ import annotations

import importlib.util
import inspect
import re
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import smr_notebook
from smr_notebook import errors, formats, ports
from smr_notebook.config import Settings, meanings
from smr_notebook.control.carriage import TARIFFS
from smr_notebook.control.costs import PRICES
from smr_notebook.notebook.deployment import COMMANDS
from smr_notebook.notebook.subcommands import CELLS, WORDS, parser_of, usages

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
COST_MODEL = ROOT / "docs" / "cost-model.md"
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
OTHERS = {
    "coming-from.md": {"--lambda", "--undeploy"},
    "ci.md": {"--cwd", "--nbmake", "--nbmake-kernel", "--nbval", "--nbval-current-env", "--nbval-kernel-name", "--nbval-lax"},
    "dask.md": {"--contestants", "--rounds", "--scale", "--workloads"},
    "performance.md": {"--contestants", "--folder", "--rounds", "--scale", "--workloads", "--help"},
    "preview.md": {"--nbval"},
}
"""Options of other programs, by the page that names them."""
ELSEWHERE = {"SmrError", "__version__", "errors", "formats", "load_ipython_extension"}
"""Public names that the reference has in another form: as a module, or because nobody calls them."""


@cache
def commands_page() -> ModuleType:
    """Return the script that writes `docs/commands.md`."""
    spec = importlib.util.spec_from_file_location("commands_page", ROOT / "docs" / "commands_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def options() -> frozenset[str]:
    """Return all options of the shell's commands and of the magics."""
    page: Any = commands_page()
    parsers = [*page.leaves(page.shell_parser()), *(parser_of(word) for word in WORDS)]
    return frozenset(name for parser in parsers for action in parser._actions for name in action.option_strings)


def test_the_page_of_commands_is_what_the_parsers_say() -> None:
    """Else: `python docs/commands_page.py`."""
    page: Any = commands_page()
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == page.page()


def test_what_the_page_of_commands_links_is_there() -> None:
    page: Any = commands_page()
    cell = {name for action in parser_of("run").actions for name in action.option_strings}
    words = {usage.split()[0] for usage in usages()}
    known = {"%%smr": cell, "%smr": words, "settings": {field.name for field in fields(Settings)}}
    assert {of: set(more) - known[of] for of, more in page.MORE.items()} == {of: set() for of in known}


@pytest.mark.parametrize("setting", [field.name for field in fields(Settings)])
def test_a_setting_says_what_it_means(setting: str) -> None:
    assert meanings()[setting]


@pytest.mark.parametrize("word", [word for word in WORDS if word not in CELLS and word not in COMMANDS])
def test_a_usage_tells_every_option(word: str) -> None:
    usage = next(usage for usage in usages() if usage.split()[0] == word)
    told = set(re.findall(r"--?\w+", usage))
    for action in parser_of(word).actions:
        assert not action.option_strings or action.dest == "help" or told & set(action.option_strings)


def test_the_reference_has_every_public_name() -> None:
    written = re.findall(r"^\.\. auto(?:function|class|exception):: smr_notebook\.(\w+)$", REFERENCE, re.MULTILINE)
    assert sorted(written) == sorted(set(smr_notebook.__all__) - ELSEWHERE)


@pytest.mark.parametrize("module", [errors, formats, ports], ids=lambda module: module.__name__)
def test_the_reference_has_every_public_module(module: ModuleType) -> None:
    """All public names in it have docstrings, or Sphinx would leave them out."""
    assert f".. automodule:: {module.__name__}\n" in REFERENCE
    own = {name: value for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__ and name[0] != "_"}
    assert [
        name for name, value in own.items() if (inspect.isclass(value) or inspect.isfunction(value)) and not inspect.getdoc(value)
    ] == []


def test_the_reference_names_every_suite() -> None:
    folder = ROOT / "smr_notebook" / "testing"
    defined = {
        f"{file.stem}.{name}" for file in folder.glob("*.py") for name in re.findall(r"^class (\w+Tests)\b", file.read_text(), re.MULTILINE)
    }
    assert set(re.findall(r"`(\w+\.\w+Tests)`", REFERENCE)) == defined


def test_the_cost_model_has_the_prices_of_the_lists() -> None:
    rows = [line.strip("| ").split(" | ")[-1] for line in COST_MODEL.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]
    x86, arm = PRICES["aws/us-east-1/x86_64"], PRICES["aws/us-east-1/arm64"]
    sqs, kinesis = TARIFFS["sqs"], TARIFFS["kinesis"]
    millions = [x86.invocation, x86.put, x86.get, x86.row_write, x86.row_read, sqs.unit, kinesis.unit]
    assert [float(found) for found in re.findall(r"[\d.]+", rows[0].replace("x86_64", "").replace("arm64", ""))] == [
        x86.gb_second,
        arm.gb_second,
    ]
    assert [float(row.split()[0]) for row in rows[1:]] == pytest.approx([price * 1e6 for price in millions])
    assert float(rows[-1].split()[-1]) == kinesis.shard_hour


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_names_only_options_that_are_there(path: Path) -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", path.read_text(encoding="utf-8").replace("--nbval-sanitize-with", "")))
    assert sorted(named - options() - OTHERS.get(path.name, set())) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_names_only_what_is_there(path: Path) -> None:
    """Functions of the package, what jobs and sessions can do, and formats, as far as they are written as in Python."""
    text = path.read_text(encoding="utf-8")
    fields_of_jobs = {"created", "id", "name", "user"}  # of an instance, which `dir` of the class does not tell
    others = {"toml", "handle"}  # a job file, and the module of jobs
    there = {
        r"\bsmr": set(smr_notebook.__all__),
        r"\bjob": {*dir(smr_notebook.Job), *fields_of_jobs, *others},
        r"\bsession": set(dir(smr_notebook.Session)),
        r"\bsmr\.formats": set(dir(formats)),
    }
    assert [
        f"{where}.{name}" for where, names in there.items() for name in re.findall(rf"{where}\.(\w+)\b", text) if name not in names
    ] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_names_only_settings_that_are_there(path: Path) -> None:
    named = set(re.findall(r"\bSMR_([A-Z_]+[A-Z])\b", path.read_text(encoding="utf-8")))
    assert sorted(name for name in named if name.lower() not in meanings()) == []
