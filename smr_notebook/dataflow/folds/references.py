"""What the built-in aggregations mean, in plain Python over all values of a group: the definition that `steps` is held against.

`None` is left out, except by `collect` and the count of rows.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Iterable
from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np

from smr_notebook.dataflow.keys import encode_key

_EXACT = decimal.Context(prec=decimal.MAX_PREC, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)

NO_NUMBER = "sum and mean add numbers; got {!r} ({}). The columns of a CSV are text until smr.formats.csv(types={{…}}) says what they hold"
"""What is said of a text among the values, with its type."""


def plus(one: Any, other: Any) -> Any:
    """Return the sum of two values; decimals are added exactly."""
    if isinstance(one, decimal.Decimal) or isinstance(other, decimal.Decimal):
        with decimal.localcontext(_EXACT):
            return one + other
    return one + other


def total(values: Iterable[Any]) -> Any:
    """Return the exact sum, rounded once: an `int` of integers, a `float` with floats among them, else what `+` gives in input order."""
    numbers = [_plain(value) for value in values if value is not None]
    found, as_float = _exact_total(numbers)
    return None if found is None else round_total(found, as_float=as_float)


def mean(values: Iterable[Any]) -> Any:
    """Return the exact sum divided by the number of values, rounded once."""
    numbers = [_plain(value) for value in values if value is not None]
    found, as_float = _exact_total(numbers)
    return None if found is None else divide(found, len(numbers), as_float=as_float)


def _plain(value: Any) -> Any:
    """Return a number as Python's own type; text is refused."""
    if isinstance(value, str | bytes):
        raise TypeError(NO_NUMBER.format(value, type(value).__name__))
    if isinstance(value, bool | np.bool_ | np.integer):
        return int(value)
    return float(value) if isinstance(value, float | np.floating) else value


def _exact_total(numbers: list[Any]) -> tuple[Any, bool]:
    """Return the sum before it is rounded, and whether there is a float among the numbers; `None` of nothing."""
    if not numbers:
        return None, False
    ints = [number for number in numbers if type(number) is int]
    floats = [number for number in numbers if type(number) is float]
    others = [number for number in numbers if type(number) not in {int, float}]
    return join([sum(ints)] if ints else [], others, floats), bool(floats)


def join(ints: list[int], others: list[Any], floats: list[float]) -> Any:
    """Return the sum of integers, of other things in input order and of floats, at least one in all.

    It is exact where all are numbers of which fractions can be made; an infinity or NaN among the floats then is the sum. Of other
    things, the floats are added as one rounded number, behind them.
    """
    finite = all(map(math.isfinite, floats))
    if not all(isinstance(other, int | Fraction) for other in others):
        rounded = [float_total(floats) if finite else sum(floats)] if floats else []
        return reduce(plus, [*ints, *others, *rounded])
    return reduce(plus, [*ints, *others, *map(Fraction, floats)]) if finite else sum(floats)


def float_total(floats: list[float]) -> float:
    """Return the exact sum of finite floats, rounded once; infinite when it is beyond the largest float."""
    return to_float(sum(map(Fraction, floats), Fraction(0)))


def to_float(number: Any) -> float:
    """Return the nearest float; infinite when the number is beyond the largest one."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def round_total(exact: Any, *, as_float: bool) -> Any:
    """Return an exact sum as it is given out: a fraction with floats in it as a float, a decimal in the precision of the context."""
    if as_float and isinstance(exact, int | Fraction):
        return to_float(exact)
    return +exact if isinstance(exact, decimal.Decimal) else exact


def divide(exact: Any, count: int, *, as_float: bool) -> Any:
    """Return an exact sum divided by a count: of integers and floats a float, rounded once."""
    if isinstance(exact, int) or (as_float and isinstance(exact, Fraction)):
        return to_float(Fraction(exact) / count)
    return exact / count


def first(values: Iterable[Any]) -> Any:
    """Return the first value."""
    return next((value for value in values if value is not None), None)


def least(values: Iterable[Any]) -> Any:
    """Return the first of the least values; NaN if there is one."""
    there = [value for value in values if value is not None]
    return next(filter(is_nan, there), None) or min(there, default=None)


def greatest(values: Iterable[Any]) -> Any:
    """Return the first of the greatest values; NaN if there is one."""
    there = [value for value in values if value is not None]
    return next(filter(is_nan, there), None) or max(there, default=None)


def top(values: Iterable[Any], n: int) -> list[Any]:
    """Return the `n` largest values, the largest first; NaN is larger than all others, equal ones stay in input order."""
    there = [value for value in values if value is not None]
    numbers = sorted((value for value in there if not is_nan(value)), reverse=True)
    return [*filter(is_nan, there), *numbers][:n]


def distinct(values: Iterable[Any]) -> list[Any]:
    """Return each value once, of equal ones the first, in the order of keys."""
    found: dict[bytes, Any] = {}
    for value in values:
        if value is not None:
            plain = value + 0.0 if type(value) is float else value  # makes 0.0 of -0.0
            found.setdefault(encode_key(value), plain)
    return [found[token] for token in sorted(found)]


def exact_quantiles(values: Iterable[Any], shares: tuple[float, ...]) -> list[float] | None:
    """Return the quantiles as `numpy.quantile` interpolates them (`linear`), or `None` of nothing; NaN for all if there is one."""
    numbers = [number(value) for value in values if value is not None]
    if not numbers:
        return None
    if any(map(math.isnan, numbers)):
        return [math.nan] * len(shares)
    numbers.sort()
    return [_between(numbers, (len(numbers) - 1) * share) for share in shares]


def _between(numbers: list[float], place: float) -> float:
    lower = math.floor(place)
    one, other, part = numbers[lower], numbers[min(lower + 1, len(numbers) - 1)], place - lower
    if part == 0:
        return one
    if math.isinf(one) or math.isinf(other):
        return one + other
    return other - (other - one) * (1 - part) if part >= 0.5 else one + (other - one) * part


def number(value: Any) -> float:
    """Return a number as a float. Raises `TypeError` for what is no number."""
    if isinstance(value, str | bytes):
        raise TypeError(f"quantiles are of numbers; got {value!r} ({type(value).__name__})")
    return float(value) + 0.0  # makes 0.0 of -0.0


def is_nan(value: object) -> bool:
    """Return whether a float or decimal is not a number."""
    return isinstance(value, float | decimal.Decimal) and value != value  # noqa: PLR0124 - NaN
