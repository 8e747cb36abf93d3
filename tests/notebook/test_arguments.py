"""The line of `%%smr`."""

from __future__ import annotations

import argparse
import weakref
from types import SimpleNamespace

import pytest

from smr_notebook import formats
from smr_notebook.errors import ConfigError
from smr_notebook.notebook.arguments import CellOptions, MagicParser, braced, cell_help, expand, parse_cell_line, split_words


def test_options_and_inputs_may_alternate() -> None:
    found = parse_cell_line("a.txt --into df b.txt -r 8 c.txt", {})
    assert found == CellOptions(inputs=("a.txt", "b.txt", "c.txt"), into="df", reducers=8)
    assert parse_cell_line("a.txt -r tree", {}).reducers == "tree"


def test_all_options() -> None:
    line = "-i x -o df -r 3 -c -f lines -s 64MB --retries 0 --name 'my job' --map f --reduce g --sort keys,values -q"
    line += " --on-error skip --max-bad 5"
    expected = CellOptions(
        inputs=("x",), into="df", reducers=3, combine=True, format="lines", split_size=64_000_000, retries=0,
        name="my job", map="f", reduce="g", sort="keys,values", quiet=True, on_error="skip", max_bad=5,
    )  # fmt: skip
    assert parse_cell_line(line, {}) == expected


@pytest.mark.parametrize(("said", "means"), [("0.001", 0.001), ("0.1%", 0.001), ("1", 1), ("1.0", 1.0), ("1_000", 1_000)])
def test_max_bad_is_a_share_or_a_whole_number(said: str, means: float) -> None:
    found = parse_cell_line(f"x --on-error collect --max-bad {said}", {})
    assert (found.on_error, found.max_bad, type(found.max_bad)) == ("collect", means, type(means))


def test_a_wrong_tolerance_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"on_error must be one of 'fail', 'skip', 'collect'; got 'ignore'"):
        parse_cell_line("x --on-error ignore", {})
    with pytest.raises(ConfigError, match=r"max_bad must be a share of the records such as 0\.001"):
        parse_cell_line("x --on-error skip --max-bad many", {})


def test_an_empty_line_leaves_all_to_the_session() -> None:
    assert parse_cell_line("", {}) == CellOptions()


@pytest.mark.parametrize("option", ["-d", "--detach"])
def test_detach(option: str) -> None:
    assert parse_cell_line(f"x {option}", {}).detach


def test_a_range_with_spaces_is_one_word() -> None:
    assert split_words("range(0, 100, 5) --into df") == ["range(0,100,5)", "--into", "df"]


def test_variables_are_filled_in() -> None:
    space = {"day": "01", "n": 4, "at": SimpleNamespace(root="/data"), "names": ["a b"]}
    found = parse_cell_line("{at.root}/{day}/*.gz '{names[0]}' -r {n}", space)
    assert found == CellOptions(inputs=("/data/01/*.gz", "a b"), reducers=4)


def test_a_format_with_options_is_named_by_its_variable() -> None:
    space = {"logs": formats.text(encoding="latin-1"), "other": 1, "_1": formats.binary()}
    assert parse_cell_line("x -f logs", space) == CellOptions(inputs=("x",), format=formats.text(encoding="latin-1"))
    assert parse_cell_line("x --format jsonl", space).format == "jsonl"
    assert parse_cell_line("x --format text", {"text": formats.text(encoding="latin-1")}).format == formats.text(encoding="latin-1")
    with pytest.raises(ConfigError, match=r"'log' is not known. Did you mean 'logs'\? Known: auto, .*, bytes, logs\."):
        parse_cell_line("x -f log", space)
    with pytest.raises(ConfigError, match="'other' is not known"):
        parse_cell_line("x -f other", space)


