"""The line of `%%smr`: words in, one frozen value out.

The parser is argparse with its manners changed: it raises `ConfigError` where argparse would end the process, an unknown option says
which known one is near, and `--help` is a value to show. IPython's `UsageError` is never raised, because test runners for notebooks do
not see it: a mistyped option would pass CI.
"""

from __future__ import annotations

import argparse
import keyword
import re
import shlex
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from smr_notebook.config import DISPLAYS, EXCHANGES
from smr_notebook.dataflow.aggregations import BUILTINS
from smr_notebook.errors import ConfigError
from smr_notebook.formats import AUTO, NAMES, InputFormat
from smr_notebook.sessions.rounds import TREE
from smr_notebook.values.spellings import as_option, parse_size, read_bad, read_dollars, read_sorting, read_time, read_tolerance
from smr_notebook.values.suggestions import near
from smr_notebook.values.tolerance import OnError

FORMATS = (AUTO, *NAMES)
_SHORT = ("text", "jsonl", "csv", "tsv", "parquet", "arrow", "binary")
_RANGE = re.compile(r"\brange\([^()]*\)")
_FIELD = re.compile(r"\{[A-Za-z_][^{}]*\}")
_VARIABLE = re.compile(r"[.\[]")
_PREVIEW = ("--preview", 100)
_UNKNOWN_CHOICE = re.compile(r"^invalid choice: '(?P<got>[^']*)'")


@dataclass(frozen=True, slots=True)
class CellOptions:
    """What the line of a `%%smr` cell says. `None` means that the session decides.

    Attributes:
        inputs: Words that name the input, in order.
        into: Variable that takes the result; nothing but the panel is shown then.
        reducers: Number of partitions, or `tree`.
        combine: Whether `reduce` also combines on the map side.
        format: How the bytes become records.
        split_size: Bytes of input for each map task.
        retries: Further attempts of a task after its first one failed.
        max_cost: US dollars that the job may cost.
        sort: What is sorted: `keys`, `values`, or `keys,values`.
        on_error: What becomes of a record or a group that fails: `fail`, `skip` or `collect`.
        max_bad: How many may be left out: a share, or a whole number.
        detach: Whether the cell returns the job at once.
        name: What the job is called.
        dry_run: Whether only the plan is shown.
        preview: How many of the first records are tried here, and nothing else done; `None` for a job.
        map: Name of a function from another cell.
        reduce: The same.
        display: How progress is shown; `None` for as the settings say.
        quiet: Whether no progress is shown.
        keep: Whether the names that the body defines stay in the notebook.
        limit: Rows of the result that are loaded.
        output: Where the result is written, as Parquet, instead of being loaded.
        overwrite: Whether what stands there may be replaced.
        memory: Resident bytes that a worker may take before it spills.
        concurrency: Attempts that run at once, at most.
        timeout: Seconds after which the job gives up.
        include: Installed modules that travel with the functions.
        exchange: What carries the pairs from map to reduce.
        help: Whether only the options are shown.
    """

    inputs: tuple[str, ...] = ()
    into: str | None = None
    reducers: int | str | None = None
    combine: bool = False
    format: str | InputFormat = "auto"
    split_size: int | None = None
    retries: int | None = None
    max_cost: float | None = None
    sort: str | None = None
    on_error: str = "fail"
    max_bad: float | None = None
    detach: bool = False
    name: str = ""
    dry_run: bool = False
    preview: int | None = None
    map: str | None = None
    reduce: str | None = None
    display: str | None = None
    quiet: bool = False
    keep: bool = False
    limit: int | None = None
    output: str | None = None
    overwrite: bool = False
    memory: int | None = None
    concurrency: int | None = None
    timeout: float | None = None
    include: tuple[str, ...] = ()
    exchange: str | None = None
    help: bool = False

    @property
    def settings(self) -> dict[str, object]:
        """The settings that the line names, for its job alone; `None` for those that it does not."""
        return {"worker_memory": self.memory, "concurrency": self.concurrency, "job_timeout": self.timeout, "include": self.include or None}


