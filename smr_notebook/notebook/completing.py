"""What could come next on a line of `%%smr` or `%smr`.

Rules of this module:

* What options there are, and what they take, only the parsers of the lines know: an action's choices, the words of its reader, and its
  metavar, which says what kind of thing a value is. A new option needs no line here.
* What is typed half is no error: whatever cannot be understood is passed over.
* Variables, jobs and objects are asked for through `Places`, and only when they can stand where the cursor is.
"""

from __future__ import annotations

import shlex
import types
from argparse import Action
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from smr_notebook.notebook.arguments import FORMATS, MagicParser, Worded, braced, cell_parser, formats_of
from smr_notebook.notebook.paths import keys_of_url, paths
from smr_notebook.notebook.subcommands import CELLS, WORDS, parser_of
from smr_notebook.notebook.variables import functions, inputs, modules, variables

_UNSAFE: Final = frozenset(" \t\"'\\")
_MAGICS: Final = ("%%smr", "%smr")


@dataclass(frozen=True, slots=True)
class Places:
    """Where values come from that no parser knows.

    Attributes:
        namespace: The notebook's variables.
        jobs: Gives identifiers and names of jobs, the latest first.
        keys: Gives the keys of objects in a folder of a scheme, such as `s3` and `bucket/2026`.
    """

    namespace: Mapping[str, Any]
    jobs: Callable[[], Sequence[str]]
    keys: Callable[[str, str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Completions:
    """What could stand in the place of `fragment`, the end of what is typed."""

    fragment: str
    words: tuple[str, ...]


def line_to_complete(cell: str, *, line: int, column: int) -> str | None:
    """Return what of a line of ours stands before the cursor; `None` where the cursor is on none.

    Args:
        cell: All that is in the cell.
        line: Of the cursor, counted from 0.
        column: Of the cursor, in characters.
    """
    lines = cell.split("\n")
    before = lines[line][:column].lstrip() if line < len(lines) else ""
    magic, _, rest = before.partition(" ")
    if magic not in _MAGICS or len(before) == len(magic):
        return None
    first = not any(above.strip() for above in lines[:line])
    return f"{magic} {rest}" if first or magic == "%smr" else None


def complete(text: str, places: Places) -> Completions:
    """Return what could come next.

    Args:
        text: A line of `%%smr` or `%smr` up to the cursor.
        places: Where values come from.
    """
    magic, _, rest = text.partition(" ")
    typed, fragment, plain = _typed(rest)
    if magic == "%smr" and not typed:
        return _matching(fragment, plain, WORDS)
    if magic == "%smr" and typed[0] not in WORDS:
        return Completions(fragment, ())
    parser = _parser(typed.pop(0) if magic == "%smr" else "run", places.namespace)
    return _matching(fragment, plain, _next(parser, typed, plain, places))


def _parser(word: str, namespace: Mapping[str, Any]) -> MagicParser:
    return cell_parser((*FORMATS, *formats_of(namespace))) if word in CELLS else parser_of(word)


def _typed(text: str) -> tuple[list[str], str, str]:
    """Return the whole words of a text, and the last one: as it is typed, and without its quotes. It is empty behind a blank."""
    words, start, plain, quote = [], 0, "", ""
    for place, letter in enumerate(text):
        if letter == quote:
            quote = ""
        elif quote:
            plain += letter
        elif letter in "\"'":
            quote = letter
        elif letter.isspace():
            if text[start:place]:
                words.append(plain)
            start, plain = place + 1, ""
        else:
            plain += letter
    return words, text[start:], plain


def _matching(fragment: str, plain: str, words: Iterable[str]) -> Completions:
    found = dict.fromkeys(word for word in words if word.startswith(plain))
    return Completions(fragment, tuple(shlex.quote(word) if _UNSAFE & set(word) else word for word in found))


def _next(parser: MagicParser, typed: Sequence[str], plain: str, places: Places) -> Iterator[str]:
    """Yield the words that can follow those that are typed."""
    options = {name: action for action in parser.actions for name in action.option_strings}
    used: list[Action] = []
    waiting, positional = None, 0
    for word in typed:
        if word in options:
            used.append(options[word])
            waiting = options[word] if options[word].nargs != 0 else None
        elif waiting is not None:
            waiting = waiting if waiting.nargs in {"*", "+"} else None
        elif word.startswith("-"):
            used += [options[name] for name in [word.partition("=")[0]] if name in options]
        else:
            positional += 1
    if waiting is not None and waiting.nargs in {"*", "+"} and plain.startswith("-"):
        waiting = None
    name, equals, _ = plain.partition("=")
    if waiting is not None:
        yield from _values(waiting, plain, places)
    elif equals and name in options:
        yield from (f"{name}={value}" for value in _values(options[name], plain.removeprefix(f"{name}="), places))
    else:
        if not plain.startswith("-"):
            yield from _positional(parser, positional, plain, places)
        if not plain or plain.startswith("-"):
            yield from _options(parser, used, short=len(plain) == 2 and plain in options)


def _options(parser: MagicParser, used: Sequence[Action], *, short: bool) -> Iterator[str]:
    for action in parser.actions:
        if action not in used or isinstance(action.default, list):
            yield from (name for name in action.option_strings if name.startswith("--") or short)


def _positional(parser: MagicParser, number: int, plain: str, places: Places) -> Iterator[str]:
    actions = [action for action in parser.actions if not action.option_strings]
    if actions and (number < len(actions) or actions[-1].nargs in {"*", "+"}):
        yield from _values(actions[min(number, len(actions) - 1)], plain, places)


def _values(action: Action, plain: str, places: Places) -> Iterator[str]:
    yield from map(str, action.choices or ())
    if isinstance(action.type, Worded):
        yield from action.type.words
    kind = _KINDS.get(action.metavar) if isinstance(action.metavar, str) else None
    if kind is not None:
        yield from kind(plain, places)


def _inputs(plain: str, places: Places) -> Iterator[str]:
    name = plain.replace("{{", "{").replace("}}", "}")
    scheme, url, location = name.partition("://")
    if url:
        yield from map(braced, keys_of_url(scheme, location, places.keys))
    else:
        yield from inputs(places.namespace)
        yield from map(braced, paths(name, taken=places.namespace))


_KINDS: Final[Mapping[str, Callable[[str, Places], Iterable[str]]]] = types.MappingProxyType(
    {
        "INPUT": _inputs,
        "VAR": lambda _, places: variables(places.namespace),
        "ID": lambda _, places: places.jobs(),
        "FUNCTION": lambda plain, places: functions(plain, places.namespace),
        "MODULE": lambda _, places: modules(places.namespace),
    }
)
"""By metavar."""
