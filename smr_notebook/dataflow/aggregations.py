"""What `reduce=sum` and its like mean.

A `reduce` may be a function of the values alone. Which one it is, is decided so:

* `sum min max len any all list tuple set frozenset sorted` are known, and read the values one by one.
* Any other callable is asked for its signature. Two required parameters: it is a `reduce` already. One: it is called with
  the values of a group **as a list** (`statistics.mean`, `numpy.mean`, `lambda values: …`). Anything else cannot be planned.

Where `reduce` stands alone, without a combiner of the user's, `sum`, `min`, `max`, `len` and `list` are computed by folds instead
(`dataflow.aggregates`), which give the same. `reduce=sum` adds the integers of a group exactly, then everything else in input order,
then the two sums. For a group of integers only, or without integers, that is what the builtin gives, to the last bit. For a mixed
group it differs from the builtin at most in how it rounds, and makes the answer independent of where groups are cut.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps
from itertools import chain, islice
from typing import Any

from smr_notebook.dataflow.aggregates import fold_of
from smr_notebook.dataflow.functions import Pair
from smr_notebook.dataflow.hooks import Hooked
from smr_notebook.errors import PlanError

Reduce = Callable[[Any, Iterator[Any]], Any]

_CHUNK = 10_000
_EXACT = {int, bool}


def _sum(_key: Any, values: Iterator[Any]) -> Any:
    whole = 0

    def others() -> Iterator[list[Any]]:
        nonlocal whole
        while chunk := list(islice(values, _CHUNK)):
            if set(map(type, chunk)) <= _EXACT:
                whole += sum(chunk)
            else:
                whole += sum(value for value in chunk if type(value) in _EXACT)
                yield [value for value in chunk if type(value) not in _EXACT]

    rest = sum(chain.from_iterable(others()))
    return rest + whole if whole else rest


def _min(_key: Any, values: Iterator[Any]) -> Any:
    return min(values)


def _max(_key: Any, values: Iterator[Any]) -> Any:
    return max(values)


def _len(_key: Any, values: Iterator[Any]) -> int:
    return sum(1 for _ in values)


def _any(_key: Any, values: Iterator[Any]) -> bool:
    return any(values)


def _all(_key: Any, values: Iterator[Any]) -> bool:
    return all(values)


def _list(_key: Any, values: Iterator[Any]) -> list[Any]:
    return list(values)


def _tuple(_key: Any, values: Iterator[Any]) -> tuple[Any, ...]:
    return tuple(values)


def _set(_key: Any, values: Iterator[Any]) -> set[Any]:
    return set(values)


def _frozenset(_key: Any, values: Iterator[Any]) -> frozenset[Any]:
    return frozenset(values)


def _sorted(_key: Any, values: Iterator[Any]) -> list[Any]:
    return sorted(values)


_KNOWN: dict[Callable[..., Any], Reduce] = {
    sum: _sum,
    min: _min,
    max: _max,
    len: _len,
    any: _any,
    all: _all,
    list: _list,
    tuple: _tuple,
    set: _set,
    frozenset: _frozenset,
    sorted: _sorted,
}

BUILTINS = tuple(function.__name__ for function in _KNOWN)
"""The names of the functions of Python itself that are known."""


def as_reduce(reduce: Any) -> Reduce:
    """Return the function of (key, values) that a user's `reduce` stands for; a generator function stays one.

    Args:
        reduce: A function of (key, values), or of the values alone; or a built-in aggregation.

    Raises:
        PlanError: It takes neither.
    """
    if isinstance(reduce, Hooked):
        function = as_reduce(reduce.plain)
        return reduce if reduce.takes_state or reduce.enters else replace(reduce, function=function)
    known = _KNOWN.get(reduce) if _hashable(reduce) else None
    if known is not None:
        return known
    fold = fold_of(reduce)
    if fold is not None:
        return _of_values(fold.reference)
    required = _required(reduce)
    if required == 2:
        return reduce  # type: ignore[no-any-return]  # of two parameters it is one
    if required == 1:
        return _of_values(reduce)
    name = getattr(reduce, "__name__", repr(reduce))
    raise PlanError(
        f"reduce must take (key, values), or the values alone; {name} "
        f"{'has a signature that cannot be read' if required is None else f'has {required} required parameters'}. "
        "Write `def reduce(key, values): …`."
    )


def is_known(reduce: object) -> bool:
    """Whether `as_reduce` made it of one of the builtins that are known."""
    return any(reduce is known for known in _KNOWN.values())


def makes_generators(function: object) -> bool:
    """Tell whether calling it makes a generator: it is a generator function, or an object of a class whose `__call__` is one."""
    if isinstance(function, Hooked):
        function = function.function
    call = getattr(type(function), "__call__", None)  # noqa: B004 - the method itself is wanted, not whether there is one
    return inspect.isgeneratorfunction(function) or inspect.isgeneratorfunction(call)


def _of_values(reduce: Callable[..., Any]) -> Reduce:
    if makes_generators(reduce):

        @wraps(reduce)
        def yields(_key: Any, values: Iterator[Any]) -> Iterator[Pair]:
            yield from reduce(list(values))

        del yields.__wrapped__
        return yields

    def returns(_key: Any, values: Iterator[Any]) -> Any:
        return reduce(list(values))

    return returns


def _required(function: Callable[..., Any]) -> int | None:
    """Return how many arguments the function must be given by position, `None` when that cannot be known."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    needed = [parameter for parameter in parameters if parameter.default is parameter.empty]
    if any(parameter.kind is parameter.KEYWORD_ONLY for parameter in needed):
        return None
    positional = [parameter for parameter in needed if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}]
    variadic = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in needed)
    return 2 if variadic and len(positional) <= 2 else len(positional)


def _hashable(function: object) -> bool:
    try:
        hash(function)
    except TypeError:
        return False
    return True