@dataclass(frozen=True, slots=True)
class Worded:
    """A reader of an option's value that knows the words of which it is made.

    Attributes:
        read: Returns what a value means; raises `argparse.ArgumentTypeError`.
        words: What can be said, as far as it can be told.
    """

    read: Callable[[str], Any]
    words: tuple[str, ...]

    def __call__(self, value: str) -> Any:
        """Return what a value means. Raises `argparse.ArgumentTypeError`."""
        return self.read(value)


class MagicParser(argparse.ArgumentParser):
    """An argument parser that raises `ConfigError` instead of ending the process.

    A metavar says what a value is, to a person and to completion: `INPUT`, `VAR`, `ID`, `FUNCTION`, `MODULE`.
    """

    @property
    def actions(self) -> Sequence[argparse.Action]:
        """All options and positional words, in order."""
        return self._actions

    def error(self, message: str) -> NoReturn:
        """Raise the error of this line, with the known choice that is nearest to a wrong one."""
        option, _, rest = message.partition(": ")
        wrong = _UNKNOWN_CHOICE.match(rest)
        if wrong:
            named = [action for action in self._actions if f"argument {'/'.join(action.option_strings)}" == option]
            choices = [str(choice) for action in named for choice in action.choices or ()]
            hint = near(wrong["got"], choices)
            raise ConfigError(f"{self.prog}: {option}: {wrong['got']!r} is not known.{hint} Known: {', '.join(choices)}.")
        raise ConfigError(f"{self.prog}: {message}. All options: {self.prog} --help")

    def read(self, words: list[str]) -> argparse.Namespace:
        """Parse words in which options and inputs may alternate.

        Raises:
            ConfigError: An option is unknown, or a value is wrong.
        """
        found, unknown = self.parse_known_intermixed_args(words)
        if unknown:
            option = unknown[0].partition("=")[0]
            hint = near(option, self._option_string_actions)
            raise ConfigError(f"{self.prog}: there is no option {option!r}.{hint} All options: {self.prog} --help")
        return found


def parse_cell_line(line: str, namespace: Mapping[str, Any]) -> CellOptions:
    """Parse the words behind `%%smr`.

    Args:
        line: The rest of the first line of the cell.
        namespace: The notebook's variables, for `{var}` in inputs and option values, and for formats with options.

    Raises:
        ConfigError: An option or a value is wrong, or a `{var}` is not there.
    """
    own = formats_of(namespace)
    found = cell_parser((*FORMATS, *own)).read(_numbered([expand(word, namespace) for word in split_words(line)]))
    values = vars(found)
    format = own.get(found.format, found.format)
    inputs = (*values.pop("inputs"), *values.pop("more_inputs"))
    return CellOptions(**(values | {"inputs": inputs, "format": format, "include": tuple(values["include"])}))


def cell_help() -> str:
    """Return the text of `%%smr --help`."""
    return cell_parser().format_help()


def formats_of(namespace: Mapping[str, Any]) -> dict[str, InputFormat]:
    """Return the variables that hold a format with options; no other one is looked at, because it may raise where it is."""
    return {name: value for name, value in namespace.items() if issubclass(type(value), InputFormat) and not name.startswith("_")}


def split_words(line: str) -> list[str]:
    """Split a line as a shell does; a `range(…)` is one word even with spaces in it.

    Raises:
        ConfigError: A quotation does not end.
    """
    try:
        return shlex.split(_RANGE.sub(lambda match: match[0].replace(" ", ""), line))
    except ValueError as error:
        raise ConfigError(f"%%smr: the line cannot be read ({str(error).lower()}): {line!r}. Check the quotes.") from error


def expand(word: str, namespace: Mapping[str, Any]) -> str:
    """Replace `{var}`, `{var.attribute}` and `{var[key]}` in a word; `{{` and `}}` are braces.

    Raises:
        ConfigError: There is no such variable, or it has no such attribute or key.
    """
    if not _FIELD.search(word):
        return word
    try:
        return _Filling().vformat(word, (), namespace)
    except (_UnfilledError, ValueError, TypeError) as error:
        raise ConfigError(f"%%smr: {word!r} cannot be filled in: {error}") from error


