"""How values are spelled in settings, calls and files: sizes, times, amounts of money, what is sorted, what may be left out."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Callable
from contextlib import suppress
from operator import index
from typing import SupportsIndex, TypeVar

from smr_notebook.errors import ConfigError
from smr_notebook.model import Sorting
from smr_notebook.values.tolerance import DEFAULT_COUNT, DEFAULT_SHARE, STRICT, OnError, Tolerance

T = TypeVar("T")

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_TIME = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*")
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", re.IGNORECASE)


def as_option(read: Callable[[str], T]) -> Callable[[str], T]:
    """Return what reads a value as the `type` of an option of argparse, which tells its own errors beside the option's name."""

    def read_option(text: str) -> T:
        try:
            return read(text)
        except ConfigError as error:
            raise ArgumentTypeError(str(error).rstrip(".")) from None

    return read_option


def parse_size(value: object) -> int:
    """Return a size in bytes from a number or from text such as `128MB`, `64 MiB` or `1.5g`.

    Raises:
        ConfigError: It is neither.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return int(value)
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ConfigError(f"{value!r} is not a size. Write bytes, or a number with a unit: 128MB, 64MiB, 1.5GB.")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def read_time(value: object) -> float:
    """Return a time in seconds from a number or from text such as `90`, `30s`, `15m`, `2h` or `7d`.

    Raises:
        ConfigError: It is neither.
    """
    match = _TIME.fullmatch(str(value)) if not isinstance(value, bool) else None
    if match is None:
        raise ConfigError(f"{value!r} is not a time. Write seconds, or a number with a unit: 90s, 15m, 2h, 7d.")
    return float(match[1]) * _SECONDS[match[2]]


def read_sorting(value: object) -> Sorting:
    """Return what `sort` means: `keys`, `values`, both with a comma between them or as a list, or `None` for neither.

    `True` is `keys`, a total order over all parts, and `False` is `None`.

    Raises:
        ConfigError: It is anything else.
    """
    given = value.split(",") if isinstance(value, str) else value
    if given is None or isinstance(given, bool):
        return Sorting(keys=given is True)
    words = [word.strip() if isinstance(word, str) else word for word in given] if isinstance(given, list | tuple | set) else []
    if not words or any(word not in {"keys", "values"} for word in words):
        raise ConfigError(f"sort must be 'keys', 'values', or 'keys,values'; got {value!r}.")
    return Sorting(keys="keys" in words, values="values" in words)


def read_dollars(value: object) -> float:
    """Return an amount of US dollars from a number or from text such as `$0.50`.

    Raises:
        ConfigError: It is neither, or negative.
    """
    with suppress(ValueError):
        amount = float(str(value).strip().removeprefix("$"))
        if 0 <= amount < float("inf"):
            return amount
    raise ConfigError(f"max_cost must be an amount of dollars such as 0.50, 0 for any; got {value!r}.")


def read_tolerance(on_error: object, max_bad: object = None) -> Tolerance:
    """Return what `on_error` and `max_bad` mean.

    Args:
        on_error: `fail`, `skip` or `collect`.
        max_bad: A share from 0 to 1 (`0.001`, or `0.1%` as text), or a whole number of records; `None` for the default.

    Raises:
        ConfigError: It is anything else.
    """
    words = [word.value for word in OnError]
    if on_error not in words:
        raise ConfigError(f"on_error must be one of {', '.join(map(repr, words))}; got {on_error!r}.")
    chosen = OnError(str(on_error))
    if max_bad is None:
        return Tolerance(chosen, DEFAULT_SHARE, DEFAULT_COUNT) if chosen is not OnError.FAIL else STRICT
    if chosen is OnError.FAIL:
        raise ConfigError(f"max_bad={max_bad!r} needs on_error='skip' or 'collect': with 'fail', nothing is left out.")
    share, count = read_bad(max_bad)
    return Tolerance(chosen, share, count)


def read_bad(value: object) -> tuple[float, int]:
    """Return the share, or the number, that `max_bad` means; the other is zero.

    Raises:
        ConfigError: It is anything else.
    """
    try:
        if isinstance(value, str):
            text = value.strip().replace("_", "").replace(",", "")
            value = float(text[:-1]) / 100 if text.endswith("%") else int(text) if text.isdecimal() else float(text)
        if isinstance(value, SupportsIndex) and not isinstance(value, bool) and index(value) >= 0:
            return 0.0, index(value)
        if isinstance(value, float) and 0 <= value <= 1:
            return float(value), 0
    except (ValueError, TypeError):
        pass
    raise ConfigError(f"max_bad must be a share of the records such as 0.001, or a whole number of them such as 100; got {value!r}.")
