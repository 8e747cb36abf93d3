"""Formats as values: what a user says of the input reaches the plan, or is refused at once."""

from __future__ import annotations

from typing import Any

import pytest

from smr_notebook import formats
from smr_notebook.dataflow.known_formats import KNOWN
from smr_notebook.errors import ConfigError
from smr_notebook.formats import NAMES, InputFormat, format_of
from smr_notebook.model import Format


@pytest.mark.parametrize("name", [name for name in formats.__all__ if name in NAMES])
def test_a_format_by_its_name_is_what_its_function_makes_without_options(name: str) -> None:
    assert format_of(name) == getattr(formats, name)()


@pytest.mark.parametrize(("alias", "format"), [("lines", Format.TEXT), ("json", Format.JSONL), ("bytes", Format.BINARY)])
def test_a_format_may_have_more_names_than_one(alias: str, format: Format) -> None:
    assert format_of(alias) == InputFormat(format)


def test_auto_is_left_to_the_objects() -> None:
    assert format_of("auto") is None


@pytest.mark.parametrize("wrong", ["xml", "items", "frame", None, 3, Format])
def test_what_is_no_format_is_refused_with_those_that_are(wrong: object) -> None:
    with pytest.raises(ConfigError, match=r"is not known. Use auto, text, jsonl, .*smr\.formats\.text"):
        format_of(wrong)


@pytest.mark.parametrize("format", sorted(set(Format) - {Format.PARSED, Format.SEVERAL}))
def test_what_a_format_is_is_known(format: Format) -> None:
    assert format in KNOWN, f"Format.{format.name} has no row in smr_notebook.dataflow.known_formats.KNOWN: say there what reads it."


def test_no_two_formats_are_told_by_one_name_or_beginning() -> None:
    suffixes = [suffix for known in KNOWN.values() for suffix in known.suffixes]
    beginnings = [known.magic for known in KNOWN.values() if known.magic]
    assert (len(set(suffixes)), len(set(beginnings))) == (len(suffixes), len(beginnings))
    assert [suffix for suffix in suffixes if suffix != suffix.lower() or not suffix.startswith(".")] == []
    assert all(known.called for known in KNOWN.values() if known.suffixes), "what a name tells needs a word for messages: `called`"


def test_a_function_that_was_not_called_is_told_so() -> None:
    with pytest.raises(ConfigError, match=r"Call it: format=smr\.formats\.text\(\)"):
        format_of(formats.text)


def test_what_can_be_named_is_all_that_is_shown() -> None:
    assert dir(formats) == sorted(formats.__all__)


@pytest.mark.parametrize(
    "wrong",
    [
        {"header": 0},
        {"header": None},
        {"newlines": "no"},
        {"infer": 1},
        {"doublequote": 1},
        {"skip": 1.5},
        {"skip": True},
        {"skip": -1},
        {"delimiter": 5},
        {"quotechar": 5},
        {"columns": [1]},
        {"names": [1, 2]},
    ],
)
def test_an_argument_of_csv_that_makes_no_sense_is_named(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ConfigError, match=f"^{name} "):
        formats.csv(**wrong)
