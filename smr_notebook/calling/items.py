"""Calls as they are given to an executor: pickled one by one, and those that cannot be are set aside with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import chain, islice
from typing import Any

from smr_notebook.dataflow.calls import Item, are_plain, name_of, pack_arguments
from smr_notebook.dataflow.code import modules_by_value
from smr_notebook.errors import UnpicklableError


class Zipped:
    """The calls of one function for rows of items. They are gone through once.

    Args:
        function: What is called.
        iterables: Its arguments; the shortest ends them.
        whole: Whether nothing is to be called where one call cannot travel: going through them then raises why.

    Attributes:
        function: See above.
        total: How many calls there were, as far as they have been gone through.
        refused: Those whose arguments cannot travel, by their place among all, with the error of each.
    """

    def __init__(self, function: Callable[..., Any], iterables: tuple[Iterable[Any], ...], *, whole: bool = False) -> None:
        self.function = function
        self.total = 0
        self.refused: dict[int, UnpicklableError] = {}
        self._iterables = iterables
        self._whole = whole
        self._rows: Iterator[tuple[Any, ...]] | None = None

    @property
    def sent(self) -> int:
        """How many calls were given away."""
        return self.total - len(self.refused)

    def is_empty(self) -> bool:
        """Whether there are no calls: looks for the first one, for a length may count other things than what is gone through."""
        rows = zip(*self._iterables, strict=False)
        first = list(islice(rows, 1))
        self._rows = chain(first, rows)
        return not first

    def items(self) -> Iterable[Item]:
        """Return the calls as they are stored, numbered as they are given away; to be gone through within `code.modules_by_value`."""
        sizes = self._sizes()
        return _Sized(self._items(), min(sizes)) if sizes else self._items()

    def _sizes(self) -> list[int]:
        return [len(iterable) for iterable in self._iterables if isinstance(iterable, Sized)]

    def _items(self) -> Iterator[Item]:
        for place, row in enumerate(self._rows or zip(*self._iterables, strict=False)):
            number = self.sent
            self.total += 1
            try:
                arguments = pack_arguments(row, {})
            except Exception as error:
                self.refused[place] = refusal(f"The arguments of call {place:,} of {name_of(self.function)}", error)
                if self._whole:
                    raise self.refused[place] from error
            else:
                yield number, 0, arguments


class _Sized(Iterable[Item]):
    """Calls of which it is known how many there are, so that they can be shared out evenly."""

    def __init__(self, items: Iterator[Item], count: int) -> None:
        self._items = items
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Item]:
        return self._items


def packed(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """Return the arguments of one call as they are stored. Raises `UnpicklableError`."""
    try:
        if are_plain(args, kwargs):
            return pack_arguments(args, kwargs)
        with modules_by_value():
            return pack_arguments(args, kwargs)
    except Exception as error:
        raise refusal(f"The arguments of a call of {name_of(function)}", error) from error


def refusal(what: str, error: Exception) -> UnpicklableError:
    """Return the error of a call that cannot travel."""
    refused = UnpicklableError(
        f"{what} cannot travel to a worker: {type(error).__name__}: {error}. Pass what they are made from, and open files, locks and "
        "connections inside the function."
    )
    refused.__cause__ = error
    return refused