def braced(name: str) -> str:
    """Return the word that `expand` makes a name of."""
    return name.replace("{", "{{").replace("}", "}}") if _FIELD.search(name) else name


class _UnfilledError(Exception):
    """A field of a word cannot be filled in."""


class _Filling(string.Formatter):
    """Fills in fields, and says of one that cannot be what it is."""

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        name = _VARIABLE.split(field_name, maxsplit=1)[0]
        if name not in kwargs:
            raise _UnfilledError(f"no {name!r} in this notebook.{near(name, _public(kwargs))}")
        try:
            return super().get_field(field_name, args, kwargs)
        except Exception as error:  # what an object of the user's raises
            what = f"{name!r} is of type {type(kwargs[name]).__name__}, and {{{field_name}}} of it gives"
            raise _UnfilledError(f"{what} {type(error).__name__}: {error}.") from error


def _numbered(words: list[str]) -> list[str]:
    """Give `--preview` its usual number where none follows: argparse would take the input behind it for one."""
    option, usual = _PREVIEW
    following = [*words, ""][1:]
    bare = (word == option and not behind[:1].isdigit() for word, behind in zip(words, following, strict=True))
    return [f"{option}={usual}" if alone else word for word, alone in zip(words, bare, strict=True)]


def _public(namespace: Mapping[str, Any]) -> list[str]:
    return [name for name in namespace if not name.startswith("_")]


def count(least: int) -> Callable[[str], int]:
    """Return a reader of whole numbers that are not below `least`, for an option of a parser."""

    def read(value: str) -> int:
        try:
            number = int(value.replace("_", "").replace(",", ""))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{value!r} is not a whole number") from None
        if number < least:
            raise argparse.ArgumentTypeError(f"{value!r} is less than {least}")
        return number

    return read


def partitions(value: str) -> int | str:
    """Read a number of partitions, or `tree`, for an option of a parser."""
    return TREE if value == TREE else count(1)(value)


def _on_error(value: str) -> str:
    return read_tolerance(value).on_error.value


def _bad(value: str) -> float:
    share, number = read_bad(value)
    return share or number


def _sorting(value: str) -> str:
    read_sorting(value)
    return value


def variable(value: str) -> str:
    """Read the name of a variable, for an option of a parser."""
    if not value.isidentifier() or keyword.iskeyword(value):
        raise argparse.ArgumentTypeError(f"{value!r} is not a variable name")
    return value


def _path(value: str) -> str:
    if not value.strip():
        raise argparse.ArgumentTypeError("the path is empty")
    return value


def _module(value: str) -> str:
    if not all(part.isidentifier() for part in value.split(".")):
        raise argparse.ArgumentTypeError(f"{value!r} is not the name of a module")
    return value


def _add_tolerance(parser: MagicParser) -> None:
    told = "fail; skip: leave out what fails; collect: the same, and tell all of it"
    parser.add_argument(
        "--on-error", type=Worded(as_option(_on_error), tuple(word.value for word in OnError)), default="fail", metavar="WHAT", help=told
    )
    many = "how many may be left out: 0.001 or 0.1%% for a share, or a whole number (default: 1%%, or ten)"
    parser.add_argument("--max-bad", type=as_option(_bad), metavar="N", help=many)


def _add_looking_ahead(parser: MagicParser) -> None:
    told = "show the plan, the splits, what would be pickled and what was checked; run nothing, and leave --into as it is"
    parser.add_argument("-n", "--dry-run", action="store_true", help=told)
    tried = f"try the first N records here (default: {_PREVIEW[1]}): their result, and what all of it would take and cost; run no job"
    parser.add_argument("--preview", type=count(1), metavar="[N]", help=tried)


def _add_result(parser: MagicParser) -> None:
    add = parser.add_argument
    add("-o", "--into", type=variable, metavar="VAR", help="put the result into this variable, and show only the progress")
    add("--limit", type=count(1), metavar="ROWS", help="load the first rows of the result only, in key order; the panel says of how many")
    add(
        "--output",
        type=_path,
        metavar="PATH",
        help="write the result there as Parquet instead of loading it: a folder, a .parquet file, s3://…",
    )
    add("--overwrite", action="store_true", help="let --output replace what it wrote before")