def test_braces_that_name_nothing_stay() -> None:
    assert expand("{}", {}) == "{}"
    assert expand("{1,2}", {}) == "{1,2}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x --reducer 3", "%%smr: there is no option '--reducer'. Did you mean '--reducers'? All options: %%smr --help"),
        ("x --reduces=3", "%%smr: there is no option '--reduces'. Did you mean '--reducers'? All options: %%smr --help"),
        ("x --zzz", "%%smr: there is no option '--zzz'. All options: %%smr --help"),
        (
            "x -f josnl",
            (
                "%%smr: argument -f/--format: 'josnl' is not known. Did you mean 'jsonl'? "
                "Known: auto, text, lines, jsonl, json, csv, tsv, parquet, arrow, feather, binary, bytes."
            ),
        ),
        ("x --reducers x", "%%smr: argument -r/--reducers: 'x' is not a whole number. All options: %%smr --help"),
        ("x --reducers 0", "%%smr: argument -r/--reducers: '0' is less than 1. All options: %%smr --help"),
        ("x --into 1x", "%%smr: argument -o/--into: '1x' is not a variable name. All options: %%smr --help"),
        ("x --into class", "%%smr: argument -o/--into: 'class' is not a variable name. All options: %%smr --help"),
        ("x --into", "%%smr: argument -o/--into: expected one argument. All options: %%smr --help"),
        ("x 'y", "%%smr: the line cannot be read (no closing quotation): \"x 'y\". Check the quotes."),
        ("x --output ''", "%%smr: argument --output: the path is empty. All options: %%smr --help"),
        ("{dayz}/x", "%%smr: '{dayz}/x' cannot be filled in: no 'dayz' in this notebook. Did you mean 'days'?"),
        ("{dayz.x}", "%%smr: '{dayz.x}' cannot be filled in: no 'dayz' in this notebook. Did you mean 'days'?"),
        (
            "{{n}}/{days[0]}",
            (
                "%%smr: '{{n}}/{days[0]}' cannot be filled in: 'days' is of type int, and {days[0]} of it gives TypeError: "
                "'int' object is not subscriptable."
            ),
        ),
        (
            "{days.foo}",
            (
                "%%smr: '{days.foo}' cannot be filled in: 'days' is of type int, and {days.foo} of it gives AttributeError: "
                "'int' object has no attribute 'foo'."
            ),
        ),
    ],
)  # fmt: skip
def test_a_mistake_says_what_to_do(line: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_cell_line(line, {"days": 1})
    assert str(caught.value) == message


def test_a_wrong_way_to_write_a_value_is_told() -> None:
    with pytest.raises(ConfigError, match=r"%%smr: '\{days:zz\}' cannot be filled in: .*of type 'int'"):
        parse_cell_line("{days:zz}", {"days": 1})


def test_a_wrong_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a size"):
        parse_cell_line("x -s 12q", {})
    with pytest.raises(ConfigError, match="sort must be 'keys', 'values', or 'keys,values'; got 'up'"):
        parse_cell_line("x --sort up", {})


@pytest.mark.parametrize("text", ["{}", "a{b}.txt", "{b}{1}", "{1,2}", "plain", "{b", "{{b}}"])
def test_a_braced_name_is_filled_in_as_itself(text: str) -> None:
    assert expand(braced(text), {"b": "other"}) == text


class Gone:
    """Something that may be referred to weakly."""


def test_what_cannot_be_looked_at_disturbs_no_cell() -> None:
    assert parse_cell_line("x", {"gone": weakref.proxy(Gone())}) == CellOptions(inputs=("x",))


def test_help_names_every_option() -> None:
    text = cell_help()
    fields = set(CellOptions.__slots__) - {"inputs"}
    assert {field for field in fields if f"--{field.replace('_', '-')}" not in text} == set()


def test_help_is_an_option_and_not_an_exit() -> None:
    assert parse_cell_line("--help", {}).help


def test_the_parser_never_ends_the_process() -> None:
    parser = MagicParser(prog="%smr x", add_help=False)
    parser.add_argument("id")
    with pytest.raises(ConfigError, match=r"%smr x: the following arguments are required: id"):
        parser.read([])
    assert isinstance(parser, argparse.ArgumentParser)
