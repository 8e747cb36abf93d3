"""The user's functions as the data plane calls them, and the error that says where one of them failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from smr_notebook.showing.visible import visible

Pair = tuple[Any, Any]


@dataclass(frozen=True, slots=True)
class Functions:
    """What travels in a job's code.

    Attributes:
        map: Called with a record, or with (source, record) if `map_takes_source`; gives an iterable of pairs, or `None`.
        map_takes_source: Whether `map` has two parameters.
        reduce: `None`, or called with (key, iterator of values).
        reduce_yields: Whether `reduce` is a generator function, which yields rows; else it returns the value of one row.
        combine: `None`, or like `reduce`; a generator combiner yields pairs of the same key.
        combine_yields: Whether `combine` is a generator function.
    """

    map: Callable[..., Iterable[Pair] | None]
    map_takes_source: bool
    reduce: Callable[[Any, Iterator[Any]], Any] | None
    reduce_yields: bool
    combine: Callable[[Any, Iterator[Any]], Any] | None
    combine_yields: bool


@dataclass(frozen=True, slots=True)
class CodePlace:
    """A line of code: file, line counted from 1, and the function that it is in."""

    file: str
    line: int
    function: str


def place_of(function: object, made: object) -> CodePlace | None:
    """Return the line that gave something: where a generator stands, else where the function begins; `None` if neither is Python.

    Args:
        function: The user's function.
        made: What it returned.
    """
    frame = getattr(made, "gi_frame", None)
    if frame is not None:
        return CodePlace(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
    code = getattr(function, "__code__", None)
    return CodePlace(code.co_filename, code.co_firstlineno, code.co_name) if code is not None else None


class UserCodeError(Exception):
    """A user's function raised, or gave the wrong shape (`errors.PairShapeError`); the exception is the `__cause__`.

    Attributes:
        function: `map`, `reduce` or `combine`, or a hook of one: `the setup of map`.
        record: The record (for `map`) or the key (else) as `repr`, at most 200 characters.
        source: Object that the record came from, or an empty string.
        offset: Byte offset of the record in that object, -1 if unknown.
        record_number: Number of the record inside the split, or of the group inside the partition, counted from 1; 0 if unknown.
        value_count: How many values the group has; -1 if unknown.
        place: Where in the user's code a wrong shape came from: a traceback of our own error does not say. `None` if it does.
    """

    place: CodePlace | None = None

    def __init__(
        self, function: str, record: str, *, source: str = "", offset: int = -1, record_number: int = 0, value_count: int = -1
    ) -> None:
        super().__init__(function, record)
        self.function = function
        self.record = record
        self.source = source
        self.offset = offset
        self.record_number = record_number
        self.value_count = value_count


def short_repr(value: object) -> str:
    """Return `repr(value)` cut at 200 characters; never raises, whatever the object's own `__repr__` does."""
    return bounded_repr(value, 200)


def bounded_repr(value: object, characters: int) -> str:
    """Return `repr(value)`, cut if it is longer than so many characters, with nothing in it that cannot be shown; never raises."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - the user's __repr__ may do anything
        text = f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"
    text = visible(text)
    return text if len(text) <= characters else text[: characters - 3] + "…"


def writable(text: str) -> str:
    """Return a text that can be written: one that is no Unicode (lone surrogates) is escaped."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text