def _add_running(parser: MagicParser) -> None:
    add = parser.add_argument
    add("--retries", type=count(0), metavar="N", help="further attempts of a task that failed")
    add("--max-cost", type=as_option(read_dollars), metavar="$", help="stop launching before the job costs more than so many dollars")
    add("--memory", type=as_option(parse_size), metavar="S", help="memory that a worker may take before it spills to disk, such as 512MB")
    add("--concurrency", type=count(1), metavar="N", help="attempts that run at once, at most (default: as many as the platform runs)")
    add(
        "--timeout",
        type=as_option(read_time),
        metavar="T",
        help="let the job fail if it has not ended after so long, such as 90s, 15m or 2h",
    )
    add("--exchange", choices=EXCHANGES, metavar="X", help=f"what carries the pairs from map to reduce: {', '.join(EXCHANGES)}")
    told = "let this installed module travel with the functions, for workers that lack it (may be said again)"
    add("--include", type=_module, action="append", default=[], metavar="MODULE", help=told)


def _add_functions(parser: MagicParser) -> None:
    add = parser.add_argument
    add("--map", metavar="FUNCTION", help="a function from another cell")
    told = "a function from another cell, or sum, min, max, len, list, set, or smr.mean, …"
    add("--reduce", type=Worded(str, BUILTINS), metavar="FUNCTION", help=told)
    add("--keep", action="store_true", help="let what the cell defines stay in the notebook")


def _add_screen(parser: MagicParser) -> None:
    add = parser.add_argument
    detach = "return the Job at once; the notebook stays free (a run that nobody watches, as in CI, waits)"
    add("-d", "--detach", action="store_true", help=detach)
    add("--name", default="", metavar="TEXT", help="what the job is called")
    _add_looking_ahead(parser)
    add("--display", choices=DISPLAYS, metavar="D", help=f"how progress is shown: {', '.join(DISPLAYS)}")
    add("-q", "--quiet", action="store_true", help="show no progress")
    add("-h", "--help", action="store_true", help="show this")


def cell_parser(formats: Sequence[str] = FORMATS) -> MagicParser:
    """Return the parser of the line of a `%%smr` cell.

    Args:
        formats: What `--format` knows.
    """
    parser = MagicParser(
        prog="%%smr",
        add_help=False,
        allow_abbrev=False,
        usage="%(prog)s INPUT… [--into VAR] [options]",
        description=(
            "The cell defines map(record), which yields (key, value) pairs, and if wanted\n"
            "reduce(key, values) and combine(key, values); values is an iterator."
        ),
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=27, width=90),
        epilog=(
            "A word of INPUT that is the name of a variable means the variable; ./name means the file.\n"
            "{var} in a word is filled in from the notebook.\n"
            "Without --into the value of the cell is the DataFrame."
        ),
    )
    add = parser.add_argument
    add("inputs", nargs="*", metavar="INPUT", help="path, folder, glob, range(…), or one notebook variable (list, DataFrame, …)")
    add("-i", "--input", dest="more_inputs", action="append", default=[], metavar="INPUT", help="the same, as an option")
    _add_result(parser)
    add("-r", "--reducers", type=partitions, metavar="N", help="number of partitions (default: by the size of the input); tree: one output")
    add("-c", "--combine", action="store_true", help="let reduce also combine on the map side (its law is checked first)")
    told = f"{AUTO} (by the names of the files), {', '.join(_SHORT)}, or a variable that holds one with options: smr.formats.csv(…)"
    add("-f", "--format", choices=formats, default="auto", metavar="F", help=told)
    add("-s", "--split-size", type=as_option(parse_size), metavar="S", help="input for each map task, such as 64MB")
    sorting = Worded(as_option(_sorting), ("keys", "values", "keys,values"))
    add("--sort", type=sorting, metavar="WHAT", help="keys: the parts are in total order; values: reduce gets them in order; keys,values")
    _add_running(parser)
    _add_tolerance(parser)
    _add_functions(parser)
    _add_screen(parser)
    return parser
