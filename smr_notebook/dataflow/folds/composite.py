"""Several folds at once, each over a column of its own: values, states and results are tuples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from smr_notebook.dataflow.columns import Column
from smr_notebook.dataflow.folds.segments import GroupError, Indices, Segments
from smr_notebook.dataflow.folds.steps import Fold
from smr_notebook.dataflow.folds.tuples import tuple_column, tuple_parts


@dataclass(frozen=True, slots=True)
class Several:
    """Implements `steps.Fold`: a tuple of folds, of which each sees one position of the values.

    Attributes:
        folds: One for each position.
        names: What the user calls each result, for messages.
    """

    folds: tuple[Fold, ...]
    names: tuple[str, ...]
    additive = False

    def prepare(self, values: Column) -> Column:
        """Prepare each position."""
        return self._each(values, lambda fold, column: fold.prepare(column))

    def begin(self, segments: Segments) -> Column:
        """Begin each position."""
        return self._each(segments.values, lambda fold, column: fold.begin(Segments(column, segments.offsets)))

    def merge(self, states: Column, offsets: Indices) -> Column:
        """Merge each position."""
        return self._each(states, lambda fold, column: fold.merge(column, offsets))

    def finish(self, states: Column) -> Column:
        """Finish each position."""
        return self._each(states, lambda fold, column: fold.finish(column))

    def reference(self, values: list[Any]) -> Any:
        """A tuple of results."""
        return tuple(fold.reference([value[place] for value in values]) for place, fold in enumerate(self.folds))

    def _each(self, column: Column, step: Callable[[Fold, Column], Column]) -> Column:
        parts = zip(self.folds, tuple_parts(column), self.names, strict=True)
        return tuple_column([_named(name, step, fold, part) for fold, part, name in parts])


def _named(name: str, step: Callable[[Fold, Column], Column], fold: Fold, part: Column) -> Column:
    """Make a step, and say whose it was if its values are not what it takes."""
    try:
        return step(fold, part)
    except GroupError as error:
        if type(error.__cause__) is not TypeError:  # one of the user's own classes has its own error
            raise
        raise GroupError(error.group) from TypeError(f"{name}: {error.__cause__}")
